//! What happens in the server, for whoever watches it live (`GET /events`): backends, breakers, limits, downloads, runs, alerts.
//!
//! Nobody waits for a watcher: the latest events are kept for those who come back, one that is too slow is told that it has missed
//! some. Runs have a place of their own, so that many of them do not push out what is rare.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::{Stream, StreamExt, stream};
use metrics::Counter;
use serde::Serialize;
use tokio::sync::broadcast::{self, error::RecvError};

use crate::{
    domain::{
        alert::Alert,
        ids::{BackendId, ChainId, InstanceId, RequestId, RunId},
        time::Timestamp,
    },
    runtime::directory::BreakerPosition,
    telemetry::families::LIVE_EVENTS_DROPPED,
};

/// Events of each of the two places that are kept.
const KEPT: usize = 1024;
/// Events that a watcher may be behind.
const BEHIND: usize = 1024;

/// One thing that has happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Happening {
    /// A backend can be used, or cannot any more.
    #[serde(rename_all = "camelCase")]
    Health {
        /// Which.
        backend: BackendId,
        /// Its name.
        name: String,
        /// Whether it can be used.
        healthy: bool,
        /// Why not.
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// A breaker has another position.
    Breaker {
        /// Whose.
        backend: BackendId,
        /// Where it stands.
        state: BreakerPosition,
    },
    /// Another limit of calls at once was found.
    Limit {
        /// Whose.
        backend: BackendId,
        /// What it was.
        before: u16,
        /// What it is.
        limit: u16,
    },
    /// A download has begun or is over.
    Download {
        /// Where.
        backend: BackendId,
        /// Of what.
        model: String,
        /// `started`, `success`, `cancelled` or `failed`.
        status: &'static str,
        /// Why it failed.
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// A run has begun or is over.
    #[serde(rename_all = "camelCase")]
    Run {
        /// Which.
        run: RunId,
        /// The request it runs for.
        #[serde(rename = "requestID")]
        request: RequestId,
        /// Its chain, where it has an id.
        #[serde(skip_serializing_if = "Option::is_none")]
        chain: Option<ChainId>,
        /// `started`, `ok`, `left`, or the class of the failure.
        status: &'static str,
        /// How long it took, of one that is over.
        #[serde(skip_serializing_if = "Option::is_none")]
        duration_ms: Option<u64>,
    },
    /// A chain has raised an alert, here or on another instance.
    Alert(Arc<Alert>),
}

impl Happening {
    /// The name of its event.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Health { .. } => "health",
            Self::Breaker { .. } => "breaker",
            Self::Limit { .. } => "limit",
            Self::Download { .. } => "download",
            Self::Run { .. } => "run",
            Self::Alert(_) => "alert",
        }
    }
}

/// One event, and its place in the order of all.
#[derive(Debug, Clone, PartialEq)]
pub struct FeedEvent {
    /// Rises by one with every event of the process.
    pub number: u64,
    /// When it happened.
    pub at: Timestamp,
    /// What happened.
    pub what: Happening,
}

/// What a watcher is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Seen {
    /// An event, with the id by which a watcher can go on behind it.
    Event(String, Arc<FeedEvent>),
    /// There were events that this watcher is not told.
    Missed,
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Feed(Arc<Inner>);

struct Inner {
    instance: InstanceId,
    latest: Mutex<Latest>,
    live: broadcast::Sender<Arc<FeedEvent>>,
    dropped: Counter,
}

#[derive(Default)]
struct Latest {
    /// Events so far.
    count: u64,
    runs: VecDeque<Arc<FeedEvent>>,
    others: VecDeque<Arc<FeedEvent>>,
}

impl Feed {
    pub(super) fn new(instance: InstanceId) -> Self {
        let (live, _) = broadcast::channel(BEHIND);
        let dropped = LIVE_EVENTS_DROPPED.count(&[]);
        Self(Arc::new(Inner { instance, latest: Mutex::default(), live, dropped }))
    }

    /// Tells all who watch.
    pub(super) fn tell(&self, what: Happening) {
        let mut latest = self.0.latest.lock().unwrap_or_else(PoisonError::into_inner);
        latest.count += 1;
        let event = Arc::new(FeedEvent { number: latest.count, at: Timestamp::now(), what });
        let place = if matches!(event.what, Happening::Run { .. }) { &mut latest.runs } else { &mut latest.others };
        if place.len() >= KEPT {
            place.pop_front();
        }
        place.push_back(Arc::clone(&event));
        // Within the lock, so that whoever begins to watch gets each event once. That nobody watches is no fault.
        drop(self.0.live.send(event));
    }

