//! The list of models as clients read it.

use serde::Serialize;

/// `GET /v1/models`.
#[derive(Debug, Serialize)]
pub struct ModelList {
    object: &'static str,
    data: Vec<ModelEntry>,
}

/// One model, also by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModelEntry {
    id: String,
    object: &'static str,
    created: i64,
    owned_by: String,
    /// vLLM's addition: another Penstock in front of this one reads it.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_model_len: Option<i64>,
}

impl ModelEntry {
    /// `context_length`: tokens, 0 = unknown.
    pub fn new(id: String, created: i64, owned_by: String, context_length: i64) -> Self {
        let max_model_len = (context_length > 0).then_some(context_length);
        Self { id, object: "model", created, owned_by, max_model_len }
    }
}

impl ModelList {
    /// Of these.
    pub fn of(data: Vec<ModelEntry>) -> Self {
        Self { object: "list", data }
    }
}
