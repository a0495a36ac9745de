//! `POST /v1/embeddings` as a call in no dialect.

use serde_json::Value as Json;

use super::{Read, chat::HARMLESS, fields::Fields, vectors::Encoding};
use crate::domain::embedding::EmbedCall;

/// A request for vectors, and what it wants of the answer.
#[derive(Debug, Clone, PartialEq)]
pub struct EmbedRequest {
    /// What is asked of the model.
    pub call: EmbedCall,
    /// How the vectors are written.
    pub encoding: Encoding,
    /// What was sent and has no effect on a backend of another dialect, for a warning.
    pub ignored: Vec<String>,
}

const READ: [&str; 4] = ["model", "input", "encoding_format", "dimensions"];

/// Texts of one call, as at OpenAI.
const MAX_INPUTS: usize = 2048;

/// See [`read_embedding`](super::read_embedding).
pub(super) fn read(at: &Fields<'_>) -> Read<EmbedRequest> {
    let inputs = inputs(at)?;
    let encoding = encoding(at)?;
    let dimensions = match at.count("dimensions")? {
        Some(0) => return at.wrong("dimensions", "at least 1"),
        dimensions => dimensions,
    };
    let ignored = at.beside(&[&READ, &HARMLESS]);
    Ok(EmbedRequest { call: EmbedCall { inputs, dimensions }, encoding, ignored })
}

/// See [`encoding`](super::encoding).
pub(super) fn encoding(at: &Fields<'_>) -> Read<Encoding> {
    match at.text("encoding_format")? {
        "" | "float" => Ok(Encoding::Float),
        "base64" => Ok(Encoding::Base64),
        _ => at.wrong("encoding_format", "'float' or 'base64'"),
    }
}

fn inputs(at: &Fields<'_>) -> Read<Vec<String>> {
    let texts = match at.get("input") {
        None => return at.missing("input"),
        Some(Json::String(text)) => vec![text.clone()],
        Some(Json::Array(items)) => {
            if items.iter().any(|item| matches!(item, Json::Number(_) | Json::Array(_))) {
                let what = "holds token numbers: those are served only by backends of the types openai and vllm; send text, or \
                            X-Penstock-Provider: vllm to have one chosen";
                return Err(at.fault("input", what));
            }
            at.texts("input")?
        }
        Some(_) => return at.wrong("input", "a string or an array of strings"),
    };
    match texts.len() {
        0 => Err(at.fault("input", "must not be empty")),
        1..=MAX_INPUTS if texts.iter().any(String::is_empty) => Err(at.fault("input", "must not hold an empty string")),
        1..=MAX_INPUTS => Ok(texts),
        count => Err(at.fault("input", &format!("holds {count} texts; at most {MAX_INPUTS} are taken at once"))),
    }
}
