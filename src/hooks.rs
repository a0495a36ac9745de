//! Calls of remote hooks (`docs/hooks.md`): finds the hook by name, sends the body, reads a bounded reply.

use std::{sync::Arc, time::Duration};

use bytes::BytesMut;
use metrics::{Counter, Histogram};
use reqwest::{Method, Response, header};
use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    dialect::json,
    domain::{
        failure::{Failure, FailureClass, RefusalReason},
        hook::Hook,
        ids::RequestId,
    },
    providers::{Transport, retry_after, root_cause},
    stores::catalog::{CatalogStore, StoreError},
    telemetry::{
        Memo,
        families::{HOOK_CALLS, HOOK_DURATION},
    },
};

/// Longest reply of a hook.
const MAX_REPLY_BYTES: usize = 10 << 20;
/// Characters of a hook's own error text that are shown.
const SHOWN_WORDS: usize = 200;

/// Calls hooks by name; cheap to clone.
#[derive(Clone)]
pub struct HookClient {
    store: Arc<dyn CatalogStore>,
    transport: Transport,
    meters: Arc<Memo<String, HookMeters>>,
}

/// Hooks that are told apart in metrics; more are not counted.
const MOST_HOOKS: usize = 512;

/// What is counted of one hook.
struct HookMeters {
    name: String,
    ends: Memo<String, Counter>,
    duration: Histogram,
}

impl HookMeters {
    fn of(name: &str) -> Self {
        let ends = Memo::of_at_most(FailureClass::ALL.len() + 1);
        Self { name: name.to_owned(), ends, duration: HOOK_DURATION.spread(&[name]) }
    }

    fn ended(&self, outcome: &'static str, took: Duration) {
        if let Some(ends) = self.ends.get(outcome, || HOOK_CALLS.count(&[&self.name, outcome])) {
            ends.increment(1);
        }
        self.duration.record(took);
    }
}

impl HookClient {
    /// Looks hooks up in `store` and calls them through the client all upstream calls share.
    pub fn new(store: Arc<dyn CatalogStore>, transport: Transport) -> Self {
        Self { store, transport, meters: Arc::new(Memo::of_at_most(MOST_HOOKS)) }
    }

    /// Sends `body` to the hook registered as `name` and returns the decoded reply of a 2xx answer.
    ///
    /// # Errors
    /// An unknown hook, a timeout, a broken connection, another status (carried along), or an unusable reply.
    pub async fn call(&self, name: &str, body: &impl Serialize, request_id: &RequestId) -> Result<Value, Failure> {
        let hook = self.store.hook_by_name(name).await.map_err(|error| match error {
            StoreError::NotFound(_) => failure(format!("hook '{name}' is not registered")),
            _ => Failure::refused(RefusalReason::StoreUnavailable, "the store of hooks is unavailable"),
        })?;
        let limit = Duration::from_millis(u64::try_from(hook.timeout_ms).unwrap_or(1));
        let late = || {
            let message = format!("hook '{name}' did not answer within {} ms", hook.timeout_ms);
            Failure::new(FailureClass::Timeout, message)
        };
        let body = serde_json::to_vec(body).map_err(|error| failure(format!("the hook's input: {error}")))?;
        let began = Instant::now();
        let exchange = tokio::time::timeout(limit, self.exchange(&hook, body, request_id)).await;
        let outcome = exchange.unwrap_or_else(|_| Err(late()));
        // Only those that are registered: what a chain writes is no name.
        if let Some(meters) = self.meters.get(name, || HookMeters::of(name)) {
            meters.ended(outcome.as_ref().err().map_or("ok", |failure| failure.class.as_str()), began.elapsed());
        }
        outcome
    }

    async fn exchange(&self, hook: &Hook, body: Vec<u8>, request_id: &RequestId) -> Result<Value, Failure> {
        let name = &hook.name;
        let method: Method = hook.method.parse().map_err(|_| failure(format!("hook '{name}' has no valid method")))?;
        let request = self
            .transport
            .client()
            .request(method, &hook.endpoint_url)
            .header(header::CONTENT_TYPE, "application/json")
            .header("x-request-id", request_id.as_str())
            .body(body);
        let response = request.send().await.map_err(|error| {
            failure(format!("hook '{name}' cannot be reached or broke off ({})", root_cause(&error)))
        })?;
        let status = response.status();
        let retry_after = retry_after(response.headers(), jiff::Timestamp::now());
        let reply = collect(response, name).await;
        if !status.is_success() {
            let words = reply.ok().and_then(|body| own_words(&body)).map_or(String::new(), |text| format!(": {text}"));
            let refused = failure(format!("hook '{name}' answered {}{words}", status.as_u16()));
            return Err(Failure { retry_after, ..refused.with_status(status.as_u16()) });
        }
        json::decode(&reply?).map_err(|error| failure(format!("hook '{name}' answered no valid JSON: {error}")))
    }
}

async fn collect(mut response: Response, name: &str) -> Result<BytesMut, Failure> {
    let mut whole = BytesMut::new();
    while let Some(piece) =
        response.chunk().await.map_err(|_| failure(format!("hook '{name}' broke off in the middle of its answer")))?
    {
        whole.extend_from_slice(&piece);
        if whole.len() > MAX_REPLY_BYTES {
            return Err(failure(format!("the answer of hook '{name}' is larger than {MAX_REPLY_BYTES} bytes")));
        }
    }
    Ok(whole)
}

/// The `error` member of a failed hook's body.
fn own_words(body: &[u8]) -> Option<String> {
    let value: Value = json::decode(body).ok()?;
    let words = value.get("error")?.as_str()?.trim();
    (!words.is_empty()).then(|| words.chars().take(SHOWN_WORDS).collect())
}

fn failure(message: impl Into<String>) -> Failure {
    Failure::new(FailureClass::HookError, message)
}
