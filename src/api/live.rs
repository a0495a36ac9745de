//! A run whose steps are told while it runs (`docs/api.md`, live steps). Dropping it stops the run.

use std::{fmt, pin::Pin};

use futures_util::{Stream, stream};
use tokio::sync::mpsc;

use super::{Reply, failure};
use crate::{
    engine::RunOutcome,
    error::Error,
    runtime::run::{RunHandle, steps::StepEvent},
};

/// What is told of a run.
#[derive(Debug)]
pub enum LiveEvent {
    /// An attempt began or is over.
    Step(StepEvent),
    /// The run is over; always the last. What the answer would have been, had nobody watched.
    End(Box<Result<Reply, Error>>),
}

/// The events of a run, in order.
pub struct LiveRun(Pin<Box<dyn Stream<Item = LiveEvent> + Send>>);

impl LiveRun {
    /// The events of a started run. `answer` makes of its outcome what a caller who does not watch would get.
    pub(super) fn new(
        run: RunHandle,
        steps: mpsc::Receiver<StepEvent>,
        answer: fn(RunOutcome) -> Result<Reply, Error>,
    ) -> Self {
        let watched = Some((run, steps));
        Self(Box::pin(stream::unfold(watched, move |watched| async move {
            let (mut run, mut steps) = watched?;
            // The steps end before the run is answered.
            if let Some(step) = steps.recv().await {
                return Some((LiveEvent::Step(step), Some((run, steps))));
            }
            let end = run.outcome().await.ok_or_else(failure::crashed).and_then(answer);
            Some((LiveEvent::End(Box::new(end)), None))
        })))
    }

    /// The events.
    pub fn into_stream(self) -> impl Stream<Item = LiveEvent> + Send + Unpin {
        self.0
    }
}

impl fmt::Debug for LiveRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LiveRun")
    }
}
