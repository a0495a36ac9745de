//! The connections of a drive: which of them asks next, and what it asks.
//!
//! In an open loop a free connection is taken before a new one is opened, the one last used first, as pools of clients do it.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use tokio::sync::{
    mpsc::UnboundedReceiver,
    oneshot::{self, Sender},
};
use tokio_util::task::TaskTracker;

use crate::{
    drive::{
        ask::{Ask, Number},
        check::Verdict,
        tally::Shared,
        wire::{Heard, Wire},
    },
    scenario::Allowances,
};

/// Connections that are opened at a time before they fall silent.
const OPENED_AT_ONCE: usize = 64;

/// All that the connections share.
#[derive(Clone)]
pub(crate) struct Lines(Arc<Inner>);

struct Inner {
    server: SocketAddr,
    asks: Arc<[Arc<Ask>]>,
    /// Indices of the questions, each as often as its share says.
    order: Vec<usize>,
    allow: Arc<Allowances>,
    tally: Shared,
    /// What counts: from when until when.
    window: OnceLock<(Instant, Instant)>,
    queue: Mutex<Queue>,
    tasks: TaskTracker,
}

/// Requests that are due and not sent, and connections that have nothing to do.
#[derive(Default)]
struct Queue {
    asked: u64,
    due: VecDeque<Instant>,
    idle: Vec<Sender<Instant>>,
    open: usize,
    over: bool,
}

/// Who decides when the next request is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// The answer to the one before it.
    Closed,
    /// The schedule.
    Open,
}

impl Lines {
    pub(crate) fn new(server: SocketAddr, asks: Arc<[Arc<Ask>]>, allow: Arc<Allowances>, tally: Shared) -> Self {
        let order = order(&asks.iter().map(|ask| ask.share).collect::<Vec<_>>());
        let (window, queue, tasks) = (OnceLock::new(), Mutex::default(), TaskTracker::new());
        Self(Arc::new(Inner { server, asks, order, allow, tally, window, queue, tasks }))
    }

    /// Sets what counts.
    pub(crate) fn counts_between(&self, from: Instant, until: Instant) {
        self.0.window.get_or_init(|| (from, until));
    }

    /// Each connection asks until the time is over.
    pub(crate) async fn closed(&self, connections: usize, until: Instant) -> Result<()> {
        for _ in 0..connections {
            let lines = self.clone();
            self.0.tasks.spawn(async move {
                let mut wire = None;
                while Instant::now() < until {
                    lines.turn(&mut wire, Instant::now(), Pace::Closed).await;
                }
            });
        }
        self.finished().await
    }

    /// Asks when requests are due.
    pub(crate) async fn open(&self, connections: usize, mut due: UnboundedReceiver<Instant>) -> Result<()> {
        while let Some(due) = due.recv().await {
            let mut due = Some(due);
            self.queue(|queue| {
                while let Some(moment) = due
                    && let Some(idle) = queue.idle.pop()
                {
                    due = idle.send(moment).err();
                }
                if let Some(moment) = due.take() {
                    if queue.open < connections {
                        queue.open += 1;
                        due = Some(moment);
                    } else {
                        queue.due.push_back(moment);
                    }
                }
            });
            if let Some(first) = due {
                let lines = self.clone();
                self.0.tasks.spawn(async move { lines.work(first).await });
            }
        }
        // Those that wait for more hear that nothing comes.
        self.queue(|queue| {
            queue.over = true;
            queue.idle.clear();
        });
        self.finished().await
    }

    /// One connection of an open loop.
    async fn work(&self, first: Instant) {
        let (mut wire, mut due) = (None, first);
        loop {
            self.turn(&mut wire, due, Pace::Open).await;
            let next = self.queue(|queue| match queue.due.pop_front() {
                Some(due) => Some(Ok(due)),
                None if queue.over => None,
                None => {
                    let (give, take) = oneshot::channel();
                    queue.idle.push(give);
                    Some(Err(take))
                }
            });
            due = match next {
                Some(Ok(due)) => due,
                Some(Err(take)) => match take.await {
                    Ok(due) => due,
                    Err(_over) => return,
                },
                None => return,
            };
        }
    }

