//! OpenAI's wire format: what is sent to `/chat/completions`, `/completions`, `/embeddings` and `/models`, and what comes
//! back from any server that speaks it (`docs/backends.md`). Unknown fields never break a decoder; missing optional ones do
//! not either.
//!
//! `server` says what the servers do differently, `request` and `messages` write a call in a server's words, `reply` reads
//! whole answers and the pieces of streams alike, `calls` tells the calls of tools in them apart, `stream` cuts a stream
//! into those pieces. `response_format` forces replies into a form, `unwrap` takes them out of it again. What only vLLM has
//! is in [`vllm`](super::vllm).

mod calls;
mod embeddings;
mod messages;
mod models;
mod reply;
mod request;
mod response_format;
mod server;
mod stream;
mod timings;
mod unwrap;

pub use self::{
    embeddings::{batches, embed_body, parse_embeddings},
    models::{ModelList, parse_models},
    reply::parse_reply,
    request::chat_body,
    server::Server,
    stream::ChatDecoder,
};
pub(super) use self::{
    reply::is_given_up,
    request::{Drawn, Forced, Streamed},
    timings::Timings,
};

use serde::Deserialize;
use serde_json::json;

use super::{json, reply::ReplyError};

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

    #[test]
    fn listed_tokens_are_counted() {
        assert_eq!(parse_count(br#"{"tokens":[198,5]}"#).unwrap(), 2);
        assert_eq!(parse_count(br#"{"tokens":[{"id":1,"piece":"Hi"}]}"#).unwrap(), 1);
        assert!(parse_count(br#"{"count":7}"#).is_err());
    }
}
