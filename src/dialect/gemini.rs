//! Gemini's wire format: what is sent to `:generateContent`, `:streamGenerateContent`, `:batchEmbedContents` and
//! `:countTokens`, and what comes back (`docs/backends.md`, Gemini). The list of models is in `models`.

mod contents;
mod embed;
mod logprobs;
mod models;
mod reply;
mod request;
mod stream;

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::json;

use self::contents::ContentBody;
pub use self::{
    embed::{MAX_TEXTS, embed_body, parse_embeddings},
    models::{ModelPage, parse_models},
    reply::{parse_generate, parse_pieces},
    request::generate_body,
    stream::EventDecoder,
};
use super::{json, reply::ReplyError};

/// The body of `:countTokens` for texts that are counted together.
pub fn count_body(texts: &[String]) -> Vec<u8> {
    let content = ContentBody::of_texts(Some("user"), texts.iter().map(|text| Cow::Borrowed(text.as_str())));
    json!({ "contents": [content] }).to_string().into_bytes()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CountReply {
    /// Left out by some versions where it is 0.
    #[serde(default)]
    total_tokens: u64,
}

/// Reads the answer of `:countTokens`.
///
/// # Errors
/// A body that is no such answer.
pub fn parse_count(body: &[u8]) -> Result<u64, ReplyError> {
    Ok(json::decode::<CountReply>(body)?.total_tokens)
}

#[cfg(test)]
mod tests;
