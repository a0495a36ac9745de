//! Pools: which backends serve which models, and how one is chosen (`docs/api.md`, pools).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::{ids::PoolId, time::Timestamp};

/// Id of the seeded pool for embeddings.
pub const EMBED_POOL: &str = "internal_embed_pool";
/// Id of the seeded pool for prompts, chats and chains.
pub const TASKS_POOL: &str = "internal_tasks_pool";

/// How a pool picks among usable backends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// Fewest running calls of two random candidates; ties at random.
    #[default]
    LeastLoaded,
    /// Uniformly at random.
    Random,
    /// In turn.
    RoundRobin,
    /// At random, in proportion to the backends' weights.
    Weighted,
    /// The same beginning of a conversation goes to the same backend, unless that is overloaded.
    PrefixAffinity,
    /// Backends that have the model in memory first, the fewest running calls among equals.
    WarmFirst,
}

impl Policy {
    /// Every policy of this version.
    pub const ALL: [Self; 6] =
        [Self::LeastLoaded, Self::Random, Self::RoundRobin, Self::Weighted, Self::PrefixAffinity, Self::WarmFirst];

    /// Its name in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LeastLoaded => "least-loaded",
            Self::Random => "random",
            Self::RoundRobin => "round-robin",
            Self::Weighted => "weighted",
            Self::PrefixAffinity => "prefix-affinity",
            Self::WarmFirst => "warm-first",
        }
    }

    /// Reads a name in any case; `None` for an unknown one.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.as_str().eq_ignore_ascii_case(text.trim()))
    }
}

/// Bounds of a pool's wait queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct QueueLimits {
    /// Requests that may wait at once.
    pub capacity: u32,
    /// Longest wait of one request in milliseconds.
    pub max_wait_ms: u64,
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self { capacity: 1024, max_wait_ms: 30_000 }
    }
}

/// What a user may set of a pool; `None` keeps what is stored (or the default on creation).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PoolPatch {
    /// Unique, not empty.
    pub name: Option<String>,
    /// Free text that `/pool-by-purpose` looks up.
    pub purpose_type: Option<String>,
    /// How a backend is chosen.
    pub policy: Option<Policy>,
    /// Bounds of the wait queue.
    pub queue: Option<QueueLimits>,
    /// Only backends that carry all these labels may serve the pool.
    pub require_labels: Option<BTreeMap<String, String>>,
}

/// A stored pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pool {
    /// UUID, or the fixed id of a seeded pool.
    pub id: PoolId,
    /// Unique.
    pub name: String,
    /// Free text.
    pub purpose_type: String,
    /// How a backend is chosen.
    pub policy: Policy,
    /// Bounds of the wait queue.
    pub queue: QueueLimits,
    /// Labels a backend must carry to serve this pool.
    pub require_labels: BTreeMap<String, String>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last written.
    pub updated_at: Timestamp,
}
