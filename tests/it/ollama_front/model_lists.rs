//! What is told about models and about the server.

use loadtest::sim::Route;
use reqwest::Method;
use serde_json::{Value, json};

use super::lines;
use crate::support::{
    TestServer,
    one_backend::{KINDS, OneBackend},
    shape::column,
};

fn named<'a>(list: &'a Value, name: &str) -> &'a Value {
    let models = list["models"].as_array().unwrap();
    models.iter().find(|model| model["model"] == name).unwrap_or_else(|| panic!("no {name} in {list}"))
}

/// What a model of this kind of backend is called.
fn listed(kind: &str, model: &str) -> String {
    if kind == "gemini" { format!("gemini/{model}") } else { model.to_owned() }
}

#[tokio::test]
async fn every_model_that_can_be_asked_for_is_listed_and_shown() {
    for kind in KINDS {
        let behind = OneBackend::of(kind).await;
        let tags = behind.ask(Method::GET, "/api/tags", &Value::Null).await.expect(200).json();
        let name = listed(kind, "chat:1b");
        let entry = named(&tags, &name);
        assert_eq!((&entry["name"], entry["digest"].as_str().unwrap().len()), (&json!(name), 64), "{kind}");
        assert_eq!(entry["size"].as_u64().unwrap() > 0, kind == "ollama", "{kind}: {entry}");
        assert!(entry["details"]["families"].is_array() && entry["modified_at"].is_string());
        named(&tags, &listed(kind, "embed:1b"));
        assert_eq!(entry["details"]["context_length"], 8192, "{kind}: {entry}");

        let shown = behind.post("/api/show", json!({"model": name})).await.expect(200).json();
        let told = match kind {
            "ollama" => json!(["completion", "tools", "thinking", "vision"]),
            // llama.cpp's server.
            "openai" => json!(["completion", "vision", "tools"]),
            _ => json!(["completion", "tools"]),
        };
        assert_eq!((&shown["capabilities"], &entry["capabilities"]), (&told, &told), "{kind}: {shown}");
        let info = &shown["model_info"];
        let architecture = info["general.architecture"].as_str().unwrap();
        if kind != "openai" {
            assert_eq!(info[format!("{architecture}.context_length")], 8192, "{kind}: {shown}");
        }
        let embeds = behind.post("/api/show", json!({"name": listed(kind, "embed:1b")})).await.expect(200).json();
        assert_eq!(embeds["capabilities"], json!(["embedding"]), "{kind}");
    }
}

#[tokio::test]
async fn the_newest_models_are_listed_first() {
    let behind = OneBackend::of("vllm").await;
    let chain =
        |id: &str| json!({"id": id, "tasks": [{"id": "a", "handler": "noop", "transition": {"branches": [{}]}}]});
    for id in ["a", "c", "b"] {
        behind.server.post("/taskchains", chain(id)).await.expect(201);
    }
    let tags = behind.server.get("/api/tags").await.expect(200).json();
    let wanted = ["chain/b", "chain/c", "chain/a", "chat:1b", "embed:1b"];
    assert_eq!(column(&tags["models"], "name"), wanted, "nobody tells the time of the others");
}

#[tokio::test]
async fn models_in_memory_are_those_that_a_backend_has_there() {
    let behind = OneBackend::of("ollama").await;
    let running = behind.server.get("/api/ps").await.expect(200).json();
    assert_eq!(running, json!({"models": []}));
    behind.post("/api/generate", json!({"model": "chat:1b"})).await.expect(200);
    let is_warm = |view: &penstock::runtime::directory::BackendView| {
        view.observed.iter().any(|model| model.name == "chat:1b" && model.is_warm)
    };
    // Something changes: it is looked at again.
    let body = json!({"name": "ollama", "baseUrl": behind.sim.url(), "type": "ollama", "maxConcurrency": 3});
    behind.server.put(&format!("/backends/{}", behind.id), body).await.expect(200);
    behind.server.wait_for_backend(&behind.id, "a warm model", is_warm).await;
    let running = behind.server.get("/api/ps").await.expect(200).json();
    assert_eq!(running["models"].as_array().unwrap().len(), 1);
    assert_eq!(named(&running, "chat:1b")["context_length"], 8192);

    let behind = OneBackend::of("gemini").await;
    assert_eq!(behind.server.get("/api/ps").await.expect(200).json(), json!({"models": []}), "a cloud has no memory");
}

#[tokio::test]
async fn the_server_is_there_and_says_which_api_it_speaks() {
    let server = TestServer::start(&[]).await;
    let home = server.get("/").await.expect(200);
    assert_eq!((home.text.as_str(), home.header("content-type")), ("Ollama is running", "text/plain; charset=utf-8"));
    assert_eq!(server.send(server.request(Method::HEAD, "/")).await.expect(200).text, "");
    server.send(server.request(Method::HEAD, "/api/tags")).await.expect(200);
    let version = server.get("/api/version").await.expect(200).json();
    assert_eq!(version["version"].as_str().unwrap().split('.').count(), 3);
    assert_eq!(version["penstock"], server.get("/version").await.json()["version"]);
    assert_eq!(server.get("/api/tags").await.expect(200).json(), json!({"models": []}));
}

#[tokio::test]
async fn models_are_not_managed_here_and_the_error_says_where() {
    let behind = OneBackend::of("ollama").await;
    let pulled = behind.post("/api/pull", json!({"model": "chat:1b"})).await.expect(200);
    assert_eq!(lines(&pulled), [json!({"status": "success"})]);
    let pulled = behind.post("/api/pull", json!({"name": "chat:1b", "stream": false})).await.expect(200);
    assert_eq!(pulled.json(), json!({"status": "success"}));
    let refused = behind.post("/api/pull", json!({"model": "far:7b"})).await.expect(403).error();
    assert!(refused.contains("POST /models"), "{refused}");
    assert!(behind.sim.record().of(Route::Pull).is_empty());
    for (method, path) in [
        (Method::DELETE, "/api/delete"),
        (Method::POST, "/api/create"),
        (Method::POST, "/api/copy"),
        (Method::POST, "/api/push"),
    ] {
        let refused = behind.ask(method, path, &json!({"model": "chat:1b"})).await.expect(403).error();
        assert!(refused.contains("not managed through this API"), "{refused}");
    }
    assert!(behind.sim.record().of(Route::Delete).is_empty());
}
