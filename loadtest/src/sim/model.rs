//! A model as a simulated backend describes it.

use std::time::SystemTime;

use crate::sim::hash;

/// A model that is served or can be pulled. A plain name becomes one: embedding models are known by `embed` or `minilm`
/// in the name, all others chat and take tools.
#[derive(Debug, Clone)]
pub struct SimModel {
    pub(crate) name: String,
    pub(crate) capabilities: Vec<String>,
    pub(crate) context_length: usize,
    pub(crate) dimension: usize,
    pub(crate) size: u64,
    pub(crate) modified: SystemTime,
}

impl SimModel {
    /// A model with everything derived from its name: 131,072 tokens of context, vectors of 8 numbers, 100 MB.
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        let embeds = name.contains("embed") || name.contains("minilm");
        let capabilities: &[&str] = if embeds { &["embedding"] } else { &["completion", "tools"] };
        Self {
            name,
            capabilities: capabilities.iter().map(ToString::to_string).collect(),
            context_length: 131_072,
            dimension: 8,
            size: 100_000_000,
            modified: SystemTime::now(),
        }
    }

    /// Replaces the capabilities: Ollama's words, such as `completion`, `embedding`, `tools`, `thinking`.
    pub fn capabilities<S: Into<String>>(mut self, capabilities: impl IntoIterator<Item = S>) -> Self {
        self.capabilities = capabilities.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the context length in tokens; a longer prompt is refused by OpenAI-like servers and cut by Ollama.
    pub fn context_length(mut self, tokens: usize) -> Self {
        self.context_length = tokens;
        self
    }

    /// Sets the length of its vectors.
    pub fn dimension(mut self, dimension: usize) -> Self {
        self.dimension = dimension;
        self
    }

    /// Sets its size in bytes, which is what a pull counts.
    pub fn size(mut self, bytes: u64) -> Self {
        self.size = bytes;
        self
    }

    pub(crate) fn can(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|own| own == capability)
    }

    /// 64 hex digits that belong to the name.
    pub(crate) fn digest(&self) -> String {
        hash::digest(&self.name)
    }
}

impl From<&str> for SimModel {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

impl From<String> for SimModel {
    fn from(name: String) -> Self {
        Self::new(name)
    }
}
