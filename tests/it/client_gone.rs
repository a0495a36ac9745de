//! A client that hangs up: its call upstream is given up within 50 ms, whatever was going on, and its slot is free again
//! (`docs/api.md`, clients that leave).

use std::time::{Duration, Instant};

use loadtest::sim::{HoldGate, Route, Rule, Scripted, SimBackend};
use penstock::runtime::directory::SlotSnapshot;
use serde_json::json;
use socket2::{Domain, Socket, Type};

use crate::support::{Scene, TASKS, TestServer, dialects::Front, eventually, raw::RawClient};

/// Longest time until a backend knows that its caller's client has left.
const LIMIT: Duration = Duration::from_millis(50);
/// How often each case is tried: what counts is the middle one, so that a busy machine fails no test.
pub const TRIES: usize = 5;

/// A way through the server: who asks, who answers, and how.
#[derive(Debug, Clone, Copy)]
struct Road {
    front: Front,
    behind: Front,
    stream: bool,
}

/// What goes on when the client leaves.
#[derive(Debug, Clone, Copy)]
enum Window {
    /// The backend has the request and has said nothing.
    BeforeHeaders,
    /// The backend has begun its answer, and no word has come.
    BeforeTheFirstToken,
    /// Pieces come all the time.
    MidStream,
    /// Pieces have come, and none comes any more.
    Silent,
}

const RELAYED: [Road; 4] = [
    Road { front: Front::Openai, behind: Front::Openai, stream: true },
    Road { front: Front::Ollama, behind: Front::Ollama, stream: true },
    Road { front: Front::Openai, behind: Front::Openai, stream: false },
    Road { front: Front::Ollama, behind: Front::Ollama, stream: false },
];
const TRANSLATED: [Road; 4] = [
    Road { front: Front::Openai, behind: Front::Ollama, stream: true },
    Road { front: Front::Ollama, behind: Front::Openai, stream: true },
    Road { front: Front::Openai, behind: Front::Ollama, stream: false },
    Road { front: Front::Ollama, behind: Front::Openai, stream: false },
];

/// Keeps a backend where the window wants it.
enum Kept {
    Gate(HoldGate),
    Rule(Scripted),
}

impl Window {
    fn set_up(self, road: Road, sim: &SimBackend) -> Kept {
        let pieces = |count: usize| {
            let pieces = (0..count).map(|at| road.behind.piece(&format!("w{at} ")));
            Rule::on(Route::Chat).raw_frames(pieces.collect::<Vec<_>>())
        };
        let whole = Rule::on(Route::Chat).reply("a whole answer");
        let rule = match (self, road.stream) {
            (Self::BeforeHeaders, _) => return Kept::Gate(sim.hold()),
            (Self::BeforeTheFirstToken, true) => pieces(2).stall_after(0),
            (Self::BeforeTheFirstToken, false) => whole.stall_after(0),
            (Self::MidStream, true) => pieces(20_000).chunk_delay(Duration::from_millis(1)),
            (Self::Silent, true) => pieces(2).stall_after(1),
            (Self::MidStream | Self::Silent, false) => whole.stall_after(1),
        };
        Kept::Rule(sim.script(rule))
    }

    /// What the client reads before it leaves.
    fn last_words(self, road: Road) -> Option<&'static str> {
        let has_spoken = road.stream && matches!(self, Self::MidStream | Self::Silent);
        has_spoken.then_some("w0 ")
    }
}

async fn scene(behind: Front, fields: serde_json::Value) -> (TestServer, SimBackend, String) {
    let server = TestServer::start(&[]).await;
    let sim = behind.sim().await;
    let mut body = json!({"name": "a", "baseUrl": sim.url(), "type": behind.kind()});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let id = server.register_as(body, &[TASKS]).await;
    server.wait_for_model(&id, "chat:1b").await;
    (server, sim, id)
}

/// A client that has asked.
async fn ask(server: &TestServer, road: Road) -> RawClient {
    let mut client = RawClient::connect(server.addr).await;
    client.post(road.front.chat(), &road.front.question("hi", road.stream).to_string()).await;
    client
}

/// The middle one of all tries.
#[track_caller]
pub fn assert_in_time(what: &str, mut took: Vec<Duration>) {
    took.sort();
    assert!(took[took.len() / 2] < LIMIT, "{what}: {took:?}");
}

