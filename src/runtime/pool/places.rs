//! How many requests of each class wait in one pool, in one atomic word; and who still finds a place.
//!
//! A flood of work that may wait must not fill the queue against work that may not: each class and those below it may
//! fill a share of the capacity only (`docs/operations.md`, backpressure).

use std::sync::atomic::{AtomicU64, Ordering};

use crate::domain::priority::Priority;

const CLASSES: usize = Priority::ALL.len();
/// Of the capacity, in percent: what a class and the less urgent ones may fill together.
const SHARE_PERCENT: [u64; CLASSES] = [100, 80, 50];
const BITS: u32 = 21;

/// The places of one pool's queue. Sequentially consistent throughout: see `PoolCell::changed`.
#[derive(Debug, Default)]
pub(in crate::runtime) struct Places {
    word: AtomicU64,
}

impl Places {
    /// Takes a place if the class still has one.
    pub(in crate::runtime) fn take(&self, class: Priority, capacity: u32) -> bool {
        let grow = |word| has_place(counts(word), class, capacity).then(|| word + (1 << shift(class)));
        self.word.fetch_update(Ordering::SeqCst, Ordering::SeqCst, grow).is_ok()
    }

    /// Leaves a place that was taken.
    pub(in crate::runtime) fn leave(&self, class: Priority) {
        self.word.fetch_sub(1 << shift(class), Ordering::SeqCst);
    }

    /// Requests that wait, by class.
    pub(in crate::runtime) fn counts(&self) -> [u64; CLASSES] {
        counts(self.word.load(Ordering::SeqCst))
    }
}

const fn shift(class: Priority) -> u32 {
    BITS * class.index() as u32
}

fn counts(word: u64) -> [u64; CLASSES] {
    Priority::ALL.map(|class| (word >> shift(class)) & ((1 << BITS) - 1))
}

/// Whether neither the class nor any more urgent one has its share filled by itself and those below it. Shares are
/// rounded up, so that the smallest queue has a place for everybody.
fn has_place(counts: [u64; CLASSES], class: Priority, capacity: u32) -> bool {
    (0..=class.index()).all(|at| {
        let share = (u64::from(capacity) * SHARE_PERCENT[at]).div_ceil(100);
        counts[at..].iter().sum::<u64>() < share
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// How many of this class find a place in a row.
    fn fill(places: &Places, class: Priority, capacity: u32) -> usize {
        (0..).take_while(|_| places.take(class, capacity)).count()
    }

    #[test]
    fn a_flood_of_less_urgent_requests_leaves_room_for_more_urgent_ones() {
        let places = Places::default();
        assert_eq!(fill(&places, Priority::Batch, 100), 50);
        assert_eq!(fill(&places, Priority::Standard, 100), 30);
        assert_eq!(fill(&places, Priority::Interactive, 100), 20);
        assert_eq!(places.counts(), [20, 30, 50]);
        places.leave(Priority::Interactive);
        assert!(!places.take(Priority::Standard, 100), "the room is for those who are more urgent");
        assert!(places.take(Priority::Interactive, 100));
    }

    #[test]
    fn the_urgent_may_fill_all_of_it() {
        let places = Places::default();
        assert_eq!(fill(&places, Priority::Interactive, 100), 100);
        assert_eq!(fill(&places, Priority::Batch, 100), 0);
    }

    #[test]
    fn a_small_queue_has_a_place_for_everybody_and_none_has_none() {
        for class in Priority::ALL {
            assert_eq!(fill(&Places::default(), class, 1), 1, "{class:?}");
            assert_eq!(fill(&Places::default(), class, 0), 0, "{class:?}");
        }
        assert_eq!(fill(&Places::default(), Priority::Standard, 2), 2);
    }

    proptest! {
        #[test]
        fn whoever_comes_and_goes_the_bounds_hold_and_the_counts_add_up(
            steps in prop::collection::vec((any::<bool>(), 0usize..3), 0..400),
            capacity in 0u32..40,
        ) {
            let (places, mut waiting) = (Places::default(), [0u64; 3]);
            for (comes, at) in steps {
                let class = Priority::ALL[at];
                if comes {
                    waiting[at] += u64::from(places.take(class, capacity));
                } else if waiting[at] > 0 {
                    places.leave(class);
                    waiting[at] -= 1;
                }
                prop_assert_eq!(places.counts(), waiting);
                let bound = |percent: u64| (u64::from(capacity) * percent).div_ceil(100);
                prop_assert!(waiting.iter().sum::<u64>() <= bound(100));
                prop_assert!(waiting[1] + waiting[2] <= bound(80) && waiting[2] <= bound(50));
            }
        }
    }
}
