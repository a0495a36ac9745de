//! What is counted of a store's answers (`docs/operations.md`, metrics).

use std::sync::atomic::{AtomicBool, Ordering};

use metrics::{Counter, Histogram};
use tokio::time::Instant;

use crate::{stores::catalog::StoreError, telemetry::families as f};

/// Of one store.
pub(super) struct StoreMeters {
    pub(super) reads: OperationMeters,
    pub(super) writes: OperationMeters,
}

impl Default for StoreMeters {
    fn default() -> Self {
        Self { reads: OperationMeters::of("read"), writes: OperationMeters::of("write") }
    }
}

/// Of one kind of operation.
pub(super) struct OperationMeters {
    ok: Counter,
    refused: Counter,
    unavailable: Counter,
    duration: Histogram,
    is_down: AtomicBool,
}

impl OperationMeters {
    fn of(kind: &str) -> Self {
        let operations = |outcome| f::STORE_OPERATIONS.count(&[kind, outcome]);
        Self {
            ok: operations("ok"),
            refused: operations("refused"),
            unavailable: operations("unavailable"),
            duration: f::STORE_DURATION.spread(&[kind]),
            is_down: AtomicBool::new(false),
        }
    }

    /// Whether it was answered the last time.
    pub(super) fn is_up(&self) -> bool {
        !self.is_down.load(Ordering::Relaxed)
    }

    pub(super) async fn measure<T>(
        &self,
        operation: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let began = Instant::now();
        let answer = operation.await;
        self.duration.record(began.elapsed());
        let outcome = match &answer {
            Ok(_) => &self.ok,
            Err(StoreError::Unavailable(_)) => &self.unavailable,
            Err(_) => &self.refused,
        };
        outcome.increment(1);
        self.is_down.store(matches!(answer, Err(StoreError::Unavailable(_))), Ordering::Relaxed);
        answer
    }
}
