//! How many calls a simulated server works on at once; the others wait, as in a real one.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The slots of one server. Without a number there is always one more.
pub(crate) struct Capacity {
    slots: Option<(usize, Arc<Semaphore>)>,
    waiting: AtomicUsize,
}

/// A call that is worked on, until it is dropped.
pub(crate) type Slot = Option<OwnedSemaphorePermit>;

/// Takes a waiting call off, whether it got its slot or went away.
struct Waits<'a>(&'a AtomicUsize);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Capacity {
    pub(crate) fn new(slots: Option<usize>) -> Arc<Self> {
        let slots = slots.map(|slots| (slots, Arc::new(Semaphore::new(slots))));
        Arc::new(Self { slots, waiting: AtomicUsize::new(0) })
    }

    /// Waits for a slot, first come, first served.
    pub(crate) async fn enter(&self) -> Slot {
        let (_, semaphore) = self.slots.as_ref()?;
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waits = Waits(&self.waiting);
        // It is never closed.
        Arc::clone(semaphore).acquire_owned().await.ok()
    }

    /// How many there are; `None` where there is no bound.
    pub(crate) fn slots(&self) -> Option<usize> {
        self.slots.as_ref().map(|(slots, _)| *slots)
    }

    /// Calls that are worked on; 0 where nobody counts.
    pub(crate) fn running(&self) -> usize {
        self.slots.as_ref().map_or(0, |(slots, semaphore)| slots - semaphore.available_permits())
    }

    /// Calls that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}
