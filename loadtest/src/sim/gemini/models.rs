//! The list of models, in pages.

use serde_json::{Value, json as value};

use crate::sim::{answer::Answer, library::Library, model::SimModel};

/// What a model takes behind the colon.
pub(super) fn methods(model: &SimModel) -> Vec<&'static str> {
    let generates: &[&str] = if model.can("completion") { &["generateContent", "countTokens"] } else { &[] };
    let embeds: &[&str] = if model.can("embedding") { &["embedContent"] } else { &[] };
    [generates, embeds].concat()
}

/// `GET …/models?pageSize=50&pageToken=…`; a page's token is the number of the models before it.
pub(super) fn list(library: &Library, query: &str, page_size: usize) -> Answer {
    let asked = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let number = |name: &str| asked(name).map(str::parse::<usize>);
    let (start, wanted) = match (number("pageToken"), number("pageSize")) {
        (Some(Err(_)), _) => return super::refused(400, "Invalid page token"),
        (start, size) => (start.and_then(Result::ok).unwrap_or(0), size.and_then(Result::ok).unwrap_or(50)),
    };
    let installed = library.installed();
    let size = wanted.clamp(1, 1000).min(page_size.max(1));
    let models: Vec<Value> = installed.iter().skip(start).take(size).map(|model| entry(model)).collect();
    let mut page = value!({ "models": models });
    if start + size < installed.len() {
        page["nextPageToken"] = value!((start + size).to_string());
    }
    Answer::json(200, &page)
}

/// `GET …/models/NAME`.
pub(super) fn one(library: &Library, path: &str) -> Result<Answer, Answer> {
    let name = path.split_once("/models/").map_or("", |(_, name)| name);
    let model = library.find(name).ok_or_else(|| super::unknown_model(name))?;
    Ok(Answer::json(200, &entry(&model)))
}

fn entry(model: &SimModel) -> Value {
    value!({
        "name": format!("models/{}", model.name), "version": "001", "displayName": model.name, "description": "simulated",
        "inputTokenLimit": model.context_length, "outputTokenLimit": 8192, "supportedGenerationMethods": methods(model),
        "temperature": 1, "topP": 0.95, "topK": 64,
    })
}
