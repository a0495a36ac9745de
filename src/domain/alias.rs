//! Aliases: names of our own for models, with further ones to fall back on (`docs/api.md`, aliases).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::{provider::ProviderKind, time::Timestamp};

/// Targets one alias may have.
pub const MAX_ALIAS_TARGETS: usize = 10;

/// One way a call of an alias may go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AliasTarget {
    /// The model by its own name: never read as an alias, so that aliases cannot go round in circles.
    pub model: String,
    /// Wanted kinds of backend; empty = the local ones. A cloud is used only where its kind is named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub providers: Vec<ProviderKind>,
    /// Only this pool, by id or name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
}

/// What a user says of an alias, validated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AliasSpec {
    /// Unique; what clients name as their model.
    pub name: String,
    /// 1 to [`MAX_ALIAS_TARGETS`], the preferred one first.
    pub targets: Vec<AliasTarget>,
}

/// A stored alias.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Alias {
    /// Unique; what clients name as their model.
    pub name: String,
    /// The preferred one first; when a call fails there, it goes on to the next.
    pub targets: Vec<AliasTarget>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last written.
    pub updated_at: Timestamp,
}

/// A name as aliases are looked up: clients of Ollama write `:latest` behind a name without a tag.
pub fn alias_key(name: &str) -> &str {
    name.strip_suffix(":latest").unwrap_or(name)
}
