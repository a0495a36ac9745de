//! Which of the pools that wait for a backend gets its next free slot: each in turn, so that a pool with a thousand waiters
//! takes no more of a shared backend than one with ten.
//!
//! This is deficit round robin (Shreedhar and Varghese, 1995) where every packet is one slot: a pool whose queue is empty
//! is passed over and saves nothing up.

use std::sync::{
    Arc, Weak,
    atomic::{AtomicUsize, Ordering},
};

use arc_swap::ArcSwap;

use super::{directory::PoolCell, lease::Slot};

/// One pool's place in the turns of one backend.
pub(super) struct PoolLink {
    pool: Weak<PoolCell>,
    /// Requests of the pool that wait for this backend.
    waiting: AtomicUsize,
}

impl PoolLink {
    /// A request of the pool waits for the backend.
    pub(super) fn enter(&self) {
        self.waiting.fetch_add(1, Ordering::AcqRel);
    }

    /// It waits no longer.
    pub(super) fn leave(&self) {
        self.waiting.fetch_sub(1, Ordering::AcqRel);
    }

    fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Acquire) > 0
    }
}

/// The pools of one backend, and whose turn it is.
#[derive(Default)]
pub(super) struct Turns {
    links: ArcSwap<Vec<Arc<PoolLink>>>,
    next: AtomicUsize,
}

impl Turns {
    /// Sets the pools that the backend is in. Those it has been in before keep their waiters.
    pub(super) fn connect(&self, pools: Vec<Weak<PoolCell>>) {
        let known = self.links.load();
        let link = |pool: Weak<PoolCell>| {
            let old = known.iter().find(|link| Weak::ptr_eq(&link.pool, &pool));
            old.map_or_else(|| Arc::new(PoolLink { pool, waiting: AtomicUsize::new(0) }), Arc::clone)
        };
        let links = pools.into_iter().map(link).collect();
        self.links.store(Arc::new(links));
    }

    /// The pool's place, unless the backend has just left it.
    pub(super) fn link(&self, pool: &PoolCell) -> Option<Arc<PoolLink>> {
        let links = self.links.load();
        links.iter().find(|link| std::ptr::eq(link.pool.as_ptr(), pool)).map(Arc::clone)
    }

    /// All pools that the backend is in.
    pub(super) fn pools(&self) -> Vec<Arc<PoolCell>> {
        self.links.load().iter().filter_map(|link| link.pool.upgrade()).collect()
    }

    /// Hands a slot to the pool whose turn it is among those that wait; gives it back where none can be reached.
    pub(super) fn offer(&self, mut slot: Slot) -> Result<(), Slot> {
        let links = self.links.load();
        let Some(first) = self.take_turn(&links) else { return Err(slot) };
        let (before, from) = links.split_at(first);
        for link in from.iter().chain(before).filter(|link| link.is_waiting()) {
            let Some(pool) = link.pool.upgrade() else { continue };
            match pool.handle.offer(slot) {
                Ok(()) => return Ok(()),
                Err(back) => slot = back,
            }
        }
        Err(slot)
    }

    /// Makes every pool that waits look for free slots itself.
    pub(super) fn wake(&self) {
        for link in self.links.load().iter().filter(|link| link.is_waiting()) {
            if let Some(pool) = link.pool.upgrade() {
                pool.wake();
            }
        }
    }

    /// The next pool that waits; the one behind it is next.
    fn take_turn(&self, links: &[Arc<PoolLink>]) -> Option<usize> {
        let mut taken = None;
        let step = |next: usize| {
            taken = in_turn(next, links.len(), |at| links[at].is_waiting());
            taken.map(|at| at + 1)
        };
        // The result is in `taken`: of the step that went through.
        let went = self.next.fetch_update(Ordering::AcqRel, Ordering::Acquire, step).is_ok();
        if went { taken } else { None }
    }
}

/// The first one at or behind `next` that wants, around the circle.
fn in_turn(next: usize, count: usize, wants: impl Fn(usize) -> bool) -> Option<usize> {
    (0..count).map(|step| (next + step) % count).find(|at| wants(*at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_want_get_the_same_however_many_do_not() {
        let wants = [true, false, true, true, false];
        let (mut next, mut turns) = (0, [0; 5]);
        for _ in 0..300 {
            let at = in_turn(next, wants.len(), |at| wants[at]).unwrap();
            (turns[at], next) = (turns[at] + 1, at + 1);
        }
        assert_eq!(turns, [100, 0, 100, 100, 0]);
        assert_eq!(in_turn(3, 3, |_| false), None);
        assert_eq!(in_turn(0, 0, |_| true), None);
    }
}
