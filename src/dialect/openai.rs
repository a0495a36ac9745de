//! OpenAI's wire format: what is sent to `/chat/completions`, `/embeddings` and `/models`, and what comes back from any
//! server that speaks it (`docs/backends.md`). Unknown fields never break a decoder; missing optional ones do not either.
//! `response_format` forces replies into a form; what vLLM adds is in [`vllm`](super::vllm).

mod response_format;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::json;

pub use self::response_format::Server;
use self::response_format::{response_format, unwrapped};
use super::{error_body::error_words, json, reply::ReplyError};
use crate::domain::{
    chat::{ChatCall, Finish, Sampling, Usage},
    message::{Completion, Constraint},
    model::ObservedModel,
};

#[derive(Serialize)]
struct ChatBody<'a> {
    model: &'a str,
    messages: Vec<MessageBody<'a>>,
    #[serde(flatten)]
    drawn: Drawn<'a>,
    #[serde(flatten)]
    forced: Forced,
}

/// How the reply is drawn, in every request of the protocol.
#[derive(Serialize)]
pub(super) struct Drawn<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop: &'a [String],
}

impl<'a> Drawn<'a> {
    pub(super) fn of(sampling: &'a Sampling) -> Self {
        Self {
            temperature: sampling.temperature,
            top_p: sampling.top_p,
            max_tokens: sampling.max_tokens,
            stop: &sampling.stop,
        }
    }
}

/// The fields that force a reply into a form.
#[derive(Serialize, Default)]
pub(super) struct Forced {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) response_format: Option<serde_json::Value>,
    /// vLLM's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) structured_outputs: Option<serde_json::Value>,
}

/// A form in OpenAI's words.
pub(super) fn forced(constraint: Option<&Constraint>, server: Server) -> Forced {
    Forced { response_format: constraint.map(|constraint| response_format(constraint, server)), ..Forced::default() }
}

#[derive(Serialize)]
struct MessageBody<'a> {
    role: &'a str,
    content: Cow<'a, str>,
}

/// The body of `POST /chat/completions`.
pub fn chat_body(model: &str, call: &ChatCall, server: Server) -> Vec<u8> {
    body_with(model, call, forced(call.constraint.as_ref(), server))
}

