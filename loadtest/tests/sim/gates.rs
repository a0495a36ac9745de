//! Gates hold requests until they are let go.

use loadtest::sim::{Route, SimBackend, SimServer};
use serde_json::json;
use tokio::task::JoinSet;

use crate::client::{Error, Reply, get, post};

fn ask(sim: &SimServer, tasks: &mut JoinSet<Result<Reply, Error>>) {
    let addr = sim.addr();
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
    tasks.spawn(post(addr, "/v1/chat/completions", body));
}

#[tokio::test]
async fn a_gate_lets_as_many_pass_as_it_is_told() {
    let sim = SimBackend::openai().model("m").start().await.unwrap();
    let gate = sim.hold();
    let mut tasks = JoinSet::new();
    (0..3).for_each(|_| ask(&sim, &mut tasks));
    gate.wait_for_arrivals(3).await.unwrap();
    assert_eq!((gate.waiting(), sim.record().calls.now), (3, 3));

    gate.release(1);
    assert_eq!(tasks.join_next().await.unwrap().unwrap().unwrap().status, 200);
    gate.wait_for_waiting(2).await.unwrap();
    assert_eq!(get(sim.addr(), "/v1/models").await.unwrap().status, 200, "probes are not held");

    gate.release_all();
    assert_eq!(std::mem::take(&mut tasks).join_all().await.len(), 2);
    ask(&sim, &mut tasks);
    assert_eq!(tasks.join_all().await.len(), 1, "an open gate holds nobody");
    assert_eq!((sim.record().calls.now, sim.record().calls.max), (0, 3));
}

#[tokio::test]
async fn a_dropped_gate_is_open() {
    let sim = SimBackend::openai().model("m").start().await.unwrap();
    let gate = sim.hold_on(Route::List);
    let addr = sim.addr();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { get(addr, "/v1/models").await.expect("an answer").status });
    gate.wait_for_arrivals(1).await.unwrap();
    drop(gate);
    assert_eq!(tasks.join_all().await, [200]);
}
