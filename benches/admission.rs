//! What does it cost to say no, and to say yes, before a request's body is read? (The whole of a refusal on a socket:
//! `loadtest refusal`.)

use std::{hint::black_box, num::NonZeroU64, time::Instant};

use criterion::{Criterion, criterion_group};
use penstock::{
    config::{LimitConfig, RateConfig},
    error::Error,
    http::admission::Admission,
};

/// With all bounds set: so many in flight, so many requests and tokens a minute.
fn admission(in_flight: usize, requests: u64, tokens: u64) -> (Admission, Instant) {
    let limits = LimitConfig { max_in_flight: in_flight, ..LimitConfig::default() };
    let rates = RateConfig {
        requests_per_minute: NonZeroU64::new(requests),
        request_burst: NonZeroU64::new(requests),
        tokens_per_minute: NonZeroU64::new(tokens),
    };
    let now = Instant::now();
    (Admission::new(&limits, &rates, now), now)
}

fn decisions(criterion: &mut Criterion) {
    let plenty = 1_000_000_000;
    let mut group = criterion.benchmark_group("admission");
    group.bench_function("refusal/overloaded", |bencher| {
        let (admission, now) = admission(1, plenty, plenty);
        let _taken = admission.admit(now, None).unwrap();
        bencher.iter(|| admission.admit(black_box(now), None).unwrap_err());
    });
    group.bench_function("refusal/request_rate", |bencher| {
        let (admission, now) = admission(8, 1, plenty);
        drop(admission.admit(now, None).unwrap());
        bencher.iter(|| admission.admit(black_box(now), None).unwrap_err());
    });
    group.bench_function("refusal/token_rate", |bencher| {
        let (admission, now) = admission(8, plenty, 1);
        admission.admit(now, None).unwrap().spending.add(2);
        bencher.iter(|| admission.admit(black_box(now), None).unwrap_err());
    });
    group.bench_function("refusal/words", |bencher| {
        let (admission, now) = admission(8, 1, plenty);
        drop(admission.admit(now, None).unwrap());
        bencher.iter(|| Error::from(admission.admit(black_box(now), None).unwrap_err()));
    });
    group.bench_function("admit/bounded", |bencher| {
        let (admission, now) = admission(8, plenty, plenty);
        bencher.iter(|| admission.admit(black_box(now), None).map(drop));
    });
    group.bench_function("admit/in_flight_only", |bencher| {
        let admission = Admission::new(&LimitConfig::default(), &RateConfig::default(), Instant::now());
        let now = Instant::now();
        bencher.iter(|| drop(admission.admit(black_box(now), None).unwrap()));
    });
    group.bench_function("charge", |bencher| {
        let (admission, now) = admission(8, plenty, plenty);
        let admitted = admission.admit(now, None).unwrap();
        bencher.iter(|| admitted.spending.add(black_box(1)));
    });
    group.finish();
}

/// Of a request that is let in and asks for tokens.
pub(crate) fn counted() -> Box<dyn FnMut()> {
    let plenty = 1_000_000_000;
    let (admission, now) = admission(8, plenty, plenty);
    Box::new(move || {
        let admitted = admission.admit(black_box(now), None).unwrap();
        admitted.spending.add(black_box(1));
    })
}

criterion_group!(benches, decisions);
