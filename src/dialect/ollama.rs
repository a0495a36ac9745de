//! Ollama's wire format: what is sent to `/api/*` and what comes back (`docs/backends.md`).

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{constraint::schema_of, json, reply::ReplyError};
use crate::domain::{
    chat::{ChatCall, ChatTurn, Finish, Sampling, Usage},
    message::Completion,
    model::{Capabilities, ModelDetails, ObservedModel},
    time::Timestamp,
};

#[derive(Deserialize)]
struct TagsReply {
    #[serde(default)]
    models: Option<Vec<Tag>>,
}

#[derive(Deserialize)]
struct Tag {
    #[serde(default)]
    name: String,
    #[serde(default)]
    model: String,
    #[serde(default)]
    modified_at: Option<String>,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    digest: String,
    #[serde(default)]
    details: TagDetails,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct TagDetails {
    parent_model: String,
    format: String,
    family: String,
    families: Option<Vec<String>>,
    parameter_size: String,
    quantization_level: String,
}

/// Reads the answer of `GET /api/tags`. Capabilities and context are guesses until `show` tells.
///
/// # Errors
/// A body that is no such list.
pub fn parse_tags(body: &[u8]) -> Result<Vec<ObservedModel>, ReplyError> {
    let reply: TagsReply = json::decode(body)?;
    let models = reply.models.ok_or_else(|| ReplyError::Malformed("it has no list 'models'".to_owned()))?;
    Ok(models.into_iter().map(observed).collect())
}

fn observed(tag: Tag) -> ObservedModel {
    let details = tag.details;
    ObservedModel {
        modified_at: tag.modified_at.and_then(|text| text.parse().ok()).unwrap_or(Timestamp::ZERO),
        size: tag.size,
        digest: tag.digest,
        details: ModelDetails {
            parent_model: details.parent_model,
            format: details.format,
            family: details.family,
            families: details.families.unwrap_or_default(),
            parameter_size: details.parameter_size,
            quantization_level: details.quantization_level,
        },
        ..ObservedModel::named(if tag.model.is_empty() { tag.name } else { tag.model })
    }
}

/// Reads the answer of `GET /api/ps`: names of the models in memory.
///
/// # Errors
/// A body that is no such list.
pub fn parse_running(body: &[u8]) -> Result<Vec<String>, ReplyError> {
    Ok(parse_tags(body)?.into_iter().map(|model| model.name).collect())
}

/// What `POST /api/show` tells beyond the tags.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Shown {
    /// `None` on servers that do not tell.
    pub capabilities: Option<Capabilities>,
    /// Tokens; `None` on servers that do not tell.
    pub context_length: Option<i64>,
    /// Further words for what it can do, such as `tools` and `vision`.
    pub abilities: Vec<String>,
}

/// Words for what a model can do that are kept, and the characters of each.
const MAX_ABILITIES: usize = 20;
const MAX_ABILITY_CHARS: usize = 40;

#[derive(Deserialize)]
struct ShowReply {
    #[serde(default)]
    capabilities: Option<Vec<String>>,
    #[serde(default)]
    model_info: Option<serde_json::Map<String, Value>>,
}

/// The body of `POST /api/show` and of every other call that only names a model.
pub fn model_body(model: &str) -> Vec<u8> {
    json!({ "model": model }).to_string().into_bytes()
}

/// Reads the answer of `POST /api/show`.
///
/// # Errors
/// A body that is no such answer.
pub fn parse_show(body: &[u8]) -> Result<Shown, ReplyError> {
    let reply: ShowReply = json::decode(body)?;
    let told = reply.capabilities.filter(|names| !names.is_empty());
    let further = told.iter().flatten().filter(|name| !matches!(name.as_str(), "completion" | "embedding"));
    let further = further.filter(|name| name.chars().count() <= MAX_ABILITY_CHARS);
    let abilities = further.take(MAX_ABILITIES).cloned().collect();
    let capabilities = told.map(|names| {
        let has = |name: &str| names.iter().any(|have| have == name);
        let generates = if has("completion") { Capabilities::GENERATE } else { Capabilities::NONE };
        generates.union(if has("embedding") { Capabilities::EMBED } else { Capabilities::NONE })
    });
    let context_length = reply.model_info.and_then(|info| {
        let architecture = info.get("general.architecture")?.as_str()?;
        info.get(&format!("{architecture}.context_length"))?.as_i64().filter(|tokens| *tokens > 0)
    });
    Ok(Shown { capabilities, context_length, abilities })
}

