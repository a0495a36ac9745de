//! What clients of OpenAI's API send us and read (`docs/api.md`, OpenAI's API). The client's side of the format; `openai`
//! is the backend's.
//!
//! Readers take names of fields exactly as they are there and `null` as absent; an error names its field, as OpenAI's
//! errors do. Writers make whole answers ([`reply`], [`vectors`], [`response`]) and streams of events ([`chunks`],
//! [`text_chunks`], [`response_events`]). They have no clock and no random numbers: what is new in each answer is a
//! [`Stamp`] of whoever calls them.

pub mod chain_events;
pub mod chain_input;
mod chat;
pub mod chunks;
mod complete;
mod embed;
mod fields;
mod format;
mod items;
mod messages;
pub mod models;
pub mod reply;
mod respond;
pub mod response;
pub mod response_events;
mod sse;
pub mod text_chunks;
mod tools;
pub mod vectors;

use serde_json::Value as Json;

use self::fields::Fields;
pub use self::{
    chat::ChatRequest, complete::CompletionRequest, embed::EmbedRequest, respond::ResponseRequest, vectors::Encoding,
};
use super::json;

/// Why a request cannot be answered, in words for the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ReadError {
    /// What is wrong, and what would be right.
    pub message: String,
    /// The field it is about, by its path.
    pub param: Option<String>,
}

impl ReadError {
    fn of(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { message: message.into(), param: Some(param.into()) }
    }
}

impl From<String> for ReadError {
    fn from(message: String) -> Self {
        Self { message, param: None }
    }
}

type Read<T> = Result<T, ReadError>;

/// What is new in an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// Hex digits that no other answer has; every id in it is made of them.
    pub id: String,
    /// Unix seconds.
    pub created: i64,
    /// The name of the model that answered.
    pub model: String,
}

/// Names of ignored fields that a warning tells, and the characters of each.
const MAX_IGNORED: usize = 20;
const MAX_NAME_CHARS: usize = 40;

/// Decodes a body.
///
/// # Errors
/// An empty body, one that is no JSON, holds too much, or is no object.
pub fn decode(body: &[u8]) -> Read<Json> {
    if body.trim_ascii().is_empty() {
        return Err("the request body is empty".to_owned().into());
    }
    let body = json::decode_request(body).map_err(|error| error.of_request())?;
    Fields::of(&body)?;
    Ok(body)
}

/// Reads `POST /v1/chat/completions`.
///
/// # Errors
/// The first field that is missing, of the wrong type, or asks for what cannot be translated.
pub fn read_chat(body: &Json) -> Read<ChatRequest> {
    chat::read(&Fields::of(body)?)
}

/// Reads `POST /v1/completions`.
///
/// # Errors
/// As for [`read_chat`].
pub fn read_completion(body: &Json) -> Read<CompletionRequest> {
    complete::read(&Fields::of(body)?)
}

/// Reads `POST /v1/embeddings`.
///
/// # Errors
/// As for [`read_chat`].
pub fn read_embedding(body: &Json) -> Read<EmbedRequest> {
    embed::read(&Fields::of(body)?)
}

/// In which form `POST /v1/embeddings` wants its vectors.
///
/// # Errors
/// A form that does not exist.
pub fn encoding(body: &Json) -> Read<Encoding> {
    embed::encoding(&Fields::of(body)?)
}

/// Reads `POST /v1/responses`.
///
/// # Errors
/// As for [`read_chat`].
pub fn read_response(body: &Json) -> Read<ResponseRequest> {
    respond::read(&Fields::of(body)?)
}

#[cfg(test)]
mod tests;
