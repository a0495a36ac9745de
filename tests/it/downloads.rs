//! Model downloads: the queue, its order, cancelling, and the live events (`docs/api.md`, download queue).

use loadtest::sim::{HoldGate, Route, SimBackend, SimModel};
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::support::{Scene, TASKS, TestServer, eventually, soon};

/// A server and an Ollama that has the default model and could download `m1:1b` to `m4:1b`, held half-way.
async fn scene() -> (Scene, HoldGate) {
    let scene = Scene::start(&[]).await;
    for model in ["m1:1b", "m2:1b", "m3:1b", "m4:1b"] {
        scene.sim.add_to_catalog(SimModel::new(model).size(1_000));
    }
    let gate = scene.sim.hold_pulls_at(50);
    (scene, gate)
}

/// Declares models one after the other, so that they are queued in this order.
async fn declare(server: &TestServer, models: &[&str]) {
    for model in models {
        server.post("/models", json!({"model": model})).await.expect(201);
        assign(server, model).await;
        eventually("the model wanted", || async {
            let backends = server.runtime.directory.backends();
            let is_known = |model: &str| {
                backends.values().map(|cell| cell.view()).any(|view| {
                    view.downloading.as_deref() == Some(model) || view.queue.iter().any(|job| job.model == model)
                })
            };
            if is_known(model) { Ok(()) } else { Err(server.get("/queue").await.text) }
        })
        .await;
    }
}

async fn assign(server: &TestServer, model: &str) {
    server.post(&format!("/model-associations/{TASKS}/models/{model}"), Value::Null).await.expect(200);
}

async fn queued(server: &TestServer) -> Vec<String> {
    let jobs = server.get("/queue").await.expect(200).json();
    jobs.as_array().unwrap().iter().map(|job| job["modelJob"]["model"].as_str().unwrap().to_owned()).collect()
}

async fn wait_for_pulls(sim: &SimBackend, count: usize) {
    sim.wait_until(&format!("{count} pulls"), |record| record.of(Route::Pull).len() >= count).await.unwrap();
}

fn pulled(sim: &SimBackend) -> Vec<String> {
    sim.record().of(Route::Pull).iter().map(|call| call.model.clone().unwrap()).collect()
}

/// A listener of `GET /queue/inProgress`.
struct Listener {
    response: Response,
    text: String,
}

impl Listener {
    async fn new(server: &TestServer) -> Self {
        let request = server.request(Method::GET, "/queue/inProgress");
        let response = soon("the headers of the stream", request.send()).await.unwrap();
        Self { response, text: String::new() }
    }

