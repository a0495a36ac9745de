//! What does it cost each request to look whether its pool wants something that is off, such as single flight?

use std::hint::black_box;

use criterion::{Criterion, criterion_group};
use penstock::{
    app::App,
    config,
    domain::{ids::PoolId, pool::TASKS_POOL},
};

fn settings(criterion: &mut Criterion) {
    drop(rustls::crypto::ring::default_provider().install_default());
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap().to_owned();
    let variables = [("PORT", "0".to_owned()), ("ADDR", "127.0.0.1".to_owned()), ("DATA_DIR", data)];
    let (config, _) = config::from_env(variables.map(|(name, value)| (name.to_owned(), value))).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let app = runtime.block_on(App::start(config)).unwrap();
    let pool = app.runtime.directory.pool(&PoolId::new(TASKS_POOL)).unwrap();
    criterion.bench_function("pool/settings/single_flight_off", |bencher| {
        bencher.iter(|| black_box(&pool).calls().single_flight);
    });
    app.stopper().cancel();
    runtime.block_on(app.ended());
}

criterion_group!(benches, settings);
