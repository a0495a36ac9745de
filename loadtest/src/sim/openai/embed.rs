//! OpenAI's embeddings, as numbers or as base64 of little-endian floats.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;

use crate::sim::{
    answer::Answer,
    call::{Fields, Input, token_count},
    model::SimModel,
    openai::flavour::Flavour,
    vector::embedding,
};

/// Texts that OpenAI takes at once.
const MAX_INPUTS: usize = 2048;
/// Tokens of all of them.
const MAX_TOKENS: usize = 300_000;

#[derive(Serialize)]
struct List<'a> {
    object: &'static str,
    model: &'a str,
    data: Vec<Entry>,
    usage: Usage,
}

#[derive(Serialize)]
struct Entry {
    object: &'static str,
    index: usize,
    embedding: Vector,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Vector {
    Numbers(Vec<f32>),
    Base64(String),
}

#[derive(Serialize)]
struct Usage {
    prompt_tokens: usize,
    total_tokens: usize,
    /// vLLM's, though nothing is completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    completion_tokens: Option<usize>,
}

/// `POST /v1/embeddings`.
pub(crate) fn embed(name: &str, model: &SimModel, fields: &Fields, flavour: Flavour) -> Result<Answer, Answer> {
    let texts = fields.input.as_ref().map(Input::entries).unwrap_or_default();
    if texts.is_empty() || texts.iter().any(|text| text.is_empty()) {
        return Err(flavour.refused(
            400,
            "invalid_request_error",
            "'input' must be a non-empty string or a list of them",
        ));
    }
    if texts.len() > MAX_INPUTS && flavour == Flavour::OpenAi {
        let message = format!("Invalid 'input': array too long. Expected an array with maximum length {MAX_INPUTS}.");
        return Err(flavour.faulty("input", Some("array_above_max_length"), &message));
    }
    let tokens = texts.iter().map(|text| token_count(text));
    if let Some(longest) = tokens.clone().max().filter(|longest| *longest > model.context_length) {
        return Err(flavour.too_long_to_embed(longest, model.context_length));
    }
    let total: usize = tokens.clone().sum();
    if total > MAX_TOKENS && flavour == Flavour::OpenAi {
        let message = format!("Requested {total} tokens, max {MAX_TOKENS} tokens per request");
        return Err(flavour.faulty("input", Some("max_tokens_per_request"), &message));
    }
    // llama.cpp ignores the wish for a shorter vector.
    let wanted = fields.dimensions.filter(|_| flavour != Flavour::LlamaCpp).unwrap_or(usize::MAX);
    let dimension = wanted.min(model.dimension);
    let base64 = fields.encoding_format.as_deref() == Some("base64");
    let vector = |text: &str| match (embedding(text, dimension), base64) {
        (numbers, false) => Vector::Numbers(numbers),
        (numbers, true) => {
            Vector::Base64(STANDARD.encode(numbers.into_iter().flat_map(f32::to_le_bytes).collect::<Vec<u8>>()))
        }
    };
    let entry = |(index, text)| Entry { object: "embedding", index, embedding: vector(text) };
    let data = texts.iter().map(AsRef::as_ref).enumerate().map(entry).collect();
    let completion_tokens = (flavour == Flavour::Vllm).then_some(0);
    let usage = Usage { prompt_tokens: total, total_tokens: total, completion_tokens };
    Ok(Answer::json(200, &List { object: "list", model: name, data, usage }))
}
