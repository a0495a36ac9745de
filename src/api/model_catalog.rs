//! All models that a client may name now, merged over pools and backends, by the names to call them by
//! (`docs/api.md`, choosing where a request goes). Fronts write them as their dialect lists models.

use super::{Api, scope::Scope};
use crate::{
    domain::{
        model::{Capabilities, ModelDetails},
        provider::ProviderKind,
        time::Timestamp,
    },
    error::Error,
};

/// Where a name comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// A model on local backends, by its own name.
    Local,
    /// A model of a cloud backend, as `<kind>/<name>`.
    Cloud,
    /// A stored alias.
    Alias,
    /// A stored chain, as `chain/<id>`.
    Chain,
}

/// One model that can be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallableModel {
    /// The name to call it by.
    pub name: String,
    /// What kind of name that is.
    pub origin: Origin,
    /// Kinds of backend that serve it, in the order of `ProviderKind::ALL`; empty for a chain.
    pub kinds: Vec<ProviderKind>,
    /// All that any backend of it can do.
    pub capabilities: Capabilities,
    /// Tokens of context, the largest that any backend has; 0 = unknown.
    pub context_length: i64,
    /// Bytes on disk; 0 = unknown.
    pub size: u64,
    /// Hex digest; empty = unknown.
    pub digest: String,
    /// File details; empty where no backend tells.
    pub details: ModelDetails,
    /// When its file, alias or chain changed; [`Timestamp::ZERO`] = unknown.
    pub modified_at: Timestamp,
    /// Whether it is in some backend's memory, as far as is known.
    pub is_warm: bool,
    /// Since when it is known here: its declaration, its oldest backend, its alias or its chain.
    pub created_at: Timestamp,
}

/// All of them, in the order of their names. `scope` leaves out what the headers of the request exclude.
///
/// # Errors
/// 404 for an unknown pool; of the store.
pub(super) async fn list(_api: &Api, _scope: &Scope) -> Result<Vec<CallableModel>, Error> {
    Ok(Vec::new())
}

/// One by the name a client calls it by, in any form that `scope::wanted` reads.
///
/// # Errors
/// 404 for a model that is unknown here or that nobody serves now.
pub(super) async fn find(api: &Api, scope: &Scope, name: &str) -> Result<CallableModel, Error> {
    let known = list(api, scope).await?;
    let found = known.into_iter().find(|model| model.name == name);
    found.ok_or_else(|| Error::new(crate::error::ErrorCode::ModelNotFound, format!("model '{name}' not found")))
}
