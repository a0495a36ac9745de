//! The end of a server: signals, the drain, streams, and the next start on the same data (`docs/operations.md`, draining).

use loadtest::sim::SimBackend;
use penstock::app::Ended;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Process, Scene, eventually, in_background, soon};

async fn ollama() -> SimBackend {
    SimBackend::ollama().model("chat:1b").start().await.unwrap()
}

#[tokio::test]
async fn a_signal_lets_running_requests_finish_and_then_ends_the_process() {
    for signal in ["TERM", "INT"] {
        let folder = tempfile::tempdir().unwrap();
        let (mut process, client) = Process::serve(folder.path(), &[]).await;
        let sim = ollama().await;
        client.add_ollama(&sim).await;
        let gate = sim.hold();
        let asking = client.clone();
        let running = in_background(async move { asking.post("/execute", json!({"prompt": "hi"})).await });
        gate.wait_for_arrivals(1).await.unwrap();
        process.signal(signal).await;
        client.wait_until_draining().await;
        gate.release_all();
        running.await.unwrap().expect(200);
        assert_eq!(process.ended().await.code(), Some(0), "{}", process.log());
        assert!(process.log().contains("penstock has stopped"), "{}", process.log());
        assert_eq!(process.stdout() + &process.complaint(), "");
    }
}

#[tokio::test]
async fn requests_that_wait_for_a_slot_are_served_while_the_server_drains() {
    let Scene { server, sim, id } = Scene::with(&[], json!({"maxConcurrency": 1})).await;
    let gate = sim.hold();
    let running = server.execute_later("runs");
    gate.wait_for_arrivals(1).await.unwrap();
    let waiting = server.execute_later("waits");
    server.wait_for_waiters(&id, 1).await;
    server.begin_stop();
    server.wait_until_draining().await;
    gate.release_all();
    for answer in [running, waiting] {
        answer.await.unwrap().expect(200);
    }
    assert_eq!(server.stop().await, Ended::Drained);
}

#[tokio::test]
async fn event_streams_and_idle_connections_do_not_hold_up_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let (mut process, client) = Process::serve(folder.path(), &[]).await;
    client.get("/health").await.expect(200);
    let mut stream = client.request(Method::GET, "/queue/inProgress").send().await.unwrap();
    assert!(soon("a comment", stream.chunk()).await.unwrap().is_some());
    process.signal("TERM").await;
    let mut said = Vec::new();
    while let Some(chunk) = soon("the end of the stream", stream.chunk()).await.expect("a proper end") {
        said.extend_from_slice(&chunk);
    }
    let said = String::from_utf8(said).unwrap();
    let last = said.trim_end().rsplit("\n\n").next().unwrap();
    assert!(last.starts_with("event: error\ndata: {\"status\":503,") && last.contains("is stopping"), "{said:?}");
    assert_eq!(process.ended().await.code(), Some(0));
    assert!(process.log().contains("penstock has stopped\""), "nothing was cut: {}", process.log());
}

#[tokio::test]
async fn a_request_that_outlives_the_drain_is_told_so_and_aborted_upstream() {
    let folder = tempfile::tempdir().unwrap();
    let (mut process, client) = Process::serve(folder.path(), &[("DRAIN_TIMEOUT", "100ms")]).await;
    let sim = ollama().await;
    client.add_ollama(&sim).await;
    let gate = sim.hold();
    let request = client.request(Method::POST, "/execute").body(json!({"prompt": "hi"}).to_string());
    let running = in_background(request.send());
    gate.wait_for_arrivals(1).await.unwrap();
    process.signal("TERM").await;
    assert_eq!(process.ended().await.code(), Some(0));
    assert!(process.log().contains("some requests were ended at the deadline"), "{}", process.log());
    let answer = running.await.unwrap().unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers()["x-penstock-reason"].as_bytes()), (503, &b"draining"[..]));
    sim.wait_for_aborts(1).await.unwrap();
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (mut process, client) = Process::serve(folder.path(), &[]).await;
    let sim = ollama().await;
    client.add_ollama(&sim).await;
    let gate = sim.hold();
    let request = client.request(Method::POST, "/execute").body(json!({"prompt": "hi"}).to_string());
    let running = in_background(request.send());
    gate.wait_for_arrivals(1).await.unwrap();
    process.signal("TERM").await;
    client.wait_until_draining().await;
    process.signal("TERM").await;
    assert_eq!(process.ended().await.code(), Some(70));
    assert!(running.await.unwrap().is_err());
}

#[tokio::test]
async fn the_next_start_on_the_same_data_finds_everything_and_works() {
    let folder = tempfile::tempdir().unwrap();
    let sim = ollama().await;
    let (mut process, client) = Process::serve(folder.path(), &[]).await;
    let id = client.add_ollama(&sim).await;
    client.post("/models", json!({"model": "other:1b"})).await.expect(201);
    client.post("/pools", json!({"name": "mine", "purposeType": "fun"})).await.expect(201);
    let hook = json!({"name": "h", "endpointUrl": "http://127.0.0.1:1", "method": "POST", "timeoutMs": 10});
    client.post("/hooks/remote", hook).await.expect(201);
    client.post("/providers/openai/configure", json!({"apiKey": "sk-1234567890abcd"})).await.expect(200);
    let paths = ["/models", "/pools", "/hooks/remote", "/providers/configs", "/providers/openai/status", "/supported"];
    let mut before: Vec<Value> = Vec::new();
    for path in paths {
        before.push(client.get(path).await.expect(200).json());
    }
    process.signal("TERM").await;
    assert_eq!(process.ended().await.code(), Some(0));

    let (mut process, client) = Process::serve(folder.path(), &[]).await;
    for (path, before) in paths.into_iter().zip(before) {
        assert_eq!(client.get(path).await.expect(200).json(), before, "{path}");
    }
    let answer = eventually("an answer", || async {
        let answer = client.post("/execute", json!({"prompt": "hi"})).await;
        if answer.status == 503 { Err(answer.text) } else { Ok(answer.expect(200)) }
    })
    .await;
    assert_eq!(answer.header("x-penstock-backend"), id);
    process.signal("TERM").await;
    assert_eq!(process.ended().await.code(), Some(0));
}

#[tokio::test]
async fn data_survives_a_process_that_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let (mut process, client) = Process::serve(folder.path(), &[]).await;
    let pool = client.post("/pools", json!({"name": "mine"})).await.expect(201).json();
    process.signal("KILL").await;
    assert!(!process.ended().await.success());
    let (_process, client) = Process::serve(folder.path(), &[]).await;
    assert_eq!(client.get("/pool-by-name/mine").await.expect(200).json(), pool);
}
