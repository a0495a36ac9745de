//! `POST /embed`: the vector of a text from the default embedding model (`docs/api.md`, execution).

use loadtest::sim::{Route, Rule, SimBackend, embedding};
use serde_json::{Value, json};

use crate::support::{EMBED, Scene, TestServer};

fn numbers(vector: &Value) -> Vec<f32> {
    vector.as_array().expect("a vector").iter().map(|number| number.as_f64().unwrap() as f32).collect()
}

#[tokio::test]
async fn a_text_becomes_the_vector_of_the_default_embedding_model() {
    let Scene { server, sim, id } = Scene::start(&[]).await;
    let answer = server.post("/embed", json!({"text": "a cat"})).await.expect(200);
    assert_eq!(numbers(&answer.json()["vector"]), embedding("a cat", 8));
    for (name, value) in [("backend", id.as_str()), ("pool", EMBED), ("model", "embed:1b"), ("attempts", "1")] {
        assert_eq!(answer.header(&format!("x-penstock-{name}")), value);
    }
    let record = sim.record();
    let seen = record.of(Route::Embed);
    assert_eq!(seen[0].path, "/api/embed");
    assert_eq!(seen[0].json(), json!({"model": "embed:1b", "input": ["a cat"], "truncate": false}));
}

#[tokio::test]
async fn an_old_ollama_is_asked_on_the_old_route() {
    let Scene { server, sim, .. } = Scene::start(&[]).await;
    sim.script(Rule::on(Route::Embed).times(1).status(404).body("404 page not found"));
    let answer = server.post("/embed", json!({"text": "a cat"})).await.expect(200);
    assert_eq!(numbers(&answer.json()["vector"]), embedding("a cat", 8));
    let record = sim.record();
    let seen = record.of(Route::Embed);
    assert_eq!(seen.iter().map(|call| call.path.as_str()).collect::<Vec<_>>(), ["/api/embed", "/api/embeddings"]);
    assert_eq!(seen[1].json(), json!({"model": "embed:1b", "prompt": "a cat"}));
}

#[tokio::test]
async fn a_model_that_has_just_gone_is_not_sought_on_the_old_route() {
    let Scene { server, sim, .. } = Scene::start(&[]).await;
    sim.remove_model("embed:1b");
    let answer = server.post("/embed", json!({"text": "a cat"})).await.expect(500);
    assert!(answer.error().contains("404"), "{}", answer.text);
    assert_eq!(sim.record().of(Route::Embed).len(), 1);
}

#[tokio::test]
async fn an_openai_server_is_asked_for_plain_numbers() {
    let server = TestServer::start(&[]).await;
    let sim = SimBackend::openai().model("embed:1b").start().await.unwrap();
    let id = server.register("o", "openai", &sim, &[EMBED]).await;
    server.wait_for_model(&id, "embed:1b").await;
    let answer = server.post("/embed", json!({"text": "a cat"})).await.expect(200);
    assert_eq!(numbers(&answer.json()["vector"]).len(), 8);
    let body = sim.record().of(Route::Embed)[0].json();
    assert_eq!(body, json!({"model": "embed:1b", "input": "a cat", "encoding_format": "float"}));
}

#[tokio::test]
async fn a_text_is_required_and_failures_keep_their_kind() {
    let Scene { server, sim, id } = Scene::start(&[]).await;
    for body in [json!({}), json!({"text": ""}), json!({"text": " "}), json!({"text": ["a"]})] {
        assert!(server.post("/embed", body).await.expect(400).error().contains("text"));
    }
    for rule in [
        Rule::on(Route::Embed).times(1).status(500),
        Rule::on(Route::Embed).times(1).body(r#"{"embeddings":[]}"#),
        Rule::on(Route::Embed).times(1).body(r#"{"embeddings":[["a"]]}"#),
    ] {
        sim.script(rule);
        let answer = server.post("/embed", json!({"text": "a cat"})).await.expect(500);
        assert!(!answer.error().is_empty() && !answer.text.contains("a cat"), "{}", answer.text);
    }
    server.wait_until_idle(&id).await;
}

#[tokio::test]
async fn only_backends_of_the_embedding_pool_serve_it() {
    let server = TestServer::start(&[]).await;
    let sim = SimBackend::ollama().model("chat:1b").model("embed:1b").start().await.unwrap();
    server.ready("a", "ollama", &sim).await;
    let answer = server.post("/embed", json!({"text": "a cat"})).await.expect(503);
    assert!(answer.error().contains("embed:1b"), "{}", answer.text);
    assert_eq!(answer.header("x-penstock-reason"), "no_backend");
}

#[tokio::test]
async fn the_provider_of_the_default_embedding_model_is_a_setting() {
    let Scene { server, sim: ollama, .. } = Scene::start(&[("EMBED_PROVIDER", "openai")]).await;
    server.post("/embed", json!({"text": "a cat"})).await.expect(503);
    let other = SimBackend::openai().model("embed:1b").start().await.unwrap();
    let backend = json!({"name": "o", "baseUrl": other.url(), "type": "openai"});
    let id = server.register_as(backend, &[EMBED]).await;
    server.wait_for_model(&id, "embed:1b").await;
    server.wait_for_member(EMBED, &id).await;
    assert_eq!(server.post("/embed", json!({"text": "a cat"})).await.expect(200).header("x-penstock-backend"), id);
    assert!(ollama.record().of(Route::Embed).is_empty());
}
