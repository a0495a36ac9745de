//! Requests that wait while the world changes: backends come, go and fail; nobody is served by the wrong one.

use loadtest::sim::{Route, Rule, SimBackend};
use serde_json::json;

use crate::support::{Scene, TASKS, soon};

/// A backend with one slot that is taken, and one request that waits for it.
async fn one_waits() -> (Scene, loadtest::sim::HoldGate, tokio::task::JoinHandle<crate::support::Answer>) {
    let scene = Scene::with(&[], json!({"maxConcurrency": 1})).await;
    let gate = scene.sim.hold();
    let _running = scene.server.execute_later("first");
    gate.wait_for_arrivals(1).await.unwrap();
    let waiting = scene.server.execute_later("second");
    scene.server.wait_for_waiters(&scene.id, 1).await;
    (scene, gate, waiting)
}

#[tokio::test]
async fn a_backend_that_joins_the_pool_serves_those_who_wait() {
    let (scene, _gate, waiting) = one_waits().await;
    let other = SimBackend::ollama().model("chat:1b").start().await.unwrap();
    let id = scene.server.register("b", "ollama", &other, &[TASKS]).await;
    let answer = soon("the answer", waiting).await.unwrap().expect(200);
    assert_eq!(answer.header("x-penstock-backend"), id);
}

#[tokio::test]
async fn a_backend_that_has_left_the_pool_gets_nothing_of_what_waits_there() {
    let (scene, gate, waiting) = one_waits().await;
    scene.server.delete(&format!("/backend-associations/{TASKS}/backends/{}", scene.id)).await.expect(200);
    let answer = soon("the answer", waiting).await.unwrap().expect(503);
    assert_eq!(answer.header("x-penstock-reason"), "no_backend");
    assert_eq!(answer.header("retry-after"), "1");
    gate.release_all();
    scene.server.wait_until_idle(&scene.id).await;
    assert_eq!(scene.sim.record().of(Route::Generate).len(), 1, "the second prompt was never sent");
}

#[tokio::test]
async fn a_label_that_the_pool_requires_from_now_on_holds_for_those_who_wait() {
    let (scene, gate, waiting) = one_waits().await;
    scene.server.put(&format!("/pools/{TASKS}"), json!({"requireLabels": {"zone": "on-prem"}})).await.expect(200);
    soon("the answer", waiting).await.unwrap().expect(503);
    gate.release_all();
    scene.server.wait_until_idle(&scene.id).await;
    assert_eq!(scene.sim.record().of(Route::Generate).len(), 1);
}

#[tokio::test]
async fn a_chain_whose_step_finds_the_queue_full_says_so() {
    let (scene, gate, waiting) = one_waits().await;
    scene.server.put(&format!("/pools/{TASKS}"), json!({"queue": {"capacity": 1}})).await.expect(200);
    let chain = json!({"input": "x", "chain": {"tasks": [
        {"id": "t", "handler": "raw_string", "transition": {"branches": [{"operator": "default", "goto": "end"}]}}
    ]}});
    let answer = scene.server.post("/tasks", chain).await.expect(503);
    assert_eq!(answer.header("x-penstock-reason"), "queue_full");
    gate.release_all();
    soon("the answer", waiting).await.unwrap().expect(200);
}

#[tokio::test]
async fn a_failed_request_names_the_backend_that_failed_it() {
    let scene = Scene::start(&[]).await;
    scene.sim.script(Rule::on(Route::Generate).status(500).body(r#"{"error":"boom"}"#));
    let answer = scene.server.post("/execute", json!({"prompt": "x"})).await.expect(500);
    assert_eq!(answer.header("x-penstock-backend"), scene.id);
    assert_eq!(answer.header("x-penstock-attempts"), "1");
}
