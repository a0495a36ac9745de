//! A value that tests wait on without sleeping; holds the records and the gates.

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;

/// How long a wait goes on before it says what it saw instead. Far above what any step takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A value behind a lock, and a bell that rings at every change.
pub(crate) struct Watched<T> {
    value: Mutex<T>,
    changed: Notify,
}

impl<T> Watched<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { value: Mutex::new(value), changed: Notify::new() }
    }

    /// Looks at the value.
    pub(crate) fn read<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&self.lock())
    }

    /// Changes the value and wakes those who wait.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let result = change(&mut self.lock());
        self.changed.notify_waiters();
        result
    }

    /// Waits until `reached` holds, at most `patience`; `wanted` and `describe` make the error readable.
    pub(crate) async fn until(
        &self,
        patience: Duration,
        wanted: &str,
        describe: impl Fn(&T) -> String,
        mut reached: impl FnMut(&T) -> bool,
    ) -> Result<(), WaitError> {
        let watch = async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                // Listen first, look second: a change in between is then not lost.
                changed.as_mut().enable();
                if reached(&self.lock()) {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(patience, watch).await.map_err(|_| WaitError {
            wanted: wanted.to_owned(),
            patience,
            seen: self.read(describe),
        })
    }

    /// A panic in a test's predicate must not hide the record from the other waits.
    fn lock(&self) -> MutexGuard<'_, T> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was waited for did not happen; the text says what did.
#[derive(Debug, Clone)]
pub struct WaitError {
    wanted: String,
    patience: Duration,
    seen: String,
}

impl fmt::Display for WaitError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "waited {:?} for {}; seen: {}", self.patience, self.wanted, self.seen)
    }
}

impl std::error::Error for WaitError {}
