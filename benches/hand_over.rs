//! What does it cost that a freed slot goes to the next who waits: from the drop of a lease, through the pool's actor, to the
//! request that goes on with it?

use std::{
    collections::VecDeque,
    hint::black_box,
    pin::Pin,
    time::{Duration, Instant},
};

use criterion::{Criterion, criterion_group};
use futures_util::poll;
use penstock::{
    domain::pool::Policy,
    runtime::dispatch::measured::{Slot, Steps},
};
use tokio::task::yield_now;

use crate::steps;

type Waiting<'a> = Pin<Box<dyn Future<Output = Option<Slot>> + 'a>>;

/// One more request in the queue: its first poll finds every slot taken.
async fn queued(steps: &Steps) -> Waiting<'_> {
    let mut waiting: Waiting<'_> = Box::pin(steps.admit(7));
    assert!(poll!(&mut waiting).is_pending(), "no slot is free");
    waiting
}

/// So many times: the slot is dropped, whoever is next has it, and one more joins behind the `others`. The time of the whole,
/// and of the hand-overs alone.
async fn ring(steps: &Steps, others: usize, times: u64) -> (Duration, Duration) {
    let (mut held, mut queue) = (steps.admit(7).await.unwrap(), VecDeque::new());
    for _ in 0..others {
        queue.push_back(queued(steps).await);
    }
    let (began, mut handing) = (Instant::now(), Duration::ZERO);
    for _ in 0..times {
        queue.push_back(queued(steps).await);
        // The actor takes note of it, so that the slot meets a queue and not a newcomer.
        yield_now().await;
        let freed = Instant::now();
        drop(black_box(held));
        held = queue.pop_front().unwrap().await.unwrap();
        handing += freed.elapsed();
    }
    let whole = began.elapsed();
    drop(queue);
    drop(held);
    // The actor clears its queue of them.
    yield_now().await;
    (whole, handing)
}

fn hand_overs(criterion: &mut Criterion) {
    let runtime = steps::runtime();
    let steps = steps::start(&runtime, Policy::LeastLoaded, 1, 1);
    let mut group = criterion.benchmark_group("hand_over");
    for waiting in [1, 100, 500] {
        group.bench_function(format!("freed_to_granted/{waiting}_waiting"), |bencher| {
            bencher.iter_custom(|times| runtime.block_on(ring(&steps, waiting - 1, times)).1);
        });
    }
    group.bench_function("queued_to_granted/1_waiting", |bencher| {
        bencher.iter_custom(|times| runtime.block_on(ring(&steps, 0, times)).0);
    });
    group.finish();
}

criterion_group!(benches, hand_overs);
