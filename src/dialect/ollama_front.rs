//! The client's side of Ollama's API: what its clients send us and what they read (`docs/api.md`, Ollama's API). `ollama` is
//! the backend's side.
//!
//! Readers take names of fields exactly as they are there, `null` as absent, and ignore what they do not know. Writers make
//! whole answers ([`reply`]) and streams of lines ([`lines`]); they have no clock, whoever calls them reads it.

mod chat;
mod embed;
mod fields;
mod generate;
mod keep_alive;
pub mod lines;
mod messages;
pub mod models;
mod options;
pub mod reply;

use serde_json::Value as Json;

use self::fields::Fields;
use super::json;
use crate::domain::{chat::ChatCall, embedding::EmbedCall};

/// What a request wants.
#[derive(Debug, Clone, PartialEq)]
pub enum Wish<T> {
    /// An answer.
    Ask(T),
    /// Nothing said: the model is to be in memory.
    Load,
    /// Nothing said and kept for no time: the model is to leave the memory.
    Unload,
}

impl<T> Wish<T> {
    /// The same wish for something made of what is asked.
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> Wish<U> {
        match self {
            Self::Ask(asked) => Wish::Ask(make(asked)),
            Self::Load => Wish::Load,
            Self::Unload => Wish::Unload,
        }
    }
}

/// Why a request cannot be translated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// It is no such request: nobody can answer it.
    #[error("{0}")]
    Wrong(String),
    /// Only Ollama itself can do what it asks for.
    #[error("{0}")]
    OllamaOnly(String),
}

impl From<String> for ReadError {
    fn from(message: String) -> Self {
        Self::Wrong(message)
    }
}

/// Words of what is wrong with a field.
type Read<T> = Result<T, String>;

/// Decodes a body.
///
/// # Errors
/// An empty body, one that is no JSON, holds too much, or is no object.
pub fn decode(body: &[u8]) -> Read<Json> {
    if body.trim_ascii().is_empty() {
        return Err("missing request body".to_owned());
    }
    let body = json::decode_request(body).map_err(|error| error.of_request())?;
    Fields::of(&body)?;
    Ok(body)
}

/// The model that a request names, under either of the names of that field; empty for none.
///
/// # Errors
/// A name that is no text.
pub fn model(body: &Json) -> Read<&str> {
    let at = Fields::of(body)?;
    let name = match at.text("model")? {
        // Its name in old clients of the routes that only name a model.
        "" => at.text("name")?,
        name => name,
    };
    Ok(if name.trim().is_empty() { "" } else { name })
}

/// Whether a request wants its answer in pieces, as it does unless it says no.
///
/// # Errors
/// A value that is neither true nor false.
pub fn streams(body: &Json) -> Read<bool> {
    Ok(Fields::of(body)?.flag("stream")?.unwrap_or(true))
}

/// Reads `POST /api/chat`.
///
/// # Errors
/// The first field that is missing or of the wrong type, by its path; or what only Ollama can do.
pub fn read_chat(body: &Json) -> Result<Wish<ChatCall>, ReadError> {
    chat::read(&Fields::of(body)?)
}

/// Reads `POST /api/generate`.
///
/// # Errors
/// As for [`read_chat`].
pub fn read_generate(body: &Json) -> Result<Wish<ChatCall>, ReadError> {
    generate::read(&Fields::of(body)?)
}

/// Reads `POST /api/embed`.
///
/// # Errors
/// As for [`read_chat`].
pub fn read_embed(body: &Json) -> Result<Wish<EmbedCall>, ReadError> {
    embed::read(&Fields::of(body)?)
}

/// Reads the older `POST /api/embeddings`.
///
/// # Errors
/// As for [`read_chat`].
pub fn read_old_embed(body: &Json) -> Result<Wish<EmbedCall>, ReadError> {
    embed::read_old(&Fields::of(body)?)
}

#[cfg(test)]
mod tests;
