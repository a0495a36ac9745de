//! How many calls a backend is given at once where nobody has said it (`docs/operations.md`, how many calls at once).

use std::time::Duration;

use futures_util::StreamExt;
use loadtest::sim::{Flavour, Routes, Rule, SimBackend};
use serde_json::json;

use crate::support::{Answer, Client, TASKS, TestServer, eventually};

/// A server on a backend that works on so many calls at once, and lets the others wait.
async fn backend_of(slots: usize, flavour: Flavour) -> (TestServer, SimBackend, String) {
    let sim = SimBackend::openai().flavour(flavour).model("chat:1b").slots(slots).start().await.unwrap();
    let server = TestServer::start(&[("TASK_MODEL", "chat:1b")]).await;
    let kind = if flavour == Flavour::Vllm { "vllm" } else { "openai" };
    let id = server.register("a", kind, &sim, &[TASKS]).await;
    server.wait_for_model(&id, "chat:1b").await;
    (server, sim, id)
}

async fn stream(client: Client) {
    let body = json!({"model": "chat:1b", "stream": true, "messages": [{"role": "user", "content": "count"}]});
    client.post("/v1/chat/completions", body).await.expect(200);
}

#[tokio::test]
async fn the_limit_of_a_backend_that_tells_nothing_is_found_by_how_late_first_tokens_come() {
    let (server, sim, id) = backend_of(3, Flavour::OpenAi).await;
    sim.script(Rule::on(Routes::CALLS).reply("one two three four").chunk_delay(Duration::from_millis(15)));
    assert_eq!(server.slots(&id).limit, 8, "before anything is known");
    let clients: Vec<Client> = (0..150).map(|_| Client::clone(&server)).collect();
    futures_util::stream::iter(clients).for_each_concurrent(16, stream).await;
    let limit = server.slots(&id).limit;
    assert!((2..=5).contains(&limit), "{limit} calls at once on three slots");
    server.wait_until_idle(&id).await;
}

#[tokio::test]
async fn a_backend_in_which_nobody_waits_is_given_more_calls() {
    let (server, sim, id) = backend_of(200, Flavour::OpenAi).await;
    sim.script(Rule::on(Routes::CALLS).reply("one two three four").chunk_delay(Duration::from_millis(200)));
    let clients: Vec<Client> = (0..48).map(|_| Client::clone(&server)).collect();
    futures_util::stream::iter(clients).for_each_concurrent(16, stream).await;
    let limit = server.slots(&id).limit;
    assert!(limit >= 16, "{limit} calls at once on two hundred slots");
    server.wait_until_idle(&id).await;
}

#[tokio::test]
async fn the_limit_of_a_server_that_tells_its_slots_is_that_number_before_any_call() {
    let (server, _sim, id) = backend_of(3, Flavour::LlamaCpp).await;
    eventually("the number of its slots as the limit", || async {
        let limit = server.slots(&id).limit;
        if limit == 3 { Ok(()) } else { Err(limit.to_string()) }
    })
    .await;
}

#[tokio::test]
async fn a_refusal_for_load_lowers_the_limit_and_one_of_the_callers_own_fault_does_not() {
    let (server, sim, id) = backend_of(100, Flavour::OpenAi).await;
    for _ in 0..20 {
        sim.script(Rule::on(Routes::CALLS).status(400).times(1));
        ask(&server).await.expect(400);
    }
    assert_eq!(server.slots(&id).limit, 8);
    sim.script(Rule::on(Routes::CALLS).status(503));
    ask(&server).await.expect(502);
    eventually("a lower limit", || async {
        let limit = server.slots(&id).limit;
        if limit < 8 { Ok(()) } else { Err(limit.to_string()) }
    })
    .await;
}

async fn ask(client: &Client) -> Answer {
    let body = json!({"model": "chat:1b", "messages": [{"role": "user", "content": "count"}]});
    client.post("/v1/chat/completions", body).await
}
