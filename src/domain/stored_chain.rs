//! Chains that are kept under their id, in numbered versions (`docs/api.md`, stored chains).

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::{chain::Chain, ids::ChainId, time::Timestamp};

/// One version of a stored chain. Its JSON is the chain's own, in canonical spelling, with what the store knows behind it;
/// all of that is ignored when it is sent back.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredChain {
    /// The chain; its id is the one it is stored under.
    #[serde(flatten)]
    pub chain: Chain,
    /// Which version this is: 1, 2, 3… A number is never used again, not even after the chain was deleted.
    pub version: u64,
    /// Stored without being checked.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub draft: bool,
    /// When the chain, not this version of it, was created.
    pub created_at: Timestamp,
    /// When this version was written.
    pub updated_at: Timestamp,
}

/// What a list of names tells of a chain, without the chain itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedChain {
    /// The id it is stored under.
    pub id: ChainId,
    /// Whether its latest version was stored without being checked.
    pub draft: bool,
    /// When the chain was created.
    pub created_at: Timestamp,
    /// When its latest version was written.
    pub updated_at: Timestamp,
}

/// What is listed of each version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChainVersion {
    /// Which version.
    pub version: u64,
    /// Whether it was stored without being checked.
    pub draft: bool,
    /// When it was written.
    pub created_at: Timestamp,
}
