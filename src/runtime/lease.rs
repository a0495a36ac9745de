//! The right to run one call on one backend, as a value: released by drop, whatever ends the call.

use std::sync::Arc;

use super::directory::BackendCell;

/// One slot of one backend. Held by exactly one call; dropping it frees the slot and wakes whoever waits for it.
pub(super) struct Lease {
    backend: Arc<BackendCell>,
}

impl Lease {
    /// For a newcomer; `None` when all slots are taken or others wait.
    pub(super) fn try_acquire(backend: &Arc<BackendCell>) -> Option<Self> {
        backend.slots.try_acquire().then(|| Self { backend: Arc::clone(backend) })
    }

    /// For the oldest waiter of a pool; `None` when all slots are taken.
    pub(super) fn claim(backend: &Arc<BackendCell>) -> Option<Self> {
        backend.slots.claim().then(|| Self { backend: Arc::clone(backend) })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
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
