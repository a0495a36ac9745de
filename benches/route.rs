//! What does it cost to find the backend of a call: the pool and its route table, who of its backends can serve the model, and
//! in which order the policy tries them?

use std::hint::black_box;

use criterion::{Criterion, criterion_group};
use penstock::{domain::pool::Policy, runtime::dispatch::measured::Steps};
use tokio::runtime::Runtime;

use crate::steps;

/// What a call begins with, as a number; the policies that look at it find a backend by it.
const PREFIX: u64 = 0x5eed;

fn picks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("route");
    for policy in Policy::ALL {
        let (_runtime, steps) = pool(policy, 4);
        group.bench_function(format!("pick_of_4/{}", policy.as_str()), |bencher| {
            bencher.iter(|| steps.pick(black_box(PREFIX)).unwrap());
        });
    }
    for backends in [1, 16] {
        let (_runtime, steps) = pool(Policy::LeastLoaded, backends);
        group.bench_function(format!("pick_of_{backends}/least-loaded"), |bencher| {
            bencher.iter(|| steps.pick(black_box(PREFIX)).unwrap());
        });
    }
    group.finish();
}

fn pool(policy: Policy, backends: usize) -> (Runtime, Steps) {
    let runtime = steps::runtime();
    let steps = steps::start(&runtime, policy, backends, 64);
    (runtime, steps)
}

/// Of four backends, as most pools have them at most.
pub(crate) fn counted() -> Box<dyn FnMut()> {
    // The two that are compared are drawn.
    fastrand::seed(7);
    let (runtime, steps) = pool(Policy::LeastLoaded, 4);
    Box::new(move || {
        let _alive = &runtime;
        black_box(steps.pick(black_box(PREFIX)).unwrap());
    })
}

criterion_group!(benches, picks);
