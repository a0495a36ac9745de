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
    /// The largest context first, at random among equals.
    Auto,
    /// The same.
    LowLatency,
}

impl Policy {
    /// Every policy of this version.
    pub const ALL: [Self; 8] = [
        Self::LeastLoaded,
        Self::Random,
        Self::RoundRobin,
        Self::Weighted,
        Self::PrefixAffinity,
        Self::WarmFirst,
        Self::Auto,
        Self::LowLatency,
    ];

    /// Its place in [`Policy::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Its name in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LeastLoaded => "least-loaded",
            Self::Random => "random",
            Self::RoundRobin => "round-robin",
            Self::Weighted => "weighted",
            Self::PrefixAffinity => "prefix-affinity",
            Self::WarmFirst => "warm-first",
            Self::Auto => "auto",
            Self::LowLatency => "low-latency",
        }
    }

    /// Reads a name in any case; `None` for an unknown one.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.as_str().eq_ignore_ascii_case(text.trim()))
    }
}

/// Most requests that a pool may let wait at once: each holds its body, a connection of its client and a few kilobytes.
pub const MAX_QUEUE_CAPACITY: u32 = 16_384;

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

/// How many calls a pool may repeat: retries after failures and hedges spend from one budget, which calls fill.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RetryBudget {
    /// Repeats for each call, 0 to 1: 0.2 lets one in five calls be repeated.
    pub ratio: f64,
    /// Repeats in a second that are allowed however few calls there are.
    pub min_per_second: u32,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { ratio: 0.2, min_per_second: 10 }
    }
}

/// A second attempt of a short call on another backend, when the first one is late; the first answer counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Hedging {
    /// Milliseconds after which an attempt counts as late; 0 = calls are not hedged.
    pub after_ms: u64,
    /// Only calls whose answer may have at most this many tokens; embeddings have none.
    pub max_tokens: u32,
}

impl Default for Hedging {
    fn default() -> Self {
        Self { after_ms: 0, max_tokens: 64 }
    }
}

/// Embeddings of several requests in one call.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Batching {
    /// Longest time in milliseconds that a request waits for others, at most 2; 0 = embeddings are not batched.
    pub window_ms: f64,
    /// Most texts in one call.
    pub max_inputs: u32,
}

impl Default for Batching {
    fn default() -> Self {
        Self { window_ms: 0.0, max_inputs: 32 }
    }
}

/// Answers that are kept, and given again instead of being made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AnswerKeeping {
    /// Milliseconds for which an answer of temperature 0, or vectors, are kept; 0 = none are.
    pub ttl_ms: u64,
    /// Larger answers are not kept.
    pub max_bytes: u32,
}

impl Default for AnswerKeeping {
    fn default() -> Self {
        Self { ttl_ms: 0, max_bytes: 256 * 1024 }
    }
}

/// How a pool makes its calls, beside which backend it chooses.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CallSettings {
    /// Bounds retries and hedges.
    pub retry_budget: RetryBudget,
    /// Second attempts of calls that are late.
    pub hedging: Hedging,
    /// Embeddings of several requests together.
    pub batching: Batching,
    /// Whether identical calls of temperature 0 that run at the same time are made once.
    pub single_flight: bool,
    /// Whether and for how long answers are kept, where instances share a Valkey.
    pub cache: AnswerKeeping,
}

/// What a user may set of a pool; `None` keeps what is stored (or the default on creation).
#[derive(Debug, Clone, PartialEq, Default)]
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
    /// How calls are made.
    pub calls: Option<CallSettings>,
}

/// A stored pool.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
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
    /// How calls are made.
    #[serde(flatten)]
    pub calls: CallSettings,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last written.
    pub updated_at: Timestamp,
}
