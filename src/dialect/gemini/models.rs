//! Gemini's list of models, which comes in pages and tells what each model can do.

use serde::Deserialize;

use super::super::{json, reply::ReplyError};
use crate::domain::model::{Capabilities, ObservedModel};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ModelsReply {
    /// Left out by the server when it is empty.
    #[serde(default)]
    models: Vec<ModelEntry>,
    #[serde(default)]
    next_page_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ModelEntry {
    name: String,
    #[serde(default)]
    input_token_limit: i64,
    #[serde(default)]
    supported_generation_methods: Option<Vec<String>>,
}

/// One page of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelPage {
    /// Names without the prefix `models/`.
    pub models: Vec<ObservedModel>,
    /// Asks for the next page; `None` on the last.
    pub next: Option<String>,
}

/// Reads the answer of `GET /v1beta/models`.
///
/// # Errors
/// A body that is no such list.
pub fn parse_models(body: &[u8]) -> Result<ModelPage, ReplyError> {
    let reply: ModelsReply = json::decode(body)?;
    let observed = |entry: ModelEntry| {
        let known = ObservedModel::named(entry.name.strip_prefix("models/").unwrap_or(&entry.name));
        let told = |methods: &[String]| {
            let can = |method: &str| methods.iter().any(|own| own == method);
            let generates = if can("generateContent") { Capabilities::GENERATE } else { Capabilities::NONE };
            generates.union(if can("embedContent") { Capabilities::EMBED } else { Capabilities::NONE })
        };
        ObservedModel {
            context_length: entry.input_token_limit.max(0),
            // A gateway that does not tell says nothing against a model.
            capabilities: entry.supported_generation_methods.as_deref().map_or(known.capabilities, told),
            ..known
        }
    };
    Ok(ModelPage {
        models: reply.models.into_iter().map(observed).collect(),
        next: reply.next_page_token.filter(|token| !token.is_empty()),
    })
}
