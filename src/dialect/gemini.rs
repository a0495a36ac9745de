//! Gemini's wire format: what is sent to `:generateContent`, `:embedContent` and `:countTokens`, and what comes back
//! (`docs/backends.md`, Gemini). The list of models is in `models`.

mod models;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub use self::models::{ModelPage, parse_models};
use super::{constraint::RANGE, json, reply::ReplyError};
use crate::domain::{
    chat::{ChatCall, ChatTurn, Finish, Usage},
    message::{Completion, Constraint},
};

#[derive(Serialize)]
struct GenerateBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    system_instruction: Option<ContentBody<'a>>,
    contents: Vec<ContentBody<'a>>,
    #[serde(rename = "generationConfig")]
    generation_config: GenerationConfig<'a>,
}

#[derive(Serialize)]
struct ContentBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    parts: Vec<PartBody<'a>>,
}

#[derive(Serialize)]
struct PartBody<'a> {
    text: Cow<'a, str>,
}

impl<'a> ContentBody<'a> {
    fn new(role: Option<&'static str>, texts: impl IntoIterator<Item = Cow<'a, str>>) -> Self {
        Self { role, parts: texts.into_iter().map(|text| PartBody { text }).collect() }
    }
}

#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
struct GenerationConfig<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_output_tokens: Option<u32>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop_sequences: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    response_mime_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_schema: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_json_schema: Option<&'a Value>,
}

/// The body of `:generateContent`.
pub fn generate_body(call: &ChatCall) -> Vec<u8> {
    let is_system = |role: &str| matches!(role, "system" | "developer");
    let system: Vec<Cow<'_, str>> =
        call.messages.iter().filter(|message| is_system(&message.role)).map(ChatTurn::joined_text).collect();
    let said: Vec<ContentBody<'_>> = call
        .messages
        .iter()
        .filter(|message| !is_system(&message.role))
        .map(|message| {
            let role = if matches!(message.role.as_str(), "assistant" | "model") { "model" } else { "user" };
            ContentBody::new(Some(role), [message.joined_text()])
        })
        .collect();
    // An instruction alone is no conversation; as the user's words it is one.
    let (system, contents) = match (said.is_empty(), system.is_empty()) {
        (true, _) => (None, vec![ContentBody::new(Some("user"), system)]),
        (false, true) => (None, said),
        (false, false) => (Some(ContentBody::new(None, system)), said),
    };
    let mut config = GenerationConfig {
        temperature: call.sampling.temperature,
        top_p: call.sampling.top_p,
        max_output_tokens: call.sampling.max_tokens,
        stop_sequences: &call.sampling.stop,
        ..GenerationConfig::default()
    };
    if let Some(constraint) = &call.constraint {
        config.response_mime_type = Some("application/json");
        match constraint {
            // A schema of the user's in its own language, of which the other field knows only a part.
            Constraint::Schema(schema) => config.response_json_schema = Some(schema),
            form => config.response_schema = own_schema(form),
        }
    }
    let body = GenerateBody { system_instruction: system, contents, generation_config: config };
    serde_json::to_vec(&body).unwrap_or_default()
}

