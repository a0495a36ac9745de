//! A backend that asks to be left alone is (`docs/operations.md`, backends that ask for a rest).

use loadtest::sim::{Route, Rule};
use serde_json::json;

use super::{ask, failing, pair, ranked};
use crate::support::{TASKS, TestServer, dialects::Front, eventually, soon};

#[tokio::test]
async fn a_backend_that_asks_for_a_rest_gets_it_and_its_breaker_stays_closed() {
    let server = TestServer::start(&[]).await;
    let (first, second) = pair(&server).await;
    let limited = first.sim.script(failing(429, 10).header("retry-after", "60"));
    assert_eq!(ask(&server).await.expect(200).header("x-penstock-attempts"), "2");
    for _ in 0..10 {
        assert_eq!(ask(&server).await.expect(200).header("x-penstock-attempts"), "1");
    }
    assert_eq!((limited.hits(), second.calls()), (1, 11));
    let state = first.state(&server).await;
    assert_eq!(state["breaker"], json!({"state": "closed", "opened": 0}));
    assert!(state["restsUntil"].is_string(), "{state}");
}

#[tokio::test]
async fn calls_are_refused_with_the_time_that_is_left_when_all_rest() {
    let server = TestServer::start(&[]).await;
    let (first, second) = pair(&server).await;
    first.sim.script(failing(429, 1).header("retry-after", "90"));
    second.sim.script(failing(503, 1).header("retry-after", "70"));
    let told = ask(&server).await.expect(500);
    assert!(told.error().contains("503"), "{}", told.text);
    let before = (first.calls(), second.calls());
    let refused = ask(&server).await.expect(503);
    assert_eq!(refused.header("x-penstock-reason"), "cooling_down");
    let seconds: u32 = refused.header("retry-after").parse().unwrap();
    assert!((60..=70).contains(&seconds), "{seconds}");
    // Clients of a dialect are told in its words.
    let refused = server.post("/v1/chat/completions", Front::Openai.question("hi", true)).await.expect(503);
    assert_eq!(refused.json()["error"]["code"], "cooling_down");
    assert_eq!((first.calls(), second.calls()), before, "nobody was asked");
    second.reset(&server).await;
    assert_eq!(ask(&server).await.expect(200).header("x-penstock-backend"), second.id);
}

#[tokio::test]
async fn a_short_rest_is_waited_for_and_then_calls_come_one_by_one() {
    let server = TestServer::start(&[]).await;
    let only = ranked(&server, Front::Ollama, &[json!({"maxConcurrency": 8})]).await.pop().unwrap();
    only.sim.script(Rule::on(Route::Generate).status(429).header("retry-after-ms", "1500").times(1));
    let told = ask(&server).await.expect(500);
    assert!(told.error().contains("429"), "{}", told.text);
    let gate = only.sim.hold();
    let waiting: Vec<_> = (0..8).map(|_| server.execute_later("waits")).collect();
    server.wait_for_waiters(&only.id, 8).await;
    gate.wait_for_arrivals(1).await.unwrap();
    assert_eq!((gate.waiting(), server.slots(&only.id).in_use), (1, 1), "all have waited, and one may try");
    gate.release(1);
    gate.wait_for_arrivals(3).await.unwrap();
    gate.release_all();
    for answer in waiting {
        soon("an answer", answer).await.unwrap().expect(200);
    }
    server.wait_until_idle(&only.id).await;
}

#[tokio::test]
async fn a_rest_outlives_a_crash_of_the_actor_and_those_who_wait_for_its_end_are_served() {
    let server = TestServer::start(&[]).await;
    let only = ranked(&server, Front::Ollama, &[json!({})]).await.pop().unwrap();
    only.sim.script(failing(429, 1).header("retry-after", "2"));
    ask(&server).await.expect(500);
    let waiting = server.execute_later("waits");
    server.wait_for_waiters(&only.id, 1).await;
    let cell = server.runtime.directory.backend(&penstock::domain::ids::BackendId::new(&only.id)).unwrap();
    cell.crash();
    server.wait_for_backend(&only.id, "another life", |view| view.generation == 2).await;
    assert!(cell.rests_until().is_some(), "its rest is not over");
    soon("an answer", waiting).await.unwrap().expect(200);
}

#[tokio::test]
async fn a_wait_that_is_too_short_for_the_rest_is_no_wait() {
    let server = TestServer::start(&[]).await;
    let only = ranked(&server, Front::Ollama, &[json!({})]).await.pop().unwrap();
    server.put(&format!("/pools/{TASKS}"), json!({"queue": {"maxWaitMs": 500}})).await.expect(200);
    only.sim.script(failing(429, 1).header("retry-after", "5"));
    ask(&server).await.expect(500);
    assert_eq!(ask(&server).await.expect(503).header("x-penstock-reason"), "cooling_down");
    assert_eq!(server.slots(&only.id).waiters, 0);
    only.reset(&server).await;
    eventually("an answer", || async {
        let answer = ask(&server).await;
        if answer.status == 200 { Ok(()) } else { Err(answer.text) }
    })
    .await;
}

#[tokio::test]
async fn a_chain_waits_for_the_rest_as_its_policy_says() {
    let server = TestServer::start(&[]).await;
    let only = ranked(&server, Front::Ollama, &[json!({})]).await.pop().unwrap();
    server.put(&format!("/pools/{TASKS}"), json!({"queue": {"maxWaitMs": 100}})).await.expect(200);
    only.sim.script(failing(429, 1).header("retry-after-ms", "1200"));
    ask(&server).await.expect(500);
    let chain = json!({"tasks": [{"id": "t", "handler": "raw_string",
        "retry_policy": {"max_attempts": 2, "initial_backoff": "1ms"},
        "transition": {"branches": [{"operator": "default", "goto": "end"}]}}]});
    let answer = server.post("/tasks", json!({"input": "x", "chain": chain})).await.expect(200).json();
    let units = answer["state"].as_array().unwrap();
    assert_eq!(units.len(), 2, "refused once, and then at the right time: {answer}");
    assert_eq!(only.calls(), 2);
}
