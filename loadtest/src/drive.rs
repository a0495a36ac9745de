//! The generator: asks a server as a scenario wants it, checks every answer, and measures from when each request was due.
//!
//! It runs on a thread and a runtime of its own, so that nothing of it competes with what watches; one thread, so that its
//! requests do not wake one another across cores.
//!
//! # Layout
//! - [`wire`]: one connection; [`ask`]: the bytes of a request; [`check`]: whether an answer is the right one
//! - [`lines`]: the connections, and who asks on which; [`schedule`]: when requests are due
//! - [`tally`]: what came of it

pub(crate) mod ask;
pub(crate) mod check;
pub(crate) mod lines;
pub(crate) mod schedule;
pub(crate) mod tally;
pub(crate) mod wire;

use std::{
    net::SocketAddr,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use tokio::sync::oneshot;

use self::{
    ask::Ask,
    lines::{Lines, Pace},
    tally::Shared,
};
use crate::scenario::{Allowances, Arrivals};

/// What is driven, and how.
#[derive(Clone)]
pub(crate) struct Drive {
    /// Where the server listens.
    pub(crate) server: SocketAddr,
    /// What is asked, each as often as its share says.
    pub(crate) asks: Arc<[Arc<Ask>]>,
    /// What may happen besides whole answers.
    pub(crate) allow: Arc<Allowances>,
    /// How much, and when.
    pub(crate) shape: Shape,
    /// Connections at most.
    pub(crate) connections: usize,
    /// For so long nothing counts.
    pub(crate) warm_up: Duration,
    /// For so long it counts.
    pub(crate) time: Duration,
}

/// When requests are sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Shape {
    /// When the one before it was answered.
    Closed,
    /// When they are due.
    Open {
        /// Requests a second.
        rate: f64,
        /// At which distances.
        arrivals: Arrivals,
    },
    /// At the beginning and at the end, with silence between.
    Idle,
}

/// A drive on its way.
pub(crate) struct Driving {
    /// What has come of it so far; may be read at any time.
    pub(crate) tally: Shared,
    /// The window that counts: known once the warm-up is over.
    pub(crate) begun: oneshot::Receiver<Instant>,
    /// Resolves when no more requests are sent, and all that count have ended.
    pub(crate) ended: oneshot::Receiver<Result<()>>,
}

/// After the last request is sent, its answer is waited for as long as this.
const PATIENCE: Duration = Duration::from_secs(60);

impl Drive {
    /// Begins.
    ///
    /// # Errors
    /// When no thread or runtime can be made.
    pub(crate) fn start(self) -> Result<Driving> {
        let tally = Shared::new()?;
        let (begin, begun) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let own = tally.clone();
        thread::Builder::new().name("generator".to_owned()).spawn(move || {
            let outcome = runtime.block_on(self.run(own, begin));
            // Whoever is not there any more does not want to know.
            let _unread = end.send(outcome);
        })?;
        Ok(Driving { tally, begun, ended })
    }

    async fn run(self, tally: Shared, begin: oneshot::Sender<Instant>) -> Result<()> {
        let lines = Lines::new(self.server, Arc::clone(&self.asks), Arc::clone(&self.allow), tally);
        let pace = match self.shape {
            Shape::Idle => return lines.idle(self.connections, self.time, begin).await,
            Shape::Closed => Pace::Closed,
            Shape::Open { .. } => Pace::Open,
        };
        let counts_from = Instant::now() + self.warm_up;
        let until = counts_from + self.time;
        lines.counts_between(counts_from, until);
        if begin.send(counts_from).is_err() {
            return Ok(());
        }
        let all = async {
            match (pace, self.shape) {
                (Pace::Open, Shape::Open { rate, arrivals }) => {
                    let due = schedule::start(rate, arrivals, Instant::now(), until)?;
                    lines.open(self.connections, due).await
                }
                _ => lines.closed(self.connections, until).await,
            }
        };
        let patience = self.warm_up + self.time + PATIENCE;
        tokio::time::timeout(patience, all).await.context("some answers never came")?
    }
}