/// A form as Gemini's own kind of schema, whose types are upper case.
fn own_schema(constraint: &Constraint) -> Option<Value> {
    match constraint {
        Constraint::OneOf(texts) => Some(json!({"type": "STRING", "enum": texts})),
        Constraint::Integer => Some(json!({"type": "INTEGER"})),
        Constraint::Number => Some(json!({"type": "NUMBER"})),
        Constraint::Range => Some(json!({"type": "STRING", "pattern": format!("^{RANGE}$")})),
        Constraint::Json | Constraint::Schema(_) => None,
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GenerateReply {
    #[serde(default)]
    candidates: Vec<Candidate>,
    #[serde(default)]
    prompt_feedback: Option<PromptFeedback>,
    #[serde(default)]
    usage_metadata: UsageMetadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate {
    #[serde(default)]
    content: ContentReply,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Deserialize, Default)]
struct ContentReply {
    #[serde(default)]
    parts: Vec<PartReply>,
}

#[derive(Deserialize)]
struct PartReply {
    #[serde(default)]
    text: Option<String>,
    /// A thought, which is not for the user.
    #[serde(default)]
    thought: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PromptFeedback {
    #[serde(default)]
    block_reason: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct UsageMetadata {
    prompt_token_count: Option<u64>,
    candidates_token_count: Option<u64>,
    thoughts_token_count: Option<u64>,
}

/// Reads the answer of `:generateContent`: the text parts of its first candidate.
///
/// # Errors
/// A blocked prompt or reply, no text, or a body that is no such answer.
pub fn parse_generate(body: &[u8]) -> Result<Completion, ReplyError> {
    let reply: GenerateReply = json::decode(body)?;
    let usage = reply.usage_metadata;
    let usage = Usage {
        input_tokens: usage.prompt_token_count,
        // Thoughts are made, and paid for, like the answer.
        output_tokens: usage.candidates_token_count.map(|tokens| tokens + usage.thoughts_token_count.unwrap_or(0)),
        ..Usage::default()
    };
    let Some(candidate) = reply.candidates.into_iter().next() else {
        let is_blocked = reply.prompt_feedback.is_some_and(|feedback| feedback.block_reason.is_some());
        return Err(if is_blocked { ReplyError::Filtered } else { ReplyError::Empty });
    };
    let finish = finish(candidate.finish_reason.as_deref())?;
    let parts = candidate.content.parts.into_iter().filter(|part| !part.thought);
    let text: String = parts.filter_map(|part| part.text).collect();
    if text.is_empty() {
        return Err(ReplyError::Empty);
    }
    Ok(Completion { text, role: "assistant".to_owned(), finish, usage })
}

/// Why a reply ended, or that there is none.
fn finish(reason: Option<&str>) -> Result<Finish, ReplyError> {
    match reason {
        None | Some("STOP" | "FINISH_REASON_UNSPECIFIED") => Ok(Finish::Stop),
        Some("MAX_TOKENS") => Ok(Finish::Length),
        Some("SAFETY" | "RECITATION" | "BLOCKLIST" | "PROHIBITED_CONTENT" | "SPII" | "LANGUAGE") => {
            Err(ReplyError::Filtered)
        }
        Some(reason) if reason.starts_with("IMAGE_") => Err(ReplyError::Filtered),
        Some(reason) => {
            let reason: String = reason.chars().take(40).collect();
            Err(ReplyError::Reported(format!("the model stopped without an answer ({reason})")))
        }
    }
}

/// The body of `:embedContent` for one text.
pub fn embed_body(model: &str, text: &str) -> Vec<u8> {
    json!({"model": format!("models/{model}"), "content": {"parts": [{"text": text}]}}).to_string().into_bytes()
}

#[derive(Deserialize)]
struct EmbedReply {
    #[serde(default)]
    embedding: EmbeddingReply,
}

#[derive(Deserialize, Default)]
struct EmbeddingReply {
    #[serde(default)]
    values: Vec<f64>,
}

/// Reads the answer of `:embedContent`.
///
/// # Errors
/// No vector, or a body that is no such answer.
pub fn parse_embedding(body: &[u8]) -> Result<Vec<f64>, ReplyError> {
    let values = json::decode::<EmbedReply>(body)?.embedding.values;
    if values.is_empty() { Err(ReplyError::Empty) } else { Ok(values) }
}

/// The body of `:countTokens` for texts that are counted together.
pub fn count_body(texts: &[String]) -> Vec<u8> {
    let content = ContentBody::new(Some("user"), texts.iter().map(|text| Cow::Borrowed(text.as_str())));
    json!({ "contents": [content] }).to_string().into_bytes()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CountReply {
    total_tokens: u64,
}

/// Reads the answer of `:countTokens`.
///
/// # Errors
/// A body without a count.
pub fn parse_count(body: &[u8]) -> Result<u64, ReplyError> {
    Ok(json::decode::<CountReply>(body)?.total_tokens)
}

#[cfg(test)]
mod tests;
