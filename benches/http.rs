//! How long does a request take, all of it, on one connection that is kept: the client's writing and reading, the server, the
//! call of a backend that answers at once, and that backend's work? All of them are in this process and share its threads, so
//! these times are more than the server's own part; `floor` is the same request from the same client to the backend itself.
//! (The server's part alone, in CPU time: `loadtest cost`.)

use std::{net::SocketAddr, time::Instant};

use bytes::Bytes;
use criterion::{BenchmarkGroup, Criterion, criterion_group, measurement::WallTime};
use http_body_util::{BodyExt, Full};
use hyper::{Request, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::{Value as Json, json};
use tokio::{net::TcpStream, runtime::Runtime};
use tokio_util::task::TaskTracker;

use crate::served::{self, MODEL};

/// Words of an answer; a streamed one has an event for each.
const WORDS: usize = 20;

/// One client with one connection.
struct Client {
    sender: http1::SendRequest<Full<Bytes>>,
    to: SocketAddr,
    /// Drives the connection, which ends with the sender.
    _tasks: TaskTracker,
}

impl Client {
    async fn connect(to: SocketAddr) -> Self {
        let stream = TcpStream::connect(to).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        let tasks = TaskTracker::new();
        tasks.spawn(connection);
        Self { sender, to, _tasks: tasks }
    }

    /// The whole answer to a request that must succeed.
    async fn post(&mut self, path: &str, body: &Bytes) -> Bytes {
        let request =
            Request::post(path).header("host", self.to.to_string()).header("content-type", "application/json");
        self.sender.ready().await.unwrap();
        let answer = self.sender.send_request(request.body(Full::new(body.clone())).unwrap()).await.unwrap();
        let status = answer.status();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(status, 200, "{body:?}");
        body
    }
}

fn chat(stream: bool) -> Json {
    let mut prompt = "She said \"the sky is blue\", and went on to the next line of the text.\n".repeat(15);
    prompt.truncate(1 << 10);
    json!({"model": MODEL, "messages": [{"role": "user", "content": prompt}], "stream": stream})
}

fn one_step() -> Json {
    let branch = json!({"operator": "default", "goto": "end"});
    let task = json!({"id": "a", "handler": "raw_string", "prompt_template": "Answer: {{.input}}",
        "transition": {"branches": [branch]}});
    json!({"input": "Why is the sky blue?", "chain": {"tasks": [task]}})
}

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
    let (server, backend, chats) = (app.addr, sim.addr(), "/v1/chat/completions");
    let mut group = criterion.benchmark_group("http");
    measure(&mut group, &runtime, backend, "floor/chat_1KB", chats, &chat(false));
    measure(&mut group, &runtime, backend, "floor/streamed_chat_1KB", chats, &chat(true));
    measure(&mut group, &runtime, server, "server/chat_1KB", chats, &chat(false));
    measure(&mut group, &runtime, server, "server/streamed_chat_1KB", chats, &chat(true));
    measure(&mut group, &runtime, server, "server/execute", "/execute", &json!({"prompt": "Why is the sky blue?"}));
    measure(&mut group, &runtime, server, "server/chain_of_one_step", "/tasks", &one_step());
    group.finish();
    runtime.block_on(async {
        served::end(app).await;
        sim.stop().await;
    });
}

criterion_group!(benches, requests);
