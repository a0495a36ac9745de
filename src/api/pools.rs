//! `/pools` and the two look-ups (`docs/api.md`, pools).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Api, Reply, fields};
use crate::{
    domain::{
        ids::PoolId,
        page::Page,
        pool::{
            AnswerKeeping, Batching, CallSettings, Hedging, MAX_QUEUE_CAPACITY, Policy, Pool, PoolPatch, QueueLimits,
            RetryBudget,
        },
        slip::Slip,
    },
    error::{Error, ErrorCode},
};

/// Longest wait in a queue.
const MAX_WAIT_MS: u32 = 600_000;
/// Most repeats in a second that are allowed however few calls there are.
const MAX_MIN_RETRIES: u32 = 10_000;
/// Latest hedge, and the longest answer that is hedged.
const MAX_HEDGE_MS: u32 = 60_000;
const MAX_HEDGED_TOKENS: u32 = 4_096;
/// Longest wait of an embedding for others, in milliseconds, and the texts of one call.
const MAX_BATCH_WINDOW_MS: f64 = 2.0;
const MAX_BATCH_INPUTS: u32 = 2_048;
/// Longest time that an answer is kept, and the largest one.
const MAX_KEPT_MS: u32 = 7 * 24 * 3_600_000;
const MAX_KEPT_BYTES: u32 = 4 * 1024 * 1024;

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
    retry_budget: Option<RetryBudgetInput>,
    hedging: Option<HedgingInput>,
    batching: Option<BatchingInput>,
    single_flight: Option<bool>,
    cache: Option<CacheInput>,
}

#[derive(Deserialize, Serialize, Default, ToSchema)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct QueueInput {
    capacity: Option<i64>,
    max_wait_ms: Option<i64>,
}

#[derive(Deserialize, Serialize, Default, ToSchema)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct RetryBudgetInput {
    ratio: Option<f64>,
    min_per_second: Option<i64>,
}

#[derive(Deserialize, Serialize, Default, ToSchema)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct HedgingInput {
    after_ms: Option<i64>,
    max_tokens: Option<i64>,
}

#[derive(Deserialize, Serialize, Default, ToSchema)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct BatchingInput {
    window_ms: Option<f64>,
    max_inputs: Option<i64>,
}

#[derive(Deserialize, Serialize, Default, ToSchema)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct CacheInput {
    ttl_ms: Option<i64>,
    max_bytes: Option<i64>,
}

impl RetryBudgetInput {
    fn check(self, stored: RetryBudget) -> Result<RetryBudget, Error> {
        let least = self.min_per_second;
        let least = least.map(|value| fields::number("retryBudget.minPerSecond", value, 0, MAX_MIN_RETRIES));
        let ratio = self.ratio.map(|value| fields::fraction("retryBudget.ratio", value, 1.0));
        Ok(RetryBudget {
            ratio: ratio.transpose()?.unwrap_or(stored.ratio),
            min_per_second: least.transpose()?.unwrap_or(stored.min_per_second),
        })
    }
}

impl HedgingInput {
    fn check(self, stored: Hedging) -> Result<Hedging, Error> {
        let after = self.after_ms.map(|value| fields::number("hedging.afterMs", value, 0, MAX_HEDGE_MS));
        let tokens = self.max_tokens.map(|value| fields::number("hedging.maxTokens", value, 1, MAX_HEDGED_TOKENS));
        Ok(Hedging {
            after_ms: after.transpose()?.map_or(stored.after_ms, u64::from),
            max_tokens: tokens.transpose()?.unwrap_or(stored.max_tokens),
        })
    }
}

impl BatchingInput {
    fn check(self, stored: Batching) -> Result<Batching, Error> {
        let window = self.window_ms.map(|value| fields::fraction("batching.windowMs", value, MAX_BATCH_WINDOW_MS));
        let inputs = self.max_inputs.map(|value| fields::number("batching.maxInputs", value, 1, MAX_BATCH_INPUTS));
        Ok(Batching {
            window_ms: window.transpose()?.unwrap_or(stored.window_ms),
            max_inputs: inputs.transpose()?.unwrap_or(stored.max_inputs),
        })
    }
}

impl CacheInput {
    fn check(self, stored: AnswerKeeping) -> Result<AnswerKeeping, Error> {
        let time = self.ttl_ms.map(|value| fields::number("cache.ttlMs", value, 0, MAX_KEPT_MS));
        let bytes = self.max_bytes.map(|value| fields::number("cache.maxBytes", value, 1, MAX_KEPT_BYTES));
        Ok(AnswerKeeping {
            ttl_ms: time.transpose()?.map_or(stored.ttl_ms, u64::from),
            max_bytes: bytes.transpose()?.unwrap_or(stored.max_bytes),
        })
    }
}

impl PoolInput {
    /// What is to be stored, with what is left out of an object as it is stored now.
    fn check(self, stored: QueueLimits, calls: CallSettings) -> Result<PoolPatch, Error> {
        let changes_calls = self.retry_budget.is_some()
            || self.hedging.is_some()
            || self.batching.is_some()
            || self.single_flight.is_some()
            || self.cache.is_some();
        let calls = CallSettings {
            retry_budget: self.retry_budget.unwrap_or_default().check(calls.retry_budget)?,
            hedging: self.hedging.unwrap_or_default().check(calls.hedging)?,
            batching: self.batching.unwrap_or_default().check(calls.batching)?,
            single_flight: self.single_flight.unwrap_or(calls.single_flight),
            cache: self.cache.unwrap_or_default().check(calls.cache)?,
        };
        let policy = self.policy.map(|name| {
            Policy::parse(&name).ok_or_else(|| {
                let known: Vec<&str> = Policy::ALL.into_iter().map(Policy::as_str).collect();
                Error::unprocessable(format!("field 'policy' must be {}, not {}", known.join(", "), Slip(&name)))
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
            calls: changes_calls.then_some(calls),
        })
    }
}

/// `POST /pools`.
///
/// # Errors
/// 422, 409, 429.
pub async fn create(api: &Api, input: PoolInput) -> Result<Reply, Error> {
    let patch = input.check(QueueLimits::default(), CallSettings::default())?;
    if patch.name.is_none() {
        return Err(fields::missing("name"));
    }
    let pool = api.store.create_pool(patch).await?;
    api.runtime.changed();
    Ok(Reply::created(&pool)?.warning(cannot_keep(api, &pool)))
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
    let patch = input.check(stored.queue, stored.calls)?;
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
    Ok(Reply::json(&pool)?.warning(cannot_keep(api, &pool)))
}

/// What to know of a pool whose answers are to be kept where there is no place for them.
fn cannot_keep(api: &Api, pool: &Pool) -> Option<String> {
    let is_vain = pool.calls.cache.ttl_ms > 0 && !api.runtime.dispatcher.can_keep();
    is_vain.then(|| "field 'cache' has no effect: answers are kept in Valkey, and KV_HOST is not set".to_owned())
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
