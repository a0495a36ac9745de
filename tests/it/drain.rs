//! A server that stops while it works: who is still served, who is sent away, and how what cannot be finished ends
//! (`docs/operations.md`, draining).

use std::time::Duration;

use loadtest::sim::{Route, Rule, Scripted, SimBackend};
use penstock::app::Ended;
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::support::{Answer, Scene, TestServer, dialects::Front, eventually, in_background, raw::RawClient, soon};

/// The shortest time for work: what runs when the signal comes has no chance.
const NO_TIME: (&str, &str) = ("DRAIN_TIMEOUT", "50ms");

/// Asks on a connection of its own.
async fn asked_anew(server: &TestServer, method: Method, path: &str, body: Value) -> Answer {
    let request = server.request(method, path).header("connection", "close").header("content-type", "application/json");
    server.send(request.body(body.to_string())).await
}

#[tokio::test]
async fn a_server_that_settles_is_not_ready_and_serves_all_the_same() {
    let Scene { server, sim: _sim, .. } = Scene::start(&[("DRAIN_SETTLE", "60s"), ("DRAIN_TIMEOUT", "120s")]).await;
    server.begin_stop();
    let told = eventually("a server that is not ready", || async {
        let answer = server.get("/ready").await;
        if answer.status == 503 { Ok(answer) } else { Err(answer.text) }
    })
    .await;
    assert_eq!(told.header("x-penstock-reason"), "draining");
    asked_anew(&server, Method::GET, "/health", json!(null)).await.expect(200);
    asked_anew(&server, Method::POST, "/execute", json!({"prompt": "hi"})).await.expect(200);
    asked_anew(&server, Method::POST, "/pools", json!({"name": "late"})).await.expect(201);
}

#[tokio::test]
async fn new_work_is_sent_away_with_the_time_to_come_back_while_running_work_finishes() {
    let Scene { server, sim, .. } = Scene::start(&[("DRAIN_TIMEOUT", "60s")]).await;
    let gate = sim.hold();
    let running = server.execute_later("runs");
    gate.wait_for_arrivals(1).await.unwrap();
    server.begin_stop();
    server.wait_until_draining().await;
    let question = Front::Openai.question("hi", true);
    for (path, body) in
        [("/execute", json!({"prompt": "late"})), ("/api/chat", question.clone()), ("/pools", json!({}))]
    {
        let refused = asked_anew(&server, Method::POST, path, body).await.expect(503);
        assert_eq!((refused.header("x-penstock-reason"), refused.header("connection")), ("draining", "close"));
        assert!(refused.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds > 0));
        assert!(!refused.error().is_empty());
    }
    let refused = asked_anew(&server, Method::POST, "/v1/chat/completions", question).await.expect(503);
    assert_eq!(refused.json()["error"]["code"], "draining");
    // Who watches the end still sees something.
    for path in ["/health", "/state", "/runs/active", "/version", "/alerts"] {
        asked_anew(&server, Method::GET, path, json!(null)).await.expect(200);
    }
    asked_anew(&server, Method::GET, "/ready", json!(null)).await.expect(503);
    asked_anew(&server, Method::GET, "/backends", json!(null)).await.expect(503);
    gate.release_all();
    running.await.unwrap().expect(200);
    let addr = server.addr;
    assert_eq!(server.stop().await, Ended::Drained);
    assert!(tokio::net::TcpStream::connect(addr).await.is_err(), "the port is closed");
    assert_eq!(sim.record().of(Route::Generate).len(), 1, "nothing of the rest was ever sent");
}

#[tokio::test]
async fn connections_that_ask_nothing_do_not_hold_up_the_end() {
    let Scene { server, sim, .. } = Scene::start(&[("DRAIN_TIMEOUT", "60s")]).await;
    let mut early = RawClient::connect(server.addr).await;
    let gate = sim.hold();
    let running = server.execute_later("runs");
    gate.wait_for_arrivals(1).await.unwrap();
    server.begin_stop();
    server.wait_until_draining().await;
    let mut late = RawClient::connect(server.addr).await;
    gate.release_all();
    running.await.unwrap().expect(200);
    assert_eq!(server.stop().await, Ended::Drained);
    assert_eq!((early.rest().await, late.rest().await), (String::new(), String::new()));
}

