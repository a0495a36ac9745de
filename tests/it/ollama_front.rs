//! Ollama's API in front of every kind of backend (`docs/api.md`, Ollama's API).

mod calls;
mod chains;
mod errors;
mod model_lists;
mod translated;

use serde_json::{Value, json};

use crate::support::Answer;

/// Kinds of backend that get a translated request.
const OTHERS: [&str; 3] = ["vllm", "openai", "gemini"];

/// The objects of an answer in lines.
#[track_caller]
fn lines(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.header("content-type"), "application/x-ndjson", "{}", answer.text);
    answer.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn user(text: &str) -> Value {
    json!([{"role": "user", "content": text}])
}
