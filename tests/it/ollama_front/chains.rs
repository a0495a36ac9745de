//! A stored chain, asked as a model.

use loadtest::sim::{Route, Routes, Rule};
use serde_json::json;

use super::{lines, user};
use crate::support::one_backend::OneBackend;

async fn stored() -> OneBackend {
    let behind = OneBackend::of("vllm").await;
    let chain = json!({"id": "desk", "tasks": [{"id": "ask", "handler": "model_execution",
        "execute_config": {"model": "chat:1b"}, "transition": {"branches": [{"operator": "default", "goto": "end"}]}}]});
    behind.server.post("/taskchains", chain).await.expect(201);
    behind.sim.script(Rule::on(Routes::CALLS).reply("At your service"));
    behind
}

#[tokio::test]
async fn a_chain_chats_and_generates_whole_and_in_lines() {
    let behind = stored().await;
    for (path, said, mut body) in [
        ("/api/chat", "/message/content", json!({"model": "chain/desk", "messages": user("Hello")})),
        ("/api/generate", "/response", json!({"model": "chain/desk", "prompt": "Hello"})),
    ] {
        let answer = behind.post(path, body.clone()).await.expect(200);
        assert_eq!(answer.header("x-penstock-backend"), behind.id);
        let lines = lines(&answer);
        let text: String = lines.iter().map(|line| line.pointer(said).unwrap().as_str().unwrap()).collect();
        assert_eq!(text, "At your service");
        assert_eq!((&lines[0]["model"], &lines.last().unwrap()["done_reason"]), (&json!("chain/desk"), &json!("stop")));
        body["stream"] = json!(false);
        let whole = behind.post(path, body).await.expect(200).json();
        assert_eq!((whole.pointer(said), &whole["done"]), (Some(&json!("At your service")), &json!(true)));
    }
}

#[tokio::test]
async fn what_a_chain_cannot_do_is_refused_and_an_unknown_one_is_not_found() {
    let behind = stored().await;
    let raw = json!({"model": "chain/desk", "prompt": "Hello", "raw": true});
    assert!(behind.post("/api/generate", raw).await.expect(400).error().contains("raw"));
    let embed = json!({"model": "chain/desk", "input": "Hello", "prompt": "Hello"});
    for path in ["/api/embed", "/api/embeddings"] {
        assert!(behind.post(path, embed.clone()).await.expect(400).error().contains("chain/desk"));
    }
    for body in [json!({"model": "chain/nobody", "messages": user("Hello")}), json!({"model": "chain/nobody"})] {
        assert!(behind.post("/api/chat", body).await.expect(404).error().contains("chain/nobody"));
    }
    assert!(behind.sim.record().of(Route::Chat).is_empty());
}

#[tokio::test]
async fn a_chain_is_listed_shown_and_always_loaded() {
    let behind = stored().await;
    let tags = behind.server.get("/api/tags").await.expect(200).json();
    let names: Vec<&str> = tags["models"].as_array().unwrap().iter().map(|m| m["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"chain/desk"), "{names:?}");
    let shown = behind.post("/api/show", json!({"model": "chain/desk"})).await.expect(200).json();
    assert_eq!(shown["capabilities"], json!(["completion"]));
    let loaded = behind.post("/api/chat", json!({"model": "chain/desk"})).await.expect(200).json();
    assert_eq!(loaded["done_reason"], "load");
}
