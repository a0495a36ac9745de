//! Who waits, for how long, and what ends it.

use tokio::sync::oneshot;

use super::*;
use crate::{
    domain::failure::{FailureClass, RefusalReason},
    runtime::{
        backend::Way,
        directory::WaitingByClass,
        lease::{Announced, Lease},
        mailbox::Lane,
        pool::{BOUNDS, ModelKey, ModelQuery, PoolMsg, WaitEnd, Waiter, resolve},
    },
};

const SECOND: Duration = Duration::from_secs(1);

fn refusal(outcome: Result<String, Failure>) -> RefusalReason {
    outcome.unwrap_err().refusal.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_freed_slot_goes_to_the_most_urgent_and_the_oldest_of_them() {
    let world = World::new(&[1], &[&[0]]).await;
    let mut calls = vec![world.call("100 runs", Wish::STANDARD)];
    world.pause().await;
    for (prompt, class) in [
        ("100 batch", Priority::Batch),
        ("100 standard", Priority::Standard),
        ("100 second", Priority::Standard),
        ("100 interactive", Priority::Interactive),
    ] {
        calls.push(world.call(prompt, Wish::of(class)));
        world.pause().await;
    }
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(world.served(0), ["100 runs", "100 interactive", "100 standard", "100 second", "100 batch"]);
    assert_eq!(world.engines[0].most.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn pools_that_share_a_backend_take_turns_however_many_wait_in_each() {
    let world = World::new(&[1], &[&[0], &[0], &[0]]).await;
    let mut calls = vec![world.call("100 runs", Wish::in_pool(2))];
    world.pause().await;
    for _ in 0..40 {
        calls.push(world.call("100 many", Wish::in_pool(0)));
    }
    world.pause().await;
    for _ in 0..10 {
        calls.push(world.call("100 few", Wish::in_pool(1)));
    }
    for call in calls {
        call.await.unwrap().unwrap();
    }
    let served = world.served(0);
    let few = served[1..21].iter().filter(|prompt| prompt.contains("few")).count();
    assert_eq!(few, 10, "{served:?}");
    assert!(served[1..21].windows(2).all(|pair| pair[0] != pair[1]), "{served:?}");
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_too_long_is_told_so_on_time_and_its_place_is_free() {
    let world = World::new(&[1], &[&[0]]).await;
    world.route(0, &[0], QueueLimits { max_wait_ms: 2_000, ..QueueLimits::default() });
    let began = Instant::now();
    let running = world.call("60000 runs", Wish::STANDARD);
    world.pause().await;
    let (first, second) = (world.call("1 late", Wish::STANDARD), world.call("1 in a hurry", Wish::within(500)));
    world.pause().await;
    let in_hurry = world.call("1 with time", Wish::within(5_000));
    assert_eq!(refusal(second.await.unwrap()), RefusalReason::Deadline);
    assert_eq!(began.elapsed().as_millis(), 501);
    assert_eq!(refusal(first.await.unwrap()), RefusalReason::QueueTimeout);
    assert_eq!(began.elapsed().as_millis(), 2_001);
    assert_eq!(refusal(in_hurry.await.unwrap()), RefusalReason::QueueTimeout);
    assert_eq!(began.elapsed().as_millis(), 2_002);
    assert_eq!((world.pools[0].queue_depth(), world.slots(0).waiters), (0, 0));
    running.await.unwrap().unwrap();
    assert_eq!(world.served(0), ["60000 runs"]);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_has_passed_is_told_before_anybody_is_asked() {
    let world = World::new(&[1], &[&[0]]).await;
    assert_eq!(refusal(world.call("1 late", Wish::within(0)).await.unwrap()), RefusalReason::Deadline);
    assert_eq!(world.served(0).len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_behind_all_who_wait_is_refused_at_once_and_a_later_one_waits() {
    let world = World::new(&[1], &[&[0]]).await;
    let calls: Vec<_> = (0..21).map(|_| world.call("1000 waits", Wish::STANDARD)).collect();
    // Ten have been served, one a second; ten wait.
    tokio::time::sleep(10 * SECOND + SECOND / 2).await;
    assert_eq!(world.pools[0].queue_depth(), 10);
    let began = Instant::now();
    let refused = world.call("1 hopeless", Wish::within(9_000)).await.unwrap();
    assert_eq!((refusal(refused), began.elapsed()), (RefusalReason::Deadline, Duration::ZERO));
    let urgent = Wish { class: Priority::Interactive, ..Wish::within(9_000) };
    assert!(world.call("1 urgent", urgent).await.unwrap().is_ok(), "they all wait behind it");
    let patient = world.call("1 patient", Wish::within(15_000));
    for call in calls {
        call.await.unwrap().unwrap();
    }
    patient.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_call_is_given_up_at_its_deadline_and_its_slot_counts_until_the_engine_has_noticed() {
    let world = World::new(&[1], &[&[0]]).await;
    let began = Instant::now();
    let failure = world.call("60000 slow", Wish::within(2_000)).await.unwrap().unwrap_err();
    assert_eq!((failure.class, failure.refusal), (FailureClass::Timeout, None));
    assert_eq!(began.elapsed(), 2 * SECOND);
    assert_eq!((world.slots(0).in_use, world.slots(0).settling), (1, 1));
    world.call("1 next", Wish::STANDARD).await.unwrap().unwrap();
    assert_eq!(began.elapsed().as_millis(), 2_151, "the slot was free 150 ms later");
    assert_eq!(world.engines[0].most.load(Ordering::SeqCst), 1);
    assert_eq!((world.slots(0).in_use, world.slots(0).settling), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_does_not_end_a_call_that_is_answered_in_time() {
    let world = World::new(&[1], &[&[0]]).await;
    world.call("1999 quick", Wish::within(2_000)).await.unwrap().unwrap();
    assert_eq!(world.slots(0).in_use, 0, "what was read to its end frees its slot at once");
}

#[tokio::test(start_paused = true)]
async fn the_slot_of_a_client_that_hangs_up_settles_and_then_goes_to_the_next() {
    let world = World::new(&[2], &[&[0]]).await;
    let leavers = [world.call("60000 leaves", Wish::STANDARD), world.call("60000 leaves", Wish::STANDARD)];
    world.pause().await;
    let waits = [world.call("100 waits", Wish::STANDARD), world.call("100 waits", Wish::STANDARD)];
    world.pause().await;
    leavers.iter().for_each(JoinHandle::abort);
    world.pause().await;
    assert_eq!(world.slots(0), SlotSnapshot { limit: 2, in_use: 2, settling: 2, waiters: 2 });
    for call in waits {
        call.await.unwrap().unwrap();
    }
    assert_eq!(world.engines[0].most.load(Ordering::SeqCst), 2, "no engine had more than its limit");
    assert_eq!(world.slots(0), SlotSnapshot { limit: 2, in_use: 0, settling: 0, waiters: 0 });
}

#[tokio::test(start_paused = true)]
async fn nothing_settles_in_a_cloud() {
    let world = World::new(&[1], &[&[0]]).await;
    let cloud = Backend { cloud: Some(true), ..backend(0, 1) };
    world.backends[0].publish(view(cloud, &world.engines[0]));
    let mut lease = Lease::try_acquire(&world.backends[0], Way::Usual).unwrap();
    lease.begin();
    drop(lease);
    assert_eq!(world.slots(0), SlotSnapshot { limit: 1, in_use: 0, settling: 0, waiters: 0 });
}

#[test]
fn a_lease_that_is_dropped_outside_of_everything_frees_its_slot() {
    let cell = BackendCell::new(backend(0, 1), TaskTracker::new());
    let mut lease = Lease::try_acquire(&cell, Way::Usual).unwrap();
    lease.begin();
    drop(lease);
    assert_eq!(cell.slots().in_use, 0);
}

#[tokio::test(start_paused = true)]
async fn the_snapshot_of_a_pool_tells_who_waits_and_how_long() {
    let world = World::new(&[1], &[&[0]]).await;
    let running = world.call("10000 runs", Wish::STANDARD);
    world.pause().await;
    let oldest = world.call("1 first", Wish::of(Priority::Batch));
    world.pause().await;
    let others: Vec<_> = Priority::ALL.into_iter().map(|class| world.call("1 waits", Wish::of(class))).collect();
    tokio::time::sleep(2 * SECOND).await;
    let snapshot = world.pools[0].snapshot();
    assert_eq!(snapshot.waiting, WaitingByClass { interactive: 1, standard: 1, batch: 2 });
    assert_eq!((snapshot.capacity, snapshot.oldest_wait_ms), (1024, 2_001));
    for call in others.into_iter().chain([oldest, running]) {
        call.await.unwrap().unwrap();
    }
    let snapshot = world.pools[0].snapshot();
    assert_eq!((snapshot.waiting, snapshot.oldest_wait_ms), (WaitingByClass::default(), 0));
}

#[tokio::test(start_paused = true)]
async fn a_raised_limit_is_shared_by_the_pools_that_wait_for_it() {
    let world = World::new(&[1], &[&[0], &[0]]).await;
    let mut calls = vec![world.call("60000 runs", Wish::STANDARD)];
    world.pause().await;
    for pool in [0, 0, 0, 0, 1, 1, 1, 1] {
        calls.push(world.call(&format!("60000 pool {pool}"), Wish::in_pool(pool)));
        world.pause().await;
    }
    world.limit(0, 5);
    world.pause().await;
    let served = world.served(0);
    let of = |pool: &str| served.iter().filter(|prompt| prompt.ends_with(pool)).count();
    assert_eq!((of("pool 0"), of("pool 1")), (2, 2), "{served:?}");
    calls.iter().for_each(JoinHandle::abort);
}

/// The lane that freed slots share with arriving requests may be full: the slot is found all the same.
#[tokio::test(start_paused = true)]
async fn a_slot_that_finds_no_room_in_the_mailbox_is_not_lost() {
    let world = World::new(&[1], &[&[0]]).await;
    let slot = Lease::try_acquire(&world.backends[0], Way::Usual).unwrap();
    let waits = world.call("1 waits", Wish::STANDARD);
    world.pause().await;
    let address = &world.pools[0].handle.address;
    for _ in 0..BOUNDS.data {
        address.try_send(Lane::Data, PoolMsg::Left(u64::MAX)).unwrap();
    }
    drop(slot);
    assert_eq!(world.slots(0).in_use, 0, "it is free, and everybody was told to look");
    waits.await.unwrap().unwrap();
}

/// A grant that finds nobody goes on to the next, or is free again.
#[tokio::test(start_paused = true)]
async fn a_slot_granted_to_somebody_who_has_just_left_goes_to_the_next() {
    let world = World::new(&[1], &[&[0]]).await;
    let slot = Lease::try_acquire(&world.backends[0], Way::Usual).unwrap();
    let (leaves, stays) = (world.call("1 leaves", Wish::STANDARD), world.call("1 stays", Wish::STANDARD));
    world.pause().await;
    // Both happen before the actor looks.
    drop(slot);
    leaves.abort();
    stays.await.unwrap().unwrap();
    assert_eq!(world.served(0), ["1 stays"]);
    assert_eq!(world.slots(0), SlotSnapshot { limit: 1, in_use: 0, settling: 0, waiters: 0 });
}

#[tokio::test(start_paused = true)]
async fn slots_on_their_way_to_a_pool_that_crashes_go_to_another() {
    let world = World::new(&[2], &[&[0], &[0]]).await;
    let slots = [
        Lease::try_acquire(&world.backends[0], Way::Usual).unwrap(),
        Lease::try_acquire(&world.backends[0], Way::Usual).unwrap(),
    ];
    let (first, second) = (world.call("1 first", Wish::in_pool(0)), world.call("1 second", Wish::in_pool(1)));
    world.pause().await;
    drop(slots);
    world.pools[0].crash();
    assert_eq!(refusal(first.await.unwrap()), RefusalReason::NoBackend);
    second.await.unwrap().unwrap();
    assert_eq!(world.slots(0), SlotSnapshot { limit: 2, in_use: 0, settling: 0, waiters: 0 });
}

/// A slot may be freed after a request has announced itself and before it stands in the queue.
#[tokio::test(start_paused = true)]
async fn a_slot_that_comes_before_the_request_it_is_for_is_found_by_it() {
    let world = World::new(&[1], &[&[0]]).await;
    let (pool, backend) = (&world.pools[0], &world.backends[0]);
    let slot = Lease::try_acquire(backend, Way::Usual).unwrap();
    let announced = Announced::to(pool, [backend].into_iter());
    drop(slot);
    world.pause().await;
    assert_eq!(world.slots(0), SlotSnapshot { limit: 1, in_use: 0, settling: 0, waiters: 1 });
    assert!(Lease::try_acquire(backend, Way::Usual).is_none(), "it is not for newcomers");
    let query = ModelQuery {
        key: Some(ModelKey::exact("m:1b")),
        capability: Capability::Chat,
        providers: Vec::new(),
        require: Arc::default(),
        tokens: None,
        tried: Vec::new(),
    };
    let (end, ended) = oneshot::channel();
    let waiter = Waiter {
        ticket: pool.draw_ticket(),
        class: Priority::Standard,
        since: Instant::now(),
        patience: Instant::now() + SECOND,
        deadline: None,
        course: None,
        candidates: resolve(&pool.table(), &query).into(),
        query,
        epoch: pool.epoch(),
        may_bypass: false,
        announced,
        end,
    };
    pool.handle.enqueue(waiter).unwrap();
    assert!(matches!(ended.await, Ok(WaitEnd::Granted(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_threads_get_all_their_slots_and_give_all_of_them_back() {
    let world = Arc::new(World::new(&[1, 2, 1], &[&[0, 1], &[1, 2]]).await);
    let clients = (0..48).map(|number: usize| {
        let world = Arc::clone(&world);
        TaskTracker::new().spawn(async move {
            for _ in 0..20 {
                let wish = Wish { pool: number % 2, ..Wish::of(Priority::ALL[number % 3]) };
                world.call("0 now", wish).await.unwrap().unwrap();
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.unwrap();
    }
    for (at, most) in [1, 2, 1].into_iter().enumerate() {
        assert_eq!(world.slots(at), SlotSnapshot { in_use: 0, waiters: 0, settling: 0, ..world.slots(at) });
        assert!(world.engines[at].most.load(Ordering::SeqCst) <= most);
    }
}

#[tokio::test(start_paused = true)]
async fn a_slot_on_its_way_is_not_given_where_its_backend_is_no_longer_allowed() {
    let world = World::new(&[1], &[&[0]]).await;
    let slot = Lease::try_acquire(&world.backends[0], Way::Usual).unwrap();
    let waits = world.call("1 waits", Wish::STANDARD);
    world.pause().await;
    drop(slot);
    // Before the actor looks at the slot.
    let disabled = Backend { enabled: false, ..backend(0, 1) };
    world.backends[0].publish(view(disabled, &world.engines[0]));
    assert_eq!(refusal(waits.await.unwrap()), RefusalReason::NoBackend);
    assert_eq!(world.served(0).len(), 0);
    assert_eq!(world.slots(0), SlotSnapshot { limit: 1, in_use: 0, settling: 0, waiters: 0 });
}

#[tokio::test(start_paused = true)]
async fn nobody_looks_again_and_again_for_a_slot_that_a_reopening_backend_does_not_let_anybody_use() {
    let world = World::new(&[4], &[&[0]]).await;
    world.backends[0].access.bring_into(false, Some(SECOND));
    tokio::time::advance(SECOND).await;
    // One may go, and does; the other waits for its answer.
    let (first, second) = (world.call("10 first", Wish::STANDARD), world.call("10 second", Wish::STANDARD));
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!((world.slots(0).in_use, world.slots(0).waiters), (1, 1));
    let mut looks = 0;
    for _ in 0..100 {
        looks += usize::from(world.pools[0].woken.load(Ordering::SeqCst));
        tokio::task::yield_now().await;
    }
    assert_eq!(looks, 0, "the pool's actor rests");
    first.await.unwrap().unwrap();
    second.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_slot_that_one_pool_may_not_use_goes_on_to_the_one_that_may() {
    let world = World::new(&[1, 1], &[&[0, 1], &[0]]).await;
    world.backends[0].access.bring_into(true, None);
    let broken = Lease::try_acquire(&world.backends[0], Way::Bypass).unwrap();
    let well = Lease::try_acquire(&world.backends[1], Way::Usual).unwrap();
    // The first waits for the backend that is well; the second has none but the one whose breaker is open.
    let first = world.call("1 first", Wish::in_pool(0));
    let second = world.call("1 second", Wish::in_pool(1));
    world.pause().await;
    let began = Instant::now();
    drop(broken);
    second.await.unwrap().unwrap();
    assert!(began.elapsed() < SECOND / 10, "it was told at once: {:?}", began.elapsed());
    assert_eq!(world.served(0)[0], "1 second");
    drop(well);
    first.await.unwrap().unwrap();
}