#[derive(Serialize)]
struct GenerateBody<'a> {
    model: &'a str,
    prompt: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    system: Option<Cow<'a, str>>,
    stream: bool,
    think: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<Value>,
    options: Options<'a>,
}

#[derive(Serialize)]
struct ChatBody<'a> {
    model: &'a str,
    messages: Vec<MessageBody<'a>>,
    stream: bool,
    think: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<Value>,
    options: Options<'a>,
}

#[derive(Serialize)]
struct MessageBody<'a> {
    role: &'a str,
    content: Cow<'a, str>,
}

#[derive(Serialize)]
struct Options<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    num_predict: Option<u32>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop: &'a [String],
}

impl<'a> From<&'a Sampling> for Options<'a> {
    fn from(sampling: &'a Sampling) -> Self {
        Self {
            temperature: sampling.temperature,
            top_p: sampling.top_p,
            num_predict: sampling.max_tokens,
            stop: &sampling.stop,
        }
    }
}

/// The route of a generating call and its body: `/api/generate` for a single prompt, else `/api/chat`.
pub fn generate_or_chat<'a>(model: &'a str, call: &'a ChatCall) -> (&'static str, Vec<u8>) {
    let format = call.constraint.as_ref().map(schema_of);
    let options = Options::from(&call.sampling);
    let single = match call.messages.as_slice() {
        [user] if call.single_prompt && user.role == "user" => Some((None, user)),
        [system, user] if call.single_prompt && system.role == "system" && user.role == "user" => {
            Some((Some(system.joined_text()), user))
        }
        _ => None,
    };
    match single {
        Some((system, user)) => {
            let prompt = user.joined_text();
            let body = GenerateBody { model, prompt, system, stream: false, think: false, format, options };
            ("/api/generate", serde_json::to_vec(&body).unwrap_or_default())
        }
        None => {
            let message = |message: &'a ChatTurn| MessageBody { role: &message.role, content: message.joined_text() };
            let messages = call.messages.iter().map(message).collect();
            let body = ChatBody { model, messages, stream: false, think: false, format, options };
            ("/api/chat", serde_json::to_vec(&body).unwrap_or_default())
        }
    }
}

#[derive(Deserialize)]
struct AnswerReply {
    #[serde(default)]
    response: Option<String>,
    #[serde(default)]
    message: Option<MessageReply>,
    #[serde(default)]
    done_reason: Option<String>,
    #[serde(default)]
    prompt_eval_count: Option<u64>,
    #[serde(default)]
    eval_count: Option<u64>,
    #[serde(default)]
    error: Option<String>,
}

#[derive(Deserialize)]
struct MessageReply {
    #[serde(default)]
    role: Option<String>,
    #[serde(default)]
    content: Option<String>,
}

/// Reads the whole (not streamed) answer of `/api/generate` or `/api/chat`. A missing `done_reason` with text is
/// success: old servers send none.
///
/// # Errors
/// An `error` member or `done_reason`, no text, or a body that is no such answer.
pub fn parse_answer(body: &[u8]) -> Result<Completion, ReplyError> {
    let reply: AnswerReply = json::decode(body)?;
    if let Some(error) = reply.error {
        return Err(ReplyError::Reported(error));
    }
    let finish = match reply.done_reason.as_deref() {
        Some("error") => return Err(ReplyError::Reported("the backend stopped with an error".to_owned())),
        Some("length") => Finish::Length,
        _ => Finish::Stop,
    };
    let (text, role) = match (reply.response, reply.message) {
        (Some(text), _) => (Some(text), None),
        (None, Some(message)) => (message.content, message.role),
        (None, None) => (None, None),
    };
    let text = text.filter(|text| !text.is_empty()).ok_or(ReplyError::Empty)?;
    Ok(Completion {
        text,
        role: role.unwrap_or_else(|| "assistant".to_owned()),
        finish,
        usage: Usage { input_tokens: reply.prompt_eval_count, output_tokens: reply.eval_count, ..Usage::default() },
    })
}

