//! The right to run one call on one backend, as a value: released by drop, whatever ends the call.
//!
//! A slot that comes back while requests wait is not freed: it goes as a value to the pool whose turn it is, and a
//! receiver that has gone drops it back into the same path. A call that is given up half way leaves a *settling* slot:
//! engines notice a hang-up late, and a slot that is free here would be taken there.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::runtime::Handle;

use super::{
    backend::{Entry, Standing, Way},
    directory::{BackendCell, PoolCell},
    slots::GivenBack,
    turns::PoolLink,
};

/// How long the slot of an abandoned call still counts on backends of the own network; servers in clouds have others.
const LOCAL_SETTLE_TIME: Duration = Duration::from_millis(150);

/// A slot on its way to whoever waits for it. Dropping it hands it to the next who does, or frees it.
pub(super) struct Slot {
    backend: Arc<BackendCell>,
    /// Whether it is still this value's.
    is_held: bool,
}

impl Slot {
    /// For those who wait; `None` when all slots are taken or nobody does.
    pub(super) fn claim(backend: &Arc<BackendCell>) -> Option<Self> {
        backend.slots.claim().then(|| Self::of(backend))
    }

    fn of(backend: &Arc<BackendCell>) -> Self {
        Self { backend: Arc::clone(backend), is_held: true }
    }

    /// Whose slot it is.
    pub(super) const fn backend(&self) -> &Arc<BackendCell> {
        &self.backend
    }

    /// The right to call the backend with it; gives it back while calls are kept out.
    pub(super) fn enter(mut self, way: Way) -> Result<Lease, Self> {
        let Some(entry) = self.backend.access.admit(way, || true) else { return Err(self) };
        self.is_held = false;
        Ok(Lease { backend: Arc::clone(&self.backend), entry, stage: Stage::Idle })
    }

    /// Frees it although somebody waits, because nobody took it; those who wait look for it themselves. While the backend
    /// lets no further call in nobody is woken: whatever lets one in again does that, and who looks in vain must not wake
    /// itself.
    pub(super) fn free(self) {
        let has_room = self.backend.access.has_room();
        self.free_for(has_room);
    }

    /// The same for one that was offered: whom the breaker keeps out here may be let in with others who have nobody else.
    /// Each slot is offered once, so that nobody wakes each other for ever.
    pub(super) fn pass_on(self) {
        let is_resting = matches!(self.backend.access.standing(), Standing::Resting { .. });
        self.free_for(!is_resting);
    }

    fn free_for(mut self, somebody: bool) {
        self.is_held = false;
        if self.backend.slots.free() && somebody {
            self.backend.turns.wake();
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.is_held {
            give_back(&self.backend);
        }
    }
}

/// One slot of one backend, and the right to call it. Held by exactly one call; dropping it frees the slot, or hands it to
/// whoever waits for it.
pub(super) struct Lease {
    backend: Arc<BackendCell>,
    entry: Entry,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The backend does nothing for it.
    Idle,
    /// The backend works, as far as is known.
    Working,
    /// The slot is not this value's any more.
    Gone,
}

impl Lease {
    /// For a newcomer; `None` when calls are kept out, all slots are taken or others wait.
    pub(super) fn try_acquire(backend: &Arc<BackendCell>, way: Way) -> Option<Self> {
        let entry = backend.access.admit(way, || backend.slots.try_acquire())?;
        Some(Self { backend: Arc::clone(backend), entry, stage: Stage::Idle })
    }

    /// Where what becomes of the call is told.
    pub(super) const fn entry(&mut self) -> (&Arc<BackendCell>, &mut Entry) {
        (&self.backend, &mut self.entry)
    }

    /// Whose slot it is.
    pub(super) const fn backend(&self) -> &Arc<BackendCell> {
        &self.backend
    }

    /// The call is made: from here on a lease that is dropped is one that was abandoned.
    pub(super) const fn begin(&mut self) {
        self.stage = Stage::Working;
    }

    /// The backend has said all it will say: its slot is free there, too.
    pub(super) const fn end(&mut self) {
        self.stage = Stage::Idle;
    }

    /// The slot alone, for somebody else: the call is not made.
    pub(super) fn into_slot(mut self) -> Slot {
        self.stage = Stage::Gone;
        Slot::of(&self.backend)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Before the slot: whoever is given it must find the right to use it.
        let effect = self.backend.access.leave(&self.entry);
        match self.stage {
            Stage::Idle => give_back(&self.backend),
            Stage::Working => settle(&self.backend),
            Stage::Gone => {}
        }
        self.backend.heed(effect);
    }
}

/// Frees a slot, or hands it to the pool whose turn it is.
fn give_back(backend: &Arc<BackendCell>) {
    if backend.slots.give_back() == GivenBack::Kept {
        offer(Slot::of(backend));
    }
}

/// Hands a slot to the pool whose turn it is; frees it, and says so, where none can be reached.
fn offer(slot: Slot) -> bool {
    let backend = Arc::clone(&slot.backend);
    match backend.turns.offer(slot) {
        Ok(()) => true,
        Err(slot) => {
            slot.free();
            false
        }
    }
}

/// Gives a slot back when the backend will have noticed that nobody listens any more.
fn settle(backend: &Arc<BackendCell>) {
    let settling = Settling::new(backend);
    let time = if backend.view().backend.is_cloud() { Duration::ZERO } else { LOCAL_SETTLE_TIME };
    // At the end of the process there is nobody left to wait, and nobody to wait for.
    let Some(runtime) = Handle::try_current().ok().filter(|_| !time.is_zero()) else { return };
    // As many tasks as there are slots at most.
    let wait = async move {
        tokio::time::sleep(time).await;
        drop(settling);
    };
    backend.tasks.spawn_on(wait, &runtime);
}

/// A slot that still counts although its call was abandoned.
struct Settling {
    backend: Arc<BackendCell>,
}

impl Settling {
    fn new(backend: &Arc<BackendCell>) -> Self {
        backend.settling.fetch_add(1, Ordering::AcqRel);
        Self { backend: Arc::clone(backend) }
    }
}

impl Drop for Settling {
    fn drop(&mut self) {
        self.backend.settling.fetch_sub(1, Ordering::AcqRel);
        give_back(&self.backend);
    }
}

/// Hands free slots to those who wait for them, in turns.
pub(super) fn offer_free_slots(backend: &Arc<BackendCell>) {
    // Those that come back meanwhile find their way by themselves.
    for _ in 0..backend.slots.counts().limit {
        let Some(slot) = Slot::claim(backend) else { return };
        if !offer(slot) {
            return;
        }
    }
}

/// That a request of a pool waits for a slot of any of these backends; withdrawn by drop.
pub(super) struct Announced {
    places: Vec<(Arc<BackendCell>, Option<Arc<PoolLink>>)>,
}

impl Announced {
    pub(super) fn to<'a>(pool: &PoolCell, backends: impl Iterator<Item = &'a Arc<BackendCell>>) -> Self {
        let announce = |backend: &Arc<BackendCell>| {
            let link = backend.turns.link(pool);
            // The pool first: whoever sees the waiter finds the pool it is in.
            if let Some(link) = &link {
                link.enter();
            }
            backend.slots.announce();
            (Arc::clone(backend), link)
        };
        Self { places: backends.map(announce).collect() }
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        for (backend, link) in &self.places {
            backend.slots.withdraw();
            if let Some(link) = link {
                link.leave();
            }
        }
    }
}
