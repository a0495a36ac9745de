//! OpenAI's wire format: what is sent to `/chat/completions`, `/embeddings` and `/models`, and what comes back from any
//! server that speaks it (`docs/backends.md`). Unknown fields never break a decoder; missing optional ones do not either.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{json, reply::ReplyError};
use crate::domain::{
    message::{ChatCall, Completion, Constraint, Finish, Usage},
    model::ObservedModel,
};

#[derive(Serialize)]
struct ChatBody<'a> {
    model: &'a str,
    messages: Vec<MessageBody<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<serde_json::Value>,
}

#[derive(Serialize)]
struct MessageBody<'a> {
    role: &'a str,
    content: &'a str,
}

/// The body of `POST /chat/completions`.
pub fn chat_body(model: &str, call: &ChatCall) -> Vec<u8> {
    let body = ChatBody {
        model,
        messages: call
            .messages
            .iter()
            .map(|message| MessageBody { role: &message.role, content: &message.content })
            .collect(),
        temperature: call.sampling.temperature,
        top_p: call.sampling.top_p,
        max_tokens: call.sampling.max_tokens,
        stop: &call.sampling.stop,
        response_format: call.constraint.as_ref().map(|constraint| {
            json!({
                "type": "json_schema",
                "json_schema": {"name": "reply", "strict": true, "schema": constraint_schema(constraint)},
            })
        }),
    };
    serde_json::to_vec(&body).unwrap_or_default()
}

/// The JSON Schema that forces a reply into the constraint's form.
pub(super) fn constraint_schema(constraint: &Constraint) -> serde_json::Value {
    match constraint {
        Constraint::OneOf(texts) => json!({"type": "string", "enum": texts}),
        Constraint::Integer => json!({"type": "integer"}),
        Constraint::Number => json!({"type": "number"}),
        // Without alternations and classes such as `\d`, which some grammars do not know.
        Constraint::Range => {
            json!({"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?-(-)?[0-9]+(\.[0-9]+)?$"})
        }
        Constraint::Schema(schema) => schema.as_ref().clone(),
    }
}

