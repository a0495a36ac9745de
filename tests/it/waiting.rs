//! Requests that wait while the fleet changes under them: none is left hanging, none goes where it may not go any more
//! (`docs/api.md`, routing).

use loadtest::sim::{HoldGate, Route, SimBackend};
use serde_json::json;
use tokio::task::JoinHandle;

use crate::support::{Answer, EMBED, Scene, TASKS, in_background};

/// A backend whose only slot is taken, and one request that waits for it.
struct Queued {
    scene: Scene,
    gate: HoldGate,
    running: JoinHandle<Answer>,
    waiting: JoinHandle<Answer>,
}

async fn queued() -> Queued {
    let scene = Scene::with(&[], json!({"maxConcurrency": 1, "labels": {"zone": "here"}})).await;
    let gate = scene.sim.hold();
    let running = scene.server.execute_later("runs");
    gate.wait_for_arrivals(1).await.unwrap();
    let waiting = scene.server.execute_later("waits");
    scene.server.wait_for_waiters(&scene.id, 1).await;
    Queued { scene, gate, running, waiting }
}

impl Queued {
    /// The one that waits is told at once; the one that runs is not disturbed.
    async fn expect_refusal(self) {
        let refused = self.waiting.await.unwrap().expect(503);
        assert!(refused.error().contains("safe to retry"), "{}", refused.text);
        assert!(refused.header("retry-after").parse::<u32>().is_ok());
        self.gate.release_all();
        self.running.await.unwrap().expect(200);
        assert_eq!(self.scene.sim.record().of(Route::Generate).len(), 1, "what was refused was never sent");
    }
}

#[tokio::test]
async fn a_waiter_is_told_when_its_backend_is_deleted() {
    let queued = queued().await;
    let Scene { server, id, .. } = &queued.scene;
    server.delete(&format!("/backends/{id}")).await.expect(200);
    queued.expect_refusal().await;
}

#[tokio::test]
async fn a_waiter_is_told_when_its_backend_is_disabled() {
    let queued = queued().await;
    let Scene { server, sim, id } = &queued.scene;
    let body = json!({"name": "a", "baseUrl": sim.url(), "type": "ollama", "enabled": false});
    server.put(&format!("/backends/{id}"), body).await.expect(200);
    queued.expect_refusal().await;
}

#[tokio::test]
async fn a_waiter_is_told_when_its_backend_leaves_the_pool_and_stays_in_another() {
    let queued = queued().await;
    let Scene { server, id, .. } = &queued.scene;
    server.delete(&format!("/backend-associations/{TASKS}/backends/{id}")).await.expect(200);
    queued.expect_refusal().await;
}

#[tokio::test]
async fn a_waiter_is_told_when_its_pool_begins_to_require_what_the_backend_lacks() {
    let queued = queued().await;
    let labels = json!({"requireLabels": {"zone": "there"}});
    queued.scene.server.put(&format!("/pools/{TASKS}"), labels).await.expect(200);
    queued.expect_refusal().await;
}

#[tokio::test]
async fn a_waiter_is_told_when_its_pool_is_deleted() {
    let Scene { server, sim, id } = Scene::with(&[], json!({"maxConcurrency": 1})).await;
    let pool = server.post("/pools", json!({"name": "mine"})).await.expect(201).json()["id"].clone();
    let pool = pool.as_str().unwrap();
    server.post("/models", json!({"model": "mine:1b"})).await.expect(201);
    server.post(&format!("/model-associations/{pool}/models/mine:1b"), json!(null)).await.expect(200);
    sim.add_model("mine:1b");
    server.post(&format!("/backend-associations/{pool}/backends/{id}"), json!(null)).await.expect(201);
    server.wait_for_model(&id, "mine:1b").await;
    server.wait_for_member(pool, &id).await;
    let gate = sim.hold();
    let running = server.execute_later("runs");
    gate.wait_for_arrivals(1).await.unwrap();
    let client = (*server).clone();
    let body = json!({"prompt": "waits", "model_name": "mine:1b"});
    let waiting = in_background(async move { client.post("/execute", body).await });
    server.wait_for_waiters(&id, 1).await;
    server.delete(&format!("/pools/{pool}")).await.expect(200);
    waiting.await.unwrap().expect(503);
    gate.release_all();
    running.await.unwrap().expect(200);
    server.wait_until_idle(&id).await;
}

