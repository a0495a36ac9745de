//! How long does a change of the configuration take until it is on the disk, how many bytes does SQLite write for it, and what
//! does it cost to read? SQLite as the server opens it, and PostgreSQL on this machine where it is installed, with its usual
//! durability; both in a folder of the system's for temporary files: what a sync of that disk takes is most of it. Changes that
//! are made at the same time are synced together.

use std::{
    cell::Cell,
    fs,
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, measurement::WallTime};
use futures_util::future::join_all;
use loadtest::services::postgres::{Durability, Postgres};
use penstock::{
    dialect::loose,
    domain::{
        alias::{AliasSpec, AliasTarget},
        chain::Chain,
    },
    stores::{
        catalog::CatalogStore,
        embedded::{self, EmbeddedSettings},
        postgres::{self, PostgresSettings},
        sql::{SecretKey, SqlStore},
    },
};
use serde_json::json;
use tokio::runtime::Runtime;

/// The groups. SQLite alone writes in this process, so of PostgreSQL no bytes are counted.
const SQLITE: &str = "store/sqlite";
const POSTGRESQL: &str = "store/postgresql";

/// Changes that are made at the same time.
const AT_ONCE: usize = 64;

fn alias(name: &str, turn: u64) -> AliasSpec {
    let target = AliasTarget { model: format!("qwen3:{turn}b"), providers: Vec::new(), pool: None };
    AliasSpec { name: name.to_owned(), targets: vec![target] }
}

fn chain() -> Chain {
    let task = |id: &str, goto: &str| {
        json!({"id": id, "handler": "raw_string", "prompt_template": "Rate this from 0 to 10: {{.input}}",
            "transition": {"branches": [{"operator": "default", "goto": goto}]}})
    };
    loose::from_value(json!({"id": "c", "tasks": [task("a", "b"), task("b", "c"), task("c", "end")]})).unwrap()
}

/// Bytes this process has asked the system to write so far.
fn written() -> u64 {
    let io = fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = io.lines().find_map(|line| line.strip_prefix("wchar: "));
    line.and_then(|bytes| bytes.parse().ok()).unwrap_or(0)
}

/// Measures changes, of which each makes so many at once, and says how much is written for one.
fn changes<F: Future<Output = ()>>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    runtime: &Runtime,
    (store, case): (&str, &str),
    at_once: usize,
    change: impl Fn(u64) -> F,
) {
    let (turn, bytes) = (Cell::new(0), Cell::new(0));
    group.throughput(Throughput::Elements(at_once as u64));
    group.bench_function(case, |bencher| {
        bencher.iter_custom(|times| {
            runtime.block_on(async {
                let (before, mut spent) = (written(), Duration::ZERO);
                for _ in 0..times {
                    turn.set(turn.get() + 1);
                    let began = Instant::now();
                    change(turn.get()).await;
                    spent += began.elapsed();
                }
                bytes.set(bytes.get() + written() - before);
                spent
            })
        });
    });
    if turn.get() > 0 && store == SQLITE {
        #[expect(clippy::print_stdout, reason = "criterion tells times only")]
        {
            println!("{store}/{case}: {} bytes written a change", bytes.get() / (turn.get() * at_once as u64));
        }
    }
}

fn store(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let settings = EmbeddedSettings { data_dir: folder.path().to_owned(), secret_key: None, previous_key: None };
    measure(criterion, SQLITE, &runtime, embedded::open(&settings).unwrap());
    if Postgres::is_installed() {
        let server = Postgres::start(Durability::Full).unwrap();
        let settings = PostgresSettings {
            address: server.database_url().unwrap().parse().unwrap(),
            secret_key: Some(SecretKey::new("of this measurement")),
            previous_key: None,
            key_file: folder.path().join("unused"),
            wait: Duration::from_secs(20),
        };
        let store = runtime.block_on(postgres::open(settings)).unwrap();
        measure(criterion, POSTGRESQL, &runtime, store);
    }
}

fn measure(criterion: &mut Criterion, name: &str, runtime: &Runtime, store: Arc<SqlStore>) {
    let catalog: Arc<dyn CatalogStore> = Arc::clone(&store) as _;
    let names: Vec<String> = (0..AT_ONCE).map(|at| format!("alias-{at}")).collect();
    runtime.block_on(async {
        for name in &names {
            catalog.create_alias(alias(name, 0)).await.unwrap();
        }
        catalog.put_chain(chain(), false).await.unwrap();
    });
    let mut group = criterion.benchmark_group(name);
    changes(&mut group, runtime, (name, "write/alias"), 1, |turn| {
        let (catalog, name) = (&catalog, &names[0]);
        async move { drop(catalog.update_alias(name, alias(name, turn)).await.unwrap()) }
    });
    changes(&mut group, runtime, (name, "write/64_aliases_at_once"), AT_ONCE, |turn| {
        let update = |name| catalog.update_alias(name, alias(name, turn));
        let updates = join_all(names.iter().map(|name| update(name)));
        async move { updates.await.into_iter().for_each(|updated| drop(updated.unwrap())) }
    });
    changes(&mut group, runtime, (name, "write/version_of_a_chain"), 1, |_| {
        let catalog = &catalog;
        async move { drop(catalog.put_chain(chain(), false).await.unwrap()) }
    });
    group.throughput(Throughput::Elements(1));
    group.bench_function("read/alias", |bencher| {
        bencher.iter(|| runtime.block_on(catalog.alias(black_box(&names[0]))).unwrap());
    });
    group.bench_function("read/everything_in_force", |bencher| {
        bencher.iter(|| runtime.block_on(catalog.intent()).unwrap());
    });
    group.finish();
    drop(catalog);
    runtime.block_on(store.close());
}

criterion_group!(benches, store);
