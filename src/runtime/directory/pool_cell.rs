//! What one pool publishes: its route table, and the signals that make its actor look at its queue.

use std::{
    collections::{HashMap, HashSet, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use arc_swap::ArcSwap;

use super::BackendCell;
use crate::{
    domain::{
        ids::PoolId,
        model::Model,
        pool::{CallSettings, Policy, Pool},
    },
    runtime::{
        mailbox::Lane,
        pool::{Budget, PoolHandle, PoolMsg},
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

/// One pool's place in the process.
pub struct PoolCell {
    /// Whose place it is.
    pub id: PoolId,
    pub(in crate::runtime) handle: PoolHandle,
    /// Requests waiting now.
    pub(in crate::runtime) waiting: AtomicUsize,
    /// Pays for calls that are made again.
    pub(in crate::runtime) budget: Budget,
    /// Turn counters of round-robin. Models share one only when their names' hashes collide, and then merely take turns
    /// together.
    turns: [AtomicUsize; TURN_COUNTERS],
    /// Counts changes of the route table and of its backends' views.
    epoch: AtomicU64,
    /// True when a request has stopped waiting since the actor last looked.
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
            waiting: AtomicUsize::new(0),
            budget: Budget::new(),
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
    pub(in crate::runtime) fn calls(&self) -> CallSettings {
        self.table.load().pool.calls
    }

    /// Requests waiting for a slot.
    pub fn queue_depth(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
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
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.wake();
        }
    }

    /// A request stopped waiting, so that its place in the actor's queue can be cleared.
    pub(in crate::runtime) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
        self.wake();
    }

    /// Whether a request stopped waiting since this was last asked.
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