async fn leave(road: Road, window: Window) {
    let (server, sim, id) = scene(road.behind, json!({})).await;
    let mut took = Vec::new();
    for at in 1..=TRIES {
        let kept = window.set_up(road, &sim);
        let mut client = ask(&server, road).await;
        sim.wait_until("the call", |record| record.calls.now == 1).await.unwrap();
        if let Some(words) = window.last_words(road) {
            client.until(words).await;
        }
        let left = Instant::now();
        drop(client);
        sim.wait_for_aborts(at).await.unwrap();
        took.push(left.elapsed());
        server.wait_until_idle(&id).await;
        match kept {
            Kept::Gate(gate) => gate.release_all(),
            Kept::Rule(rule) => rule.release(),
        }
        sim.clear_script();
    }
    assert_eq!(sim.record().answered, sim.record().arrived - TRIES, "only probes were answered");
    assert_in_time(&format!("{road:?} {window:?}"), took);
}

#[tokio::test]
async fn a_relayed_call_is_given_up_before_the_backend_answers() {
    for road in RELAYED {
        leave(road, Window::BeforeHeaders).await;
    }
}

#[tokio::test]
async fn a_relayed_call_is_given_up_before_its_first_token() {
    for road in RELAYED {
        leave(road, Window::BeforeTheFirstToken).await;
    }
}

#[tokio::test]
async fn a_relayed_call_is_given_up_while_its_pieces_come() {
    for road in RELAYED {
        leave(road, Window::MidStream).await;
    }
}

#[tokio::test]
async fn a_relayed_call_is_given_up_while_its_backend_is_silent() {
    for road in RELAYED {
        leave(road, Window::Silent).await;
    }
}

#[tokio::test]
async fn a_translated_call_is_given_up_before_the_backend_answers() {
    for road in TRANSLATED {
        leave(road, Window::BeforeHeaders).await;
    }
}

#[tokio::test]
async fn a_translated_call_is_given_up_before_its_first_token() {
    for road in TRANSLATED {
        leave(road, Window::BeforeTheFirstToken).await;
    }
}

#[tokio::test]
async fn a_translated_call_is_given_up_while_its_pieces_come() {
    for road in TRANSLATED {
        leave(road, Window::MidStream).await;
    }
}

#[tokio::test]
async fn a_translated_call_is_given_up_while_its_backend_is_silent() {
    for road in TRANSLATED {
        leave(road, Window::Silent).await;
    }
}

#[tokio::test]
async fn a_queued_request_leaves_the_queue_and_is_never_sent() {
    for road in [RELAYED, TRANSLATED].concat() {
        let (server, sim, id) = scene(road.behind, json!({"maxConcurrency": 1})).await;
        let gate = sim.hold();
        let mut running = ask(&server, road).await;
        gate.wait_for_arrivals(1).await.unwrap();
        let mut took = Vec::new();
        for _ in 0..TRIES {
            let waiting = ask(&server, road).await;
            server.wait_for_waiters(&id, 1).await;
            let left = Instant::now();
            drop(waiting);
            server.wait_for_waiters(&id, 0).await;
            took.push(left.elapsed());
        }
        gate.release_all();
        running.until("HTTP/1.1 200").await;
        server.wait_until_idle(&id).await;
        assert_eq!(sim.record().of(Route::Chat).len(), 1);
        assert_in_time(&format!("{road:?} queued"), took);
    }
}

#[tokio::test]
async fn a_call_that_was_answered_frees_its_slot_at_once() {
    for road in RELAYED.into_iter().chain(TRANSLATED) {
        let (server, _sim, id) = scene(road.behind, json!({})).await;
        server.post(road.front.chat(), road.front.question("hi", road.stream)).await.expect(200);
        let free = |slots: SlotSnapshot| {
            assert_eq!(slots.settling, 0, "{road:?}: a slot is kept for a call that is over");
            slots.in_use == 0
        };
        server.wait_for_slots(&id, "a free slot", free).await;
    }
}

/// A listener that lets nobody in: who connects waits until it gives up.
struct FullListener {
    _listener: Socket,
    _waiting: Vec<tokio::net::TcpStream>,
}

impl FullListener {
    async fn at(addr: std::net::SocketAddr) -> Self {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.set_reuse_address(true).unwrap();
        listener.bind(&addr.into()).unwrap();
        listener.listen(0).unwrap();
        let mut waiting = Vec::new();
        // The kernel holds a few; when one more has to wait, it is full.
        while let Ok(connected) =
            tokio::time::timeout(Duration::from_millis(200), tokio::net::TcpStream::connect(addr)).await
        {
            waiting.push(connected.unwrap());
        }
        Self { _listener: listener, _waiting: waiting }
    }
}

