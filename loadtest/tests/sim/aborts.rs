//! A client that hangs up is noticed in every phase of an answer.

use std::time::Duration;

use hyper::Method;
use loadtest::sim::{Outcome, Route, Rule, SimBackend};
use serde_json::json;

use crate::client::{Client, Error};

const LONG: Duration = Duration::from_secs(3_600);

async fn sim() -> std::io::Result<SimBackend> {
    SimBackend::ollama().model("m").catalog(["c"]).start().await
}

/// Sends a request, hangs up once it has arrived, and waits until the record shows that.
async fn leave_before_the_head(sim: &SimBackend, path: &str) -> Result<(), Error> {
    let body = json!({"model": "m", "prompt": "hi", "input": "hi", "messages": [{"role": "user", "content": "hi"}]});
    let mut client = Client::connect(sim.addr()).await?;
    let before = sim.record();
    tokio::select! {
        _ = client.head(Method::POST, path, body.to_string()) => return Err("an answer came".into()),
        arrived = sim.wait_for_requests(before.arrived + 1) => arrived?,
    }
    drop(client);
    Ok(sim.wait_for_aborts(before.aborted + 1).await?)
}

/// Sends a request that streams, hangs up after the head.
async fn leave_after_the_head(sim: &SimBackend, path: &str, model: &str) -> Result<(), Error> {
    let body = json!({"model": model, "messages": [{"role": "user", "content": "hi"}]});
    let mut client = Client::connect(sim.addr()).await?;
    let response = client.head(Method::POST, path, body.to_string()).await?;
    let before = sim.record();
    drop((client, response));
    Ok(sim.wait_for_aborts(before.aborted + 1).await?)
}

#[tokio::test]
async fn while_delayed_or_hanging() {
    let sim = sim().await.unwrap();
    sim.script(Rule::on(Route::Chat).delay(LONG));
    sim.script(Rule::on(Route::Embed).hang_before_headers());
    leave_before_the_head(&sim, "/api/chat").await.unwrap();
    leave_before_the_head(&sim, "/api/embed").await.unwrap();
    let record = sim.record();
    assert!(record.requests.iter().all(|request| request.outcome == Outcome::Aborted), "{record:?}");
    assert_eq!((record.calls.now, record.calls.max), (0, 1));
}

#[tokio::test]
async fn while_held() {
    let sim = sim().await.unwrap();
    let gate = sim.hold();
    leave_before_the_head(&sim, "/api/generate").await.unwrap();
    gate.wait_for_waiting(0).await.unwrap();
}

#[tokio::test]
async fn while_stalled_or_paced() {
    let sim = sim().await.unwrap();
    sim.script(Rule::on(Route::Chat).times(1).stall_after(1));
    sim.script(Rule::on(Route::Chat).chunk_delay(LONG));
    leave_after_the_head(&sim, "/api/chat", "m").await.unwrap();
    leave_after_the_head(&sim, "/api/chat", "m").await.unwrap();
    assert_eq!(sim.record().calls.now, 0);
}

#[tokio::test]
async fn while_a_plain_body_is_stalled() {
    let sim = sim().await.unwrap();
    sim.script(Rule::on(Route::List).stall_after(0));
    let mut client = Client::connect(sim.addr()).await.unwrap();
    let response = client.head(Method::GET, "/api/tags", "").await.unwrap();
    drop((client, response));
    sim.wait_for_aborts(1).await.unwrap();
}

#[tokio::test]
async fn while_pulling() {
    let sim = sim().await.unwrap();
    let gate = sim.hold_pulls_at(30);
    leave_after_the_head(&sim, "/api/pull", "c").await.unwrap();
    gate.wait_for_waiting(0).await.unwrap();
    let record = sim.record();
    assert_eq!((record.pulls.now, record.pulls.max), (0, 1));
    assert_eq!(sim.models(), ["m:latest"]);
}