/// A server that has no time for what runs when it is told to stop, and a backend of this dialect.
async fn hasty(behind: Front) -> (TestServer, SimBackend, String) {
    let server = TestServer::start(&[NO_TIME]).await;
    let sim = behind.sim().await;
    let id = server.ready("a", behind.kind(), &sim).await;
    (server, sim, id)
}

/// A stream that has begun, and what has come of it.
struct Begun {
    response: Response,
    text: String,
}

impl Begun {
    async fn of(server: &TestServer, path: &str, body: &Value, words: &str) -> Self {
        let request = server.request(Method::POST, path).header("accept", "text/event-stream, application/x-ndjson");
        let response = soon("the headers", request.body(body.to_string()).send()).await.unwrap();
        assert_eq!(response.status(), 200);
        let mut begun = Self { response, text: String::new() };
        while !begun.text.contains(words) {
            assert!(begun.piece().await, "the end came first: {}", begun.text);
        }
        begun
    }

    /// Fails when the connection is cut instead of ended.
    async fn piece(&mut self) -> bool {
        let piece = soon("a piece", self.response.chunk()).await.expect("no bare cut");
        self.text.push_str(std::str::from_utf8(piece.as_deref().unwrap_or_default()).unwrap());
        piece.is_some()
    }

    async fn whole(mut self) -> String {
        while self.piece().await {}
        self.text
    }
}

/// The last line or event of a stream.
fn last(front: Front, stream: &str) -> Value {
    let last = stream.trim_end().lines().last().unwrap();
    let json =
        if front == Front::Openai { last.strip_prefix("data: ").unwrap_or_else(|| panic!("{stream}")) } else { last };
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {stream}"))
}

#[track_caller]
fn assert_told(front: Front, stream: &str) {
    let error = &last(front, stream)["error"];
    match front {
        Front::Openai => {
            assert_eq!((&error["code"], &error["type"]), (&json!("draining"), &json!("server_error")), "{stream}");
            assert!(!stream.contains("[DONE]"), "no clean end: {stream}");
        }
        Front::Ollama => {
            assert!(error.as_str().is_some_and(|words| words.contains("stopped")), "{stream}");
            assert!(!stream.contains("\"done\":true"), "no clean end: {stream}");
        }
    }
}

const ROADS: [(Front, Front); 4] = [
    (Front::Openai, Front::Openai),
    (Front::Ollama, Front::Ollama),
    (Front::Openai, Front::Ollama),
    (Front::Ollama, Front::Openai),
];

fn pieces(behind: Front, count: usize) -> Rule {
    let pieces = (0..count).map(|at| behind.piece(&format!("w{at} ")));
    Rule::on(Route::Chat).raw_frames(pieces.collect::<Vec<_>>())
}