#[tokio::test]
async fn a_call_is_given_up_while_its_backend_lets_nobody_in() {
    for road in [RELAYED[0], RELAYED[1], TRANSLATED[0], TRANSLATED[1], TRANSLATED[3]] {
        let (server, sim, id) = scene(road.behind, json!({})).await;
        sim.stop().await;
        let full = FullListener::at(sim.addr()).await;
        let mut took = Vec::new();
        for _ in 0..TRIES {
            let client = ask(&server, road).await;
            server.wait_for_slots(&id, "a call that connects", |slots| slots.in_use == 1).await;
            let left = Instant::now();
            drop(client);
            server.wait_for_slots(&id, "a call given up", |slots| slots.settling == 1).await;
            took.push(left.elapsed());
            server.wait_until_idle(&id).await;
        }
        drop(full);
        assert_eq!(sim.record().of(Route::Chat).len(), 0);
        assert_in_time(&format!("{road:?} connecting"), took);
    }
}

#[tokio::test]
async fn a_client_that_closes_only_its_sending_side_has_left_too() {
    for road in [RELAYED[0], TRANSLATED[1]] {
        let (server, sim, id) = scene(road.behind, json!({})).await;
        let _gate = sim.hold();
        let mut client = ask(&server, road).await;
        sim.wait_until("the call", |record| record.calls.now == 1).await.unwrap();
        client.end().await;
        sim.wait_for_aborts(1).await.unwrap();
        server.wait_until_idle(&id).await;
    }
}

#[tokio::test]
async fn on_every_route_that_asks_a_model_the_call_goes_with_its_client() {
    let Scene { server, sim, id } = Scene::start(&[]).await;
    let chain = json!({"id": "say", "tasks": [{"id": "ask", "handler": "raw_string",
        "transition": {"branches": [{"goto": "end"}]}}]});
    server.post("/taskchains", chain.clone()).await.expect(201);
    let chat = |model: &str| json!({"model": model, "messages": [{"role": "user", "content": "hi"}]});
    let both = |mut body: serde_json::Value| {
        body["stream"] = json!(true);
        body
    };
    for (path, body) in [
        ("/execute", json!({"prompt": "hi"})),
        ("/embed", json!({"text": "hi"})),
        ("/tasks", json!({"input": "hi", "chain": chain})),
        ("/say/v1/chat/completions", chat("any")),
        ("/v1/chat/completions", chat("chain/say")),
        ("/v1/chat/completions", both(chat("chain/say"))),
        ("/api/chat", chat("chain/say")),
        ("/v1/completions", json!({"model": "chat:1b", "prompt": "hi"})),
        ("/v1/embeddings", json!({"model": "embed:1b", "input": "hi"})),
        ("/v1/responses", json!({"model": "chat:1b", "input": "hi"})),
        ("/v1/responses", both(json!({"model": "chat:1b", "input": "hi"}))),
        ("/api/generate", json!({"model": "chat:1b", "prompt": "hi"})),
        ("/api/embed", json!({"model": "embed:1b", "input": "hi"})),
    ] {
        for in_chunks in [false, true] {
            let mut took = Vec::new();
            for _ in 0..TRIES {
                let (gate, aborts) = (sim.hold(), sim.record().aborted);
                let mut client = RawClient::connect(server.addr).await;
                match in_chunks {
                    false => client.post(path, &body.to_string()).await,
                    true => client.post_in_chunks(path, &body.to_string()).await,
                }
                sim.wait_until("the call", |record| record.calls.now == 1).await.unwrap();
                let left = Instant::now();
                drop(client);
                sim.wait_for_aborts(aborts + 1).await.unwrap();
                took.push(left.elapsed());
                server.wait_until_idle(&id).await;
                gate.release_all();
            }
            assert_in_time(&format!("{path} {body}, in chunks {in_chunks}"), took);
        }
    }
}

/// The one exception: a client that has sent more than its request, and leaves before that is read. Nothing tells us then
/// that it has left, until something is written to it.
#[tokio::test]
async fn a_client_that_has_sent_its_next_request_ahead_is_missed_only_when_it_is_answered() {
    let road = RELAYED[2];
    let (server, sim, id) = scene(road.behind, json!({})).await;
    let gate = sim.hold();
    let mut client = ask(&server, road).await;
    client.post(road.front.chat(), "{").await;
    gate.wait_for_arrivals(1).await.unwrap();
    drop(client);
    // Long enough for every other window: the call goes on.
    let other = ask(&server, road).await;
    gate.wait_for_arrivals(2).await.unwrap();
    drop(other);
    sim.wait_for_aborts(1).await.unwrap();
    server.wait_for_slots(&id, "the call that goes on", |slots| slots.in_use == 1).await;
    gate.release_all();
    eventually("the end of the call", || async {
        let record = sim.record();
        if record.calls.now == 0 && record.aborted == 1 { Ok(()) } else { Err(format!("{record:?}")) }
    })
    .await;
    server.wait_until_idle(&id).await;
}
