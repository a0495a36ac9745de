//! What the actors publish for everybody else to read without asking: one cell a backend, one a pool.
//!
//! Cells are owned by the process. They outlive a crash of their actor, so running calls keep their slots and route
//! tables stay readable while the successor starts. The hot path reads here and nowhere else.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use arc_swap::ArcSwap;
use serde::Serialize;
use tokio::sync::watch;

use super::{
    backend::BackendHandle,
    mailbox::Lane,
    pool::{PoolHandle, PoolMsg},
    slots::Slots,
};
use crate::{
    domain::{
        backend::Backend,
        ids::{BackendId, PoolId},
        model::{Model, ObservedModel, normalised, with_tag},
        pool::{Policy, Pool},
        time::Timestamp,
    },
    providers::Provider,
};

/// Calls one backend runs at once unless its `maxConcurrency` says otherwise.
pub const DEFAULT_CONCURRENCY: u16 = 16;

/// Whether a backend can be used, as far as its last probe tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Not probed yet by this generation of its actor.
    Unknown,
    /// The last probe succeeded.
    Healthy,
    /// The last probe failed, with the words shown to users.
    Failing(String),
}

/// A model download that waits for its turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DownloadJob {
    /// The model as declared.
    pub model: String,
    /// When it was queued.
    pub created_at: Timestamp,
}

/// Everything known about a backend at one instant; replaced as a whole.
pub struct BackendView {
    /// The stored record.
    pub backend: Backend,
    /// Counts the lives of its actor, from 1.
    pub generation: u64,
    /// Whether it can be used.
    pub health: Health,
    /// True when it is in at least one pool; others are not probed and serve nothing.
    pub in_pool: bool,
    /// Models declared for it through its pools, or the observed names where the backend decides itself.
    pub models: Vec<String>,
    /// Models the last successful probe saw; empty after a failed one.
    pub observed: Vec<ObservedModel>,
    /// Downloads that wait.
    pub queue: Vec<DownloadJob>,
    /// The model being downloaded now.
    pub downloading: Option<String>,
    /// Calls go through it; `None` where this version has no adapter.
    pub(super) provider: Option<Arc<dyn Provider>>,
    /// Observed models by tagged name.
    pub(super) by_name: HashMap<String, usize>,
    /// Observed models by normalised name.
    pub(super) by_normalised: HashMap<String, usize>,
}

impl BackendView {
    pub(super) fn new(backend: Backend, generation: u64) -> Self {
        Self {
            backend,
            generation,
            health: Health::Unknown,
            in_pool: false,
            models: Vec::new(),
            observed: Vec::new(),
            queue: Vec::new(),
            downloading: None,
            provider: None,
            by_name: HashMap::new(),
            by_normalised: HashMap::new(),
        }
    }

    /// Puts the observed models in place, with the look-ups of routing.
    pub(super) fn observe(&mut self, observed: Vec<ObservedModel>) {
        let indexed = |name: fn(&str) -> String| {
            observed.iter().enumerate().rev().map(|(at, model)| (name(&model.name), at)).collect()
        };
        self.by_name = indexed(|name| with_tag(name).into_owned());
        self.by_normalised = indexed(normalised);
        self.observed = observed;
    }

    /// The error users see, if any.
    pub fn error(&self) -> Option<&str> {
        match &self.health {
            Health::Failing(error) => Some(error),
            Health::Unknown | Health::Healthy => None,
        }
    }

    /// Whether new work may go to it. A restarted actor keeps what its predecessor saw until it has probed itself.
    pub(super) fn is_usable(&self) -> bool {
        self.backend.enabled && self.in_pool && !matches!(self.health, Health::Failing(_)) && self.provider.is_some()
    }
}

/// Numbers of one backend, for tests, logs and `/state` of later versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SlotSnapshot {
    /// Calls that may run at once.
    pub limit: u16,
    /// Calls that run.
    pub in_use: u16,
    /// Requests that wait.
    pub waiters: u32,
}

/// One backend's place in the process.
pub struct BackendCell {
    /// Whose place it is.
    pub id: BackendId,
    pub(super) slots: Slots,
    pub(super) handle: BackendHandle,
    /// Lives of the actor so far.
    generations: AtomicU64,
    /// Models that refused a constrained reply; asked without from then on.
    pub(super) unconstrained: ArcSwap<HashSet<String>>,
    pools: ArcSwap<Vec<Weak<PoolCell>>>,
    view: ArcSwap<BackendView>,
    /// Ticks at every new view, for those who wait for one.
    changed: watch::Sender<()>,
}

impl BackendCell {
    pub(super) fn new(backend: Backend) -> Arc<Self> {
        let id = backend.id.clone();
        Arc::new(Self {
            slots: Slots::new(slot_limit(&backend)),
            handle: BackendHandle::vacant(),
            generations: AtomicU64::new(0),
            unconstrained: ArcSwap::default(),
            pools: ArcSwap::default(),
            view: ArcSwap::from_pointee(BackendView::new(backend, 0)),
            changed: watch::Sender::new(()),
            id,
        })
    }