#[derive(Deserialize)]
struct ChatReply {
    #[serde(default)]
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<UsageReply>,
    #[serde(default)]
    error: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    message: Option<MessageReply>,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct MessageReply {
    #[serde(default)]
    role: Option<String>,
    #[serde(default)]
    content: Option<String>,
}

#[derive(Deserialize)]
struct UsageReply {
    #[serde(default)]
    prompt_tokens: Option<u64>,
    #[serde(default)]
    completion_tokens: Option<u64>,
}

/// Reads the answer of `POST /chat/completions`.
///
/// # Errors
/// No text, a filtered answer, or a body that is none.
pub fn parse_chat(body: &[u8]) -> Result<Completion, ReplyError> {
    let reply: ChatReply = json::decode(body)?;
    if let Some(error) = &reply.error {
        return Err(ReplyError::Reported(error_words(error)));
    }
    let usage = reply.usage.map_or_else(Usage::default, |usage| Usage {
        input_tokens: usage.prompt_tokens,
        output_tokens: usage.completion_tokens,
    });
    let choice = reply.choices.into_iter().next().ok_or(ReplyError::Empty)?;
    let finish = match choice.finish_reason.as_deref() {
        Some("length") => Finish::Length,
        Some("content_filter") => return Err(ReplyError::Filtered),
        _ => Finish::Stop,
    };
    let message = choice.message.ok_or(ReplyError::Empty)?;
    let text = message.content.filter(|text| !text.is_empty()).ok_or(ReplyError::Empty)?;
    Ok(Completion { text, role: message.role.unwrap_or_else(|| "assistant".to_owned()), finish, usage })
}

/// The body of `POST /embeddings` for one text.
pub fn embed_body(model: &str, text: &str) -> Vec<u8> {
    json!({"model": model, "input": text, "encoding_format": "float"}).to_string().into_bytes()
}

#[derive(Deserialize)]
struct EmbedReply {
    #[serde(default)]
    data: Vec<EmbedEntry>,
}

#[derive(Deserialize)]
struct EmbedEntry {
    #[serde(default)]
    embedding: Vec<f64>,
}

/// Reads the answer of `POST /embeddings`: the vector of the only text.
///
/// # Errors
/// No vector, or a body that is no such answer.
pub fn parse_embedding(body: &[u8]) -> Result<Vec<f64>, ReplyError> {
    let reply: EmbedReply = json::decode(body)?;
    let first = reply.data.into_iter().next().ok_or(ReplyError::Empty)?;
    if first.embedding.is_empty() { Err(ReplyError::Empty) } else { Ok(first.embedding) }
}

#[derive(Deserialize)]
struct ModelsReply {
    data: Vec<ModelEntry>,
}

#[derive(Deserialize)]
struct ModelEntry {
    id: String,
    /// vLLM's addition.
    #[serde(default)]
    max_model_len: Option<i64>,
    /// llama.cpp's addition: `n_ctx` is what one slot can use.
    #[serde(default)]
    meta: Option<ModelMeta>,
}

#[derive(Deserialize)]
struct ModelMeta {
    #[serde(default)]
    n_ctx: Option<i64>,
}

/// Reads the answer of `GET /models`.
///
/// # Errors
/// A body that is no such list.
pub fn parse_models(body: &[u8]) -> Result<Vec<ObservedModel>, ReplyError> {
    let reply: ModelsReply = json::decode(body)?;
    let observed = reply.data.into_iter().map(|entry| {
        let context = entry.max_model_len.or(entry.meta.and_then(|meta| meta.n_ctx)).unwrap_or(0);
        ObservedModel { context_length: context.max(0), ..ObservedModel::named(entry.id) }
    });
    Ok(observed.collect())
}

/// What an error body says, in OpenAI's shape or one of its relatives' (`{"error": "text"}`, `{"detail": "text"}`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ErrorBody {
    /// The server's words; may hold anything, shorten before showing.
    pub message: String,
    /// `code` or `type`, as text: what a class is decided by.
    pub codes: Vec<String>,
}

/// Reads an error body; everything empty when it is none.
pub fn parse_error(body: &[u8]) -> ErrorBody {
    let Ok(value) = json::decode::<serde_json::Value>(body) else { return ErrorBody::default() };
    let error = value.get("error").or_else(|| value.get("detail")).unwrap_or(&serde_json::Value::Null);
    let codes = ["code", "type"].iter().filter_map(|name| error.get(name)?.as_str().map(str::to_owned)).collect();
    ErrorBody { message: error_words(error), codes }
}

