//! `POST /tasks` with `Accept: text/event-stream`: the steps of a run while it runs (`docs/api.md`, live steps).

use loadtest::sim::{Route, Rule};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, EventStream, Scene, eventually};

/// Two questions and something between them.
fn chain() -> Value {
    json!({"debug": true, "tasks": [
        {"id": "first", "handler": "raw_string", "prompt_template": "one {{.input}}",
            "transition": {"branches": [{"goto": "between"}]}},
        {"id": "between", "handler": "noop", "transition": {"branches": [{"goto": "second"}]}},
        {"id": "second", "handler": "raw_string", "prompt_template": "two {{.first}}",
            "transition": {"branches": [{"goto": "end"}]}},
    ]})
}

/// The events of a run.
struct Events(EventStream);

impl Events {
    async fn of(scene: &Scene, body: &Value) -> Self {
        let request = scene.server.request(Method::POST, "/tasks").header("accept", "text/event-stream, */*");
        Self(EventStream::of(request.body(body.to_string())).await)
    }

    /// The next event's name and data; `None` at the end of the stream.
    async fn next(&mut self) -> Option<(String, Value)> {
        self.0.next().await.map(|event| (event.name, event.data))
    }

    async fn rest(mut self) -> Vec<(String, Value)> {
        let mut all = Vec::new();
        while let Some(event) = self.next().await {
            all.push(event);
        }
        all
    }
}

/// `started first 1`, and so on.
fn told((name, data): &(String, Value)) -> String {
    format!("{name} {} {}", data["task"].as_str().unwrap_or_default(), data["attempt"])
}

#[tokio::test]
async fn each_step_is_told_when_it_is_taken_and_the_answer_at_the_end() {
    let scene = Scene::start(&[]).await;
    scene.sim.script(Rule::on(Route::Generate).containing("one").reply("ONE"));
    scene.sim.script(Rule::on(Route::Generate).containing("two").reply("TWO"));
    let gate = scene.sim.hold_on(Route::Generate);
    let mut events = Events::of(&scene, &json!({"input": "x", "chain": chain()})).await;
    assert_eq!(told(&events.next().await.unwrap()), "task.started first 1");
    gate.release(1);
    let (name, data) = events.next().await.unwrap();
    assert_eq!((name.as_str(), &data["task"], &data["attempt"]), ("task.completed", &json!("first"), &json!(1)));
    assert_eq!(
        (&data["taskID"], &data["transition"], &data["output"]),
        (&json!("first"), &json!("ONE"), &json!("ONE"))
    );
    assert_eq!((&data["handler"], &data["model"]), (&json!("raw_string"), &json!("chat:1b")));
    assert_eq!(told(&events.next().await.unwrap()), "task.completed between 1");
    assert_eq!(told(&events.next().await.unwrap()), "task.started second 1");
    // All of it was told while the second question is held.
    gate.wait_for_waiting(1).await.unwrap();
    gate.release_all();
    let rest = events.rest().await;
    assert_eq!(rest.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["task.completed", "result"]);
    let result = &rest[1].1;
    assert_eq!((&result["output"], &result["outputType"]), (&json!("TWO"), &json!("string")));
    assert_eq!(result["state"].as_array().unwrap().len(), 3);
    assert_eq!(result["state"][2]["taskID"], rest[0].1["taskID"]);
}

#[tokio::test]
async fn failed_attempts_are_told_and_a_failed_run_ends_with_what_would_have_been_its_answer() {
    let scene = Scene::start(&[]).await;
    scene.sim.script(Rule::on(Route::Generate).reply("perhaps"));
    let chain = json!({"tasks": [{"id": "ask", "handler": "condition_key", "valid_conditions": ["yes"],
        "retry_on_failure": 1, "transition": {"branches": [{"goto": "end"}]}}]});
    let body = json!({"input": "x", "chain": chain});
    let events = Events::of(&scene, &body).await.rest().await;
    let names: Vec<String> = events[..4].iter().map(told).collect();
    assert_eq!(names, ["task.started ask 1", "task.failed ask 1", "task.started ask 2", "task.failed ask 2"]);
    let (name, error) = &events[4];
    assert_eq!((name.as_str(), events.len()), ("error", 5));
    let plain = scene.server.post("/tasks", body).await.expect(500);
    assert_eq!(error["status"], 500);
    assert_eq!(error["body"]["error"], plain.json()["error"]);
    assert_eq!(error["body"]["state"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn what_is_refused_is_answered_as_ever_before_any_event() {
    let scene = Scene::start(&[]).await;
    let live = |body: Value| {
        let request = scene.server.request(Method::POST, "/tasks").header("accept", "text/event-stream");
        scene.server.send(request.body(body.to_string()))
    };
    let refused: Answer = live(json!({"input": "x", "chain": {"tasks": []}})).await.expect(400);
    assert_eq!(refused.header("content-type"), "application/json");
    assert!(refused.error().contains("no tasks"), "{refused:?}");
    live(json!({"input": 7, "chain": chain()})).await.expect(400);
    // Who does not ask for events gets none.
    let request = scene.server.request(Method::POST, "/tasks").header("accept", "*/*, application/json");
    let plain = scene.server.send(request.body(json!({"input": "x", "chain": chain()}).to_string())).await.expect(200);
    assert_eq!(plain.header("content-type"), "application/json");
}

#[tokio::test]
async fn a_watcher_that_leaves_stops_the_run() {
    let scene = Scene::start(&[]).await;
    let gate = scene.sim.hold();
    let mut events = Events::of(&scene, &json!({"input": "x", "chain": chain()})).await;
    events.next().await.unwrap();
    gate.wait_for_waiting(1).await.unwrap();
    drop(events);
    gate.wait_for_waiting(0).await.unwrap();
    eventually("no run", || async {
        let active = scene.server.runtime.runs.active();
        if active == 0 { Ok(()) } else { Err(active.to_string()) }
    })
    .await;
    scene.server.wait_until_idle(&scene.id).await;
}

#[tokio::test]
async fn a_stopping_server_lets_a_watched_run_come_to_its_end() {
    let scene = Scene::start(&[]).await;
    let gate = scene.sim.hold();
    let mut events = Events::of(&scene, &json!({"input": "x", "chain": chain()})).await;
    events.next().await.unwrap();
    gate.wait_for_waiting(1).await.unwrap();
    scene.server.begin_stop();
    gate.release_all();
    let events = events.rest().await;
    assert_eq!(events.last().unwrap().0, "result", "{events:?}");
}
