//! Pulls: their lines, their pauses, their failures.

use loadtest::sim::{Outcome, Route, Rule, SimBackend, SimModel};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::client::{Client, post};

async fn sim() -> std::io::Result<SimBackend> {
    SimBackend::ollama().catalog([SimModel::new("nomic-embed-text").size(1_000)]).start().await
}

#[tokio::test]
async fn a_pull_reports_every_layer_and_installs_the_model() {
    let sim = sim().await.unwrap();
    let reply = post(sim.addr(), "/api/pull", json!({"model": "nomic-embed-text"})).await.unwrap();
    assert_eq!(reply.header("content-type"), "application/x-ndjson");
    let lines = reply.lines();
    assert_eq!(lines[0], json!({"status": "pulling manifest"}));
    let digest = lines[1]["digest"].as_str().unwrap();
    assert_eq!(digest.len(), "sha256:".len() + 64);
    assert_eq!(lines[1], json!({"status": format!("pulling {}", &digest[7..19]), "digest": digest, "total": 1_000}));
    assert_eq!(lines[2]["completed"], 100);
    let last: Vec<&Value> = lines.iter().rev().take(3).map(|line| &line["status"]).collect();
    assert_eq!(last, ["success", "writing manifest", "verifying sha256 digest"]);
    assert_eq!(sim.models(), ["nomic-embed-text:latest"]);

    let again = post(sim.addr(), "/api/pull", json!({"model": "nomic-embed-text:latest"})).await.unwrap().lines();
    assert_eq!(again[1]["completed"], 1_000, "what is there already takes one line");
    assert_eq!(sim.record().of(Route::Pull).len(), 2);
}

#[tokio::test]
async fn a_quiet_pull_answers_at_the_end() {
    let sim = sim().await.unwrap();
    let gate = sim.hold_pulls_at(50);
    let addr = sim.addr();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { post(addr, "/api/pull", json!({"model": "nomic-embed-text", "stream": false})).await });
    gate.wait_for_arrivals(1).await.unwrap();
    assert!(sim.models().is_empty());
    gate.release(1);
    let reply = tasks.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!((reply.status.as_u16(), reply.json()), (200, json!({"status": "success"})));
    assert_eq!(sim.models().len(), 1);
}

#[tokio::test]
async fn an_interrupted_pull_goes_on_where_it_was() {
    let sim = sim().await.unwrap();
    let gate = sim.hold_pulls_at(40);
    let mut client = Client::connect(sim.addr()).await.unwrap();
    let body = json!({"model": "nomic-embed-text"}).to_string();
    let response = client.head(hyper::Method::POST, "/api/pull", body).await.unwrap();
    gate.wait_for_arrivals(1).await.unwrap();
    drop((client, response));
    sim.wait_for_aborts(1).await.unwrap();
    drop(gate);
    let lines = post(sim.addr(), "/api/pull", json!({"model": "nomic-embed-text"})).await.unwrap().lines();
    assert_eq!(lines[1]["completed"], 400);
}

#[tokio::test]
async fn pulls_fail_in_the_stream_or_with_a_status() {
    let sim = sim().await.unwrap();
    let unknown = post(sim.addr(), "/api/pull", json!({"model": "x"})).await.unwrap();
    assert_eq!(unknown.status, 200);
    assert_eq!(unknown.lines()[1], json!({"error": "pull model manifest: file does not exist"}));
    let unknown = post(sim.addr(), "/api/pull", json!({"model": "x", "stream": false})).await.unwrap();
    assert_eq!(
        (unknown.status.as_u16(), unknown.json()),
        (500, json!({"error": "pull model manifest: file does not exist"}))
    );
    let bad = post(sim.addr(), "/api/pull", json!({"model": "a b"})).await.unwrap();
    assert_eq!((bad.status.as_u16(), bad.json()), (400, json!({"error": "invalid model name"})));

    sim.script(Rule::on(Route::Pull).times(1).error_after(3, "no space left on device"));
    let failed = post(sim.addr(), "/api/pull", json!({"model": "nomic-embed-text"})).await.unwrap().lines();
    assert_eq!((failed.len(), &failed[3]), (4, &json!({"error": "no space left on device"})));
    sim.script(Rule::on(Route::Pull).times(1).cut_after(3));
    assert!(!post(sim.addr(), "/api/pull", json!({"model": "nomic-embed-text"})).await.unwrap().whole);
    assert_eq!(sim.record().requests.last().unwrap().outcome, Outcome::Broken);
    assert!(sim.models().is_empty());
}