    /// The number of the life that begins now, from 1.
    pub(super) fn next_generation(&self) -> u64 {
        self.generations.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// The latest published view.
    pub fn view(&self) -> Arc<BackendView> {
        self.view.load_full()
    }

    /// Waits until the view is as wanted.
    pub async fn wait_until(&self, is_wanted: impl Fn(&BackendView) -> bool + Send) {
        let mut changed = self.changed.subscribe();
        while !is_wanted(&self.view()) {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }

    /// How busy it is.
    pub fn slots(&self) -> SlotSnapshot {
        let counts = self.slots.counts();
        SlotSnapshot { limit: counts.limit, in_use: counts.in_use, waiters: counts.waiters }
    }

    /// Ends its actor as a crash would; supervision brings it back. For fault tests.
    pub fn crash(&self) {
        self.handle.kill();
    }

    /// Publishes a view and lets the pools look at their queues again.
    pub(super) fn publish(&self, view: BackendView) {
        let limit = slot_limit(&view.backend);
        self.view.store(Arc::new(view));
        self.changed.send_replace(());
        self.slots.set_limit(limit);
        if self.slots.counts().waiters > 0 {
            self.pools.load().iter().filter_map(Weak::upgrade).for_each(|pool| pool.revise());
        }
    }

    pub(super) fn set_pools(&self, pools: Vec<Weak<PoolCell>>) {
        self.pools.store(Arc::new(pools));
    }

    /// Tells every pool with this backend that a slot may be free.
    pub(super) fn wake_pools(&self) {
        for pool in self.pools.load().iter().filter_map(Weak::upgrade) {
            pool.wake();
        }
    }
}

fn slot_limit(backend: &Backend) -> u16 {
    backend.max_concurrency.map_or(DEFAULT_CONCURRENCY, |limit| u16::try_from(limit).unwrap_or(u16::MAX))
}

/// Which backends and models a pool routes between; replaced as a whole.
pub struct RouteTable {
    /// The stored record.
    pub pool: Pool,
    /// Backends in the pool, oldest first.
    pub members: Vec<Arc<BackendCell>>,
    /// Models declared in the pool by tagged name.
    pub(super) models: HashMap<String, Model>,
    /// Tagged names of every model declared anywhere.
    pub(super) declared: Arc<HashSet<String>>,
}

/// One pool's place in the process.
pub struct PoolCell {
    /// Whose place it is.
    pub id: PoolId,
    pub(super) handle: PoolHandle,
    /// Requests waiting now.
    pub(super) waiting: AtomicUsize,
    /// Turn counter of round-robin.
    pub(super) turn: AtomicUsize,
    /// True while a wake-up is on its way, so that a storm of freed slots is one message.
    pub(super) woken: AtomicBool,
    /// True when a view or the table has changed since the queue was last looked through.
    pub(super) outdated: AtomicBool,
    table: ArcSwap<RouteTable>,
}

impl PoolCell {
    pub(super) fn new(table: RouteTable) -> Arc<Self> {
        Arc::new(Self {
            id: table.pool.id.clone(),
            handle: PoolHandle::vacant(),
            waiting: AtomicUsize::new(0),
            turn: AtomicUsize::new(0),
            woken: AtomicBool::new(false),
            outdated: AtomicBool::new(false),
            table: ArcSwap::from_pointee(table),
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

    /// Requests waiting for a slot.
    pub fn queue_depth(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }

    /// Ends its actor as a crash would; supervision brings it back. For fault tests.
    pub fn crash(&self) {
        self.handle.kill();
    }

    /// Puts a route table in force, whether the pool's actor lives or is just being restarted.
    pub(super) fn publish(&self, table: RouteTable) {
        self.table.store(Arc::new(table));
        self.revise();
    }

    /// Has the whole queue looked through: who may serve it has changed.
    fn revise(&self) {
        self.outdated.store(true, Ordering::Release);
        self.wake();
    }

    fn wake(&self) {
        if !self.woken.swap(true, Ordering::AcqRel)
            && self.handle.address.try_send(Lane::Control, PoolMsg::SlotFreed).is_err()
        {
            // Nobody lives there: its waiters have been told, and the successor starts with an empty queue.
            self.woken.store(false, Ordering::Release);
        }
    }
}

/// All cells. Written by the fleet, read by everybody.
#[derive(Default)]
pub struct Directory {
    backends: ArcSwap<BTreeMap<BackendId, Arc<BackendCell>>>,
    /// Oldest pool first: the order in which a request without a pool looks for one.
    pools: ArcSwap<Vec<Arc<PoolCell>>>,
}

impl Directory {
    /// All backends by id.
    pub fn backends(&self) -> Arc<BTreeMap<BackendId, Arc<BackendCell>>> {
        self.backends.load_full()
    }

    /// One backend.
    pub fn backend(&self, id: &BackendId) -> Option<Arc<BackendCell>> {
        self.backends.load().get(id).cloned()
    }

    /// All pools, oldest first.
    pub fn pools(&self) -> Arc<Vec<Arc<PoolCell>>> {
        self.pools.load_full()
    }

    /// One pool.
    pub fn pool(&self, id: &PoolId) -> Option<Arc<PoolCell>> {
        self.pools.load().iter().find(|pool| pool.id == *id).cloned()
    }

    pub(super) fn replace(&self, backends: BTreeMap<BackendId, Arc<BackendCell>>, pools: Vec<Arc<PoolCell>>) {
        self.backends.store(Arc::new(backends));
        self.pools.store(Arc::new(pools));
    }
}
