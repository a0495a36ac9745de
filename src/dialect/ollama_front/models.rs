//! Answers about models: `/api/tags`, `/api/show`, `/api/ps`, and what a pull of a model that is there tells.
//!
//! Values that nobody knows are empty, zero or left out; but every entry has a digest, because clients cut it without looking.

use serde::Serialize;
use serde_json::{Map, Value as Json, json};
use sha2::{Digest, Sha256};

use crate::domain::{
    model::{Capabilities, ModelDetails},
    time::Timestamp,
};

/// A model as clients are told of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    /// What requests call it.
    pub name: String,
    /// When its file changed.
    pub modified_at: Timestamp,
    /// Bytes on disk, 0 = unknown.
    pub size: u64,
    /// Empty = unknown.
    pub digest: String,
    /// Empty where unknown.
    pub details: ModelDetails,
    /// Tokens, 0 = unknown.
    pub context_length: i64,
    /// What it can be asked to do.
    pub capabilities: Capabilities,
    /// What else it can do, in Ollama's words, such as `tools` and `vision`.
    pub abilities: Vec<String>,
}

impl Known {
    /// The words of Ollama for what it can do.
    fn abilities(&self) -> Vec<&str> {
        let generates = self.capabilities.can_chat || self.capabilities.can_prompt;
        let own = [("completion", generates), ("embedding", self.capabilities.can_embed)];
        let own = own.into_iter().filter(|(_, can)| *can).map(|(word, _)| word);
        let told =
            self.abilities.iter().map(String::as_str).filter(|word| !matches!(*word, "completion" | "embedding"));
        own.chain(told).collect()
    }

    /// The digest of the file; where nobody tells it, one of the name.
    fn digest(&self) -> String {
        if !self.digest.is_empty() {
            return self.digest.clone();
        }
        Sha256::digest(self.name.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn details(&self) -> Json {
        let ModelDetails { parent_model, format, family, families, parameter_size, quantization_level } = &self.details;
        json!({"parent_model": parent_model, "format": format, "family": family, "families": families,
            "parameter_size": parameter_size, "quantization_level": quantization_level})
    }

    fn entry(&self) -> Json {
        let mut details = self.details();
        if self.context_length > 0 {
            details["context_length"] = json!(self.context_length);
        }
        json!({"name": self.name, "model": self.name, "modified_at": self.modified_at, "size": self.size,
            "digest": self.digest(), "details": details, "capabilities": self.abilities()})
    }
}

/// `GET /api/tags`.
pub fn tags(models: &[Known]) -> Json {
    json!({"models": models.iter().map(Known::entry).collect::<Vec<_>>()})
}

/// A model in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Running {
    /// Which.
    pub model: Known,
    /// When it leaves the memory if nobody asks it.
    pub expires_at: Timestamp,
}

/// `GET /api/ps`.
pub fn running(models: &[Running]) -> Json {
    let entry = |Running { model, expires_at }: &Running| {
        json!({"name": model.name, "model": model.name, "size": model.size, "digest": model.digest(),
            "details": model.details(), "expires_at": expires_at, "size_vram": 0,
            "context_length": model.context_length})
    };
    json!({"models": models.iter().map(entry).collect::<Vec<_>>()})
}

/// `POST /api/show`.
pub fn shown(model: &Known) -> Json {
    #[derive(Serialize)]
    struct Shown<'a> {
        modelfile: String,
        parameters: &'static str,
        template: &'static str,
        details: Json,
        model_info: Map<String, Json>,
        capabilities: Vec<&'a str>,
        modified_at: Timestamp,
    }
    let architecture = match model.details.family.as_str() {
        "" => "unknown",
        family => family,
    };
    let mut model_info = Map::new();
    model_info.insert("general.architecture".to_owned(), json!(architecture));
    if model.context_length > 0 {
        model_info.insert(format!("{architecture}.context_length"), json!(model.context_length));
    }
    let shown = Shown {
        modelfile: format!("# Served by Penstock\nFROM {}\n", model.name),
        parameters: "",
        template: "{{ .Prompt }}",
        details: model.details(),
        model_info,
        capabilities: model.abilities(),
        modified_at: model.modified_at,
    };
    serde_json::to_value(shown).unwrap_or_default()
}
