//! Which models an Ollama server has, and what it tells of each.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    dialect::{json, reply::ReplyError},
    domain::{
        model::{Capabilities, ModelDetails, ObservedModel},
        time::Timestamp,
    },
};

#[derive(Deserialize)]
struct TagsReply {
    #[serde(default)]
    models: Option<Vec<Tag>>,
}

#[derive(Deserialize)]
struct Tag {
    #[serde(default)]
    name: String,
    #[serde(default)]
    model: String,
    #[serde(default)]
    modified_at: Option<String>,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    digest: String,
    #[serde(default)]
    details: Option<TagDetails>,
    /// Left out by servers of before 2026.
    #[serde(default)]
    capabilities: Option<Vec<String>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct TagDetails {
    parent_model: String,
    format: String,
    family: String,
    families: Option<Vec<String>>,
    parameter_size: String,
    quantization_level: String,
    /// Left out like the capabilities.
    context_length: Option<i64>,
}

/// One model of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its capabilities and context are guesses until it is `shown`.
    pub model: ObservedModel,
    /// What the list itself tells beyond them; `None` on servers that must be asked with `show`.
    pub shown: Option<Shown>,
}

/// Reads the answer of `GET /api/tags`.
///
/// # Errors
/// A body that is no such list.
pub fn parse_tags(body: &[u8]) -> Result<Vec<Listed>, ReplyError> {
    let reply: TagsReply = json::decode(body)?;
    let models = reply.models.ok_or_else(|| ReplyError::Malformed("it has no list 'models'".to_owned()))?;
    Ok(models.into_iter().map(listed).collect())
}

fn listed(tag: Tag) -> Listed {
    let details = tag.details.unwrap_or_default();
    let told = Shown::of(tag.capabilities, details.context_length);
    let shown = (told.capabilities.is_some() && told.context_length.is_some()).then_some(told);
    let model = ObservedModel {
        modified_at: tag.modified_at.and_then(|text| text.parse().ok()).unwrap_or(Timestamp::ZERO),
        size: tag.size,
        digest: tag.digest,
        details: ModelDetails {
            parent_model: details.parent_model,
            format: details.format,
            family: details.family,
            families: details.families.unwrap_or_default(),
            parameter_size: details.parameter_size,
            quantization_level: details.quantization_level,
        },
        ..ObservedModel::named(if tag.model.is_empty() { tag.name } else { tag.model })
    };
    Listed { model, shown }
}

/// Reads the answer of `GET /api/ps`: names of the models in memory.
///
/// # Errors
/// A body that is no such list.
pub fn parse_running(body: &[u8]) -> Result<Vec<String>, ReplyError> {
    Ok(parse_tags(body)?.into_iter().map(|listed| listed.model.name).collect())
}

/// What a model can do and how much it reads, as `POST /api/show` tells it, and newer servers in their list too.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Shown {
    /// `None` on servers that do not tell.
    pub capabilities: Option<Capabilities>,
    /// Tokens; `None` on servers that do not tell.
    pub context_length: Option<i64>,
    /// Further words for what it can do, such as `tools` and `vision`.
    pub abilities: Vec<String>,
}

/// Words for what a model can do that are kept, and the characters of each.
const MAX_ABILITIES: usize = 20;
const MAX_ABILITY_CHARS: usize = 40;

impl Shown {
    fn of(told: Option<Vec<String>>, context_length: Option<i64>) -> Self {
        let told = told.filter(|names| !names.is_empty());
        let further = told.iter().flatten().filter(|name| !matches!(name.as_str(), "completion" | "embedding"));
        let further = further.filter(|name| name.chars().count() <= MAX_ABILITY_CHARS);
        let abilities = further.take(MAX_ABILITIES).cloned().collect();
        let capabilities = told.map(|names| {
            let has = |name: &str| names.iter().any(|have| have == name);
            let generates = if has("completion") { Capabilities::GENERATE } else { Capabilities::NONE };
            generates.union(if has("embedding") { Capabilities::EMBED } else { Capabilities::NONE })
        });
        Self { capabilities, context_length: context_length.filter(|tokens| *tokens > 0), abilities }
    }
}

#[derive(Deserialize)]
struct ShowReply {
    #[serde(default)]
    capabilities: Option<Vec<String>>,
    #[serde(default)]
    model_info: Option<serde_json::Map<String, Value>>,
}

/// The body of `POST /api/show` and of every other call that only names a model.
pub fn model_body(model: &str) -> Vec<u8> {
    json!({ "model": model }).to_string().into_bytes()
}

/// Reads the answer of `POST /api/show`.
///
/// # Errors
/// A body that is no such answer.
pub fn parse_show(body: &[u8]) -> Result<Shown, ReplyError> {
    let reply: ShowReply = json::decode(body)?;
    let context_length = reply.model_info.and_then(|info| {
        let architecture = info.get("general.architecture")?.as_str()?;
        info.get(&format!("{architecture}.context_length"))?.as_i64()
    });
    Ok(Shown::of(reply.capabilities, context_length))
}
