//! The slots of one backend: how many calls may run, how many do, and how many requests wait for one.
//!
//! One atomic word, owned by the process and not by an actor, so that no crash forgets a running call. Three rules make
//! it fair and lossless: a newcomer takes a slot only while nobody waits; a waiter announces itself *before* it looks
//! for a slot once more; a slot that is given back while somebody waits stays taken, and goes to the waiter as a value.
//! `tests/slots.rs` tries all interleavings of this file's operations; that is why its unit tests are declared next to it.

use super::atomic::{AtomicU64, Ordering};

/// Limit, calls in use and announced waiters, as read at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SlotCounts {
    pub(super) limit: u16,
    pub(super) in_use: u16,
    pub(super) waiters: u32,
}

/// What became of a slot that was given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GivenBack {
    /// It is free.
    Free,
    /// Somebody waits: it is still taken, and whoever gave it back hands it on.
    Kept,
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

    fn with_one_more(self) -> Self {
        Self { in_use: self.in_use + 1, ..self }
    }

    fn with_one_less(self) -> Self {
        debug_assert!(self.in_use > 0, "a slot was given back twice");
        Self { in_use: self.in_use.saturating_sub(1), ..self }
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

    /// Changes the counts if `step` gives new ones; the counts before.
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
        self.update(|now| (now.is_free() && now.waiters == 0).then(|| now.with_one_more())).is_some()
    }

    /// For those who wait: takes a slot if one is free and somebody does.
    pub(super) fn claim(&self) -> bool {
        self.update(|now| (now.is_free() && now.waiters > 0).then(|| now.with_one_more())).is_some()
    }

    /// Gives a slot back. Above a lowered limit nobody inherits it.
    pub(super) fn give_back(&self) -> GivenBack {
        let freed = self.update(|now| (now.waiters == 0 || now.in_use > now.limit).then(|| now.with_one_less()));
        if freed.is_some() { GivenBack::Free } else { GivenBack::Kept }
    }

    /// Gives back a slot that nobody would take; true when somebody waits who must look for it.
    pub(super) fn free(&self) -> bool {
        self.update(|now| Some(now.with_one_less())).is_some_and(|before| before.waiters > 0)
    }

    /// Adds a waiter.
    pub(super) fn announce(&self) {
        self.update(|now| Some(SlotCounts { waiters: now.waiters.saturating_add(1), ..now }));
    }

    /// Takes a waiter off.
    pub(super) fn withdraw(&self) {
        self.update(|now| Some(SlotCounts { waiters: now.waiters.saturating_sub(1), ..now }));
    }

    /// Sets the limit; true when a slot is free now and somebody waits. Running calls above a lower limit finish.
    pub(super) fn set_limit(&self, limit: u16) -> bool {
        let before = self.update(|now| Some(SlotCounts { limit, ..now }));
        before.is_some_and(|counts| counts.waiters > 0 && counts.in_use < limit)
    }
}
