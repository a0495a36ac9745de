//! What one backend publishes: its view, its slots, whether calls go there, and what outlives a crash of its actor.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering},
    },
};

use arc_swap::{ArcSwap, ArcSwapOption};
use serde::Serialize;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use utoipa::ToSchema;

use super::PoolCell;
use crate::{
    domain::{
        backend::Backend,
        ids::BackendId,
        message::ConstraintKind,
        model::{ObservedModel, normalised, normalised_stem, same_model, with_tag},
        provider::ProviderKind,
        time::Timestamp,
    },
    providers::Provider,
    runtime::{
        backend::{Access, BackendHandle, BreakerPosition, BreakerSnapshot, Effect, INITIAL_LIMIT},
        lease::offer_free_slots,
        meters::BackendMeters,
        pool::{BackendKey, stable_hash},
        slots::Slots,
        turns::Turns,
    },
};

/// Counts the places that were ever made.
static KEYS: AtomicU64 = AtomicU64::new(0);

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
    pub(in crate::runtime) provider: Option<Arc<dyn Provider>>,
    /// Observed models by tagged name.
    pub(in crate::runtime) by_name: HashMap<String, usize>,
    /// Observed models by normalised name, with their tag and without.
    pub(in crate::runtime) by_normalised: HashMap<String, Vec<usize>>,
}

impl BackendView {
    pub(in crate::runtime) fn new(backend: Backend, generation: u64) -> Self {
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
    pub(in crate::runtime) fn observe(&mut self, observed: Vec<ObservedModel>) {
        for (at, model) in observed.iter().enumerate() {
            let tagged = with_tag(&model.name);
            // A request that names no tag means any.
            for key in [normalised(&tagged), normalised_stem(&tagged)] {
                self.by_normalised.entry(key).or_default().push(at);
            }
            self.by_name.entry(tagged.into_owned()).or_insert(at);
        }
        self.observed = observed;
    }

    /// The error users see, if any.
    pub fn error(&self) -> Option<&str> {
        match &self.health {
            Health::Failing(error) => Some(error),
            Health::Unknown | Health::Healthy => None,
        }
    }

    /// Whether it has a model of this name.
    pub fn has(&self, name: &str) -> bool {
        self.observed.iter().any(|observed| same_model(&observed.name, name))
    }

    /// Whether new work may go to it. A restarted actor keeps what its predecessor saw until it has probed itself.
    pub(in crate::runtime) fn is_usable(&self) -> bool {
        self.backend.enabled && self.in_pool && !matches!(self.health, Health::Failing(_)) && self.provider.is_some()
    }
}

/// How busy one backend is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SlotSnapshot {
    /// Calls that may run at once.
    pub limit: u16,
    /// Slots that are taken.
    pub in_use: u16,
    /// Those of them whose call was given up a moment ago: the backend may not have noticed yet.
    pub settling: u16,
    /// Requests that wait.
    pub waiters: u32,
}

/// One backend's place in the process.
pub struct BackendCell {
    /// Whose place it is.
    pub id: BackendId,
    /// Its name in consistent hashing, made once.
    pub(in crate::runtime) hash: u64,
    /// Its name in the queues of pools; no other place of this process ever has the same.
    pub(in crate::runtime) key: BackendKey,
    pub(in crate::runtime) slots: Slots,
    /// Whether calls go there, by what became of earlier ones.
    pub(in crate::runtime) access: Access,
    /// True while the actor is being told that calls are kept out, so that a storm of failures is one message.
    pub(in crate::runtime) told_kept_out: AtomicBool,
    /// Slots that still count although their call was abandoned.
    pub(in crate::runtime) settling: AtomicU16,
    /// Its pools, and which of them gets the next free slot.
    pub(in crate::runtime) turns: Turns,
    /// Requests that got the answer of a call that was made there for another.
    pub(in crate::runtime) shared_calls: AtomicU64,
    /// What is counted of its calls.
    pub(in crate::runtime) meters: BackendMeters,
    /// Where leases settle.
    pub(in crate::runtime) tasks: TaskTracker,
    pub(in crate::runtime) handle: BackendHandle,
    /// How many of its slots are this instance's, where it has so many set; all of them when it is alone.
    granted: AtomicU16,
    /// Lives of the actor so far.
    generations: AtomicU64,
    /// Forms of reply that models refused to be held to; asked without from then on.
    pub(in crate::runtime) unconstrained: ArcSwap<HashSet<(String, ConstraintKind)>>,
    /// Downloads a user cancelled, with the declaration in force then; kept across crashes of the actor.
    pub(in crate::runtime) cancelled: ArcSwap<HashMap<String, Timestamp>>,
    /// Tagged names of the models it told when it last answered a probe: what fails now does not unmake them.
    told: ArcSwapOption<HashSet<String>>,
    view: ArcSwap<BackendView>,
    /// Ticks at every new view, for those who wait for one.
    changed: watch::Sender<()>,
}