    /// What happens from here on, behind what is kept of the events after this id. One that is not of this process, or whose
    /// followers are not all kept, is followed by [`Seen::Missed`] and everything that is kept.
    pub fn follow(&self, after: Option<&str>) -> impl Stream<Item = Seen> + Send + 'static + use<> {
        let latest = self.0.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let live = self.0.live.subscribe();
        let mut first = Vec::new();
        if let Some(after) = after {
            let number = self.number_of(after).filter(|number| *number <= latest.count);
            let mut kept: Vec<&Arc<FeedEvent>> = latest.runs.iter().chain(&latest.others).collect();
            kept.retain(|event| number.is_none_or(|number| event.number > number));
            kept.sort_by_key(|event| event.number);
            let wanted = number.map(|number| latest.count - number);
            if wanted != u64::try_from(kept.len()).ok() {
                first.push(Seen::Missed);
            }
            first.extend(kept.into_iter().map(|event| self.seen(Arc::clone(event))));
        }
        drop(latest);
        let feed = self.clone();
        let further = stream::unfold((live, feed), |(mut live, feed)| async move {
            let seen = match live.recv().await {
                Ok(event) => feed.seen(event),
                Err(RecvError::Lagged(missed)) => {
                    feed.0.dropped.increment(missed);
                    Seen::Missed
                }
                Err(RecvError::Closed) => return None,
            };
            Some((seen, (live, feed)))
        });
        stream::iter(first).chain(further)
    }

    fn seen(&self, event: Arc<FeedEvent>) -> Seen {
        Seen::Event(format!("{}-{}", self.0.instance, event.number), event)
    }

    fn number_of(&self, id: &str) -> Option<u64> {
        id.trim().strip_prefix(self.0.instance.as_str())?.strip_prefix('-')?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed() -> Feed {
        Feed::new(InstanceId::new("me"))
    }

    fn limit(limit: u16) -> Happening {
        Happening::Limit { backend: BackendId::new("b"), before: 1, limit }
    }

    fn run() -> Happening {
        Happening::Run {
            run: RunId::new("r"),
            request: RequestId::new("q"),
            chain: None,
            status: "started",
            duration_ms: None,
        }
    }

    /// The numbers of what comes at once, 0 for what was missed.
    async fn numbers(stream: impl Stream<Item = Seen>, count: usize) -> Vec<u64> {
        let number = |seen| match seen {
            Seen::Event(_, event) => event.number,
            Seen::Missed => 0,
        };
        stream.take(count).map(number).collect().await
    }

    #[tokio::test]
    async fn a_watcher_sees_what_happens_from_then_on_or_behind_what_it_saw_last() {
        let feed = feed();
        for number in 1..=3 {
            feed.tell(limit(number));
        }
        let (fresh, back) = (feed.follow(None), feed.follow(Some("me-1")));
        feed.tell(limit(4));
        assert_eq!(numbers(fresh, 1).await, [4]);
        assert_eq!(numbers(back, 3).await, [2, 3, 4]);
    }

    #[tokio::test]
    async fn whoever_comes_back_from_another_process_or_too_late_is_told_so() {
        let feed = feed();
        feed.tell(limit(1));
        for foreign in ["other-1", "me-77", "nonsense"] {
            assert_eq!(numbers(feed.follow(Some(foreign)), 2).await, [0, 1], "{foreign}");
        }
        for _ in 0..KEPT {
            feed.tell(limit(2));
        }
        assert_eq!(numbers(feed.follow(Some("me-0")), 2).await, [0, 2], "the first is not kept any more");
    }

    #[tokio::test]
    async fn many_runs_do_not_push_out_what_is_rare() {
        let feed = feed();
        feed.tell(limit(1));
        for _ in 0..2 * KEPT {
            feed.tell(run());
        }
        assert_eq!(numbers(feed.follow(Some("me-0")), 2).await, [0, 1]);
    }

    #[tokio::test]
    async fn a_watcher_that_is_too_slow_is_told_that_it_has_missed_some() {
        let feed = feed();
        let slow = feed.follow(None);
        for _ in 0..=BEHIND {
            feed.tell(limit(1));
        }
        assert_eq!(numbers(slow, 2).await, [0, 2]);
    }
}
