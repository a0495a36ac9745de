//! Vectors: the route that takes several texts, and the one of servers older than it.

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    dialect::{json, reply::ReplyError},
    domain::embedding::{EmbedCall, Embedded},
};

#[derive(Serialize)]
struct EmbedBody<'a> {
    model: &'a str,
    input: &'a [String],
    /// Unless told otherwise Ollama cuts a text that is too long and says nothing.
    truncate: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<u32>,
}

/// The body of `POST /api/embed`.
pub fn embed_body(model: &str, call: &EmbedCall) -> Vec<u8> {
    let body = EmbedBody { model, input: &call.inputs, truncate: false, dimensions: call.dimensions };
    serde_json::to_vec(&body).unwrap_or_default()
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
    prompt_eval_count: Option<u64>,
}

/// Reads the answer of `/api/embed` to so many texts.
///
/// # Errors
/// Another number of vectors, an empty one, or a body that is no such answer.
pub fn parse_embeddings(body: &[u8], inputs: usize) -> Result<Embedded, ReplyError> {
    let reply: EmbedReply = json::decode(body)?;
    if reply.embeddings.len() != inputs {
        let message = format!("it has {} vectors for {inputs} texts", reply.embeddings.len());
        return Err(if reply.embeddings.is_empty() { ReplyError::Empty } else { ReplyError::Malformed(message) });
    }
    if reply.embeddings.iter().any(Vec::is_empty) {
        return Err(ReplyError::Empty);
    }
    Ok(Embedded { vectors: reply.embeddings, input_tokens: reply.prompt_eval_count })
}

#[derive(Deserialize)]
struct OldEmbedReply {
    #[serde(default)]
    embedding: Vec<f64>,
}

/// Reads the answer of the old `/api/embeddings`.
///
/// # Errors
/// No vector, or a body that is no such answer.
pub fn parse_old_embedding(body: &[u8]) -> Result<Vec<f64>, ReplyError> {
    let vector = json::decode::<OldEmbedReply>(body)?.embedding;
    if vector.is_empty() { Err(ReplyError::Empty) } else { Ok(vector) }
}
