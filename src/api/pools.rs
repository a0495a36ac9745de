//! `/pools` and the two look-ups (`docs/api.md`, pools).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Api, Reply, fields};
use crate::{
    domain::{
        ids::PoolId,
        page::Page,
        pool::{Policy, PoolPatch, QueueLimits},
    },
    error::{Error, ErrorCode},
};

/// Largest queue a pool may have, and the longest wait.
const MAX_QUEUE_CAPACITY: u32 = 4_096;
const MAX_WAIT_MS: u32 = 600_000;

/// Body of POST and PUT.
#[derive(Deserialize, Default, ToSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct PoolInput {
    name: Option<String>,
    purpose_type: Option<String>,
    #[schema(value_type = Option<Policy>)]
    policy: Option<String>,
    queue: Option<QueueInput>,
    require_labels: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize, Serialize, Default, ToSchema)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct QueueInput {
    capacity: Option<i64>,
    max_wait_ms: Option<i64>,
}

impl PoolInput {
    fn check(self, stored: QueueLimits) -> Result<PoolPatch, Error> {
        let policy = self.policy.map(|name| {
            Policy::parse(&name).ok_or_else(|| {
                let known: Vec<&str> = Policy::ALL.into_iter().map(Policy::as_str).collect();
                Error::unprocessable(format!("field 'policy' must be {}, not '{name}'", known.join(", ")))
            })
        });
        let queue = self.queue.map(|queue| {
            let capacity = queue.capacity.map(|value| fields::number("queue.capacity", value, 0, MAX_QUEUE_CAPACITY));
            let wait = queue.max_wait_ms.map(|value| fields::number("queue.maxWaitMs", value, 1, MAX_WAIT_MS));
            Ok::<_, Error>(QueueLimits {
                capacity: capacity.transpose()?.unwrap_or(stored.capacity),
                max_wait_ms: wait.transpose()?.map_or(stored.max_wait_ms, u64::from),
            })
        });
        Ok(PoolPatch {
            name: self.name.map(|name| fields::required("name", &name)).transpose()?,
            purpose_type: self.purpose_type.map(|purpose| fields::text("purposeType", &purpose)).transpose()?,
            policy: policy.transpose()?,
            queue: queue.transpose()?,
            require_labels: self.require_labels,
        })
    }
}

/// `POST /pools`.
///
/// # Errors
/// 422, 409, 429.
pub async fn create(api: &Api, input: PoolInput) -> Result<Reply, Error> {
    let patch = input.check(QueueLimits::default())?;
    if patch.name.is_none() {
        return Err(fields::missing("name"));
    }
    let pool = api.store.create_pool(patch).await?;
    api.runtime.reconcile.poke();
    Reply::created(&pool)
}

/// `GET /pools`.
///
/// # Errors
/// Of the store only.
pub async fn list(api: &Api) -> Result<Reply, Error> {
    Reply::json(&api.store.pools().await?)
}

/// `GET /pools/{id}`.
///
/// # Errors
/// 404.
pub async fn get(api: &Api, id: &str) -> Result<Reply, Error> {
    Reply::json(&api.store.pool(&PoolId::new(id)).await?)
}

/// `PUT /pools/{id}`.
///
/// # Errors
/// 403 for another name or purpose of a seeded pool, 404, 409, 422.
pub async fn update(api: &Api, id: &str, input: PoolInput) -> Result<Reply, Error> {
    let id = PoolId::new(id);
    let stored = api.store.pool(&id).await?;
    let patch = input.check(stored.queue)?;
    if Api::is_default_pool(&id) {
        let is_renamed = patch.name.as_ref().is_some_and(|name| *name != stored.name);
        let is_repurposed = patch.purpose_type.as_ref().is_some_and(|purpose| *purpose != stored.purpose_type);
        if is_renamed || is_repurposed {
            let message = format!("pool '{id}' is a default pool: its name and purposeType cannot be changed");
            return Err(Error::new(ErrorCode::Immutable, message));
        }
    } else if patch.name.is_none() {
        return Err(fields::missing("name"));
    }
    let pool = api.store.update_pool(&id, patch).await?;
    api.put_in_force().await;
    Reply::json(&pool)
}

/// `DELETE /pools/{id}`.
///
/// # Errors
/// 403 for a seeded pool, 404.
pub async fn delete(api: &Api, id: &str) -> Result<Reply, Error> {
    let id = PoolId::new(id);
    if Api::is_default_pool(&id) {
        let message = format!("pool '{id}' is a default pool and cannot be deleted");
        return Err(Error::new(ErrorCode::Immutable, message));
    }
    api.store.delete_pool(&id).await?;
    api.put_in_force().await;
    Reply::json(&"deleted")
}

/// `GET /pool-by-name/{name}`.
///
/// # Errors
/// 404.
pub async fn by_name(api: &Api, name: &str) -> Result<Reply, Error> {
    Reply::json(&api.store.pool_by_name(name).await?)
}

/// `GET /pool-by-purpose/{purpose}`.
///
/// # Errors
/// Of the store only.
pub async fn by_purpose(api: &Api, purpose: &str, page: Page) -> Result<Reply, Error> {
    Reply::json(&api.store.pools_by_purpose(purpose, page).await?)
}