    /// Opens connections, asks once on each, is silent, and asks once more on each.
    pub(crate) async fn idle(&self, connections: usize, silence: Duration, begin: Sender<Instant>) -> Result<()> {
        let mut wires = Vec::with_capacity(connections);
        while wires.len() < connections {
            let more = OPENED_AT_ONCE.min(connections - wires.len());
            let opening = (0..more).map(|_| self.opened());
            for wire in futures_util::future::join_all(opening).await {
                wires.push(wire?);
            }
        }
        let now = Instant::now();
        self.counts_between(now, now + Duration::from_secs(3600));
        if begin.send(now).is_err() {
            return Ok(());
        }
        tokio::time::sleep(silence).await;
        for wire in wires {
            let mut wire = Some(wire);
            self.turn(&mut wire, Instant::now(), Pace::Open).await;
        }
        self.finished().await
    }

    async fn opened(&self) -> Result<Wire> {
        let mut wire = Wire::open(self.0.server, &self.0.tasks).await.context("a connection cannot be opened")?;
        let (ask, number) = self.next_ask();
        match wire.ask(ask, number, &self.0.allow).await.verdict {
            Verdict::Answered => Ok(wire),
            other => bail!("the first request on a connection was not answered: {other:?}"),
        }
    }

    /// One request from the moment it is due until its answer is heard.
    async fn turn(&self, kept: &mut Option<Wire>, due: Instant, pace: Pace) {
        let (ask, number) = self.next_ask();
        if kept.as_ref().is_none_or(|wire| !wire.is_open()) {
            *kept = match Wire::open(self.0.server, &self.0.tasks).await {
                Ok(wire) => Some(wire),
                Err(error) => {
                    let now = Instant::now();
                    let verdict = Verdict::Failed(format!("no connection: {error:#}"));
                    let heard = Heard { verdict, sent: now, ended: now, first: None, gaps: Vec::new(), frames: 0 };
                    self.tell(due, heard, pace);
                    // Whoever refuses connections is not asked again at once.
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    return;
                }
            };
        }
        let Some(wire) = kept.as_mut() else { return };
        let heard = wire.ask(ask, number, &self.0.allow).await;
        if !matches!(heard.verdict, Verdict::Answered | Verdict::Refused) {
            *kept = None;
        }
        self.tell(due, heard, pace);
    }

    fn tell(&self, due: Instant, heard: Heard, pace: Pace) {
        let Some((from, until)) = self.0.window.get() else { return };
        let decides = match pace {
            Pace::Closed => heard.ended,
            Pace::Open => due,
        };
        if decides >= *from && decides < *until {
            self.0.tally.with(|tally| tally.add(due, heard, &self.0.allow));
        }
    }

    fn next_ask(&self) -> (&Ask, Number) {
        let asked = self.queue(|queue| {
            queue.asked += 1;
            queue.asked
        });
        let order = &self.0.order;
        let at = order[usize::try_from(asked).unwrap_or_default() % order.len()];
        (&self.0.asks[at], Number::nth(asked))
    }

    fn queue<T>(&self, change: impl FnOnce(&mut Queue) -> T) -> T {
        change(&mut self.0.queue.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn finished(&self) -> Result<()> {
        self.0.tasks.close();
        self.0.tasks.wait().await;
        Ok(())
    }
}

/// Indices in turns, each as often as its share says, those of one kind spread among the others.
fn order(shares: &[u32]) -> Vec<usize> {
    let mut places: Vec<(f64, usize)> = shares
        .iter()
        .enumerate()
        .flat_map(|(at, share)| (0..*share).map(move |nth| ((f64::from(nth) + 0.5) / f64::from(*share), at)))
        .collect();
    places.sort_by(|one, other| one.0.total_cmp(&other.0));
    places.into_iter().map(|(_, at)| at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_question_is_asked_as_often_as_its_share_says_and_among_the_others() {
        assert_eq!(order(&[1]), [0]);
        assert_eq!(order(&[1, 1]), [0, 1]);
        assert_eq!(order(&[4, 2, 1]), [0, 1, 0, 2, 0, 1, 0]);
    }
}
