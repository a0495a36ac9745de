//! What clients of OpenAI's chat API send us: names of fields exactly as there, null as absent (`docs/api.md`, chat with
//! a stored chain). The client's side of the format; `openai` is the backend's.

use serde_json::{Map, Value as Json};

use crate::domain::value::{OpenaiChat, OpenaiMessage, one_or_several};

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
/// Names of ignored fields that a warning tells, and the characters of each.
const MAX_IGNORED: usize = 20;
const MAX_NAME_CHARS: usize = 40;

type Read<T> = Result<T, String>;

/// Reads a request.
///
/// # Errors
/// The first field that is missing or of the wrong type, by its path.
pub fn read(body: &Json) -> Read<ChatRequest> {
    let fields = body.as_object().ok_or("the request body must be a JSON object")?;
    let at = Fields { fields, path: String::new() };
    let chat = OpenaiChat {
        model: at.text("model")?,
        messages: messages(&at)?,
        max_tokens: match at.count("max_completion_tokens")? {
            0 => at.count("max_tokens")?,
            newer => newer,
        },
        temperature: at.number("temperature")?,
        top_p: at.number("top_p")?,
        stop: at.texts("stop")?,
        n: at.count("n")?,
        stream: at.flag("stream")?,
        presence_penalty: at.number("presence_penalty")?,
        frequency_penalty: at.number("frequency_penalty")?,
        user: at.text("user")?,
    };
    let include_usage = match at.get("stream_options") {
        None => false,
        Some(Json::Object(fields)) => Fields { fields, path: "stream_options.".to_owned() }.flag("include_usage")?,
        Some(_) => return Err("field 'stream_options' must be an object".to_owned()),
    };
    let unread = fields.iter().filter(|(name, value)| !value.is_null() && !KNOWN.contains(&name.as_str()));
    let ignored = unread.take(MAX_IGNORED).map(|(name, _)| name.chars().take(MAX_NAME_CHARS).collect()).collect();
    Ok(ChatRequest { chat, include_usage, ignored })
}

fn messages(at: &Fields<'_>) -> Read<Vec<OpenaiMessage>> {
    let messages = match at.get("messages") {
        Some(Json::Array(messages)) if !messages.is_empty() => messages,
        Some(Json::Array(_)) | None => return Err("field 'messages' is required and must not be empty".to_owned()),
        Some(_) => return Err("field 'messages' must be an array".to_owned()),
    };
    messages.iter().enumerate().map(|(place, message)| self::message(place, message)).collect()
}

fn message(place: usize, message: &Json) -> Read<OpenaiMessage> {
    let path = format!("messages[{place}].");
    let fields = message.as_object().ok_or_else(|| format!("field 'messages[{place}]' must be an object"))?;
    let at = Fields { fields, path };
    let role = at.text("role")?;
    if role.is_empty() {
        return Err(format!("field '{}role' is required", at.path));
    }
    let content = match at.get("content") {
        // The assistant's turn that called a tool says nothing.
        None if role == "assistant" => String::new(),
        None => return Err(format!("field '{}content' is required", at.path)),
        Some(Json::String(text)) => text.clone(),
        Some(Json::Array(parts)) => {
            let texts = parts.iter().enumerate().map(|(at_part, part)| text_part(&at.path, at_part, part));
            texts.collect::<Read<Vec<&str>>>()?.concat()
        }
        Some(_) => return Err(format!("field '{}content' must be a string or an array of parts", at.path)),
    };
    Ok(OpenaiMessage { role, content })
}

fn text_part<'a>(path: &str, place: usize, part: &'a Json) -> Read<&'a str> {
    let field = format!("{path}content[{place}]");
    match (part.get("type").and_then(Json::as_str), part.get("text")) {
        (Some("text"), Some(Json::String(text))) => Ok(text),
        (Some("text"), _) => Err(format!("field '{field}.text' must be a string")),
        (Some(kind), _) => {
            let kind: String = kind.chars().take(MAX_NAME_CHARS).collect();
            Err(format!("field '{field}' is a part of type '{kind}'; only parts of type 'text' are read"))
        }
        (None, _) => Err(format!("field '{field}' must be an object with a 'type', such as 'text'")),
    }
}

/// An object read field by field.
struct Fields<'a> {
    fields: &'a Map<String, Json>,
    /// What stands before a field's name in messages.
    path: String,
}

impl<'a> Fields<'a> {
    fn get(&self, name: &str) -> Option<&'a Json> {
        self.fields.get(name).filter(|value| !value.is_null())
    }

    fn wrong<T>(&self, name: &str, wanted: &str) -> Read<T> {
        Err(format!("field '{}{name}' must be {wanted}", self.path))
    }

    fn text(&self, name: &str) -> Read<String> {
        match self.get(name) {
            None => Ok(String::new()),
            Some(Json::String(text)) => Ok(text.clone()),
            Some(_) => self.wrong(name, "a string"),
        }
    }

    fn flag(&self, name: &str) -> Read<bool> {
        match self.get(name) {
            None => Ok(false),
            Some(Json::Bool(flag)) => Ok(*flag),
            Some(_) => self.wrong(name, "true or false"),
        }
    }

    fn number(&self, name: &str) -> Read<Option<f64>> {
        match self.get(name).map(Json::as_f64) {
            None => Ok(None),
            Some(Some(number)) => Ok(Some(number)),
            Some(None) => self.wrong(name, "a number"),
        }
    }

    fn count(&self, name: &str) -> Read<u32> {
        let Some(value) = self.get(name) else { return Ok(0) };
        let count = value.as_u64().and_then(|count| u32::try_from(count).ok());
        count.map_or_else(|| self.wrong(name, "a whole number from 0 on"), Ok)
    }

    fn texts(&self, name: &str) -> Read<Vec<String>> {
        one_or_several(self.get(name)).map_or_else(|| self.wrong(name, "a string or an array of strings"), Ok)
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
        read(body).unwrap_err()
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
