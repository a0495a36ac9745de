//! `GET /events`: what happens in the server, live (`docs/api.md`, live events).

use loadtest::sim::{Routes, Rule, SimBackend};
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::support::{Client, Scene, TASKS, TestServer, soon};

/// A stream of events, read as they come.
struct Events {
    response: Response,
    unread: String,
}

/// One of them: id, name, data.
type Event = (String, String, Value);

impl Events {
    async fn of(client: &Client, after: Option<&str>) -> Self {
        let request = client.request(Method::GET, "/events");
        let request = after.map_or(request.try_clone().unwrap(), |id| request.header("last-event-id", id));
        let response = soon("the headers of the stream", request.send()).await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["content-type"]),
            (200, &"text/event-stream".parse().unwrap())
        );
        Self { response, unread: String::new() }
    }

    async fn next(&mut self) -> Event {
        loop {
            if let Some((event, rest)) = self.unread.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.unread = rest;
                if event.starts_with(':') {
                    continue;
                }
                let field =
                    |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("").to_owned();
                return (field("id: "), field("event: "), serde_json::from_str(&field("data: ")).unwrap());
            }
            let chunk = soon("an event", self.response.chunk()).await.unwrap().expect("it goes on");
            self.unread.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// The next event of this name of which this is true.
    async fn until(&mut self, name: &str, is_meant: impl Fn(&Value) -> bool) -> Event {
        let meant = async {
            loop {
                let event = self.next().await;
                if event.1 == name && is_meant(&event.2) {
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
    let (_, _, health) = events.until("health", |event| event["healthy"] == true).await;
    assert_eq!((&health["backend"], &health["name"]), (&json!(id), &json!("a")));
    sim.script(Rule::on(Routes::GENERATING).status(500).times(50));
    for _ in 0..50 {
        server.post("/execute", json!({"prompt": "x"})).await;
    }
    let (broken, _, breaker) = events.until("breaker", |event| event["state"] == "open").await;
    assert_eq!(breaker["backend"], json!(id));
    server.post(&format!("/backends/{id}/breaker/reset"), json!(null)).await.expect(200);
    events.until("breaker", |event| event["state"] == "closed").await;
    // Whoever was cut off goes on behind what it saw.
    let mut back = Events::of(&server, Some(&broken)).await;
    assert_eq!(back.next().await.1, "breaker");
}

#[tokio::test]
async fn runs_alerts_and_downloads_are_seen_from_their_beginning_to_their_end() {
    let Scene { server, sim, id } = Scene::start(&[]).await;
    let mut events = Events::of(&server, None).await;
    let chain = json!({"id": "mine", "tasks": [{"id": "t", "handler": "raw_string", "prompt_template": "{{.input}}", "transition":
        {"branches": [{"operator": "default", "goto": "end", "alert_on_match": "look at this"}]}}]});
    server.post("/tasks", json!({"input": "x", "chain": chain})).await.expect(200);
    let (_, _, began) = events.until("run", |event| event["status"] == "started").await;
    assert_eq!(began["chain"], "mine");
    let (_, _, alert) = events.until("alert", |_| true).await;
    assert_eq!((&alert["message"], &alert["requestID"]), (&json!("look at this"), &began["requestID"]));
    let (_, _, ended) = events.until("run", |event| event["status"] == "ok").await;
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
        let (_, _, download) = events.until("download", |event| event["status"] == status).await;
        assert_eq!((&download["backend"], &download["model"]), (&json!(id), &json!("new:1b")));
    }
}

#[tokio::test]
async fn whoever_comes_back_from_another_process_is_told_that_there_was_more() {
    let Scene { server, .. } = Scene::start(&[]).await;
    let mut events = Events::of(&server, Some("another-7")).await;
    assert_eq!(events.next().await.1, "missed");
    assert_eq!(events.next().await.1, "health", "and gets what is kept");
}
