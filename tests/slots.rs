//! Every interleaving of what threads do to one backend's slots (`src/runtime/slots.rs`, with loom's atomics in the place of
//! the real ones): never more calls than the limit, no slot lost, nobody left waiting beside a free slot, no newcomer before
//! a waiter.
//!
//! The models play the road of a freed slot as `runtime::lease` and `runtime::pool` go it: a slot that is kept for somebody is
//! offered to a pool's actor, which gives it to a waiter or frees it and has all who wait look again. Bounded to three
//! preemptions a run; more find nothing new and take minutes.
#![allow(clippy::unwrap_used, clippy::print_stdout, unreachable_pub, reason = "a test fails by panicking")]

#[path = "../src/runtime/slots.rs"]
mod slots;

/// What `slots` counts with here.
mod atomic {
    pub use loom::sync::atomic::{AtomicU64, Ordering};
}

use std::time::Instant;

use loom::{
    model::Builder,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use self::slots::{GivenBack, SlotCounts, Slots};

/// One backend, and the mailbox of a pool's actor.
struct House {
    slots: Slots,
    /// Calls that run.
    running: AtomicUsize,
    /// Slots on their way to the actor.
    offered: AtomicUsize,
    /// Whether the actor was told to look for free slots.
    woken: AtomicUsize,
}

impl House {
    fn new(limit: u16) -> Arc<Self> {
        Arc::new(Self {
            slots: Slots::new(limit),
            running: AtomicUsize::new(0),
            offered: AtomicUsize::new(0),
            woken: AtomicUsize::new(0),
        })
    }

    /// A newcomer's call, from one slot to none.
    fn call(&self, limit: usize) -> bool {
        let admitted = self.slots.try_acquire();
        if admitted {
            self.run(limit);
        }
        admitted
    }

    /// A call in a slot that is taken.
    fn run(&self, limit: usize) {
        assert!(self.running.fetch_add(1, Ordering::AcqRel) < limit, "more calls than the limit");
        self.running.fetch_sub(1, Ordering::AcqRel);
        self.give_back();
    }

    fn give_back(&self) {
        if self.slots.give_back() == GivenBack::Kept {
            self.offered.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// What an actor does with a slot that none of its waiters wants.
    fn decline(&self) {
        if self.slots.free() {
            self.woken.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Offers what is free to those who wait.
    fn offer_free_slots(&self) {
        while self.slots.claim() {
            self.offered.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// The actor reads its mailbox to the end while this many wait in its queue; each that is served makes its call. Returns
    /// how many still wait.
    fn settle(&self, mut waiting: usize, limit: usize) -> usize {
        loop {
            let (offered, woken) = (self.offered.swap(0, Ordering::AcqRel), self.woken.swap(0, Ordering::AcqRel));
            if offered + woken == 0 {
                return waiting;
            }
            for _ in 0..offered {
                if waiting == 0 {
                    self.decline();
                } else {
                    waiting -= 1;
                    self.slots.withdraw();
                    self.run(limit);
                }
            }
            while waiting > 0 && woken > 0 && self.slots.claim() {
                waiting -= 1;
                self.slots.withdraw();
                self.run(limit);
            }
        }
    }

    fn expect_idle(&self, limit: u16) {
        assert_eq!(self.slots.counts(), SlotCounts { limit, in_use: 0, waiters: 0 });
    }
}

fn newcomers_share_the_slots() {
    let house = House::new(1);
    let others: Vec<_> = (0..2)
        .map(|_| {
            let house = Arc::clone(&house);
            thread::spawn(move || house.call(1))
        })
        .collect();
    let mut admitted = usize::from(house.call(1));
    admitted += others.into_iter().map(|other| usize::from(other.join().unwrap())).sum::<usize>();
    assert!(admitted >= 1, "the slot was free");
    house.expect_idle(1);
}

fn a_waiter_is_served_however_a_slot_comes_back_while_it_arrives() {
    let house = House::new(1);
    assert!(house.slots.try_acquire());
    let (ends, newcomer) = (Arc::clone(&house), Arc::clone(&house));
    let ends = thread::spawn(move || ends.give_back());
    let newcomer = thread::spawn(move || newcomer.call(1));
    house.slots.announce();
    // Queued: it looks once more.
    let mut waiting = 1;
    if house.slots.claim() {
        waiting = 0;
        house.slots.withdraw();
        house.run(1);
    }
    ends.join().unwrap();
    newcomer.join().unwrap();
    assert_eq!(house.settle(waiting, 1), 0, "somebody waits beside a free slot");
    house.expect_idle(1);
}

fn a_waiter_is_served_although_another_pool_was_offered_the_slot() {
    let house = House::new(1);
    assert!(house.slots.try_acquire());
    let elsewhere = Arc::clone(&house);
    let elsewhere = thread::spawn(move || {
        // The other pool's only waiter has gone, or is still on its way.
        if elsewhere.slots.give_back() == GivenBack::Kept {
            elsewhere.decline();
        }
    });
    let leaves = Arc::clone(&house);
    house.slots.announce();
    let leaves = thread::spawn(move || leaves.slots.withdraw());
    house.slots.announce();
    let mut waiting = 1;
    if house.slots.claim() {
        waiting = 0;
        house.slots.withdraw();
        house.run(1);
    }
    elsewhere.join().unwrap();
    leaves.join().unwrap();
    assert_eq!(house.settle(waiting, 1), 0, "somebody waits beside a free slot");
    house.expect_idle(1);
}

fn a_slot_for_somebody_who_leaves_goes_to_the_next_or_is_free() {
    for stay in [0, 1] {
        let house = House::new(1);
        assert!(house.slots.try_acquire());
        for _ in 0..=stay {
            house.slots.announce();
        }
        let (ends, leaves) = (Arc::clone(&house), Arc::clone(&house));
        let ends = thread::spawn(move || ends.give_back());
        let leaves = thread::spawn(move || leaves.slots.withdraw());
        ends.join().unwrap();
        leaves.join().unwrap();
        assert_eq!(house.settle(stay, 1), 0, "somebody waits beside a free slot");
        house.expect_idle(1);
    }
}

fn a_new_limit_finds_those_who_wait_and_those_who_arrive() {
    for (before, after) in [(0, 1), (2, 1)] {
        let house = House::new(before);
        for _ in 0..before {
            assert!(house.slots.try_acquire());
        }
        let (limits, ends) = (Arc::clone(&house), Arc::clone(&house));
        let limits = thread::spawn(move || {
            if limits.slots.set_limit(after) {
                limits.offer_free_slots();
            }
        });
        let ends = thread::spawn(move || (0..before).for_each(|_| ends.give_back()));
        house.slots.announce();
        let mut waiting = 1;
        if house.slots.claim() {
            waiting = 0;
            house.slots.withdraw();
            house.run(2);
        }
        limits.join().unwrap();
        ends.join().unwrap();
        assert_eq!(house.settle(waiting, 2), 0, "somebody waits beside a free slot");
        house.expect_idle(after);
    }
}

fn no_newcomer_goes_before_a_waiter() {
    let house = House::new(1);
    assert!(house.slots.try_acquire());
    house.slots.announce();
    let (ends, newcomer) = (Arc::clone(&house), Arc::clone(&house));
    let ends = thread::spawn(move || {
        assert_eq!(ends.slots.give_back(), GivenBack::Kept);
        ends.decline();
    });
    let newcomer = thread::spawn(move || newcomer.slots.try_acquire());
    ends.join().unwrap();
    assert!(!newcomer.join().unwrap(), "a newcomer overtook the waiter");
    assert_eq!(house.settle(1, 1), 0);
    house.expect_idle(1);
}

fn main() {
    let models: [(&str, fn()); 6] = [
        ("newcomers_share_the_slots", newcomers_share_the_slots),
        (
            "a_waiter_is_served_however_a_slot_comes_back_while_it_arrives",
            a_waiter_is_served_however_a_slot_comes_back_while_it_arrives,
        ),
        (
            "a_waiter_is_served_although_another_pool_was_offered_the_slot",
            a_waiter_is_served_although_another_pool_was_offered_the_slot,
        ),
        (
            "a_slot_for_somebody_who_leaves_goes_to_the_next_or_is_free",
            a_slot_for_somebody_who_leaves_goes_to_the_next_or_is_free,
        ),
        (
            "a_new_limit_finds_those_who_wait_and_those_who_arrive",
            a_new_limit_finds_those_who_wait_and_those_who_arrive,
        ),
        ("no_newcomer_goes_before_a_waiter", no_newcomer_goes_before_a_waiter),
    ];
    for (name, model) in models {
        let began = Instant::now();
        let mut builder = Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(model);
        println!("{name} ... ok ({:?})", began.elapsed());
    }
}
