//! `/providers`: keys of the cloud providers and the backends made for them (`docs/api.md`, cloud providers).

use serde_json::{Value, json};

use crate::support::{
    TestServer,
    shape::{assert_keys, assert_time, column},
};

const KEY: &str = "sk-secret-0123456789-wxyz";

#[tokio::test]
async fn a_provider_is_configured_by_its_key_and_gets_a_backend_in_no_pool() {
    let server = TestServer::start(&[]).await;
    for (provider, url) in
        [("openai", "https://api.openai.com/v1"), ("gemini", "https://generativelanguage.googleapis.com")]
    {
        let path = format!("/providers/{provider}/configure");
        let made = server.post(&path, json!({"api_key": KEY, "modelName": "ignored"})).await.expect(200).json();
        assert_keys(&made, "configured updatedAt provider");
        assert_eq!((&made["configured"], &made["provider"]), (&json!(true), &json!(provider)));
        assert_time(&made["updatedAt"]);
        assert_eq!(server.get(&format!("/providers/{provider}/status")).await.expect(200).json(), made);
        let backend = server.get(&format!("/backends/{provider}")).await.expect(200).json();
        for field in ["id", "name", "type"] {
            assert_eq!(backend[field], provider);
        }
        assert_eq!(backend["baseUrl"], url);
        assert_eq!(server.get(&format!("/backend-associations/{provider}/pools")).await.json(), json!([]));
    }
}

#[tokio::test]
async fn the_base_urls_come_from_the_settings() {
    let server = TestServer::start(&[("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")]).await;
    server.post("/providers/openai/configure", json!({"apiKey": KEY})).await.expect(200);
    assert_eq!(server.get("/backends/openai").await.json()["baseUrl"], "http://127.0.0.1:9/v1");
}

#[tokio::test]
async fn a_provider_that_is_not_configured_has_a_status_and_no_config() {
    let server = TestServer::start(&[]).await;
    for provider in ["openai", "gemini"] {
        let status = server.get(&format!("/providers/{provider}/status")).await.expect(200).json();
        let wanted = json!({"configured": false, "updatedAt": "0001-01-01T00:00:00Z", "provider": provider});
        assert_eq!(status, wanted);
        let config = format!("/providers/{provider}/config");
        assert!(server.get(&config).await.expect(404).error().contains("not found"));
        server.delete(&config).await.expect(404);
    }
    assert_eq!(server.get("/providers/configs").await.expect(200).json(), json!([]));
}

#[tokio::test]
async fn other_providers_are_not_found() {
    let server = TestServer::start(&[]).await;
    for provider in ["ollama", "OpenAI", "x"] {
        server.post(&format!("/providers/{provider}/configure"), json!({"apiKey": KEY})).await.expect(404);
        server.get(&format!("/providers/{provider}/config")).await.expect(404);
        server.delete(&format!("/providers/{provider}/config")).await.expect(404);
    }
}

#[tokio::test]
async fn a_key_is_required_and_replaced_only_when_asked() {
    let server = TestServer::start(&[]).await;
    let path = "/providers/openai/configure";
    for sent in [json!({}), json!({"apiKey": ""}), json!({"apiKey": "  "}), json!({"apiKey": Value::Null})] {
        assert!(server.post(path, sent).await.expect(422).error().contains("apiKey"));
    }
    let first = server.post(path, json!({"apiKey": KEY})).await.expect(200).json();
    let again = server.post(path, json!({"apiKey": "sk-other-0123456789-abcd"})).await.expect(422);
    assert!(again.error().contains("upsert"), "{}", again.text);
    let created = server.get("/backends/openai").await.json()["createdAt"].clone();
    let sent = json!({"apiKey": "sk-other-0123456789-abcd", "upsert": true});
    let replaced = server.post(path, sent).await.expect(200).json();
    assert!(replaced["updatedAt"].as_str() > first["updatedAt"].as_str(), "{replaced}");
    let config = server.get("/providers/openai/config").await.expect(200).json();
    assert_eq!(config, json!({"APIKey": "****abcd", "Type": "openai"}));
    assert_eq!(server.get("/backends/openai").await.json()["createdAt"], created, "refreshed, not made anew");
}

#[tokio::test]
async fn deleting_a_provider_takes_its_backend_and_its_assignments_along() {
    let server = TestServer::start(&[]).await;
    server.post("/providers/gemini/configure", json!({"apiKey": KEY})).await.expect(200);
    server.post("/backend-associations/internal_tasks_pool/backends/gemini", Value::Null).await.expect(201);
    let configs = server.get("/providers/configs").await.expect(200).json();
    assert_keys(&configs[0], "APIKey Type");
    assert_eq!(column(&configs, "Type"), ["gemini"]);
    let deleted = server.delete("/providers/gemini/config").await.expect(200);
    assert_eq!(deleted.text.trim(), "\"Provider config deleted successfully\"");
    server.get("/backends/gemini").await.expect(404);
    assert_eq!(server.get("/backend-associations/internal_tasks_pool/backends").await.json(), json!([]));
    assert_eq!(server.get("/providers/configs").await.json(), json!([]));
    assert_eq!(server.get("/providers/gemini/status").await.expect(200).json()["configured"], false);
    server.post("/providers/gemini/configure", json!({"apiKey": KEY})).await.expect(200);
}

#[tokio::test]
async fn a_name_that_is_taken_leaves_no_half_of_a_provider_behind() {
    let server = TestServer::start(&[]).await;
    let body = json!({"name": "openai", "baseUrl": "http://own.local/v1", "type": "openai"});
    server.register_as(body, &[]).await;
    server.post("/providers/openai/configure", json!({"apiKey": KEY})).await.expect(409);
    assert_eq!(server.get("/providers/openai/status").await.expect(200).json()["configured"], false);
    server.get("/backends/openai").await.expect(404);
}
