//! Conversations as chains carry them, the forms a reply may be forced into, and who answered. What a model is asked and
//! says in full is in [`chat`](super::chat).

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::domain::{
    chat::{Finish, Usage},
    ids::BackendId,
    time::Timestamp,
    timing::CallTiming,
};

/// One message of a conversation (`docs/api.md`, ChatHistory).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// Free id, empty when the sender gave none.
    #[serde(default)]
    pub id: String,
    /// `system`, `user`, `assistant` or what the backend said.
    pub role: String,
    /// The text.
    pub content: String,
    /// When it was said; the time of receipt when the sender gave none.
    #[serde(default = "Timestamp::now")]
    pub timestamp: Timestamp,
}

impl ChatMessage {
    /// A message without an id.
    pub fn new(role: impl Into<String>, content: impl Into<String>, timestamp: Timestamp) -> Self {
        Self { id: String::new(), role: role.into(), content: content.into(), timestamp }
    }
}

/// A conversation as chains carry it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChatHistory {
    /// Oldest first.
    pub messages: Vec<ChatMessage>,
    /// The model that spoke last, or empty.
    #[serde(default)]
    pub model: String,
    /// Tokens of all messages sent with the last call.
    #[serde(default)]
    pub input_tokens: i64,
    /// Tokens of the last reply.
    #[serde(default)]
    pub output_tokens: i64,
}

/// A form the reply is forced into where the backend can (`docs/workflow-spec.md`, constrained replies).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Constraint {
    /// Exactly one of these texts, as a JSON string.
    OneOf(Vec<String>),
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// Two numbers with a hyphen between them, as a JSON string.
    Range,
    /// Any JSON object.
    Json,
    /// JSON that this schema (JSON Schema 2020-12) accepts.
    Schema(Arc<serde_json::Value>),
}

/// Which of the forms a constraint is: what a backend that refuses one is remembered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConstraintKind {
    /// See [`Constraint::OneOf`].
    OneOf,
    /// See [`Constraint::Integer`].
    Integer,
    /// See [`Constraint::Number`].
    Number,
    /// See [`Constraint::Range`].
    Range,
    /// See [`Constraint::Json`].
    Json,
    /// See [`Constraint::Schema`].
    Schema,
}

impl Constraint {
    /// Which form it is.
    pub const fn kind(&self) -> ConstraintKind {
        match self {
            Self::OneOf(_) => ConstraintKind::OneOf,
            Self::Integer => ConstraintKind::Integer,
            Self::Number => ConstraintKind::Number,
            Self::Range => ConstraintKind::Range,
            Self::Json => ConstraintKind::Json,
            Self::Schema(_) => ConstraintKind::Schema,
        }
    }
}

/// A whole reply, as a chain uses it: text there is, and nothing withheld.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Completion {
    /// The text as the backend sent it.
    pub text: String,
    /// Normally `assistant`.
    pub role: String,
    /// Why it ended.
    pub finish: Finish,
    /// Tokens spent.
    pub usage: Usage,
}

/// Who answered a call and what it took; becomes the `X-Penstock-*` headers and parts of a state unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// The backend that answered.
    pub backend: BackendId,
    /// The pool whose queue and policy chose it.
    pub pool: crate::domain::ids::PoolId,
    /// The model's name on that backend.
    pub model: String,
    /// Upstream attempts, 1 without failover.
    pub attempts: u32,
    /// Where the time went.
    pub timing: CallTiming,
    /// Whether the call was made for another request, and this one got its answer.
    pub is_shared: bool,
    /// Whether the answer was kept from an earlier call; `None` where none is kept.
    pub was_kept: Option<bool>,
}

impl Served {
    /// Milliseconds spent waiting for a slot.
    pub fn queue_ms(&self) -> u64 {
        u64::try_from(self.timing.queued.as_millis()).unwrap_or(u64::MAX)
    }
}
