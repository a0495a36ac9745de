//! Vectors as clients read them: lists of numbers, or their bytes in Base64, which the official libraries ask for.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Serialize;

use crate::domain::embedding::Embedded;

/// How vectors are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// Lists of numbers.
    #[default]
    Float,
    /// Base64 of 32-bit floats, the least significant byte first.
    Base64,
}

/// The answer of `POST /v1/embeddings`.
#[derive(Serialize)]
pub struct Vectors<'a> {
    object: &'static str,
    data: Vec<Entry<'a>>,
    model: &'a str,
    usage: EmbedUsage,
}

#[derive(Serialize)]
struct Entry<'a> {
    object: &'static str,
    index: usize,
    embedding: Vector<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Vector<'a> {
    Numbers(&'a [f64]),
    Text(String),
}

/// Clients expect numbers: what the backend did not tell is 0.
#[derive(Serialize)]
struct EmbedUsage {
    prompt_tokens: u64,
    total_tokens: u64,
}

impl<'a> Vectors<'a> {
    /// These vectors of this model.
    pub fn of(embedded: &'a Embedded, model: &'a str, encoding: Encoding) -> Self {
        let vectors = embedded.vectors.iter().enumerate().map(|(index, vector)| Entry {
            object: "embedding",
            index,
            embedding: match encoding {
                Encoding::Float => Vector::Numbers(vector),
                Encoding::Base64 => Vector::Text(in_base64(vector)),
            },
        });
        let tokens = embedded.input_tokens.unwrap_or_default();
        let usage = EmbedUsage { prompt_tokens: tokens, total_tokens: tokens };
        Self { object: "list", data: vectors.collect(), model, usage }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "that is what the encoding holds")]
fn in_base64(vector: &[f64]) -> String {
    let bytes: Vec<u8> = vector.iter().flat_map(|number| (*number as f32).to_le_bytes()).collect();
    STANDARD.encode(bytes)
}
