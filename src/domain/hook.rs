//! Remote hooks: HTTP services that chains may call (`docs/hooks.md`).

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::{ids::HookId, time::Timestamp};

/// What a user sends to create or replace a hook, validated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookSpec {
    /// Unique; chains call the hook by it.
    pub name: String,
    /// Absolute http(s) URL.
    pub endpoint_url: String,
    /// HTTP method, upper case.
    pub method: String,
    /// Longest wait for the whole call in milliseconds, above 0.
    pub timeout_ms: i64,
}

/// A stored hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RemoteHook)]
pub struct Hook {
    /// Given by the user or a UUID.
    pub id: HookId,
    /// Unique; chains call the hook by it.
    pub name: String,
    /// Absolute http(s) URL.
    pub endpoint_url: String,
    /// HTTP method, upper case.
    pub method: String,
    /// Longest wait for the whole call in milliseconds.
    pub timeout_ms: i64,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last written.
    pub updated_at: Timestamp,
}
