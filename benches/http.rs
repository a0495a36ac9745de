//! How long does a request take, all of it, on one connection that is kept: the client's writing and reading, the server, the
//! call of a backend that answers at once, and that backend's work? All of them are in this process and share its threads, so
//! these times are more than the server's own part; `floor` is the same request from the same client to the backend itself.
//! (The server's part alone, in CPU time: `loadtest cost`.)

use std::{net::SocketAddr, time::Instant};

use bytes::Bytes;
use criterion::{BenchmarkGroup, Criterion, criterion_group, measurement::WallTime};
use serde_json::{Value as Json, json};
use tokio::runtime::Runtime;

use crate::{
    client::{CHATS, Client, chat, one_step},
    served,
};

/// Words of an answer; a streamed one has an event for each.
const WORDS: usize = 20;

fn measure(
    group: &mut BenchmarkGroup<'_, WallTime>,
    runtime: &Runtime,
    to: SocketAddr,
    case: &str,
    path: &str,
    body: &Json,
) {
    let body = Bytes::from(body.to_string());
    group.bench_function(case, |bencher| {
        bencher.iter_custom(|times| {
            runtime.block_on(async {
                let mut client = Client::connect(to).await;
                let answer = client.post(path, &body).await;
                assert!(!answer.is_empty());
                let began = Instant::now();
                for _ in 0..times {
                    client.post(path, &body).await;
                }
                began.elapsed()
            })
        });
    });
}

fn requests(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (app, _folder) = runtime.block_on(served::start());
    let sim = runtime.block_on(served::backend_behind(&app, WORDS));
    let (server, backend) = (app.addr, sim.addr());
    let mut group = criterion.benchmark_group("http");
    measure(&mut group, &runtime, backend, "floor/chat_1KB", CHATS, &chat(false));
    measure(&mut group, &runtime, backend, "floor/streamed_chat_1KB", CHATS, &chat(true));
    measure(&mut group, &runtime, server, "server/chat_1KB", CHATS, &chat(false));
    measure(&mut group, &runtime, server, "server/streamed_chat_1KB", CHATS, &chat(true));
    measure(&mut group, &runtime, server, "server/execute", "/execute", &json!({"prompt": "Why is the sky blue?"}));
    measure(&mut group, &runtime, server, "server/chain_of_one_step", "/tasks", &one_step());
    group.finish();
    runtime.block_on(async {
        served::end(app).await;
        sim.stop().await;
    });
}

criterion_group!(benches, requests);