/// A second backend with one slot, which the one that waits goes to and fills. Returns its id.
async fn filled(queued: &Queued, other: &SimBackend) -> (String, HoldGate) {
    let gate = other.hold();
    let body = json!({"name": "b", "baseUrl": other.url(), "type": "ollama", "maxConcurrency": 1});
    let id = queued.scene.server.register_as(body, &[TASKS]).await;
    gate.wait_for_arrivals(1).await.unwrap();
    (id, gate)
}

#[tokio::test]
async fn a_waiter_of_two_backends_is_served_by_the_one_that_stays() {
    let queued = queued().await;
    let Scene { server, id, .. } = &queued.scene;
    let other = SimBackend::ollama().model("chat:1b").start().await.unwrap();
    let (other_id, at_other) = filled(&queued, &other).await;
    let either = server.execute_later("either");
    server.wait_for_waiters(id, 1).await;
    server.delete(&format!("/backends/{id}")).await.expect(200);
    at_other.release_all();
    for answer in [queued.waiting, either] {
        assert_eq!(answer.await.unwrap().expect(200).header("x-penstock-backend"), other_id);
    }
    queued.gate.release_all();
    queued.running.await.unwrap().expect(200);
}

#[tokio::test]
async fn a_waiter_is_not_disturbed_by_a_change_of_another_pool() {
    let queued = queued().await;
    let Scene { server, id, .. } = &queued.scene;
    server.delete(&format!("/backend-associations/{EMBED}/backends/{id}")).await.expect(200);
    server.wait_for_waiters(id, 1).await;
    queued.gate.release_all();
    queued.running.await.unwrap().expect(200);
    queued.waiting.await.unwrap().expect(200);
}

#[tokio::test]
async fn a_waiter_without_hope_is_told_wherever_in_the_queue_it_stands() {
    let queued = queued().await;
    let Scene { server, id, .. } = &queued.scene;
    server.post("/models", json!({"model": "solo:1b"})).await.expect(201);
    server.post(&format!("/model-associations/{TASKS}/models/solo:1b"), json!(null)).await.expect(200);
    let other = SimBackend::ollama().model("chat:1b").model("solo:1b").start().await.unwrap();
    let (other_id, at_other) = filled(&queued, &other).await;
    let hopeful = server.execute_later("either");
    server.wait_for_waiters(&other_id, 1).await;
    let client = (**server).clone();
    let body = json!({"prompt": "solo", "model_name": "solo:1b"});
    let solo = in_background(async move { client.post("/execute", body).await });
    server.wait_for_waiters(&other_id, 2).await;
    server.delete(&format!("/backends/{other_id}")).await.expect(200);
    solo.await.unwrap().expect(503);
    server.wait_for_waiters(id, 1).await;
    queued.gate.release_all();
    queued.running.await.unwrap().expect(200);
    hopeful.await.unwrap().expect(200);
    at_other.release_all();
    queued.waiting.await.unwrap().expect(200);
}

#[tokio::test]
async fn a_backend_that_joins_the_pool_serves_those_who_wait() {
    let Queued { scene, waiting, .. } = &mut queued().await;
    let other = SimBackend::ollama().model("chat:1b").start().await.unwrap();
    let id = scene.server.register("b", "ollama", &other, &[TASKS]).await;
    let answer = waiting.await.unwrap().expect(200);
    assert_eq!(answer.header("x-penstock-backend"), id);
}

#[tokio::test]
async fn a_chain_whose_step_finds_the_queue_full_says_so() {
    let Queued { scene, gate, waiting, .. } = queued().await;
    scene.server.put(&format!("/pools/{TASKS}"), json!({"queue": {"capacity": 1}})).await.expect(200);
    let chain = json!({"input": "x", "chain": {"tasks": [
        {"id": "t", "handler": "raw_string", "transition": {"branches": [{"operator": "default", "goto": "end"}]}}
    ]}});
    let answer = scene.server.post("/tasks", chain).await.expect(503);
    assert_eq!(answer.header("x-penstock-reason"), "queue_full");
    gate.release_all();
    waiting.await.unwrap().expect(200);
}
