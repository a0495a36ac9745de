//! What a chain raises when a branch or a failure asks for it (`docs/workflow-spec.md`, alerts).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::{ids::RequestId, time::Timestamp};

/// One raised alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Alert {
    /// UUID.
    pub id: String,
    /// The text written in the chain.
    pub message: String,
    /// The request whose run raised it.
    #[serde(rename = "requestID")]
    pub request_id: RequestId,
    /// `task_id` and `eval` (a matched branch) or `error` (a failure).
    pub metadata: BTreeMap<String, String>,
    /// When it was raised.
    #[serde(rename = "Timestamp")]
    pub timestamp: Timestamp,
}
