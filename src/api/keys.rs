//! `/keys`: the secret that stored API keys are encrypted with (`docs/operations.md`, secrets).

use serde::Serialize;
use utoipa::ToSchema;

use super::{Api, Reply};
use crate::error::Error;

/// What has been encrypted anew.
#[derive(Serialize, ToSchema)]
pub(super) struct Rotated {
    /// Stored API keys.
    rotated: u64,
}

/// `POST /keys/rotate`.
///
/// # Errors
/// 422 when there is no new secret, or a stored key cannot be decrypted.
pub async fn rotate(api: &Api) -> Result<Reply, Error> {
    let rotated = api.store.rotate_secret().await?;
    tracing::info!(keys = rotated, "stored keys are encrypted with a new secret");
    Reply::json(&Rotated { rotated })
}
