//! A chat request as a stored chain gets it (`docs/api.md`, chat with a stored chain): words only, and of the rest what
//! chains know. What they do not know is not looked at, whatever it holds.

use serde_json::Value as Json;

use super::{
    Read,
    fields::Fields,
    messages::{message_at, several},
};
use crate::domain::value::{OpenaiChat, OpenaiMessage};

/// A request, and what it wants of the answer.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatRequest {
    /// What a chain gets as its input.
    pub chat: OpenaiChat,
    /// Whether the last event of a stream tells the tokens.
    pub include_usage: bool,
    /// What was sent and has no effect, for a warning.
    pub ignored: Vec<String>,
}

/// Fields that are read. `max_completion_tokens` is the newer name of `max_tokens`.
const KNOWN: [&str; 13] = [
    "model",
    "messages",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "stop",
    "n",
    "stream",
    "stream_options",
    "presence_penalty",
    "frequency_penalty",
    "user",
];
/// Reads a request.
///
/// # Errors
/// The first field that is missing or of the wrong type, by its path.
pub fn read(body: &Json) -> Read<ChatRequest> {
    let at = Fields::of(body)?;
    let messages = several(&at)?.iter().enumerate();
    let messages = messages.map(|(place, message)| self::message(&message_at(&at, place, message)?));
    let chat = OpenaiChat {
        model: at.text("model")?.to_owned(),
        messages: messages.collect::<Read<_>>()?,
        max_tokens: match at.count("max_completion_tokens")? {
            None | Some(0) => at.count("max_tokens")?.unwrap_or_default(),
            Some(newer) => newer,
        },
        temperature: at.number("temperature")?,
        top_p: at.number("top_p")?,
        stop: at.texts("stop")?,
        n: at.count("n")?.unwrap_or_default(),
        stream: at.flag("stream")?.unwrap_or_default(),
        presence_penalty: at.number("presence_penalty")?,
        frequency_penalty: at.number("frequency_penalty")?,
        user: at.text("user")?.to_owned(),
    };
    let include_usage = super::chat::include_usage(&at)?;
    Ok(ChatRequest { chat, include_usage, ignored: at.beside(&[&KNOWN]) })
}

fn message(message: &Fields<'_>) -> Read<OpenaiMessage> {
    let role = message.required_text("role")?;
    let content = match message.get("content") {
        // The assistant's turn that called a tool says nothing.
        None if role == "assistant" => String::new(),
        None => return message.missing("content"),
        Some(Json::String(text)) => text.clone(),
        Some(Json::Array(parts)) => {
            let texts = parts.iter().enumerate();
            let texts = texts.map(|(place, part)| text_part(message, &format!("content[{place}]"), part));
            texts.collect::<Read<Vec<&str>>>()?.concat()
        }
        Some(_) => return message.wrong("content", "a string or an array of parts"),
    };
    Ok(OpenaiMessage { role: role.to_owned(), content })
}

fn text_part<'a>(message: &Fields<'_>, name: &str, part: &'a Json) -> Read<&'a str> {
    match (part.get("type").and_then(Json::as_str), part.get("text")) {
        (Some("text"), Some(Json::String(text))) => Ok(text),
        (Some("text"), _) => message.wrong(&format!("{name}.text"), "a string"),
        (Some(kind), _) => {
            let kind = Fields::shown(kind);
            Err(message.fault(name, &format!("is a part of type '{kind}'; only parts of type 'text' are read")))
        }
        (None, _) => message.wrong(name, "an object with a 'type', such as 'text'"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn user(content: &Json) -> Json {
        json!({"messages": [{"role": "user", "content": content}]})
    }

    fn refusal(body: &Json) -> String {
        read(body).unwrap_err().message
    }

    #[test]
    fn every_field_is_read_under_its_exact_name() {
        let sent = json!({"model": "m", "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}],
            "max_tokens": 5, "temperature": 0.5, "top_p": 0.9, "stop": "x", "n": 1, "stream": true,
            "stream_options": {"include_usage": true}, "presence_penalty": 0.1, "frequency_penalty": -0.1, "user": "me"});
        let read = read(&sent).unwrap();
        assert!(read.include_usage && read.chat.stream && read.ignored.is_empty());
        let mut canonical = sent;
        canonical["stop"] = json!(["x"]);
        canonical.as_object_mut().unwrap().remove("stream_options");
        assert_eq!(serde_json::to_value(&read.chat).unwrap(), canonical);
    }

    #[test]
    fn other_spellings_and_unknown_fields_are_named_and_not_read() {
        let mut sent = user(&json!("hi"));
        sent["maxTokens"] = json!(5);
        sent["tools"] = json!([]);
        sent["seed"] = json!(null);
        let read = read(&sent).unwrap();
        assert_eq!((read.chat.max_tokens, read.ignored), (0, vec!["maxTokens".to_owned(), "tools".to_owned()]));
    }

    #[test]
    fn the_newer_name_of_the_output_bound_wins() {
        let mut sent = user(&json!("hi"));
        sent["max_tokens"] = json!(5);
        sent["max_completion_tokens"] = json!(7);
        assert_eq!(read(&sent).unwrap().chat.max_tokens, 7);
    }

    #[test]
    fn text_parts_are_joined_and_others_refused() {
        let parts = json!([{"type": "text", "text": "a "}, {"type": "text", "text": "b"}]);
        assert_eq!(read(&user(&parts)).unwrap().chat.messages[0].content, "a b");
        let image = json!([{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "data:,"}}]);
        let refused = refusal(&user(&image));
        assert!(refused.contains("messages[0].content[1]") && refused.contains("image_url"), "{refused}");
        for bad in [json!(["text"]), json!([{"text": "a"}]), json!([{"type": "text"}]), json!(7), json!({})] {
            assert!(refusal(&user(&bad)).contains("messages[0].content"), "{bad}");
        }
    }

    #[test]
    fn what_is_missing_or_of_another_type_is_named() {
        for (body, name) in [
            (json!([]), "object"),
            (json!({}), "'messages'"),
            (json!({"messages": []}), "'messages'"),
            (json!({"messages": null}), "'messages'"),
            (json!({"messages": {}}), "'messages'"),
            (json!({"messages": ["hi"]}), "'messages[0]'"),
            (json!({"messages": [{"content": "hi"}]}), "'messages[0].role'"),
            (json!({"messages": [{"role": "user"}]}), "'messages[0].content'"),
        ] {
            assert!(refusal(&body).contains(name), "{body}: {}", refusal(&body));
        }
        for (name, value) in [
            ("model", json!(1)),
            ("max_tokens", json!(-1)),
            ("max_tokens", json!(1.5)),
            ("temperature", json!("warm")),
            ("stop", json!([1])),
            ("n", json!("2")),
            ("stream", json!("yes")),
            ("stream_options", json!(true)),
        ] {
            let mut body = user(&json!("hi"));
            body[name] = value;
            assert!(refusal(&body).contains(&format!("'{name}'")), "{body}");
        }
    }

    #[test]
    fn an_assistant_that_called_a_tool_says_nothing() {
        let body = json!({"messages": [{"role": "assistant", "content": null, "tool_calls": []}]});
        assert_eq!(read(&body).unwrap().chat.messages[0].content, "");
    }
}
