//! What a test can do to a running server, and what it can ask of it.

use hyper::Method;
use loadtest::sim::{Outcome, Route, SimBackend};
use serde_json::json;

use crate::client::{Client, get, post};

#[tokio::test]
async fn a_stopped_server_refuses_until_it_is_started_again() {
    let sim = SimBackend::ollama().model("m").start().await.unwrap();
    let gate = sim.hold_on(Route::List);
    let mut client = Client::connect(sim.addr()).await.unwrap();
    let (held, ()) = tokio::join!(client.head(Method::GET, "/api/tags", ""), async {
        gate.wait_for_arrivals(1).await.unwrap();
        sim.stop().await;
    });
    held.unwrap_err();
    assert_eq!(sim.record().requests[0].outcome, Outcome::Broken, "that was not the client");
    get(sim.addr(), "/api/version").await.unwrap_err();

    sim.restart().await.unwrap();
    assert_eq!(get(sim.addr(), "/api/version").await.unwrap().status, 200);
    assert_eq!(sim.record().arrived, 2);
}

#[tokio::test]
async fn a_dropped_server_closes_its_port() {
    let sim = SimBackend::ollama().start().await.unwrap();
    let addr = sim.addr();
    let mut client = Client::connect(addr).await.unwrap();
    client.head(Method::GET, "/", "").await.unwrap();
    drop(sim);
    client.head(Method::GET, "/", "").await.unwrap_err();
}

#[tokio::test]
async fn a_server_that_is_down_answers_everything_with_its_status() {
    let (ollama, openai) =
        (SimBackend::ollama().start().await.unwrap(), SimBackend::openai().model("m").start().await.unwrap());
    ollama.set_down(503);
    openai.set_down(500);
    let down = get(ollama.addr(), "/api/tags").await.unwrap();
    assert_eq!((down.status.as_u16(), down.json()), (503, json!({"error": "the server is down"})));
    let down = get(openai.addr(), "/v1/models").await.unwrap();
    assert_eq!((down.status.as_u16(), &down.json()["error"]["type"]), (500, &json!("server_error")));
    openai.set_healthy();
    assert_eq!(get(openai.addr(), "/v1/models").await.unwrap().status, 200);
}

#[tokio::test]
async fn models_come_and_go() {
    let sim = SimBackend::ollama().start().await.unwrap();
    sim.add_model("m");
    assert_eq!(get(sim.addr(), "/api/tags").await.unwrap().json()["models"][0]["name"], "m:latest");
    assert!(sim.remove_model("m:latest"));
    assert_eq!(get(sim.addr(), "/api/tags").await.unwrap().json(), json!({"models": []}));
}

#[tokio::test]
async fn the_record_keeps_what_came() {
    let sim = SimBackend::openai().model("m").start().await.unwrap();
    let body = json!({"model": "m", "input": "hi"});
    post(sim.addr(), "/v1/embeddings?a=b", body.clone()).await.unwrap();
    get(sim.addr(), "/nowhere").await.unwrap();
    let record = sim.record();
    let first = &record.requests[0];
    assert_eq!((first.route, &first.method, first.path.as_str()), (Route::Embed, &Method::POST, "/v1/embeddings"));
    assert_eq!((first.model.as_deref(), first.json(), first.authorized()), (Some("m"), body, true));
    assert_eq!((first.header("host"), first.outcome), (Some("sim"), Outcome::Answered { status: 200 }));
    assert_eq!(record.requests[1].outcome, Outcome::Answered { status: 404 });
    assert_eq!((record.arrived, record.answered, record.aborted), (2, 2, 0));
}

#[tokio::test]
async fn a_counting_server_keeps_no_requests() {
    let sim = SimBackend::openai().model("m").count_only().start().await.unwrap();
    get(sim.addr(), "/v1/models").await.unwrap();
    let record = sim.record();
    assert_eq!((record.arrived, record.answered, record.requests.len()), (1, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_fails_says_what_was_seen() {
    let sim = SimBackend::ollama().start().await.unwrap();
    let error = sim.wait_for_requests(1).await.unwrap_err().to_string();
    assert_eq!(error, "waited 10s for 1 requests; seen: 0 arrived, 0 answered, 0 aborted, 0 broken, 0 calls in flight");
}
