//! What a backend should have and what it has: probing, downloads of what is missing, removal of what nobody declared
//! (`docs/backends.md`, Ollama).

use std::time::{Duration, Instant};

use loadtest::sim::{Route, Rule, SimBackend};
use serde_json::{Value, json};

use crate::support::{Scene, TASKS, TestServer, eventually};

/// Looks at a backend again, now, and waits until it was seen.
async fn probe_again(server: &TestServer, id: &str, sim: &SimBackend, name: &str) {
    let seen = sim.record().of(Route::List).len();
    server
        .put(&format!("/backends/{id}"), json!({"name": name, "baseUrl": sim.url(), "type": "ollama"}))
        .await
        .expect(200);
    sim.wait_until("another probe", |record| record.of(Route::List).len() > seen).await.unwrap();
}

async fn state(server: &TestServer) -> Value {
    server.get("/state").await.expect(200).json()
}

#[tokio::test]
async fn what_is_declared_and_missing_is_downloaded_and_then_used() {
    let server = TestServer::start(&[]).await;
    let sim = SimBackend::ollama().catalog(["chat:1b"]).start().await.unwrap();
    let gate = sim.hold_pulls_at(50);
    let id = server.register("a", "ollama", &sim, &[TASKS]).await;
    gate.wait_for_arrivals(1).await.unwrap();
    let refused = server.post("/execute", json!({"prompt": "hi"})).await.expect(503);
    assert!(refused.error().contains("a is downloading chat:1b"), "{}", refused.text);
    let entry = state(&server).await[0].clone();
    assert_eq!((&entry["models"], &entry["pulledModels"]), (&json!(["chat:1b"]), &json!([])));
    gate.release_all();
    server.wait_for_model(&id, "chat:1b").await;
    server.post("/execute", json!({"prompt": "hi"})).await.expect(200);
    assert_eq!(state(&server).await[0]["pulledModels"][0]["model"], "chat:1b");
}

#[tokio::test]
async fn nothing_is_deleted_unless_that_was_asked_for() {
    let Scene { server, sim, id } = Scene::start(&[]).await;
    sim.add_model("mine:7b");
    probe_again(&server, &id, &sim, "b").await;
    server.wait_for_model(&id, "mine:7b").await;
    assert!(sim.record().of(Route::Delete).is_empty());
    assert!(sim.models().contains(&"mine:7b".to_owned()));
}

#[tokio::test]
async fn mirroring_deletes_exactly_what_is_not_declared() {
    let server = TestServer::start(&[("MODEL_SYNC", "mirror"), ("TASK_MODEL", "chat")]).await;
    let sim = SimBackend::ollama().model("chat:latest").model("mine:7b").model("old:1b").start().await.unwrap();
    let id = server.register("a", "ollama", &sim, &[TASKS]).await;
    server.wait_for_model(&id, "chat:latest").await;
    assert_eq!(sim.models(), ["chat:latest"]);
    let record = sim.record();
    let mut deleted: Vec<_> = record.of(Route::Delete).iter().map(|call| call.model.clone().unwrap()).collect();
    deleted.sort();
    assert_eq!(deleted, ["mine:7b", "old:1b"]);
    server.wait_for_backend(&id, "one model", |view| view.observed.len() == 1).await;
    assert!(record.of(Route::Pull).is_empty());
}

#[tokio::test]
async fn mirroring_never_follows_an_empty_declaration() {
    let server = TestServer::start(&[("MODEL_SYNC", "mirror")]).await;
    let pool = server.post("/pools", json!({"name": "empty"})).await.expect(201).json()["id"].clone();
    let sim = SimBackend::ollama().model("mine:7b").start().await.unwrap();
    let id = server.register("a", "ollama", &sim, &[pool.as_str().unwrap()]).await;
    server.wait_for_model(&id, "mine:7b").await;
    assert!(sim.record().of(Route::Delete).is_empty());
}

#[tokio::test]
async fn a_backend_in_no_pool_is_left_alone() {
    let server = TestServer::start(&[]).await;
    let (loose, other) = (
        SimBackend::ollama().model("chat:1b").start().await.unwrap(),
        SimBackend::ollama().model("chat:1b").start().await.unwrap(),
    );
    let id = server.register("loose", "ollama", &loose, &[]).await;
    server.ready("other", "ollama", &other).await;
    assert_eq!(loose.record().arrived, 0);
    let seen = state(&server).await;
    assert_eq!(seen.as_array().unwrap().iter().map(|entry| &entry["name"]).collect::<Vec<_>>(), ["other"]);
    let shown = server.get(&format!("/backends/{id}")).await.expect(200).json();
    assert_eq!((&shown["models"], &shown["pulledModels"]), (&json!([]), &json!([])));
    assert!(shown.get("error").is_none());
}

#[tokio::test]
async fn leaving_the_last_pool_ends_a_backends_part_in_the_state() {
    let Scene { server, sim, id } = Scene::start(&[]).await;
    assert_eq!(state(&server).await.as_array().unwrap().len(), 1);
    for (pool, left) in [(crate::support::EMBED, 1), (TASKS, 0)] {
        server.delete(&format!("/backend-associations/{pool}/backends/{id}")).await.expect(200);
        eventually("the state without it", || async {
            let state = state(&server).await;
            if state.as_array().unwrap().len() == left { Ok(()) } else { Err(state.to_string()) }
        })
        .await;
    }
    server.post("/execute", json!({"prompt": "hi"})).await.expect(503);
    let seen = sim.record().arrived;
    server.wait_for_backend(&id, "outside", |view| !view.in_pool && view.observed.is_empty()).await;
    assert_eq!(sim.record().arrived, seen);
}

#[tokio::test]
async fn a_hanging_backend_does_not_delay_the_look_at_another() {
    let server = TestServer::start(&[]).await;
    let (hanging, quick) = (
        SimBackend::ollama().model("chat:1b").start().await.unwrap(),
        SimBackend::ollama().model("chat:1b").start().await.unwrap(),
    );
    let stuck = hanging.script(Rule::on(Route::List).hang_before_headers());
    let stuck_id = server.register("hanging", "ollama", &hanging, &[TASKS]).await;
    hanging.wait_for_requests(1).await.unwrap();
    let began = Instant::now();
    server.ready("quick", "ollama", &quick).await;
    server.post("/execute", json!({"prompt": "hi"})).await.expect(200);
    assert!(began.elapsed() < Duration::from_secs(4), "before the probe of the other could have timed out");
    stuck.release();
    server.wait_for_model(&stuck_id, "chat:1b").await;
}

#[tokio::test]
async fn a_backend_moved_to_another_address_downloads_there_at_once() {
    let Scene { server, sim, id } = Scene::start(&[]).await;
    sim.add_to_catalog("new:1b");
    let gate = sim.hold_pulls_at(50);
    server.post("/models", json!({"model": "new:1b"})).await.expect(201);
    server.post(&format!("/model-associations/{TASKS}/models/new:1b"), Value::Null).await.expect(200);
    gate.wait_for_waiting(1).await.unwrap();
    let other = SimBackend::ollama().model("chat:1b").model("embed:1b").catalog(["new:1b"]).start().await.unwrap();
    let moved = json!({"name": "a", "baseUrl": other.url(), "type": "ollama"});
    server.put(&format!("/backends/{id}"), moved).await.expect(200);
    sim.wait_for_aborts(1).await.unwrap();
    other.wait_until("its download", |record| !record.of(Route::Pull).is_empty()).await.unwrap();
    server.wait_for_model(&id, "new:1b").await;
}
