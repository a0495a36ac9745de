//! What does it cost each request to look whether its pool wants something that is off, such as single flight?

use std::hint::black_box;

use criterion::{Criterion, criterion_group};
use penstock::domain::{ids::PoolId, pool::TASKS_POOL};

use crate::served;

fn settings(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (app, _folder) = runtime.block_on(served::start());
    let pool = app.runtime.directory.pool(&PoolId::new(TASKS_POOL)).unwrap();
    criterion.bench_function("pool/settings/single_flight_off", |bencher| {
        bencher.iter(|| black_box(&pool).calls().single_flight);
    });
    runtime.block_on(served::end(app));
}

criterion_group!(benches, settings);