impl BackendCell {
    /// A place of a backend that nobody watches yet. Its tasks are short and few: see `lease`.
    pub(in crate::runtime) fn new(backend: Backend, tasks: TaskTracker) -> Arc<Self> {
        let id = backend.id.clone();
        Arc::new(Self {
            hash: stable_hash([id.as_str().as_bytes()]),
            key: KEYS.fetch_add(1, Ordering::Relaxed),
            slots: Slots::new(fixed_limit(&backend).unwrap_or(INITIAL_LIMIT)),
            access: Access::new(),
            told_kept_out: AtomicBool::new(false),
            settling: AtomicU16::new(0),
            turns: Turns::default(),
            shared_calls: AtomicU64::new(0),
            meters: BackendMeters::of(&id),
            tasks,
            handle: BackendHandle::vacant(),
            granted: AtomicU16::new(u16::MAX),
            generations: AtomicU64::new(0),
            unconstrained: ArcSwap::default(),
            cancelled: ArcSwap::default(),
            told: ArcSwapOption::empty(),
            view: ArcSwap::from_pointee(BackendView::new(backend, 0)),
            changed: watch::Sender::new(()),
            id,
        })
    }

    /// The number of the life that begins now, from 1.
    pub(in crate::runtime) fn next_generation(&self) -> u64 {
        self.generations.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// The latest published view.
    pub fn view(&self) -> Arc<BackendView> {
        self.view.load_full()
    }

    /// What kind of server it is.
    pub(in crate::runtime) fn kind(&self) -> ProviderKind {
        self.view.load().backend.kind
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

    /// Whether it had a model of this tagged name when it was last heard of.
    pub(in crate::runtime) fn had(&self, tagged: &str) -> bool {
        self.told.load().as_ref().is_some_and(|names| names.contains(tagged))
    }

    /// Whether it has told its models since the process began.
    pub(in crate::runtime) fn has_told(&self) -> bool {
        self.told.load().is_some()
    }

    /// How busy it is.
    pub fn slots(&self) -> SlotSnapshot {
        let counts = self.slots.counts();
        let settling = self.settling.load(Ordering::Acquire).min(counts.in_use);
        SlotSnapshot { limit: counts.limit, in_use: counts.in_use, settling, waiters: counts.waiters }
    }

    /// Requests that got the answer of a call that was made there for another, since the process began.
    pub fn shared_calls(&self) -> u64 {
        self.shared_calls.load(Ordering::Relaxed)
    }

    /// What its breaker does with calls.
    pub fn breaker(&self) -> BreakerSnapshot {
        self.access.breaker()
    }

    /// Until when it has asked to be left alone, if that is not over.
    pub fn rests_until(&self) -> Option<Timestamp> {
        self.access.rests_until()
    }

    /// Milliseconds until it begins to answer, if it has answered anything yet.
    pub fn latency_ms(&self) -> Option<f32> {
        let millis = self.access.latency().millis;
        (millis > 0.0).then_some(millis)
    }

    /// Closes its breaker, ends its rest and forgets how long it took.
    pub fn reset_breaker(&self) {
        self.access.reset();
        self.turns.wake();
        self.tell_kept_out();
    }

    /// What the end of a call has changed, for those who wait.
    pub(in crate::runtime) fn heed(&self, effect: Effect) {
        match effect {
            Effect::None => {}
            // The actor sees to it that who waits looks again at the right time.
            Effect::KeptOut => self.tell_kept_out(),
            Effect::LetsIn => {
                self.turns.wake();
                if self.access.breaker().state == BreakerPosition::Closed {
                    self.tell_kept_out();
                }
            }
        }
    }

    fn tell_kept_out(&self) {
        if !self.told_kept_out.swap(true, Ordering::AcqRel) && self.handle.calls_kept_out().is_err() {
            // Nobody lives there: a successor looks by itself when it moves in.
            self.told_kept_out.store(false, Ordering::Release);
        }
    }

    /// Ends its actor as a crash would; supervision brings it back. For fault tests.
    pub fn crash(&self) {
        self.handle.kill();
    }

    /// Publishes a view and lets the pools look at their queues again.
    pub(in crate::runtime) fn publish(self: &Arc<Self>, view: BackendView) {
        let fixed = fixed_limit(&view.backend);
        if view.health == Health::Healthy {
            self.told.store(Some(Arc::new(view.by_name.keys().cloned().collect())));
        }
        self.view.store(Arc::new(view));
        self.changed.send_replace(());
        for pool in self.turns.pools() {
            pool.changed();
        }
        if let Some(limit) = fixed {
            self.set_limit(limit.min(self.granted.load(Ordering::Acquire)));
        }
    }

    /// Its slots, where so many are set.
    pub(in crate::runtime) fn fixed_limit(&self) -> Option<u16> {
        fixed_limit(&self.view.load().backend)
    }

    /// Says how many of its slots are this instance's, where so many are set. Running calls above a lower number finish.
    pub(in crate::runtime) fn grant(self: &Arc<Self>, slots: u16) {
        self.granted.store(slots, Ordering::Release);
        let Some(limit) = self.fixed_limit().map(|limit| limit.min(slots)) else { return };
        // A view that is published meanwhile may have looked a moment too early: it is set right with the next grant.
        if self.slots.counts().limit != limit {
            self.set_limit(limit);
        }
    }

    /// Notes that a download was cancelled now: whatever is declared up to this moment stays cancelled.
    pub(in crate::runtime) fn remember_cancelled(&self, model: Option<String>) {
        // What is no model of it cannot be downloaded either.
        let view = self.view();
        let known = |model: &String| view.models.iter().chain(&view.downloading).any(|known| same_model(known, model));
        if let Some(model) = model.filter(known) {
            self.note_cancelled(&model);
        }
    }

    /// The same for what another instance has cancelled, whose declaration may not have come here yet.
    pub(in crate::runtime) fn note_cancelled(&self, model: &str) {
        self.cancelled.rcu(|known| {
            let mut known = HashMap::clone(known);
            known.insert(model.to_owned(), Timestamp::now());
            known
        });
    }

    /// Sets how many calls may run at once, where no `maxConcurrency` does.
    pub(in crate::runtime) fn set_found_limit(self: &Arc<Self>, limit: u16) {
        if self.finds_limit() {
            self.set_limit(limit);
        }
    }

    /// Whether its limit is found out by watching its calls.
    pub(in crate::runtime) fn finds_limit(&self) -> bool {
        fixed_limit(&self.view.load().backend).is_none()
    }

    fn set_limit(self: &Arc<Self>, limit: u16) {
        if self.slots.set_limit(limit) {
            offer_free_slots(self);
        }
    }

    /// Takes the backend out of routing for good: it is no longer stored.
    pub(in crate::runtime) fn retire(self: &Arc<Self>) {
        let view = self.view();
        self.publish(BackendView::new(view.backend.clone(), view.generation));
    }

    /// Sets the pools that it is in.
    pub(in crate::runtime) fn set_pools(&self, pools: Vec<Weak<PoolCell>>) {
        self.turns.connect(pools);
    }
}

fn fixed_limit(backend: &Backend) -> Option<u16> {
    backend.max_concurrency.map(|limit| u16::try_from(limit).unwrap_or(u16::MAX))
}
