//! The slots of one backend: how many calls may run, how many do, and how many requests wait for one.
//!
//! One atomic word, owned by the process and not by an actor, so that no crash forgets a running call. Three rules make
//! it fair and lossless: a newcomer takes a slot only while nobody waits; a waiter announces itself *before* it looks
//! for a slot once more; whoever gives a slot back while somebody waits wakes the pools, whose oldest waiter then claims it.

use std::sync::atomic::{AtomicU64, Ordering};

/// Limit, calls in use and announced waiters, as read at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SlotCounts {
    pub(super) limit: u16,
    pub(super) in_use: u16,
    pub(super) waiters: u32,
}

impl SlotCounts {
    fn unpack(word: u64) -> Self {
        let part = |shift: u32, bits: u32| (word >> shift) & ((1 << bits) - 1);
        // The masks make every conversion exact.
        Self {
            limit: u16::try_from(part(48, 16)).unwrap_or(u16::MAX),
            in_use: u16::try_from(part(32, 16)).unwrap_or(u16::MAX),
            waiters: u32::try_from(part(0, 32)).unwrap_or(u32::MAX),
        }
    }

    fn pack(self) -> u64 {
        u64::from(self.limit) << 48 | u64::from(self.in_use) << 32 | u64::from(self.waiters)
    }

    fn is_free(self) -> bool {
        self.in_use < self.limit
    }
}

/// See the module's rules.
#[derive(Debug)]
pub(super) struct Slots {
    word: AtomicU64,
}

impl Slots {
    pub(super) fn new(limit: u16) -> Self {
        Self { word: AtomicU64::new(SlotCounts { limit, in_use: 0, waiters: 0 }.pack()) }
    }

    pub(super) fn counts(&self) -> SlotCounts {
        SlotCounts::unpack(self.word.load(Ordering::Acquire))
    }

    /// Changes the counts if `step` gives new ones.
    fn update(&self, step: impl Fn(SlotCounts) -> Option<SlotCounts>) -> Option<SlotCounts> {
        self.word
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
                step(SlotCounts::unpack(word)).map(SlotCounts::pack)
            })
            .ok()
            .map(SlotCounts::unpack)
    }

    /// For a newcomer: takes a slot if one is free and nobody waits.
    pub(super) fn try_acquire(&self) -> bool {
        self.update(|now| (now.is_free() && now.waiters == 0).then_some(SlotCounts { in_use: now.in_use + 1, ..now }))
            .is_some()
    }

    /// For the oldest waiter: takes a slot if one is free.
    pub(super) fn claim(&self) -> bool {
        self.update(|now| now.is_free().then_some(SlotCounts { in_use: now.in_use + 1, ..now })).is_some()
    }

    /// Gives a slot back; true when somebody waits and must be woken.
    pub(super) fn release(&self) -> bool {
        let before = self.update(|now| Some(SlotCounts { in_use: now.in_use.saturating_sub(1), ..now }));
        debug_assert!(before.is_none_or(|counts| counts.in_use > 0), "a slot was given back twice");
        before.is_some_and(|counts| counts.waiters > 0)
    }

    /// Adds a waiter.
    pub(super) fn announce(&self) {
        self.update(|now| Some(SlotCounts { waiters: now.waiters.saturating_add(1), ..now }));
    }

    /// Takes a waiter off; true when a slot is free and others still wait for it.
    pub(super) fn withdraw(&self) -> bool {
        let before = self.update(|now| Some(SlotCounts { waiters: now.waiters.saturating_sub(1), ..now }));
        before.is_some_and(|counts| counts.waiters > 1 && counts.is_free())
    }

    /// Sets the limit. Running calls above a lower one finish.
    pub(super) fn set_limit(&self, limit: u16) {
        self.update(|now| Some(SlotCounts { limit, ..now }));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_newcomer_never_overtakes_a_waiter() {
        let slots = Slots::new(1);
        assert!(slots.try_acquire());
        slots.announce();
        assert!(slots.release(), "somebody waits and must be woken");
        assert!(!slots.try_acquire(), "the free slot belongs to the waiter");
        assert!(slots.claim());
        slots.withdraw();
        assert!(!slots.release());
        assert!(slots.try_acquire());
    }

    #[test]
    fn a_lower_limit_lets_running_calls_finish_and_grants_no_more() {
        let slots = Slots::new(3);
        assert!(slots.try_acquire() && slots.try_acquire());
        slots.set_limit(1);
        slots.release();
        assert!(!slots.try_acquire());
        slots.release();
        assert!(slots.try_acquire());
    }

    #[test]
    fn threads_never_hold_more_slots_than_the_limit() {
        use std::sync::atomic::AtomicU16;
        let (slots, held) = (Slots::new(3), AtomicU16::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..2_000 {
                        if slots.try_acquire() {
                            assert!(held.fetch_add(1, Ordering::SeqCst) < 3);
                            held.fetch_sub(1, Ordering::SeqCst);
                            slots.release();
                        }
                    }
                });
            }
        });
        assert_eq!(slots.counts(), SlotCounts { limit: 3, in_use: 0, waiters: 0 });
    }

    proptest! {
        #[test]
        fn whatever_happens_the_counts_add_up(steps in prop::collection::vec(0u8..5, 0..200), limit in 1u16..5) {
            let slots = Slots::new(limit);
            let (mut in_use, mut waiters) = (0u16, 0u32);
            for step in steps {
                match step {
                    0 => in_use += u16::from(slots.try_acquire()),
                    1 => in_use += u16::from(slots.claim()),
                    2 if in_use > 0 => { slots.release(); in_use -= 1; }
                    3 => { slots.announce(); waiters += 1; }
                    4 if waiters > 0 => { slots.withdraw(); waiters -= 1; }
                    _ => {}
                }
                prop_assert!(in_use <= limit);
                prop_assert_eq!(slots.counts(), SlotCounts { limit, in_use, waiters });
            }
        }
    }
}