/// The body of `POST /api/embed` for one text.
pub fn embed_body(model: &str, text: &str) -> Vec<u8> {
    json!({"model": model, "input": text}).to_string().into_bytes()
}

/// The body of the old `POST /api/embeddings`.
pub fn old_embed_body(model: &str, text: &str) -> Vec<u8> {
    json!({"model": model, "prompt": text}).to_string().into_bytes()
}

#[derive(Deserialize)]
struct EmbedReply {
    #[serde(default)]
    embeddings: Vec<Vec<f64>>,
    #[serde(default)]
    embedding: Vec<f64>,
}

/// Reads the answer of `/api/embed` or of the old `/api/embeddings`.
///
/// # Errors
/// No vector, or a body that is no such answer.
pub fn parse_embedding(body: &[u8]) -> Result<Vec<f64>, ReplyError> {
    let reply: EmbedReply = json::decode(body)?;
    let vector = reply.embeddings.into_iter().next().unwrap_or(reply.embedding);
    if vector.is_empty() { Err(ReplyError::Empty) } else { Ok(vector) }
}

/// One line of a pull's progress.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct PullLine {
    /// What the server is doing; `success` is the last.
    #[serde(default)]
    pub status: String,
    /// The layer it is about.
    #[serde(default)]
    pub digest: String,
    /// Bytes of the layer.
    #[serde(default)]
    pub total: u64,
    /// Bytes already there.
    #[serde(default)]
    pub completed: u64,
    /// Set when the pull failed.
    #[serde(default)]
    pub error: Option<String>,
}

