//! The right to run one call on one backend, as a value: released by drop, whatever ends the call.

use std::sync::Arc;

use super::{
    backend::{Entry, Way},
    directory::BackendCell,
};

/// One slot of one backend, and the right to call it. Held by exactly one call; dropping it frees the slot and wakes
/// whoever waits for it.
pub(super) struct Lease {
    backend: Arc<BackendCell>,
    entry: Entry,
}

impl Lease {
    /// For a newcomer; `None` when calls are kept out, all slots are taken or others wait.
    pub(super) fn try_acquire(backend: &Arc<BackendCell>, way: Way) -> Option<Self> {
        let entry = backend.access.admit(way, || backend.slots.try_acquire())?;
        Some(Self { backend: Arc::clone(backend), entry })
    }

    /// For the oldest waiter of a pool; `None` when calls are kept out or all slots are taken.
    pub(super) fn claim(backend: &Arc<BackendCell>, way: Way) -> Option<Self> {
        let entry = backend.access.admit(way, || backend.slots.claim())?;
        Some(Self { backend: Arc::clone(backend), entry })
    }

    /// Where what becomes of the call is told.
    pub(super) fn entry(&mut self) -> (&Arc<BackendCell>, &mut Entry) {
        (&self.backend, &mut self.entry)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Before the slot: whoever is woken for it must find the right to use it.
        self.backend.access.leave(&self.entry);
        if self.backend.slots.release() {
            self.backend.wake_pools();
        }
    }
}

/// That a request waits for a slot of any of these backends; withdrawn by drop.
pub(super) struct Announced {
    backends: Vec<Arc<BackendCell>>,
}

impl Announced {
    pub(super) fn to<'a>(backends: impl Iterator<Item = &'a Arc<BackendCell>>) -> Self {
        let backends: Vec<Arc<BackendCell>> = backends.map(Arc::clone).collect();
        for backend in &backends {
            backend.slots.announce();
        }
        Self { backends }
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        for backend in &self.backends {
            // The slot this request would have claimed may be what the next waiter needs.
            if backend.slots.withdraw() {
                backend.wake_pools();
            }
        }
    }
}
