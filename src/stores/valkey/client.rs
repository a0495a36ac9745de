//! The connection for commands, and when not to use it: a server that does not answer costs one request a second its patience,
//! and nobody else anything.

use std::{
    fmt::Display,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use fred::{
    clients::Client,
    interfaces::ClientLike,
    prelude::Error,
    types::{FromValue, MultipleKeys, scripts::Script},
};
use metrics::{Counter, Histogram};
use tokio::time::{Instant, timeout};

use super::{Ended, ValkeyError, ValkeySettings};
use crate::telemetry::families::{VALKEY_COMMANDS, VALKEY_DURATION};

/// Longest wait for an answer on the way of a request.
const PATIENCE: Duration = Duration::from_millis(100);
/// After a failure nobody asks for so long.
const REST: Duration = Duration::from_secs(1);

/// The client of everything but the bus. Cheap to clone.
#[derive(Clone)]
pub(super) struct ValkeyClient(Arc<Inner>);

struct Inner {
    client: Ended<Client>,
    /// Before every key.
    prefix: String,
    origin: Instant,
    /// Milliseconds from the origin, until which nobody asks.
    rests_until: AtomicU64,
    is_away: AtomicBool,
    ok: Counter,
    failed: Counter,
    skipped: Counter,
    duration: Histogram,
}

impl ValkeyClient {
    /// Begins to connect; it does not wait for it.
    pub(super) fn start(settings: &ValkeySettings) -> Result<Self, ValkeyError> {
        let client = Ended(settings.builder().build()?);
        // Its tasks end when it is told to quit.
        drop(client.0.connect());
        Ok(Self(Arc::new(Inner {
            client,
            prefix: format!("penstock:{}", settings.cluster),
            origin: Instant::now(),
            rests_until: AtomicU64::new(0),
            is_away: AtomicBool::new(false),
            ok: VALKEY_COMMANDS.count(&["ok"]),
            failed: VALKEY_COMMANDS.count(&["failed"]),
            skipped: VALKEY_COMMANDS.count(&["skipped"]),
            duration: VALKEY_DURATION.spread(&[]),
        })))
    }

    pub(super) fn client(&self) -> &Client {
        &self.0.client.0
    }

    pub(super) fn key(&self, rest: impl Display) -> String {
        format!("{}:{rest}", self.0.prefix)
    }

    /// Whether it makes sense to ask. After a rest one may try; the others go on without it until that has an answer.
    fn may_ask(&self) -> bool {
        let inner = &*self.0;
        let until = inner.rests_until.load(Ordering::Acquire);
        if until == 0 {
            return true;
        }
        let now = u64::try_from(inner.origin.elapsed().as_millis()).unwrap_or(u64::MAX);
        let next = now + millis(REST);
        now >= until && inner.rests_until.compare_exchange(until, next, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The answer to a command, unless the server is away or slow.
    pub(super) async fn ask<T>(&self, command: impl Future<Output = Result<T, Error>>) -> Option<T> {
        let inner = &*self.0;
        if !self.may_ask() {
            inner.skipped.increment(1);
            return None;
        }
        let began = Instant::now();
        let failed = if self.client().is_connected() {
            match timeout(PATIENCE, command).await {
                Ok(Ok(answer)) => {
                    inner.ok.increment(1);
                    inner.duration.record(began.elapsed());
                    inner.rests_until.store(0, Ordering::Release);
                    if inner.is_away.swap(false, Ordering::AcqRel) {
                        tracing::info!("Valkey is used again");
                    }
                    return Some(answer);
                }
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("no answer within {PATIENCE:?}"),
            }
        } else {
            "not connected".to_owned()
        };
        inner.failed.increment(1);
        let now = u64::try_from(inner.origin.elapsed().as_millis()).unwrap_or(u64::MAX);
        inner.rests_until.store(now + millis(REST), Ordering::Release);
        if !inner.is_away.swap(true, Ordering::AcqRel) {
            tracing::warn!(error = failed, "Valkey is away: this instance goes on by itself");
        }
        None
    }

    /// Runs a script.
    pub(super) async fn run<T: FromValue>(
        &self,
        script: &Script,
        keys: impl Into<MultipleKeys> + Send,
        arguments: Vec<String>,
    ) -> Option<T> {
        self.ask(script.evalsha_with_reload(self.client(), keys, arguments)).await
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
