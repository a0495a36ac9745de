//! Late calls are made again elsewhere, where a pool wants it so (`docs/operations.md`, hedging).

use loadtest::sim::{Outcome, Route, Routes, Rule, SimBackend};
use serde_json::{Value, json};

use super::{Member, ranked};
use crate::support::{EMBED, TASKS, TestServer, dialects::Front};

async fn hedge(server: &TestServer, pool: &str, settings: Value) {
    server.put(&format!("/pools/{pool}"), settings).await.expect(200);
}

/// A question whose answer is short.
fn short(front: Front, stream: bool) -> Value {
    let mut question = front.question("hi", stream);
    match front {
        Front::Openai => question["max_tokens"] = json!(8),
        Front::Ollama => question["options"] = json!({"num_predict": 8}),
    }
    question
}

/// The call that lost was hung up on, and its slot is free.
async fn expect_abort(server: &TestServer, loser: &Member, count: usize) {
    loser.sim.wait_for_aborts(count).await.unwrap();
    server.wait_until_idle(&loser.id).await;
    let record = loser.sim.record();
    assert!(record.of(Routes::CALLS).iter().all(|call| call.outcome == Outcome::Aborted));
}

#[tokio::test]
async fn a_late_short_call_is_answered_by_another_backend_and_hung_up_on_at_the_first() {
    for front in Front::ALL {
        let server = TestServer::start(&[]).await;
        let members = ranked(&server, front, &[json!({}), json!({})]).await;
        hedge(&server, TASKS, json!({"hedging": {"afterMs": 50, "maxTokens": 8}})).await;
        members[0].sim.script(Rule::on(Route::Chat).hang_before_headers());
        for (at, stream) in [false, true].into_iter().enumerate() {
            let answer = server.post(front.chat(), short(front, stream)).await.expect(200);
            assert_eq!(answer.header("x-penstock-backend"), members[1].id);
            assert_eq!(answer.header("x-penstock-attempts"), "2");
            expect_abort(&server, &members[0], at + 1).await;
        }
        server.wait_until_idle(&members[1].id).await;
    }
}

#[tokio::test]
async fn a_stream_that_has_begun_is_never_hedged_however_late_the_rest_is() {
    let server = TestServer::start(&[]).await;
    let members = ranked(&server, Front::Openai, &[json!({}), json!({})]).await;
    hedge(&server, TASKS, json!({"hedging": {"afterMs": 200, "maxTokens": 8}})).await;
    let slow = Rule::on(Route::Chat).reply("one two three").chunk_delay(std::time::Duration::from_millis(150));
    members[0].sim.script(slow);
    let answer = server.post(Front::Openai.chat(), short(Front::Openai, true)).await.expect(200);
    assert!(answer.text.contains("three"), "{}", answer.text);
    assert_eq!((answer.header("x-penstock-attempts"), members[1].calls()), ("1", 0));
}

#[tokio::test]
async fn long_calls_and_pools_that_do_not_ask_for_it_are_not_hedged() {
    let server = TestServer::start(&[]).await;
    let members = ranked(&server, Front::Openai, &[json!({}), json!({})]).await;
    members[0].sim.script(Rule::on(Route::Chat).delay(std::time::Duration::from_millis(200)));
    let ask = |question: Value| server.post(Front::Openai.chat(), question);
    ask(short(Front::Openai, false)).await.expect(200);
    hedge(&server, TASKS, json!({"hedging": {"afterMs": 1, "maxTokens": 7}})).await;
    ask(short(Front::Openai, false)).await.expect(200);
    ask(Front::Openai.question("hi", false)).await.expect(200);
    hedge(&server, TASKS, json!({"hedging": {"maxTokens": 8}, "retryBudget": {"ratio": 0.0, "minPerSecond": 0}})).await;
    ask(short(Front::Openai, false)).await.expect(200);
    assert_eq!((members[0].calls(), members[1].calls()), (4, 0));
}

#[tokio::test]
async fn late_embeddings_are_answered_by_another_backend() {
    let server = TestServer::start(&[]).await;
    let mut members = Vec::new();
    for tier in 0..2 {
        let sim = SimBackend::ollama().model("embed:1b").start().await.unwrap();
        let body = json!({"name": format!("e{tier}"), "baseUrl": sim.url(), "type": "ollama", "tier": tier});
        let id = server.register_as(body, &[EMBED]).await;
        server.wait_for_model(&id, "embed:1b").await;
        members.push(Member { sim, id });
    }
    hedge(&server, EMBED, json!({"hedging": {"afterMs": 50}})).await;
    members[0].sim.script(Rule::on(Route::Embed).hang_before_headers());
    let answer = server.post("/embed", json!({"text": "hi"})).await.expect(200);
    assert_eq!((answer.header("x-penstock-backend"), answer.header("x-penstock-attempts")), (&*members[1].id, "2"));
    expect_abort(&server, &members[0], 1).await;
}
