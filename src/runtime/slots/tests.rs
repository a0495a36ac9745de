//! One thread at a time, and many at once; all interleavings are tried in `tests/slots.rs`.

use std::sync::atomic::{AtomicU16, Ordering};

use proptest::prelude::*;

use super::slots::{GivenBack, SlotCounts, Slots};

#[test]
fn a_newcomer_never_overtakes_a_waiter() {
    let slots = Slots::new(1);
    assert!(slots.try_acquire());
    slots.announce();
    assert_eq!(slots.give_back(), GivenBack::Kept, "the waiter inherits it");
    assert!(!slots.try_acquire());
    slots.withdraw();
    assert_eq!(slots.give_back(), GivenBack::Free);
    assert!(slots.try_acquire());
}

#[test]
fn a_slot_that_no_waiter_would_take_is_for_the_waiter_who_comes_for_it() {
    let slots = Slots::new(1);
    assert!(slots.try_acquire());
    slots.announce();
    assert!(slots.free(), "somebody must look for it");
    assert!(!slots.try_acquire(), "it belongs to the waiter");
    assert!(slots.claim());
}

#[test]
fn nobody_claims_for_waiters_where_nobody_waits() {
    let slots = Slots::new(1);
    assert!(!slots.claim());
    slots.announce();
    assert!(slots.claim());
}

#[test]
fn a_lower_limit_lets_running_calls_finish_and_grants_no_more() {
    let slots = Slots::new(3);
    assert!(slots.try_acquire() && slots.try_acquire());
    slots.announce();
    assert!(!slots.set_limit(1));
    assert_eq!(slots.give_back(), GivenBack::Free, "nobody inherits a place that is gone");
    assert!(!slots.claim());
    assert_eq!(slots.give_back(), GivenBack::Kept);
}

#[test]
fn a_raised_limit_tells_whether_somebody_waits_for_it() {
    let slots = Slots::new(1);
    assert!(!slots.set_limit(2));
    assert!(slots.try_acquire() && slots.try_acquire());
    slots.announce();
    assert!(!slots.set_limit(2));
    assert!(slots.set_limit(3));
}

#[test]
fn threads_never_hold_more_slots_than_the_limit() {
    let (slots, held) = (Slots::new(3), AtomicU16::new(0));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..2_000 {
                    if slots.try_acquire() {
                        assert!(held.fetch_add(1, Ordering::SeqCst) < 3);
                        held.fetch_sub(1, Ordering::SeqCst);
                        assert_eq!(slots.give_back(), GivenBack::Free);
                    }
                }
            });
        }
    });
    assert_eq!(slots.counts(), SlotCounts { limit: 3, in_use: 0, waiters: 0 });
}

proptest! {
    #[test]
    fn whatever_happens_the_counts_add_up(steps in prop::collection::vec((0u8..7, 1u16..6), 0..200)) {
        let slots = Slots::new(3);
        let (mut limit, mut in_use, mut waiters) = (3u16, 0u16, 0u32);
        for (step, number) in steps {
            let before = in_use;
            match step {
                0 => in_use += u16::from(slots.try_acquire()),
                1 => in_use += u16::from(slots.claim()),
                2 if in_use > 0 => in_use -= u16::from(slots.give_back() == GivenBack::Free),
                3 if in_use > 0 => { slots.free(); in_use -= 1; }
                4 => { slots.announce(); waiters += 1; }
                5 if waiters > 0 => { slots.withdraw(); waiters -= 1; }
                6 => { slots.set_limit(number); limit = number; }
                _ => {}
            }
            prop_assert!(in_use <= before || in_use <= limit, "nothing is granted above the limit");
            prop_assert_eq!(slots.counts(), SlotCounts { limit, in_use, waiters });
        }
    }
}
