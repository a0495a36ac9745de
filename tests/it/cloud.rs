//! Hosted providers: used only when named, with their own key, at the configured address (`docs/api.md`, cloud providers).

use loadtest::sim::{Route, SimBackend};
use serde_json::{Value, json};

use crate::support::{Answer, TASKS, TestServer, eventually};

async fn configured() -> (TestServer, SimBackend) {
    let sim = SimBackend::openai().model("gpt-x").api_key("sk-1234567890abcd").start().await.unwrap();
    let server = TestServer::start(&[("OPENAI_BASE_URL", &sim.v1_url())]).await;
    server.post("/providers/openai/configure", json!({"apiKey": "sk-1234567890abcd"})).await.expect(200);
    server.post(&format!("/backend-associations/{TASKS}/backends/openai"), Value::Null).await.expect(201);
    server.wait_for_model("openai", "gpt-x").await;
    (server, sim)
}

async fn ask(server: &TestServer, model: &str, provider: &str) -> Answer {
    server.post("/execute", json!({"prompt": "hi", "model_name": model, "model_provider": provider})).await
}

#[tokio::test]
async fn a_configured_provider_is_used_when_it_is_named_and_only_then() {
    let (server, sim) = configured().await;
    for (model, provider) in [("", ""), ("gpt-x", ""), ("", "ollama")] {
        ask(&server, model, provider).await.expect(503);
    }
    assert!(sim.record().of(Route::Chat).is_empty());
    assert_eq!(ask(&server, "gpt-x", "openai").await.expect(200).header("x-penstock-backend"), "openai");
    assert_eq!(ask(&server, "", "openai").await.expect(200).header("x-penstock-model"), "gpt-x");
    let record = sim.record();
    let paths: Vec<&str> = record.of([Route::List, Route::Chat]).iter().map(|call| call.path.as_str()).collect();
    assert_eq!((paths[0], paths.last()), ("/v1/models", Some(&"/v1/chat/completions")), "/v1 is not doubled");
    assert!(record.requests.iter().all(|call| call.header("authorization") == Some("Bearer sk-1234567890abcd")));
}

#[tokio::test]
async fn a_chain_names_its_provider_task_by_task() {
    let (server, sim) = configured().await;
    let chain = |config: Value| {
        json!({"input": "hi", "chain": {"tasks": [{"id": "t", "handler": "raw_string", "execute_config": config,
            "transition": {"branches": [{"operator": "default"}]}}]}})
    };
    server.post("/tasks", chain(json!({"models": ["absent", "gpt-x"]}))).await.expect(503);
    let named = chain(json!({"models": ["absent", "gpt-x"], "provider": "openai", "temperature": 0.5}));
    let answer = server.post("/tasks", named).await.expect(200);
    assert_eq!(answer.json()["state"][0]["model"], "gpt-x");
    assert_eq!(sim.record().of(Route::Chat)[0].json()["temperature"], 0.5);
}

#[tokio::test]
async fn a_replaced_key_is_used_at_once_and_a_deleted_one_ends_the_provider() {
    let (server, sim) = configured().await;
    let wrong = json!({"apiKey": "sk-wrong-567890abcd", "upsert": true});
    server.post("/providers/openai/configure", wrong).await.expect(200);
    server.wait_for_backend("openai", "the refusal", |view| view.error().is_some()).await;
    let shown = server.get("/backends/openai").await.expect(200).json();
    assert!(shown["error"].as_str().unwrap().contains("API key") && !shown.to_string().contains("sk-wrong"), "{shown}");
    ask(&server, "gpt-x", "openai").await.expect(503);
    let right = json!({"apiKey": "sk-1234567890abcd", "upsert": true});
    server.post("/providers/openai/configure", right).await.expect(200);
    server.wait_for_model("openai", "gpt-x").await;
    ask(&server, "gpt-x", "openai").await.expect(200);
    server.delete("/providers/openai/config").await.expect(200);
    let seen = sim.record().of(Route::Chat).len();
    eventually("the provider's end", || async {
        let answer = ask(&server, "gpt-x", "openai").await;
        if answer.status == 503 { Ok(()) } else { Err(answer.text) }
    })
    .await;
    assert!(sim.record().of(Route::Chat).len() <= seen + 1);
    server.get("/backends/openai").await.expect(404);
}

#[tokio::test]
async fn a_hosted_backend_without_a_key_is_in_error_and_never_called() {
    let server = TestServer::start(&[]).await;
    // An address of the documentation's network: a call would hang until its timeout.
    let body = json!({"name": "o", "baseUrl": "http://203.0.113.7/v1", "type": "openai"});
    let id = server.register_as(body, &[TASKS]).await;
    server.wait_for_backend(&id, "the error", |view| view.error() == Some("API key not configured")).await;
}
