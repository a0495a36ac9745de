//! `GET /events`: what happens in the server, live (`docs/api.md`, live events).

use loadtest::sim::{Routes, Rule, SimBackend};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Client, EventStream, Scene, StreamEvent, TASKS, TestServer, soon};

/// What happens, as a client sees it.
struct Events(EventStream);

impl Events {
    async fn of(client: &Client, after: Option<&str>) -> Self {
        let request = client.request(Method::GET, "/events");
        Self(EventStream::of(after.into_iter().fold(request, |request, id| request.header("last-event-id", id))).await)
    }

    async fn next(&mut self) -> StreamEvent {
        self.0.next().await.expect("it goes on")
    }

    /// The next event of this name of which this is true.
    async fn until(&mut self, name: &str, is_meant: impl Fn(&Value) -> bool) -> StreamEvent {
        let meant = async {
            loop {
                let event = self.next().await;
                if event.name == name && is_meant(&event.data) {
                    return event;
                }
            }
        };
        soon(name, meant).await
    }
}

#[tokio::test]
async fn a_backend_that_comes_breaks_and_is_mended_is_seen_at_each_turn() {
    let server = TestServer::start(&[]).await;
    let mut events = Events::of(&server, None).await;
    let sim = SimBackend::ollama().model("chat:1b").start().await.unwrap();
    let id = server.ready("a", "ollama", &sim).await;
    let health = events.until("health", |event| event["healthy"] == true).await.data;
    assert_eq!((&health["backend"], &health["name"]), (&json!(id), &json!("a")));
    sim.script(Rule::on(Routes::GENERATING).status(500).times(50));
    for _ in 0..50 {
        server.post("/execute", json!({"prompt": "x"})).await;
    }
    let StreamEvent { id: broken, data: breaker, .. } = events.until("breaker", |event| event["state"] == "open").await;
    assert_eq!(breaker["backend"], json!(id));
    server.post(&format!("/backends/{id}/breaker/reset"), json!(null)).await.expect(200);
    events.until("breaker", |event| event["state"] == "closed").await;
    // Whoever was cut off goes on behind what it saw.
    let mut back = Events::of(&server, Some(&broken)).await;
    assert_eq!(back.next().await.name, "breaker");
}

#[tokio::test]
async fn runs_alerts_and_downloads_are_seen_from_their_beginning_to_their_end() {
    let Scene { server, sim, id } = Scene::start(&[]).await;
    let mut events = Events::of(&server, None).await;
    let chain = json!({"id": "mine", "tasks": [{"id": "t", "handler": "raw_string", "prompt_template": "{{.input}}", "transition":
        {"branches": [{"operator": "default", "goto": "end", "alert_on_match": "look at this"}]}}]});
    server.post("/tasks", json!({"input": "x", "chain": chain})).await.expect(200);
    let began = events.until("run", |event| event["status"] == "started").await.data;
    assert_eq!(began["chain"], "mine");
    let alert = events.until("alert", |_| true).await.data;
    assert_eq!((&alert["message"], &alert["requestID"]), (&json!("look at this"), &began["requestID"]));
    let ended = events.until("run", |event| event["status"] == "ok").await.data;
    assert_eq!(ended["run"], began["run"]);
    assert!(ended["durationMs"].is_u64() && ended["at"].is_string(), "{ended}");

    sim.add_to_catalog("new:1b");
    let model = server
        .post("/models", json!({"model": "new:1b", "contextLength": 1000, "canPrompt": true}))
        .await
        .expect(201)
        .json();
    server
        .post(&format!("/model-associations/{TASKS}/models/{}", model["id"].as_str().unwrap()), json!(null))
        .await
        .expect(200);
    for status in ["started", "success"] {
        let download = events.until("download", |event| event["status"] == status).await.data;
        assert_eq!((&download["backend"], &download["model"]), (&json!(id), &json!("new:1b")));
    }
}

#[tokio::test]
async fn whoever_comes_back_from_another_process_is_told_that_there_was_more() {
    let Scene { server, .. } = Scene::start(&[]).await;
    let mut events = Events::of(&server, Some("another-7")).await;
    assert_eq!(events.next().await.name, "missed");
    assert_eq!(events.next().await.name, "health", "and gets what is kept");
}
