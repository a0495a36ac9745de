//! Ollama's embedding routes, the new and the old one.

use serde::Serialize;

use crate::sim::{
    answer::Answer,
    call::{Fields, Input, token_count},
    library::Library,
    ollama::{json, model, refused},
    vector::embedding,
};

/// `POST /api/embed`: always a list of vectors.
pub(crate) fn embed(library: &Library, fields: &Fields) -> Result<Answer, Answer> {
    #[derive(Serialize)]
    struct Embedded<'a> {
        model: &'a str,
        embeddings: Vec<Vec<f32>>,
        total_duration: u64,
        load_duration: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        prompt_eval_count: Option<usize>,
    }
    let name = fields.model().unwrap_or_default();
    let model = model(library, name, || match name {
        "" => "model '' not found".to_owned(),
        name => format!("model \"{name}\" not found, try pulling it first"),
    })?;
    let texts = fields.input.as_ref().map(Input::entries).unwrap_or_default();
    // One empty text is no input; inside a list it is a text like any other.
    let texts = if matches!(&fields.input, Some(Input::Text(text)) if text.is_empty()) { Vec::new() } else { texts };
    let counts = texts.iter().map(|text| token_count(text));
    if fields.truncate == Some(false) && counts.clone().any(|tokens| tokens > model.context_length) {
        return Err(refused(400, "the input length exceeds the context length"));
    }
    let dimension = fields.dimensions.filter(|wanted| *wanted > 0).unwrap_or(usize::MAX).min(model.dimension);
    let tokens = counts.sum();
    let embedded = Embedded {
        model: name,
        embeddings: texts.iter().map(|text| embedding(text, dimension)).collect(),
        total_duration: 14_000_000,
        load_duration: 1_000_000,
        prompt_eval_count: (tokens > 0).then_some(tokens),
    };
    Ok(json(200, &embedded))
}

/// `POST /api/embeddings`: one text, one vector.
pub(crate) fn old(library: &Library, fields: &Fields) -> Result<Answer, Answer> {
    #[derive(Serialize)]
    struct Embedded {
        embedding: Vec<f32>,
    }
    let name = fields.model().unwrap_or_default();
    let model = model(library, name, || format!("model '{name}' not found"))?;
    let texts = fields.prompt.as_ref().map(Input::entries).unwrap_or_default();
    let text = texts.first().filter(|text| !text.is_empty());
    Ok(json(200, &Embedded { embedding: text.map(|text| embedding(text, model.dimension)).unwrap_or_default() }))
}
