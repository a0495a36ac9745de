//! `POST /tokenize`, which llama.cpp and vLLM both have, with other names on both sides.

use serde_json::{Value, json as value};

use crate::sim::{
    answer::Answer,
    call::{Fields, Input, Piece, token_count},
    model::SimModel,
    openai::flavour::Flavour,
};

/// Numbers for the tokens of a text; only how many there are means anything.
pub(crate) fn tokenize(model: &SimModel, fields: &Fields, flavour: Flavour) -> Result<Answer, Answer> {
    let missing = |name: &str| flavour.refused(400, "invalid_request_error", &format!("'{name}' must be a string"));
    let body = if flavour == Flavour::LlamaCpp {
        let Some(Piece::Text(text)) = &fields.content else { return Err(missing("content")) };
        value!({ "tokens": numbers(text) })
    } else {
        let Some(Input::Text(text)) = &fields.prompt else { return Err(missing("prompt")) };
        let tokens = numbers(text);
        value!({ "count": tokens.len(), "max_model_len": model.context_length, "tokens": tokens, "token_strs": Value::Null })
    };
    Ok(Answer::json(200, &body))
}

fn numbers(text: &str) -> Vec<usize> {
    (1..=token_count(text)).collect()
}