fn error_words(error: &serde_json::Value) -> String {
    let words = error.get("message").unwrap_or(error);
    words.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        message::{ChatMessage, Sampling},
        model::Capabilities,
        time::Timestamp,
    };

    fn call() -> ChatCall {
        ChatCall {
            messages: vec![ChatMessage::new("user", "Hi", Timestamp::ZERO)],
            sampling: Sampling { temperature: Some(0.0), max_tokens: Some(20), ..Sampling::default() },
            constraint: Some(Constraint::OneOf(vec!["valid".to_owned(), "invalid".to_owned()])),
            single_prompt: true,
        }
    }

    #[test]
    fn a_chat_body_holds_what_is_set_and_nothing_else() {
        assert_eq!(
            String::from_utf8(chat_body("m", &call())).unwrap(),
            concat!(
                r#"{"model":"m","messages":[{"role":"user","content":"Hi"}],"temperature":0.0,"max_tokens":20,"#,
                r#""response_format":{"type":"json_schema","json_schema":{"name":"reply","strict":true,"#,
                r#""schema":{"type":"string","enum":["valid","invalid"]}}}}"#
            )
        );
        let bare = ChatCall { sampling: Sampling::default(), constraint: None, ..call() };
        assert_eq!(chat_body("m", &bare), br#"{"model":"m","messages":[{"role":"user","content":"Hi"}]}"#);
    }

    #[test]
    fn numbers_and_ranges_are_constrained_by_these_schemas() {
        for (constraint, schema) in [
            (Constraint::Integer, r#"{"type":"integer"}"#),
            (Constraint::Number, r#"{"type":"number"}"#),
            (Constraint::Range, r#"{"type":"string","pattern":"^-?[0-9]+(\\.[0-9]+)?-(-)?[0-9]+(\\.[0-9]+)?$"}"#),
        ] {
            let body = ChatCall { constraint: Some(constraint), sampling: Sampling::default(), ..call() };
            let expected = format!(
                concat!(
                    r#"{{"model":"m","messages":[{{"role":"user","content":"Hi"}}],"response_format":"#,
                    r#"{{"type":"json_schema","json_schema":{{"name":"reply","strict":true,"schema":{}}}}}}}"#
                ),
                schema
            );
            assert_eq!(String::from_utf8(chat_body("m", &body)).unwrap(), expected);
        }
    }

    #[test]
    fn an_answer_is_read_whatever_else_stands_in_it() {
        let body = br#"{"id":"x","choices":[{"index":0,"message":{"role":"assistant","content":"Hello","refusal":null},
            "logprobs":null,"finish_reason":"length","stop_reason":null}],"usage":{"prompt_tokens":12,
            "completion_tokens":1,"total_tokens":13},"timings":{"cache_n":1},"service_tier":"default"}"#;
        let completion = parse_chat(body).unwrap();
        assert_eq!((completion.text.as_str(), completion.finish), ("Hello", Finish::Length));
        assert_eq!(completion.usage, Usage { input_tokens: Some(12), output_tokens: Some(1) });
    }

    #[test]
    fn answers_without_text_and_filtered_ones_are_failures() {
        assert_eq!(parse_chat(br#"{"choices":[]}"#), Err(ReplyError::Empty));
        assert_eq!(parse_chat(br#"{"choices":[{"message":{"content":null}}]}"#), Err(ReplyError::Empty));
        let filtered = br#"{"choices":[{"message":{"content":"x"},"finish_reason":"content_filter"}]}"#;
        assert_eq!(parse_chat(filtered), Err(ReplyError::Filtered));
        assert!(matches!(parse_chat(b"<html>"), Err(ReplyError::Malformed(_))));
        assert_eq!(parse_chat(br#"{"error":{"message":"no"}}"#), Err(ReplyError::Reported("no".to_owned())));
    }

    #[test]
    fn models_carry_the_context_their_server_tells() {
        let body = br#"{"object":"list","models":[{"name":"trap"}],"data":[
            {"id":"a","owned_by":"vllm","max_model_len":2048},{"id":"b","meta":{"n_ctx":4096,"n_ctx_train":8192}},
            {"id":"my-embed"},{"id":"lora","max_model_len":null}]}"#;
        let models = parse_models(body).unwrap();
        let seen: Vec<_> = models.iter().map(|model| (model.name.as_str(), model.context_length)).collect();
        assert_eq!(seen, [("a", 2048), ("b", 4096), ("my-embed", 0), ("lora", 0)]);
        assert_eq!(models[2].capabilities, Capabilities::EMBED);
        assert!(parse_models(br#"{"object":"list"}"#).is_err());
    }

    #[test]
    fn error_bodies_of_all_relatives_are_read() {
        let openai = parse_error(
            br#"{"error":{"message":"long","type":"invalid_request_error","code":"context_length_exceeded"}}"#,
        );
        assert_eq!((openai.message.as_str(), openai.codes[0].as_str()), ("long", "context_length_exceeded"));
        assert_eq!(parse_error(br#"{"error":"Unauthorized"}"#).message, "Unauthorized");
        assert_eq!(parse_error(br#"{"detail":"Not Found"}"#).message, "Not Found");
        assert_eq!(parse_error(b"<html>"), ErrorBody::default());
    }

    #[test]
    fn a_vector_is_read_and_an_empty_one_is_none() {
        assert_eq!(parse_embedding(br#"{"data":[{"index":0,"embedding":[0.5,-1]}]}"#).unwrap(), [0.5, -1.0]);
        assert_eq!(parse_embedding(br#"{"data":[]}"#), Err(ReplyError::Empty));
    }
}