/// Reads one line of a pull.
///
/// # Errors
/// A line that is no JSON object.
pub fn parse_pull_line(line: &[u8]) -> Result<PullLine, ReplyError> {
    Ok(json::decode(line)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::message::Constraint;

    fn call(messages: &[(&str, &str)], single_prompt: bool) -> ChatCall {
        ChatCall {
            messages: messages.iter().map(|(role, text)| ChatTurn::text(*role, *text)).collect(),
            sampling: Sampling { temperature: Some(0.0), max_tokens: Some(9), ..Sampling::default() },
            constraint: None,
            single_prompt,
            ..ChatCall::default()
        }
    }

    fn encoded(call: &ChatCall) -> (&'static str, String) {
        let (route, body) = generate_or_chat("m", call);
        (route, String::from_utf8(body).unwrap())
    }

    #[test]
    fn the_models_in_memory_are_read_by_the_names_of_the_tags() {
        let body = br#"{"models":[{"name":"a:1b","model":"a:1b","size_vram":7,"expires_at":"2026-01-01T00:00:00Z"}]}"#;
        assert_eq!(parse_running(body).unwrap(), ["a:1b"]);
        assert!(parse_running(br#"{"models":[]}"#).unwrap().is_empty());
        assert!(parse_running(b"{}").is_err(), "no list is not an empty one");
    }

    #[test]
    fn a_single_prompt_goes_to_generate_with_its_instruction() {
        assert_eq!(
            encoded(&call(&[("system", "Be brief"), ("user", "Hi")], true)),
            (
                "/api/generate",
                concat!(
                    r#"{"model":"m","prompt":"Hi","system":"Be brief","stream":false,"think":false,"#,
                    r#""options":{"temperature":0.0,"num_predict":9}}"#
                )
                .to_owned()
            )
        );
    }

    #[test]
    fn a_conversation_goes_to_chat_and_a_constraint_becomes_the_format() {
        let mut talk = call(&[("user", "Hi"), ("assistant", "Hello"), ("user", "So?")], false);
        talk.constraint = Some(Constraint::OneOf(vec!["a".to_owned()]));
        let (route, body) = encoded(&talk);
        assert_eq!(route, "/api/chat");
        assert!(body.contains(r#"{"role":"assistant","content":"Hello"}"#), "{body}");
        assert!(body.contains(r#""format":{"type":"string","enum":["a"]}"#), "{body}");
    }

    #[test]
    fn numbers_and_ranges_have_formats_of_their_own() {
        let mut asked = call(&[("user", "Hi")], true);
        asked.sampling = Sampling::default();
        for (constraint, format) in [
            (Constraint::Integer, r#"{"type":"integer"}"#),
            (Constraint::Number, r#"{"type":"number"}"#),
            (Constraint::Range, r#"{"type":"string","pattern":"^-?[0-9]+(\\.[0-9]+)?-(-)?[0-9]+(\\.[0-9]+)?$"}"#),
        ] {
            asked.constraint = Some(constraint);
            let body = format!(
                r#"{{"model":"m","prompt":"Hi","stream":false,"think":false,"format":{format},"options":{{}}}}"#
            );
            assert_eq!(encoded(&asked), ("/api/generate", body));
        }
    }

    #[test]
    fn answers_of_both_routes_are_read_also_without_a_done_reason() {
        let generate = parse_answer(br#"{"model":"m","response":"Hi","done":true,"eval_count":2}"#).unwrap();
        assert_eq!((generate.text.as_str(), generate.finish), ("Hi", Finish::Stop));
        assert_eq!(generate.usage, Usage { input_tokens: None, output_tokens: Some(2), ..Usage::default() });
        let chat = br#"{"message":{"role":"assistant","content":"Hi"},"done":true,"done_reason":"length"}"#;
        assert_eq!(parse_answer(chat).unwrap().finish, Finish::Length);
    }

    #[test]
    fn an_error_member_and_empty_text_are_failures() {
        assert_eq!(parse_answer(br#"{"error":"boom"}"#), Err(ReplyError::Reported("boom".to_owned())));
        assert_eq!(parse_answer(br#"{"response":"","done":true,"done_reason":"load"}"#), Err(ReplyError::Empty));
        let broken = br#"{"response":"Hel","done":true,"done_reason":"error"}"#;
        assert!(matches!(parse_answer(broken), Err(ReplyError::Reported(_))));
    }

    #[test]
    fn tags_are_read_with_and_without_details() {
        let body = br#"{"models":[{"name":"smollm2:135m","model":"smollm2:135m",
            "modified_at":"2026-01-02T03:04:05.678901234+01:00","size":98362432,"digest":"ab","details":{"parent_model":"",
            "format":"gguf","family":"llama","families":["llama"],"parameter_size":"134.52M","quantization_level":"Q4_1",
            "context_length":8192}},{"name":"old","details":{"families":null}}]}"#;
        let models = parse_tags(body).unwrap();
        assert_eq!(models[0].modified_at.to_string(), "2026-01-02T02:04:05.678901Z");
        assert_eq!((models[0].size, models[0].details.family.as_str()), (98_362_432, "llama"));
        assert_eq!((models[1].name.as_str(), models[1].modified_at), ("old", Timestamp::ZERO));
        assert!(parse_tags(br#"{"object":"list","data":[]}"#).is_err());
    }

    #[test]
    fn show_tells_capabilities_and_the_context_of_the_architecture() {
        let body =
            br#"{"model_info":{"general.architecture":"llama","llama.context_length":8192,"other.context_length":1},
            "capabilities":["completion","tools"]}"#;
        let shown = parse_show(body).unwrap();
        assert_eq!((shown.capabilities, shown.context_length), (Some(Capabilities::GENERATE), Some(8192)));
        assert_eq!(shown.abilities, ["tools"]);
        assert_eq!(parse_show(br#"{"details":{}}"#).unwrap(), Shown::default());
        let embedding = parse_show(br#"{"capabilities":["embedding"]}"#).unwrap();
        assert_eq!(embedding.capabilities, Some(Capabilities::EMBED));
    }

    #[test]
    fn vectors_of_the_new_and_the_old_route_are_read() {
        assert_eq!(parse_embedding(br#"{"embeddings":[[0.5,1]]}"#).unwrap(), [0.5, 1.0]);
        assert_eq!(parse_embedding(br#"{"embedding":[2]}"#).unwrap(), [2.0]);
        assert_eq!(parse_embedding(br#"{"embeddings":[]}"#), Err(ReplyError::Empty));
    }

    #[test]
    fn a_pull_line_is_progress_or_an_error() {
        let line =
            parse_pull_line(br#"{"status":"pulling 0a1b","digest":"sha256:0a1b","total":9,"completed":4}"#).unwrap();
        assert_eq!((line.status.as_str(), line.total, line.completed), ("pulling 0a1b", 9, 4));
        assert_eq!(parse_pull_line(br#"{"error":"no such model"}"#).unwrap().error.as_deref(), Some("no such model"));
    }
}
