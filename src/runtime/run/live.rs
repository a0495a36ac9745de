//! What a run publishes of itself while it lives, and the way to end it from outside: read without asking its actor.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{RunMsg, RunSpec};
use crate::{
    domain::{
        cluster::ReportedRun,
        ids::{ChainId, RequestId, RunId},
        priority::Priority,
        time::Timestamp,
    },
    runtime::mailbox::{Address, Lane, MailboxSnapshot, SendError},
};

/// Longest wait for a run that was told to stop.
const STOP_TIME: Duration = Duration::from_secs(10);

/// One run that lives.
pub struct LiveRun {
    /// Which.
    pub id: RunId,
    /// The request it runs for.
    pub request_id: RequestId,
    /// The chain's id, where it has one.
    pub chain: Option<ChainId>,
    /// When it began.
    pub started_at: Timestamp,
    /// Before whom its calls are served.
    pub priority: Priority,
    progress: ArcSwap<Progress>,
    calls: AtomicUsize,
    address: Address<RunMsg>,
    ended: CancellationToken,
}

/// How far a run has come.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Progress {
    /// The task it is at; `None` before the first and after the last.
    pub task: Option<Arc<str>>,
    /// Attempts that are over.
    pub steps: usize,
}

/// Why a run was not cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CancelError {
    /// It has ended by itself.
    #[error("the run is over")]
    Over,
    /// It was told, and something of it still runs.
    #[error("the run was cancelled but has not stopped yet")]
    Slow,
}

/// Held by everything that works for a run: when the last falls, the run has stopped.
pub(in crate::runtime) type Alive = Arc<DropGuard>;

/// A call of a model that a run makes; counted for as long as it lives.
pub(super) struct CountedCall(Arc<LiveRun>);

impl Drop for CountedCall {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::AcqRel);
    }
}

impl LiveRun {
    /// Of a run that is about to begin, and what it lives by.
    pub(super) fn new(spec: &RunSpec, address: Address<RunMsg>) -> (Arc<Self>, Alive) {
        let ended = CancellationToken::new();
        let live = Self {
            id: spec.info.run_id.clone(),
            request_id: spec.info.request_id.clone(),
            chain: spec.chain.clone(),
            started_at: spec.info.started_at,
            priority: spec.scope.priority.unwrap_or_default(),
            progress: ArcSwap::default(),
            calls: AtomicUsize::new(0),
            address,
            ended: ended.clone(),
        };
        (Arc::new(live), Arc::new(ended.drop_guard()))
    }

    /// How far it has come.
    pub fn progress(&self) -> Arc<Progress> {
        self.progress.load_full()
    }

    /// Calls of models that it is making, or waits to make.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::Acquire)
    }

    /// What is told of it.
    pub fn report(&self) -> ReportedRun {
        let progress = self.progress();
        ReportedRun {
            id: self.id.clone(),
            chain: self.chain.clone(),
            request: self.request_id.clone(),
            started_at: self.started_at,
            task: progress.task.as_deref().map(str::to_owned),
            steps: progress.steps,
            calls: self.calls(),
            priority: self.priority,
        }
    }

    /// How full its actor's mailbox is.
    pub(in crate::runtime) fn mailbox(&self) -> Option<MailboxSnapshot> {
        self.address.snapshot()
    }

    pub(super) fn show(&self, progress: Progress) {
        self.progress.store(Arc::new(progress));
    }

    pub(super) fn count_call(self: &Arc<Self>) -> CountedCall {
        self.calls.fetch_add(1, Ordering::AcqRel);
        CountedCall(Arc::clone(self))
    }

    /// Ends the run: its caller is told so. Resolves when nothing of it runs any more: its calls are given up, its actor
    /// has ended.
    ///
    /// # Errors
    /// When it was over already, or does not stop.
    pub async fn cancel(&self) -> Result<(), CancelError> {
        let stopped = async {
            let told = self.address.send(Lane::Control, RunMsg::Cancel).await;
            self.ended.cancelled().await;
            told
        };
        match tokio::time::timeout(STOP_TIME, stopped).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(SendError::Gone | SendError::Full)) => Err(CancelError::Over),
            Err(_) => Err(CancelError::Slow),
        }
    }
}
