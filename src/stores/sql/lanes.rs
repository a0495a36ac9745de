//! Bounded queues from async callers to plain threads, in order of precedence.
//!
//! Owns what waits for the writer or the readers. A full lane makes its callers wait for at most [`MAX_WAIT`], then
//! refuses them: the store never collects more work than it can name. Used by `writer` and `readers`.

use std::{
    array,
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::stores::{catalog::StoreError, sql::errors::Cause};

/// Longest wait for room in a lane: some hundred commits of a slow disk.
const MAX_WAIT: Duration = Duration::from_secs(1);

/// `N` queues; a lower number is served first.
pub(super) struct Lanes<T, const N: usize> {
    waiting: Mutex<Waiting<T, N>>,
    filled: Condvar,
    room: [Arc<Semaphore>; N],
    max_wait: Duration,
}

struct Waiting<T, const N: usize> {
    queues: [VecDeque<(T, OwnedSemaphorePermit)>; N],
    closed: bool,
}

impl<T, const N: usize> Lanes<T, N> {
    /// Lanes that hold this many items each.
    pub(super) fn new(capacities: [usize; N]) -> Self {
        Self::with_max_wait(capacities, MAX_WAIT)
    }

    fn with_max_wait(capacities: [usize; N], max_wait: Duration) -> Self {
        Self {
            max_wait,
            waiting: Mutex::new(Waiting { queues: array::from_fn(|_| VecDeque::new()), closed: false }),
            filled: Condvar::new(),
            room: capacities.map(|capacity| Arc::new(Semaphore::new(capacity))),
        }
    }

    /// Queues an item. `Unavailable` when the lane stays full or the store closes.
    pub(super) async fn push(&self, lane: usize, item: T) -> Result<(), StoreError> {
        let room = self.room[lane].clone().acquire_owned();
        let permit = tokio::time::timeout(self.max_wait, room)
            .await
            .map_err(|_| Cause::Crowded.unavailable())?
            .map_err(|_| Cause::Closed.unavailable())?;
        let mut waiting = self.lock();
        if waiting.closed {
            return Err(Cause::Closed.unavailable());
        }
        waiting.queues[lane].push_back((item, permit));
        drop(waiting);
        self.filled.notify_one();
        Ok(())
    }

    /// The next item, waiting for it; `None` once the lanes are closed and empty.
    pub(super) fn pop(&self) -> Option<T> {
        let mut waiting = self.lock();
        loop {
            if let Some(item) = waiting.take() {
                return Some(item);
            }
            if waiting.closed {
                return None;
            }
            waiting = self.filled.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The next item if one waits.
    pub(super) fn try_pop(&self) -> Option<T> {
        self.lock().take()
    }

    /// Refuses new items; those that wait are still served.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.room.iter().for_each(|room| room.close());
        self.filled.notify_all();
    }

    /// Nothing panics while it holds the lock, and no item is half queued if something did.
    fn lock(&self) -> MutexGuard<'_, Waiting<T, N>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T, const N: usize> Waiting<T, N> {
    fn take(&mut self) -> Option<T> {
        self.queues.iter_mut().find_map(VecDeque::pop_front).map(|(item, _room)| item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lower_lanes_are_served_first_and_each_in_order() {
        let lanes = Lanes::<_, 2>::new([4, 4]);
        for (lane, item) in [(1, "history 1"), (0, "configuration 1"), (1, "history 2"), (0, "configuration 2")] {
            lanes.push(lane, item).await.unwrap();
        }
        let order: Vec<_> = std::iter::from_fn(|| lanes.try_pop()).collect();
        assert_eq!(order, ["configuration 1", "configuration 2", "history 1", "history 2"]);
    }

    #[tokio::test]
    async fn a_full_lane_refuses_after_a_bounded_wait_and_leaves_the_other_alone() {
        let lanes = Lanes::<_, 2>::with_max_wait([1, 1], Duration::ZERO);
        lanes.push(1, 1).await.unwrap();
        let refused = lanes.push(1, 2).await;
        assert!(matches!(refused, Err(StoreError::Unavailable(_))));
        lanes.push(0, 3).await.unwrap();
        assert_eq!(lanes.pop(), Some(3));
        assert_eq!(lanes.pop(), Some(1));
        lanes.push(1, 4).await.unwrap();
    }

    #[tokio::test]
    async fn closed_lanes_refuse_new_items_and_hand_out_the_waiting_ones() {
        let lanes = Lanes::<_, 1>::new([2]);
        lanes.push(0, 1).await.unwrap();
        lanes.close();
        assert!(matches!(lanes.push(0, 2).await, Err(StoreError::Unavailable(_))));
        assert_eq!((lanes.pop(), lanes.pop()), (Some(1), None));
    }
}
