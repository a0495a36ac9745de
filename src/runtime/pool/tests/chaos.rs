//! Whatever comes, goes, crashes and changes: no backend gets more calls than its limit, every lease comes back exactly once,
//! nobody waits beside a free slot, everybody gets one answer.

use proptest::prelude::*;

use super::*;

/// All times are multiples of this, so that the moments between them are quiet.
const TICK: Duration = Duration::from_millis(10);
const BACKENDS: usize = 3;
/// What each pool may use; they share the second backend.
const MEMBERS: [&[usize]; 2] = [&[0, 1], &[1, 2]];

#[derive(Debug, Clone)]
struct Ask {
    at: u32,
    pool: usize,
    class: usize,
    takes: u32,
    deadline: Option<u32>,
    hangs_up_after: Option<u32>,
}

#[derive(Debug, Clone)]
enum Event {
    Crash(usize),
    Limit(usize, u32),
    /// The pool has this backend no more, and a moment later again.
    Leave(usize, usize),
}

fn ask() -> impl Strategy<Value = Ask> {
    let some = |ticks: u32| prop::option::weighted(0.2, 0..ticks);
    (0u32..60, 0..MEMBERS.len(), 0usize..3, 1u32..40, some(100), some(60)).prop_map(
        |(at, pool, class, takes, deadline, hangs_up_after)| Ask { at, pool, class, takes, deadline, hangs_up_after },
    )
}

fn event() -> impl Strategy<Value = (u32, Event)> {
    let event = prop_oneof![
        (0..MEMBERS.len()).prop_map(Event::Crash),
        (0..BACKENDS, 1u32..4).prop_map(|(backend, limit)| Event::Limit(backend, limit)),
        (0..MEMBERS.len(), 0usize..2).prop_map(|(pool, at)| Event::Leave(pool, at)),
    ];
    (0u32..80, event)
}

impl World {
    /// Nobody waits where there is room. Only true between two ticks.
    fn expect_quiet(&self) {
        for at in 0..BACKENDS {
            let slots = self.slots(at);
            assert!(slots.waiters == 0 || slots.in_use >= slots.limit, "somebody waits beside a free slot: {slots:?}");
        }
    }

    async fn make(&self, event: &Event) {
        match event {
            Event::Crash(pool) => {
                self.pools[*pool].crash();
                tokio::time::sleep(TICK).await;
                self.pools[*pool].handle.detach();
                self.start_pool(*pool).await;
            }
            Event::Limit(backend, limit) => self.limit(*backend, *limit),
            Event::Leave(pool, at) => {
                let all = MEMBERS[*pool];
                self.route(*pool, &all[*at..=*at], QueueLimits::default());
                tokio::time::sleep(TICK).await;
                self.route(*pool, all, QueueLimits::default());
            }
        }
    }
}

async fn live(asks: Vec<Ask>, mut events: Vec<(u32, Event)>) {
    let limits = [1, 2, 1];
    let world = World::new(&limits, &MEMBERS).await;
    let most_allowed = |backend: usize| {
        let raised = events.iter().filter_map(|(_, event)| match event {
            Event::Limit(at, limit) if *at == backend => Some(*limit),
            _ => None,
        });
        usize::try_from(raised.chain([limits[backend]]).max().unwrap()).unwrap()
    };
    let most: Vec<usize> = (0..BACKENDS).map(most_allowed).collect();
    events.sort_by_key(|(at, _)| *at);
    let world = Arc::new(world);
    let (askers, began) = (TaskTracker::new(), Instant::now());
    for (number, ask) in asks.into_iter().enumerate() {
        let world = Arc::clone(&world);
        askers.spawn(async move {
            tokio::time::sleep(TICK * ask.at).await;
            let wish =
                Wish { pool: ask.pool, class: Priority::ALL[ask.class], time: ask.deadline.map(|ticks| TICK * ticks) };
            let call = world.call(&format!("{} {number}", TICK.as_millis() * u128::from(ask.takes)), wish);
            match ask.hangs_up_after {
                None => drop(call.await.unwrap()),
                Some(ticks) => {
                    tokio::time::sleep(TICK * ticks).await;
                    call.abort();
                }
            }
        });
    }
    let makes = Arc::clone(&world);
    askers.spawn(async move {
        for (at, event) in events {
            tokio::time::sleep_until(began + TICK * at).await;
            makes.make(&event).await;
        }
    });
    let checks = Arc::clone(&world);
    let checker = TaskTracker::new().spawn(async move {
        for tick in 0.. {
            tokio::time::sleep_until(began + TICK * tick + TICK / 2).await;
            checks.expect_quiet();
        }
    });
    askers.close();
    // Longer than any call and any wait.
    tokio::time::timeout(Duration::from_secs(120), askers.wait()).await.expect("somebody was never answered");
    world.tasks.close();
    tokio::time::timeout(Duration::from_secs(1), settled(&world)).await.expect("a lease was lost");
    assert!(!checker.is_finished(), "see the panic above");
    checker.abort();
    for (backend, most) in most.iter().enumerate() {
        let seen = world.engines[backend].most.load(Ordering::SeqCst);
        assert!(seen <= *most, "backend {backend} had {seen} calls at once, its highest limit was {most}");
    }
    for pool in &world.pools {
        assert_eq!(pool.queue_depth(), 0);
    }
}

async fn settled(world: &World) {
    let is_idle = |at: usize| (world.slots(at).in_use, world.slots(at).waiters, world.slots(at).settling) == (0, 0, 0);
    while !(0..BACKENDS).all(is_idle) {
        tokio::time::sleep(TICK).await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_slot_is_lost_or_used_twice_whatever_happens(
        asks in prop::collection::vec(ask(), 1..80),
        events in prop::collection::vec(event(), 0..10),
    ) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(live(asks, events));
    }
}
