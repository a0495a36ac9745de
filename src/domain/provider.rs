//! Which kind of server a backend is, and the cloud providers that are configured by key alone.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::time::Timestamp;

/// The protocol a backend speaks. Adapters live in `providers/`, one file a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProviderKind {
    /// Ollama: pulls and deletes models by itself.
    Ollama,
    /// vLLM's OpenAI server.
    Vllm,
    /// Any server that speaks OpenAI's API, hosted or on the own network.
    Openai,
    /// Google's Gemini REST API.
    Gemini,
}

impl ProviderKind {
    /// Every kind, in the order they are documented.
    pub const ALL: [Self; 4] = [Self::Ollama, Self::Vllm, Self::Openai, Self::Gemini];

    /// The stored, lower-case name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ollama => "ollama",
            Self::Vllm => "vllm",
            Self::Openai => "openai",
            Self::Gemini => "gemini",
        }
    }

    /// Reads a name in any case; `None` for an unknown one.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str().eq_ignore_ascii_case(text.trim()))
    }
}

impl std::fmt::Display for ProviderKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A cloud provider: its key is all a user gives, the backend is made for it (`docs/api.md`, cloud providers).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CloudProvider {
    /// api.openai.com, or what `OPENAI_BASE_URL` names.
    Openai,
    /// generativelanguage.googleapis.com, or what `GEMINI_BASE_URL` names.
    Gemini,
}

impl CloudProvider {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Openai, Self::Gemini];

    /// The kind of the backend that stands for it.
    pub const fn kind(self) -> ProviderKind {
        match self {
            Self::Openai => ProviderKind::Openai,
            Self::Gemini => ProviderKind::Gemini,
        }
    }

    /// Its name, which is also its backend's id, name and type.
    pub const fn as_str(self) -> &'static str {
        self.kind().as_str()
    }

    /// Reads the name exactly as it stands in a path; `None` for an unknown one.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|provider| provider.as_str() == text)
    }
}

/// That a cloud provider's key is stored, without the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderConfig {
    /// Whose key.
    pub provider: CloudProvider,
    /// The key with all but its last characters replaced; safe to show.
    pub masked_key: String,
    /// When the first key was stored.
    pub created_at: Timestamp,
    /// When the key was last stored.
    pub updated_at: Timestamp,
}
