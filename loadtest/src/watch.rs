//! Watches a server's process while it is asked: memory over time, and what was used between two moments.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use crate::process::{Process, Usage};

/// Between two looks at the memory: often enough for a curve, seldom enough to cost nothing.
const PERIOD: Duration = Duration::from_millis(250);

/// A process under watch.
pub(crate) struct Watch {
    process: Process,
    seen: Arc<Mutex<Vec<(f64, f64)>>>,
    looks: JoinHandle<()>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.looks.abort();
    }
}

impl Watch {
    /// Begins.
    pub(crate) fn begin(process: Process) -> Self {
        let (began, seen) = (Instant::now(), Arc::new(Mutex::new(Vec::new())));
        let own = Arc::clone(&seen);
        let looks = TaskTracker::new().spawn(async move {
            let mut ticks = tokio::time::interval(PERIOD);
            loop {
                ticks.tick().await;
                if let Ok(usage) = process.usage() {
                    let point = (began.elapsed().as_secs_f64(), mib(usage.resident_bytes));
                    own.lock().unwrap_or_else(PoisonError::into_inner).push(point);
                }
            }
        });
        Self { process, seen, looks }
    }

    /// What was used so far.
    pub(crate) fn usage(&self) -> io::Result<Usage> {
        self.process.usage()
    }

    /// Memory over time: seconds, MiB.
    pub(crate) fn memory(&self) -> Vec<(f64, f64)> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Bytes as MiB.
pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
