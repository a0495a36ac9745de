//! The whole road once: a prompt, an embedding and the README's chain.

use loadtest::sim::{Route, Rule, SimBackend};
use serde_json::json;

use crate::support::TestServer;

#[tokio::test]
async fn a_prompt_is_answered_by_the_default_model() {
    let server = TestServer::start(&[]).await;
    let sim = SimBackend::ollama().model("chat:1b").start().await.unwrap();
    sim.script(Rule::on(Route::Generate).reply("  Four. "));
    let id = server.register("a", "ollama", &sim, &["internal_tasks_pool"]).await;
    server.wait_for_model(&id, "chat:1b").await;
    let answer = server.post("/execute", json!({"prompt": "2 + 2?"})).await.expect(200);
    assert_eq!(answer.json()["response"], "Four.");
    assert_eq!(answer.header("x-penstock-backend"), id);
}