/// The same with the form of the reply forced in this way.
pub(super) fn body_with(model: &str, call: &ChatCall, forced: Forced) -> Vec<u8> {
    let body = ChatBody {
        model,
        messages: call
            .messages
            .iter()
            .map(|message| MessageBody { role: &message.role, content: message.joined_text() })
            .collect(),
        drawn: Drawn::of(&call.sampling),
        forced,
    };
    serde_json::to_vec(&body).unwrap_or_default()
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
    /// Of a text completion, in place of the message.
    #[serde(default)]
    text: Option<String>,
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

/// Reads the answer of `POST /chat/completions` to a call with this constraint, and of `POST /completions`.
///
/// # Errors
/// No text, a filtered answer, or a body that is none.
pub fn parse_chat(body: &[u8], constraint: Option<&Constraint>, server: Server) -> Result<Completion, ReplyError> {
    let reply: ChatReply = json::decode(body)?;
    if let Some(error) = &reply.error {
        return Err(ReplyError::Reported(error_words(error)));
    }
    let usage = reply.usage.map_or_else(Usage::default, |usage| Usage {
        input_tokens: usage.prompt_tokens,
        output_tokens: usage.completion_tokens,
        ..Usage::default()
    });
    let choice = reply.choices.into_iter().next().ok_or(ReplyError::Empty)?;
    let finish = match choice.finish_reason.as_deref() {
        Some("length") => Finish::Length,
        Some("content_filter") => return Err(ReplyError::Filtered),
        _ => Finish::Stop,
    };
    let (content, role) = choice.message.map_or((choice.text, None), |message| (message.content, message.role));
    let text = content.filter(|text| !text.is_empty()).ok_or(ReplyError::Empty)?;
    let text = unwrapped(text, constraint, server);
    Ok(Completion { text, role: role.unwrap_or_else(|| "assistant".to_owned()), finish, usage })
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
    #[serde(default)]
    owned_by: Option<String>,
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

/// What a server serves, and by whose rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelList {
    /// In its order.
    pub models: Vec<ObservedModel>,
    /// llama.cpp's server where it says so.
    pub server: Server,
}

/// Reads the answer of `GET /models`.
///
/// # Errors
/// A body that is no such list.
pub fn parse_models(body: &[u8]) -> Result<ModelList, ReplyError> {
    let reply: ModelsReply = json::decode(body)?;
    let is_llama_cpp = reply.data.iter().any(|entry| entry.owned_by.as_deref() == Some("llamacpp"));
    let observed = reply.data.into_iter().map(|entry| {
        let context = entry.max_model_len.or(entry.meta.and_then(|meta| meta.n_ctx)).unwrap_or(0);
        ObservedModel { context_length: context.max(0), ..ObservedModel::named(entry.id) }
    });
    let server = if is_llama_cpp { Server::LlamaCpp } else { Server::Openai };
    Ok(ModelList { models: observed.collect(), server })
}

/// The body of llama.cpp's `POST /tokenize`. The model matters to a server that runs several.
pub fn tokenize_body(model: &str, text: &str) -> Vec<u8> {
    json!({"model": model, "content": text}).to_string().into_bytes()
}

#[derive(Deserialize)]
struct TokenizeReply {
    tokens: Vec<serde::de::IgnoredAny>,
}

/// Reads the answer of llama.cpp's `POST /tokenize`: how many tokens it lists.
///
/// # Errors
/// A body without that list.
pub fn parse_count(body: &[u8]) -> Result<u64, ReplyError> {
    Ok(json::decode::<TokenizeReply>(body)?.tokens.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        chat::{ChatTurn, Sampling},
        model::Capabilities,
    };

    fn call() -> ChatCall {
        ChatCall {
            messages: vec![ChatTurn::text("user", "Hi")],
            sampling: Sampling { temperature: Some(0.0), max_tokens: Some(20), ..Sampling::default() },
            constraint: Some(Constraint::OneOf(vec!["valid".to_owned(), "invalid".to_owned()])),
            single_prompt: true,
            ..ChatCall::default()
        }
    }

    #[test]
    fn a_chat_body_holds_what_is_set_and_nothing_else() {
        assert_eq!(
            String::from_utf8(chat_body("m", &call(), Server::LlamaCpp)).unwrap(),
            concat!(
                r#"{"model":"m","messages":[{"role":"user","content":"Hi"}],"temperature":0.0,"max_tokens":20,"#,
                r#""response_format":{"type":"json_schema","json_schema":{"name":"reply","strict":true,"#,
                r#""schema":{"type":"string","enum":["valid","invalid"]}}}}"#
            )
        );
        let bare = ChatCall { sampling: Sampling::default(), constraint: None, ..call() };
        assert_eq!(
            chat_body("m", &bare, Server::Openai),
            br#"{"model":"m","messages":[{"role":"user","content":"Hi"}]}"#
        );
    }

    #[test]
    fn an_answer_is_read_whatever_else_stands_in_it() {
        let body = br#"{"id":"x","choices":[{"index":0,"message":{"role":"assistant","content":"Hello","refusal":null},
            "logprobs":null,"finish_reason":"length","stop_reason":null}],"usage":{"prompt_tokens":12,
            "completion_tokens":1,"total_tokens":13},"timings":{"cache_n":1},"service_tier":"default"}"#;
        let completion = parse_chat(body, None, Server::Openai).unwrap();
        assert_eq!((completion.text.as_str(), completion.finish), ("Hello", Finish::Length));
        assert_eq!(completion.usage, Usage { input_tokens: Some(12), output_tokens: Some(1), ..Usage::default() });
    }

    #[test]
    fn answers_without_text_and_filtered_ones_are_failures() {
        let parse_chat = |body: &[u8]| parse_chat(body, None, Server::Openai);
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
        let ModelList { models, server } = parse_models(body).unwrap();
        assert_eq!(server, Server::Openai);
        let seen: Vec<_> = models.iter().map(|model| (model.name.as_str(), model.context_length)).collect();
        assert_eq!(seen, [("a", 2048), ("b", 4096), ("my-embed", 0), ("lora", 0)]);
        assert_eq!(models[2].capabilities, Capabilities::EMBED);
        assert!(parse_models(br#"{"object":"list"}"#).is_err());
        let llama_cpp = parse_models(br#"{"data":[{"id":"m","owned_by":"llamacpp"}]}"#).unwrap();
        assert_eq!(llama_cpp.server, Server::LlamaCpp);
    }

    #[test]
    fn listed_tokens_are_counted() {
        assert_eq!(parse_count(br#"{"tokens":[198,5]}"#).unwrap(), 2);
        assert_eq!(parse_count(br#"{"tokens":[{"id":1,"piece":"Hi"}]}"#).unwrap(), 1);
        assert!(parse_count(br#"{"count":7}"#).is_err());
    }

    #[test]
    fn a_vector_is_read_and_an_empty_one_is_none() {
        assert_eq!(parse_embedding(br#"{"data":[{"index":0,"embedding":[0.5,-1]}]}"#).unwrap(), [0.5, -1.0]);
        assert_eq!(parse_embedding(br#"{"data":[]}"#), Err(ReplyError::Empty));
    }
}