#[tokio::test]
async fn streams_that_outlive_the_time_for_work_end_with_a_typed_notice_in_both_dialects() {
    type Window = (&'static str, fn(Front) -> Rule);
    let windows: [Window; 2] = [
        ("silent", |behind| pieces(behind, 2).stall_after(1)),
        ("talking", |behind| pieces(behind, 20_000).chunk_delay(Duration::from_millis(1))),
    ];
    for (front, behind) in ROADS {
        for (name, rule) in windows {
            let (server, sim, id) = hasty(behind).await;
            let _kept: Scripted = sim.script(rule(behind));
            let stream = Begun::of(&server, front.chat(), &front.question("hi", true), "w0 ").await;
            let runtime = server.runtime.clone();
            server.begin_stop();
            let stream = stream.whole().await;
            eprintln!("{front:?} over {behind:?}, {name}: ends {:?}", stream.lines().last());
            assert_told(front, &stream);
            sim.wait_for_aborts(1).await.unwrap();
            assert_eq!(server.stop().await, Ended::Cut(1));
            let cell = runtime.directory.backend(&penstock::domain::ids::BackendId::new(id));
            assert!(cell.is_none_or(|cell| cell.slots().in_use == 0), "no slot is lost");
        }
    }
}

#[tokio::test]
async fn requests_without_an_answer_get_one_when_the_time_for_work_is_over() {
    for (front, behind) in ROADS {
        for stream in [true, false] {
            let (server, sim, _) = hasty(behind).await;
            let gate = sim.hold();
            let (asking, question) = ((*server).clone(), front.question("hi", stream));
            let running = in_background(async move { asking.post(front.chat(), question).await });
            gate.wait_for_arrivals(1).await.unwrap();
            server.begin_stop();
            let answer = running.await.unwrap().expect(503);
            assert_eq!((answer.header("x-penstock-reason"), answer.header("retry-after")), ("draining", "5"));
            match front {
                Front::Openai => assert_eq!(answer.json()["error"]["code"], "draining"),
                Front::Ollama => assert!(answer.error().contains("stopping")),
            }
            sim.wait_for_aborts(1).await.unwrap();
            assert_eq!(server.stop().await, Ended::Cut(1));
        }
    }
}

/// A server that has no time, with a chain whose second step never gets its answer.
async fn chain_scene() -> (TestServer, SimBackend, Value) {
    let (server, sim, _) = hasty(Front::Openai).await;
    let chain = json!({"id": "two", "tasks": [
        {"id": "first", "handler": "noop", "prompt_template": "one", "transition": {"branches": [{"goto": "second"}]}},
        {"id": "second", "handler": "raw_string", "prompt_template": "two", "transition": {"branches": [{"goto": "end"}]}}]});
    server.post("/taskchains", chain.clone()).await.expect(201);
    (server, sim, json!({"input": "x", "chain": chain}))
}

#[tokio::test]
async fn a_run_is_cancelled_when_the_time_for_work_is_over_and_its_client_is_told() {
    let (server, sim, body) = chain_scene().await;
    let gate = sim.hold();
    let asking = (*server).clone();
    let running = in_background(async move { asking.post("/tasks", body).await });
    gate.wait_for_arrivals(1).await.unwrap();
    let runtime = server.runtime.clone();
    server.begin_stop();
    assert_eq!(running.await.unwrap().expect(503).header("x-penstock-reason"), "draining");
    sim.wait_for_aborts(1).await.unwrap();
    assert_eq!(server.stop().await, Ended::Cut(1));
    drop(runtime);
}

#[tokio::test]
async fn a_watched_run_ends_with_the_event_of_its_error() {
    let (server, sim, body) = chain_scene().await;
    let _gate = sim.hold();
    let stream = Begun::of(&server, "/tasks", &body, "task.started").await;
    server.begin_stop();
    let stream = stream.whole().await;
    let (_, event) = stream.trim_end().rsplit_once("\n\n").unwrap();
    let data = event.strip_prefix("event: error\ndata: ").unwrap_or_else(|| panic!("{stream}"));
    let data: Value = serde_json::from_str(data).unwrap();
    assert_eq!(data["status"], 503);
    assert!(data["body"]["error"].as_str().unwrap().contains("stopping"));
    sim.wait_for_aborts(1).await.unwrap();
    assert_eq!(server.stop().await, Ended::Cut(1));
}

#[tokio::test]
async fn the_stream_of_a_chain_ends_with_a_typed_notice_in_both_dialects() {
    for front in Front::ALL {
        let (server, sim, _) = chain_scene().await;
        let _kept = sim.script(pieces(Front::Openai, 2).stall_after(1));
        let mut question = front.question("hi", true);
        question["model"] = json!("chain/two");
        let stream = Begun::of(&server, front.chat(), &question, "w0").await;
        assert!(!stream.response.headers()["x-penstock-run"].is_empty());
        server.begin_stop();
        assert_told(front, &stream.whole().await);
        sim.wait_for_aborts(1).await.unwrap();
        assert_eq!(server.stop().await, Ended::Cut(1));
    }
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_cut_and_does_not_hold_up_the_end() {
    let (server, sim, _) = hasty(Front::Openai).await;
    let flood = (0..4096).map(|_| Front::Openai.piece(&"x".repeat(4096))).collect::<Vec<_>>();
    let _kept = sim.script(Rule::on(Route::Chat).raw_frames(flood));
    let mut client = RawClient::connect_slow(server.addr).await;
    client.post(Front::Openai.chat(), &Front::Openai.question("hi", true).to_string()).await;
    client.until("HTTP/1.1 200").await;
    assert_eq!(server.stop().await, Ended::Cut(1));
    sim.wait_for_aborts(1).await.unwrap();
}
