//! What one pool publishes: its route table, and the signals that make its actor look at its queue.

use std::{
    collections::{HashMap, HashSet, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use serde::Serialize;
use tokio::time::Instant;
use utoipa::ToSchema;

use super::BackendCell;
use crate::{
    domain::{
        ids::PoolId,
        model::Model,
        pool::{CallSettings, Policy, Pool},
    },
    runtime::{
        mailbox::Lane,
        meters::PoolMeters,
        pool::{Budget, Places, PoolHandle, PoolMsg, Ticket},
    },
};

/// How often a wake-up is tried that finds nobody.
const WAKE_TRIES: usize = 3;

/// Round-robin counters of one pool.
const TURN_COUNTERS: usize = 64;

/// Which backends and models a pool routes between; replaced as a whole.
pub struct RouteTable {
    /// The stored record.
    pub pool: Pool,
    /// Backends in the pool, oldest first.
    pub members: Vec<Arc<BackendCell>>,
    /// Models declared in the pool by tagged name.
    pub(in crate::runtime) models: HashMap<String, Model>,
    /// Tagged names of every model declared anywhere.
    pub(in crate::runtime) declared: Arc<HashSet<String>>,
}

/// Who waits in one pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolSnapshot {
    /// Requests that may wait at once.
    pub capacity: u32,
    /// Requests that wait, by class.
    pub waiting: WaitingByClass,
    /// How long the oldest of them has waited, in milliseconds; 0 when nobody waits.
    pub oldest_wait_ms: u64,
    /// Requests that wait for the answer of a call that is made for another, or read it.
    pub sharing: u64,
}

/// How many requests wait of each class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, ToSchema)]
pub struct WaitingByClass {
    /// Of class `interactive`.
    pub interactive: u64,
    /// Of class `standard`.
    pub standard: u64,
    /// Of class `batch`.
    pub batch: u64,
}

/// One pool's place in the process.
pub struct PoolCell {
    /// Whose place it is.
    pub id: PoolId,
    pub(in crate::runtime) handle: PoolHandle,
    /// Requests waiting now.
    pub(in crate::runtime) places: Places,
    /// Requests that share a call now that is made for another.
    pub(in crate::runtime) sharing: AtomicU64,
    /// Pays for calls that are made again.
    pub(in crate::runtime) budget: Budget,
    /// What is counted of its calls.
    pub(in crate::runtime) meters: PoolMeters,
    /// Tickets drawn so far by requests that wait.
    tickets: AtomicU64,
    /// When the place was made: what times are counted from that are kept in one number.
    born: Instant,
    /// Milliseconds from then until the oldest waiting request was queued; `u64::MAX` when nobody waits.
    oldest: AtomicU64,
    /// Turn counters of round-robin. Models share one only when their names' hashes collide, and then merely take turns
    /// together.
    turns: [AtomicUsize; TURN_COUNTERS],
    /// Counts changes of the route table and of its backends' views.
    epoch: AtomicU64,
    /// True when a request has stopped waiting since the actor last looked, and its mailbox was full.
    abandoned: AtomicBool,
    /// True while a wake-up is on its way, so that a storm of freed slots is one message.
    pub(in crate::runtime) woken: AtomicBool,
    table: ArcSwap<RouteTable>,
}

impl PoolCell {
    /// A place that routes to nobody yet.
    pub(in crate::runtime) fn new(pool: Pool) -> Arc<Self> {
        Arc::new(Self {
            id: pool.id.clone(),
            handle: PoolHandle::vacant(),
            places: Places::default(),
            sharing: AtomicU64::new(0),
            budget: Budget::new(),
            meters: PoolMeters::of(&pool.id),
            tickets: AtomicU64::new(0),
            born: Instant::now(),
            oldest: AtomicU64::new(u64::MAX),
            turns: std::array::from_fn(|_| AtomicUsize::new(0)),
            epoch: AtomicU64::new(0),
            abandoned: AtomicBool::new(false),
            woken: AtomicBool::new(false),
            table: ArcSwap::from_pointee(RouteTable {
                pool,
                members: Vec::new(),
                models: HashMap::new(),
                declared: Arc::default(),
            }),
        })
    }

    /// The latest published route table.
    pub fn table(&self) -> Arc<RouteTable> {
        self.table.load_full()
    }

    /// The policy in force.
    pub fn policy(&self) -> Policy {
        self.table.load().pool.policy
    }

    /// How calls are made.
    pub fn calls(&self) -> CallSettings {
        self.table.load().pool.calls
    }

    /// Requests waiting for a slot.
    pub fn queue_depth(&self) -> usize {
        usize::try_from(self.places.counts().iter().sum::<u64>()).unwrap_or(usize::MAX)
    }

    /// Who waits.
    pub fn snapshot(&self) -> PoolSnapshot {
        let [interactive, standard, batch] = self.places.counts();
        let oldest = self.oldest.load(Ordering::Acquire);
        let age = millis(self.born.elapsed()).saturating_sub(oldest);
        PoolSnapshot {
            capacity: self.table.load().pool.queue.capacity,
            waiting: WaitingByClass { interactive, standard, batch },
            oldest_wait_ms: age,
            sharing: self.sharing.load(Ordering::Relaxed),
        }
    }

    /// Notes since when the oldest request waits.
    pub(in crate::runtime) fn note_oldest(&self, since: Option<Instant>) {
        let since = since.map_or(u64::MAX, |since| millis(since.saturating_duration_since(self.born)));
        self.oldest.store(since, Ordering::Release);
    }

    /// A place in the order of arrival.
    pub(in crate::runtime) fn draw_ticket(&self) -> Ticket {
        self.tickets.fetch_add(1, Ordering::Relaxed)
    }

    /// Ends its actor as a crash would; supervision brings it back. For fault tests.
    pub fn crash(&self) {
        self.handle.kill();
    }

    /// The next turn of round-robin for this model.
    pub(in crate::runtime) fn next_turn(&self, model: &str) -> usize {
        let mut hasher = DefaultHasher::new();
        model.hash(&mut hasher);
        let at = usize::try_from(hasher.finish() % TURN_COUNTERS as u64).unwrap_or(0);
        self.turns[at].fetch_add(1, Ordering::Relaxed)
    }

    /// How often the table or a backend in it has changed.
    pub(in crate::runtime) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }

    /// Puts a route table in force, whether the pool's actor lives or is just being restarted.
    pub(in crate::runtime) fn publish(&self, table: RouteTable) {
        self.table.store(Arc::new(table));
        self.changed();
    }

    /// The table or a backend in it has changed: waiting requests are looked at again.
    pub(in crate::runtime) fn changed(&self) {
        // Sequentially consistent, as is counting oneself among the waiters: either this sees the waiter, or the actor
        // that is handed the waiter sees this change.
        self.epoch.fetch_add(1, Ordering::SeqCst);
        if self.queue_depth() > 0 {
            self.wake();
        }
    }

    /// A request stopped waiting, so that its place in the actor's queue can be cleared.
    pub(in crate::runtime) fn abandon(&self, ticket: Ticket) {
        if self.handle.left(ticket).is_err() {
            self.abandoned.store(true, Ordering::Release);
            self.wake();
        }
    }

    /// Whether a request stopped waiting since this was last asked, of which the actor could not be told.
    pub(in crate::runtime) fn take_abandoned(&self) -> bool {
        self.abandoned.swap(false, Ordering::AcqRel)
    }

    /// Makes the actor look at its queue again. A storm of wake-ups is one message.
    pub(in crate::runtime) fn wake(&self) {
        for _ in 0..WAKE_TRIES {
            if self.woken.swap(true, Ordering::AcqRel) {
                return;
            }
            if self.handle.address.try_send(Lane::Control, PoolMsg::LookAgain).is_ok() {
                return;
            }
            // Nobody lives there: the waiters have been told. A successor may move in at this very moment, and others
            // have skipped their wake-up because of ours, so it is tried again; an empty house is not worth more.
            self.woken.store(false, Ordering::Release);
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
