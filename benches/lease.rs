//! What does it cost to take a slot of a backend and to give it back, alone and with other threads at the same backend?

use std::{
    hint::black_box,
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use criterion::{Criterion, criterion_group};
use penstock::{domain::pool::Policy, runtime::dispatch::measured::Steps};

use crate::steps;

fn leases(criterion: &mut Criterion) {
    let runtime = steps::runtime();
    let steps = steps::start(&runtime, Policy::LeastLoaded, 4, 64);
    let mut group = criterion.benchmark_group("lease");
    group.bench_function("take_and_drop/alone", |bencher| {
        bencher.iter(|| drop(black_box(&steps).lease(0).unwrap()));
    });
    // Time of the clock for one lease of one thread; what the others do at the same time is not divided out.
    for threads in [2, 4] {
        group.bench_function(format!("take_and_drop/{threads}_threads_one_backend"), |bencher| {
            bencher.iter_custom(|times| at_once(&steps, threads, times, |_| 0));
        });
        group.bench_function(format!("take_and_drop/{threads}_threads_{threads}_backends"), |bencher| {
            bencher.iter_custom(|times| at_once(&steps, threads, times, |thread| thread));
        });
    }
    group.bench_function("refused/all_taken", |bencher| {
        let steps = steps::start(&runtime, Policy::LeastLoaded, 1, 1);
        let _taken = steps.lease(0).unwrap();
        bencher.iter(|| assert!(black_box(&steps).lease(0).is_none()));
    });
    // The pick and the slot together: what a call goes through where one is free.
    group.bench_function("pick_and_take/of_4", |bencher| {
        bencher.iter_custom(|times| {
            runtime.block_on(async {
                let began = Instant::now();
                for _ in 0..times {
                    drop(steps.admit(7).await.unwrap());
                }
                began.elapsed()
            })
        });
    });
    group.finish();
}

/// Every thread takes and drops so many; the time of the slowest.
fn at_once(steps: &Steps, threads: usize, times: u64, backend_of: impl Fn(usize) -> usize + Sync) -> Duration {
    let ready = Barrier::new(threads);
    thread::scope(|scope| {
        let work = |thread: usize| {
            ready.wait();
            let began = Instant::now();
            for _ in 0..times {
                drop(steps.lease(backend_of(thread)).unwrap());
            }
            began.elapsed()
        };
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(move || work(thread))).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).max().unwrap()
    })
}

pub(crate) fn counted() -> Box<dyn FnMut()> {
    let runtime = steps::runtime();
    let steps = steps::start(&runtime, Policy::LeastLoaded, 1, 64);
    Box::new(move || {
        let _alive = &runtime;
        drop(black_box(&steps).lease(0).unwrap());
    })
}

criterion_group!(benches, leases);
