//! The event bus between instances: what one tells, all others hear, if it can be told at that moment.
//!
//! It never waits and promises little: an event comes at most once, those of one sender in their order, and whoever may
//! have missed some is told so. Everything that must not be lost is in the database. Implementations: in one process
//! ([`in_process`]), Valkey's pub/sub, NATS.

pub mod in_process;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use metrics::Counter;
use tokio::sync::{broadcast, mpsc};

use crate::{
    domain::{
        cluster::{ClusterEvent, Told},
        ids::InstanceId,
    },
    telemetry::families::BUS_EVENTS,
};

/// Events that may wait to be sent: some seconds of the progress of downloads.
const OUTBOX: usize = 1024;
/// Events that a listener may be behind.
const BEHIND: usize = 1024;
/// Instances that are followed at once.
const MANY_INSTANCES: usize = 1024;
/// Largest event on the way: NATS takes a megabyte as a rule.
const MOST_BYTES: usize = 256 * 1024;

/// An event bus.
pub trait Bus: Send + Sync + 'static {
    /// Tells all others. What cannot be sent now is lost, and counted.
    fn tell(&self, event: ClusterEvent);
    /// What others tell from here on. Nobody hears himself.
    fn listen(&self) -> Listening;
    /// Events that were not sent, or not understood.
    fn lost(&self) -> u64;
    /// What kind of bus it is, and whether it is connected now.
    fn standing(&self) -> BusStanding;
    /// Whether there can be others at all.
    fn has_others(&self) -> bool {
        true
    }
}

/// How a bus stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BusStanding {
    /// `in_process`, `valkey` or `nats`.
    pub kind: &'static str,
    /// Whether others can be told something now.
    pub is_connected: bool,
}

/// What a listener hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// Somebody tells something.
    Told(Arc<Told>),
    /// There may have been something that was not heard: the bus was away, or the listener too slow.
    Gap,
}

/// A listener's end.
pub struct Listening(broadcast::Receiver<Heard>);

impl Listening {
    /// The next thing. It waits for ever when there is nothing.
    pub async fn next(&mut self) -> Heard {
        match self.0.recv().await {
            Ok(heard) => heard,
            Err(broadcast::error::RecvError::Lagged(_)) => Heard::Gap,
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// What is counted of a bus.
struct BusMeters {
    sent: Counter,
    received: Counter,
    lost: Counter,
}

impl Default for BusMeters {
    fn default() -> Self {
        let events = |direction| BUS_EVENTS.count(&[direction]);
        Self { sent: events("sent"), received: events("received"), lost: events("lost") }
    }
}

/// The ends of a bus on a wire: what a task that owns the connection sends and hears.
#[derive(Clone)]
pub(in crate::stores) struct Ends {
    me: InstanceId,
    outbox: mpsc::Sender<Bytes>,
    heard: broadcast::Sender<Heard>,
    lost: Arc<AtomicU64>,
    is_connected: Arc<AtomicBool>,
    meters: Arc<BusMeters>,
    /// The last event of our own.
    told: Arc<Mutex<u64>>,
    /// The last one heard of each other instance.
    followed: Arc<Mutex<HashMap<InstanceId, u64>>>,
}

impl Ends {
    /// The ends of an instance, and what waits to be sent.
    pub(in crate::stores) fn new(me: InstanceId) -> (Self, mpsc::Receiver<Bytes>) {
        let (outbox, waiting) = mpsc::channel(OUTBOX);
        let (heard, _) = broadcast::channel(BEHIND);
        let ends = Self {
            me,
            outbox,
            heard,
            lost: Arc::default(),
            is_connected: Arc::default(),
            meters: Arc::default(),
            told: Arc::default(),
            followed: Arc::default(),
        };
        (ends, waiting)
    }

    /// Something has come over the wire.
    pub(in crate::stores) fn hear(&self, bytes: &[u8]) {
        match serde_json::from_slice::<Told>(bytes) {
            Ok(told) if told.from == self.me => {}
            Ok(told) => {
                self.meters.received.increment(1);
                if self.has_missed(&told) {
                    self.gap();
                }
                self.shout(Heard::Told(Arc::new(told)));
            }
            Err(error) => {
                // Another version may have more to tell.
                tracing::debug!(%error, "an event of another instance was not understood");
                self.lose();
            }
        }
    }

    /// Whether the sender has told something since the last event of his that came here.
    fn has_missed(&self, told: &Told) -> bool {
        let mut followed = lock(&self.followed);
        if followed.len() >= MANY_INSTANCES {
            // Most of them have ended long ago.
            followed.clear();
        }
        let last = followed.insert(told.from.clone(), told.number);
        last.is_some_and(|last| told.number != last + 1)
    }

    /// Something may have passed unheard.
    pub(in crate::stores) fn gap(&self) {
        self.shout(Heard::Gap);
    }

    /// Something was not sent.
    pub(in crate::stores) fn lose(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
        self.meters.lost.increment(1);
    }

    /// The wire stands, or does not.
    pub(in crate::stores) fn connected(&self, is_connected: bool) {
        self.is_connected.store(is_connected, Ordering::Relaxed);
    }

    /// How a bus of this kind stands.
    pub(in crate::stores) fn standing_of(&self, kind: &'static str) -> BusStanding {
        BusStanding { kind, is_connected: self.is_connected.load(Ordering::Relaxed) }
    }

    fn shout(&self, heard: Heard) {
        // That nobody listens is no fault.
        drop(self.heard.send(heard));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An event as it goes over a wire; `None` where it is too large for one.
fn on_the_way(told: &Told) -> Option<Bytes> {
    serde_json::to_vec(told).ok().filter(|bytes| bytes.len() <= MOST_BYTES).map(Bytes::from)
}

impl Ends {
    pub(in crate::stores) fn tell(&self, event: ClusterEvent) {
        // Held until it is in line: the numbers are in the order of the line.
        let mut number = lock(&self.told);
        *number += 1;
        let told = Told { from: self.me.clone(), number: *number, event };
        let sent = on_the_way(&told).is_some_and(|bytes| self.outbox.try_send(bytes).is_ok());
        if sent {
            self.meters.sent.increment(1);
        } else {
            self.lose();
        }
    }

    pub(in crate::stores) fn listen(&self) -> Listening {
        Listening(self.heard.subscribe())
    }

    pub(in crate::stores) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn heard(listening: &mut Listening) -> Heard {
        tokio::time::timeout(std::time::Duration::from_secs(20), listening.next()).await.unwrap()
    }

    #[tokio::test]
    async fn whoever_misses_an_event_of_another_is_told_so_and_hears_nothing_of_his_own() {
        let (ends, _outbox) = Ends::new(InstanceId::new("me"));
        let mut listening = ends.listen();
        let told = |from: &str, number| Told { from: InstanceId::new(from), number, event: ClusterEvent::Changed };
        let come = |told: &Told| ends.hear(&on_the_way(told).unwrap());
        // The first one that is heard of an instance may be any.
        for (from, number) in [("one", 7), ("me", 1), ("other", 1), ("one", 8), ("other", 4)] {
            come(&told(from, number));
        }
        for expected in [Some(("one", 7)), Some(("other", 1)), Some(("one", 8)), None, Some(("other", 4))] {
            let expected = expected.map(|(from, number)| told(from, number));
            match heard(&mut listening).await {
                Heard::Told(told) => assert_eq!(Some(&*told), expected.as_ref()),
                Heard::Gap => assert_eq!(expected, None),
            }
        }
        let before = ends.lost();
        ends.hear(b"of another version");
        assert_eq!(ends.lost(), before + 1);
    }
}
