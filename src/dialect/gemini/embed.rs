//! Vectors: several texts to a request, each asked for by itself.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    dialect::{json, reply::ReplyError},
    domain::embedding::EmbedCall,
};

/// Texts that one request may hold.
pub const MAX_TEXTS: usize = 100;

/// The body of `:batchEmbedContents` for some of the texts of a call.
pub fn embed_body(model: &str, call: &EmbedCall, texts: &[String]) -> Vec<u8> {
    let request = |text: &String| {
        let mut request = json!({"model": format!("models/{model}"), "content": {"parts": [{"text": text}]}});
        if let Some(dimensions) = call.dimensions {
            request["outputDimensionality"] = json!(dimensions);
        }
        request
    };
    let requests: Vec<Value> = texts.iter().map(request).collect();
    json!({ "requests": requests }).to_string().into_bytes()
}

#[derive(Deserialize)]
struct EmbedReply {
    #[serde(default)]
    embeddings: Vec<EmbeddingReply>,
}

#[derive(Deserialize)]
struct EmbeddingReply {
    #[serde(default)]
    values: Vec<f64>,
}

/// Reads the answer of `:batchEmbedContents` to so many texts.
///
/// # Errors
/// Another number of vectors, an empty one, or a body that is no such answer.
pub fn parse_embeddings(body: &[u8], texts: usize) -> Result<Vec<Vec<f64>>, ReplyError> {
    let vectors: Vec<Vec<f64>> =
        json::decode::<EmbedReply>(body)?.embeddings.into_iter().map(|embedding| embedding.values).collect();
    if vectors.is_empty() || vectors.iter().any(Vec::is_empty) {
        return Err(ReplyError::Empty);
    }
    if vectors.len() != texts {
        return Err(ReplyError::Malformed(format!("it has {} vectors for {texts} texts", vectors.len())));
    }
    Ok(vectors)
}
