//! Which backends and models are in which pools (`docs/api.md`, associations).

use super::{Api, Reply, models};
use crate::{
    domain::ids::{BackendId, PoolId},
    error::{Error, ErrorCode},
};

/// `POST /backend-associations/{poolID}/backends/{backendID}`.
///
/// # Errors
/// 404, 409.
pub async fn assign_backend(api: &Api, pool: &str, backend: &str) -> Result<Reply, Error> {
    api.store.assign_backend(&PoolId::new(pool), &BackendId::new(backend)).await?;
    api.runtime.changed();
    Reply::created(&"backend assigned")
}

/// `DELETE /backend-associations/{poolID}/backends/{backendID}`.
///
/// # Errors
/// 404.
pub async fn unassign_backend(api: &Api, pool: &str, backend: &str) -> Result<Reply, Error> {
    api.store.unassign_backend(&PoolId::new(pool), &BackendId::new(backend)).await?;
    api.put_in_force().await;
    Reply::json(&"backend removed")
}

/// `GET /backend-associations/{poolID}/backends`.
///
/// # Errors
/// Of the store only.
pub async fn backends_of(api: &Api, pool: &str) -> Result<Reply, Error> {
    Reply::json(&api.store.backends_of(&PoolId::new(pool)).await?)
}

/// `GET /backend-associations/{backendID}/pools`.
///
/// # Errors
/// Of the store only.
pub async fn pools_of_backend(api: &Api, backend: &str) -> Result<Reply, Error> {
    Reply::json(&api.store.pools_of_backend(&BackendId::new(backend)).await?)
}

/// `POST /model-associations/{poolID}/models/{modelID}`.
///
/// # Errors
/// 404, 409.
pub async fn assign_model(api: &Api, pool: &str, model: &str) -> Result<Reply, Error> {
    api.store.assign_model(&PoolId::new(pool), model).await?;
    api.runtime.changed();
    Reply::json(&"model assigned")
}

/// `DELETE /model-associations/{poolID}/models/{modelID}`.
///
/// # Errors
/// 403 for the default model of a seeded pool, 404.
pub async fn unassign_model(api: &Api, pool: &str, model: &str) -> Result<Reply, Error> {
    let pool = PoolId::new(pool);
    let stored = api.store.model(model).await?;
    if api.is_default_model_of(&pool, &stored.name) {
        let message = format!("model '{model}' is the default model of pool '{pool}' and cannot be removed from it");
        return Err(Error::new(ErrorCode::Immutable, message));
    }
    api.store.unassign_model(&pool, model).await?;
    api.put_in_force().await;
    Reply::json(&"model removed")
}

/// `GET /model-associations/{poolID}/models`.
///
/// # Errors
/// Of the store only.
pub async fn models_of(api: &Api, pool: &str) -> Result<Reply, Error> {
    let stored = api.store.models_of(&PoolId::new(pool)).await?;
    Reply::json(&stored.into_iter().map(|model| models::view(api, model)).collect::<Vec<_>>())
}

/// `GET /model-associations/{modelID}/pools`.
///
/// # Errors
/// Of the store only.
pub async fn pools_of_model(api: &Api, model: &str) -> Result<Reply, Error> {
    Reply::json(&api.store.pools_of_model(model).await?)
}