    /// Reads until this text has come, and returns all that came.
    async fn until(&mut self, wanted: &str) -> &str {
        while !self.text.contains(wanted) {
            let chunk = soon(wanted, self.response.chunk()).await.unwrap().expect("the stream goes on");
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
        &self.text
    }
}

#[tokio::test]
async fn the_queue_lists_what_waits_oldest_first_and_one_download_runs() {
    let (Scene { server, sim, .. }, gate) = scene().await;
    assert_eq!(server.get("/queue").await.expect(200).text.trim(), "[]");
    declare(&server, &["m1:1b", "m3:1b", "m2:1b"]).await;
    gate.wait_for_arrivals(1).await.unwrap();
    assert_eq!(queued(&server).await, ["m3:1b", "m2:1b"]);
    let jobs = server.get("/queue").await.json();
    let url = sim.url();
    for (job, model) in jobs.as_array().unwrap().iter().zip(["m3:1b", "m2:1b"]) {
        assert_eq!(job["taskType"], "model_download");
        assert_eq!(job["modelJob"], json!({"url": url, "model": model}));
        assert_eq!((&job["scheduledFor"], &job["validUntil"]), (&json!(0), &json!(0)));
        assert!(job["createdAt"].as_str().unwrap().ends_with('Z'), "{job}");
        assert!(job["id"].as_str().unwrap().starts_with(&url), "{job}");
    }
    assert_ne!(jobs[0]["id"], jobs[1]["id"]);
    gate.release_all();
    wait_for_pulls(&sim, 3).await;
    assert_eq!(pulled(&sim), ["m1:1b", "m3:1b", "m2:1b"]);
    assert_eq!(sim.record().pulls.max, 1);
    eventually("an empty queue", || async {
        let queued = queued(&server).await;
        if queued.is_empty() { Ok(()) } else { Err(format!("{queued:?}")) }
    })
    .await;
}

#[tokio::test]
async fn backends_download_side_by_side() {
    let (Scene { server, sim, .. }, gate) = scene().await;
    let other = SimBackend::ollama().model("chat:1b").catalog(["m1:1b"]).start().await.unwrap();
    let other_gate = other.hold_pulls_at(50);
    server.ready("b", "ollama", &other).await;
    declare(&server, &["m1:1b"]).await;
    gate.wait_for_waiting(1).await.unwrap();
    other_gate.wait_for_waiting(1).await.unwrap();
    assert_eq!((sim.record().pulls.now, other.record().pulls.now), (1, 1));
}

#[tokio::test]
async fn every_listener_sees_every_step_as_one_data_line() {
    let (Scene { server, sim, .. }, gate) = scene().await;
    let mut listeners = [Listener::new(&server).await, Listener::new(&server).await];
    for listener in &listeners {
        let headers = listener.response.headers();
        assert_eq!(listener.response.status(), 200);
        assert_eq!(headers["content-type"], "text/event-stream");
        assert_eq!(headers["cache-control"], "no-cache");
    }
    declare(&server, &["m1:1b"]).await;
    for listener in &mut listeners {
        listener.until("\"completed\":500").await;
    }
    gate.release_all();
    let end = format!("data: {{\"status\":\"success\",\"model\":\"m1:1b\",\"baseUrl\":\"{}\"}}\n\n", sim.url());
    for listener in &mut listeners {
        let text = listener.until(&end).await.to_owned();
        assert!(!text.contains("event:"), "{text}");
        let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty() && !line.starts_with(':')).collect();
        assert!(lines.iter().all(|line| line.starts_with("data: {")), "{text}");
        let first: Value = serde_json::from_str(lines[0].strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(first, json!({"status": "pulling manifest", "model": "m1:1b", "baseUrl": sim.url()}));
        let half = lines.iter().find(|line| line.contains("\"completed\":500")).unwrap();
        let half: Value = serde_json::from_str(half.strip_prefix("data: ").unwrap()).unwrap();
        let digest = half["digest"].as_str().unwrap();
        assert_eq!(half["status"], format!("pulling {}", &digest["sha256:".len()..][..12]));
        assert_eq!((&half["total"], &half["completed"]), (&json!(1_000), &json!(500)));
        for status in ["verifying sha256 digest", "writing manifest"] {
            assert!(text.contains(status), "{status} is missing: {text}");
        }
    }
}

#[tokio::test]
async fn a_failed_download_is_told_and_rests() {
    let (Scene { server, sim, id }, _gate) = scene().await;
    let mut listener = Listener::new(&server).await;
    declare(&server, &["m1:1b"]).await;
    server.post("/models", json!({"model": "nowhere:1b"})).await.expect(201);
    assign(&server, "nowhere:1b").await;
    drop(_gate);
    let text = listener.until("\"error: ").await.to_owned();
    let line = text.lines().find(|line| line.contains("error: ")).unwrap();
    let event: Value = serde_json::from_str(line.strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!((&event["model"], &event["baseUrl"]), (&json!("nowhere:1b"), &json!(sim.url())));
    // Another look at the backend does not begin it anew at once.
    let lists = sim.record().of(Route::List).len();
    let body = json!({"name": "renamed", "baseUrl": sim.url(), "type": "ollama"});
    server.put(&format!("/backends/{id}"), body).await.expect(200);
    sim.wait_until("another probe", |record| record.of(Route::List).len() > lists).await.unwrap();
    server.wait_for_backend(&id, "the rename", |view| view.backend.name == "renamed").await;
    assert_eq!(pulled(&sim).iter().filter(|model| *model == "nowhere:1b").count(), 1);
}

#[tokio::test]
async fn a_download_is_cancelled_by_address_or_by_model_and_stays_so() {
    for query in ["url", "url/", "model", "both"] {
        let (Scene { server, sim, .. }, gate) = scene().await;
        let mut listener = Listener::new(&server).await;
        declare(&server, &["m1:1b", "m2:1b"]).await;
        gate.wait_for_waiting(1).await.unwrap();
        let url = sim.url();
        let query = match query {
            "url" => format!("url={url}"),
            "url/" => format!("url={}%2F", url.replace(':', "%3A").replace('/', "%2F")),
            "model" => "model=m1:1b".to_owned(),
            _ => format!("model=nothing&url={url}"),
        };
        let answer = server.delete(&format!("/queue/cancel?{query}")).await.expect(200);
        assert_eq!(answer.json(), "Model download cancellation initiated");
        sim.wait_for_aborts(1).await.unwrap();
        listener.until("\"error: cancelled\"").await;
        // The next one has its turn; the cancelled one is not queued again by the probes that follow.
        gate.wait_for_arrivals(2).await.unwrap();
        assert_eq!(pulled(&sim), ["m1:1b", "m2:1b"], "{query}");
        gate.release_all();
        listener.until("\"success\"").await;
        assert_eq!(queued(&server).await, [""; 0], "{query}");
        assert_eq!(pulled(&sim).len(), 2, "{query}");
    }
}

#[tokio::test]
async fn cancelling_needs_a_word_about_what_and_may_match_nothing() {
    let (Scene { server, sim, .. }, gate) = scene().await;
    declare(&server, &["m1:1b"]).await;
    gate.wait_for_waiting(1).await.unwrap();
    for path in ["/queue/cancel", "/queue/cancel?url=&model=", "/queue/cancel?other=m1:1b"] {
        let refused = server.delete(path).await.expect(400);
        assert!(refused.error().contains("url") && refused.error().contains("model"), "{}", refused.text);
    }
    for path in ["/queue/cancel?model=m4:1b", "/queue/cancel?url=http://10.0.0.1:1&model=m1:1b"] {
        server.delete(path).await.expect(200);
    }
    assert_eq!(sim.record().pulls.now, 1, "it still runs");
    gate.release_all();
    sim.wait_until("the end", |record| record.pulls.now == 0).await.unwrap();
    assert_eq!(sim.record().aborted, 0);
}

#[tokio::test]
async fn a_model_taken_from_the_queue_leaves_the_others_in_order() {
    let (Scene { server, sim, .. }, gate) = scene().await;
    declare(&server, &["m1:1b", "m2:1b", "m3:1b", "m4:1b"]).await;
    gate.wait_for_waiting(1).await.unwrap();
    for model in ["m3:1b", "absent"] {
        let answer = server.delete(&format!("/queue/{model}")).await.expect(200);
        assert_eq!(answer.json(), "Model removed from queue");
    }
    assert_eq!(queued(&server).await, ["m2:1b", "m4:1b"]);
    server.delete("/queue/m1:1b").await.expect(200);
    sim.wait_for_aborts(1).await.unwrap();
    gate.release_all();
    wait_for_pulls(&sim, 3).await;
    sim.wait_until("the end", |record| record.pulls.now == 0).await.unwrap();
    assert_eq!(pulled(&sim), ["m1:1b", "m2:1b", "m4:1b"]);
}

#[tokio::test]
async fn what_was_cancelled_is_downloaded_once_it_is_assigned_anew() {
    let (Scene { server, sim, .. }, gate) = scene().await;
    declare(&server, &["m1:1b"]).await;
    gate.wait_for_waiting(1).await.unwrap();
    server.delete("/queue/m1:1b").await.expect(200);
    sim.wait_for_aborts(1).await.unwrap();
    server.delete(&format!("/model-associations/{TASKS}/models/m1:1b")).await.expect(200);
    assign(&server, "m1:1b").await;
    wait_for_pulls(&sim, 2).await;
    gate.release_all();
    sim.wait_until("the end", |record| record.pulls.now == 0).await.unwrap();
    assert!(sim.models().contains(&"m1:1b".to_owned()));
}

#[tokio::test]
async fn deleting_a_model_stops_its_downloads_when_asked_to() {
    let (Scene { server, sim, .. }, gate) = scene().await;
    declare(&server, &["m1:1b", "m2:1b"]).await;
    gate.wait_for_waiting(1).await.unwrap();
    server.delete("/models/m1:1b?purge=true").await.expect(200);
    sim.wait_for_aborts(1).await.unwrap();
    gate.release_all();
    sim.wait_until("the other download", |record| record.of(Route::Pull).len() == 2 && record.pulls.now == 0)
        .await
        .unwrap();
    assert_eq!(pulled(&sim), ["m1:1b", "m2:1b"]);
}
