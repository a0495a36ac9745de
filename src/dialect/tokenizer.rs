//! `POST /tokenize` as a token-counting service takes it (`docs/operations.md`, token counts), and vLLM with it.

use serde::{Deserialize, de::IgnoredAny};
use serde_json::json;

use super::{json, reply::ReplyError};

/// The body that asks for the tokens of a text in a model's vocabulary.
pub fn body(model: &str, text: &str) -> Vec<u8> {
    json!({"model": model, "prompt": text}).to_string().into_bytes()
}

#[derive(Deserialize)]
struct Reply {
    #[serde(default)]
    count: Option<u64>,
    #[serde(default)]
    tokens: Option<Vec<IgnoredAny>>,
}

/// Reads how many there are.
///
/// # Errors
/// A body with neither a count nor a list of tokens.
pub fn parse(body: &[u8]) -> Result<u64, ReplyError> {
    let reply: Reply = json::decode(body)?;
    let listed = reply.tokens.map(|tokens| tokens.len() as u64);
    reply.count.or(listed).ok_or_else(|| ReplyError::Malformed("it has no 'count'".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_read_or_else_the_tokens_are_counted() {
        assert_eq!(parse(br#"{"count":7,"max_model_len":2048,"tokens":[1,2],"token_strs":null}"#).unwrap(), 7);
        assert_eq!(parse(br#"{"tokens":[5,6]}"#).unwrap(), 2);
        assert!(parse(br#"{"error":"no"}"#).is_err() && parse(br#"{"count":-1}"#).is_err() && parse(b"7").is_err());
    }
}
