//! Which backends and models are in which pools (`docs/api.md`, associations).

use serde_json::{Value, json};

use crate::support::{
    TestServer,
    shape::{assert_keys, column},
};

async fn backend(server: &TestServer, name: &str) -> String {
    let body = json!({"name": name, "baseUrl": format!("http://{name}.local"), "type": "ollama"});
    server.register_as(body, &[]).await
}

async fn pool(server: &TestServer, name: &str) -> String {
    let made = server.post("/pools", json!({"name": name})).await.expect(201).json();
    made["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_backend_is_assigned_with_201_and_removed_with_200() {
    let server = TestServer::start(&[]).await;
    let id = backend(&server, "a").await;
    let path = format!("/backend-associations/internal_tasks_pool/backends/{id}");
    assert_eq!(server.post(&path, Value::Null).await.expect(201).text.trim(), "\"backend assigned\"");
    server.post(&path, Value::Null).await.expect(409);
    let backends = server.get("/backend-associations/internal_tasks_pool/backends").await.expect(200).json();
    assert_eq!(column(&backends, "id"), std::slice::from_ref(&id));
    assert_keys(&backends[0], "id name baseUrl type apiKeySet weight tier enabled labels createdAt updatedAt");
    let pools = server.get(&format!("/backend-associations/{id}/pools")).await.expect(200).json();
    assert_eq!(pools, json!([server.get("/pools/internal_tasks_pool").await.json()]));
    assert_eq!(server.delete(&path).await.expect(200).text.trim(), "\"backend removed\"");
    assert!(server.delete(&path).await.expect(404).error().contains("not found"));
    assert_eq!(server.get(&format!("/backend-associations/{id}/pools")).await.expect(200).json(), json!([]));
}

#[tokio::test]
async fn a_model_is_assigned_and_removed_with_200() {
    let server = TestServer::start(&[]).await;
    server.post("/models", json!({"model": "m:1b"})).await.expect(201);
    let path = "/model-associations/internal_tasks_pool/models/m:1b";
    assert_eq!(server.post(path, Value::Null).await.expect(200).text.trim(), "\"model assigned\"");
    server.post(path, Value::Null).await.expect(409);
    let models = server.get("/model-associations/internal_tasks_pool/models").await.expect(200).json();
    assert_eq!(column(&models, "id"), ["m:1b", "chat:1b"]);
    let all = server.get("/internal/models").await.json();
    assert_eq!(models[0], all[0], "the same shape everywhere");
    assert_eq!(server.delete(path).await.expect(200).text.trim(), "\"model removed\"");
    assert!(server.delete(path).await.expect(404).error().contains("not found"));
    assert_eq!(server.get("/model-associations/m:1b/pools").await.expect(200).json(), json!([]));
}

#[tokio::test]
async fn lists_have_the_latest_assignment_first() {
    let server = TestServer::start(&[]).await;
    let (older, newer) = (backend(&server, "older").await, backend(&server, "newer").await);
    let (first, second) = (pool(&server, "first").await, pool(&server, "second").await);
    for (pool, backend) in [(&second, &newer), (&second, &older), (&first, &newer)] {
        server.post(&format!("/backend-associations/{pool}/backends/{backend}"), Value::Null).await.expect(201);
    }
    let members = server.get(&format!("/backend-associations/{second}/backends")).await.json();
    assert_eq!(column(&members, "id"), [older, newer.clone()]);
    let pools = server.get(&format!("/backend-associations/{newer}/pools")).await.json();
    assert_eq!(column(&pools, "id"), [first.clone(), second.clone()]);
    for pool in [&second, &first] {
        server.post(&format!("/model-associations/{pool}/models/chat:1b"), Value::Null).await.expect(200);
    }
    let pools = server.get("/model-associations/chat:1b/pools").await.json();
    assert_eq!(column(&pools, "id"), [first, second, "internal_tasks_pool".to_owned()]);
}

#[tokio::test]
async fn unknown_ends_are_404_when_written_and_an_empty_list_when_read() {
    let server = TestServer::start(&[]).await;
    let id = backend(&server, "a").await;
    for path in [
        format!("/backend-associations/nowhere/backends/{id}"),
        "/backend-associations/internal_tasks_pool/backends/nobody".to_owned(),
        "/model-associations/nowhere/models/chat:1b".to_owned(),
        "/model-associations/internal_tasks_pool/models/nobody".to_owned(),
    ] {
        assert!(server.post(&path, Value::Null).await.expect(404).error().contains("not found"), "{path}");
        assert!(server.delete(&path).await.expect(404).error().contains("not found"), "{path}");
    }
    for path in [
        "/backend-associations/nowhere/backends",
        "/backend-associations/nobody/pools",
        "/model-associations/nowhere/models",
        "/model-associations/nobody/pools",
    ] {
        assert_eq!(server.get(path).await.expect(200).json(), json!([]), "{path}");
    }
}

#[tokio::test]
async fn a_default_model_stays_in_its_pool_and_any_other_may_leave() {
    let server = TestServer::start(&[]).await;
    server.delete("/model-associations/internal_tasks_pool/models/chat:1b").await.expect(403);
    server.delete("/model-associations/internal_embed_pool/models/embed:1b").await.expect(403);
    for (pool, model) in [("internal_embed_pool", "chat:1b"), ("internal_tasks_pool", "embed:1b")] {
        let path = format!("/model-associations/{pool}/models/{model}");
        server.post(&path, Value::Null).await.expect(200);
        server.delete(&path).await.expect(200);
    }
    let id = backend(&server, "a").await;
    for pool in ["internal_tasks_pool", "internal_embed_pool"] {
        let path = format!("/backend-associations/{pool}/backends/{id}");
        server.post(&path, Value::Null).await.expect(201);
        server.delete(&path).await.expect(200);
    }
}

#[tokio::test]
async fn a_body_sent_with_an_assignment_is_ignored_whatever_it_is() {
    let server = TestServer::start(&[]).await;
    let id = backend(&server, "a").await;
    let path = format!("/backend-associations/internal_tasks_pool/backends/{id}");
    server.post_as(&path, "image/png", b"\x89PNG\xff{".to_vec()).await.expect(201);
    let request = server.request(reqwest::Method::POST, "/model-associations/internal_embed_pool/models/chat:1b");
    server.send(request).await.expect(200);
}

#[tokio::test]
async fn a_renamed_model_is_known_by_id_and_by_name() {
    let server = TestServer::start(&[]).await;
    server.post("/models", json!({"model": "old"})).await.expect(201);
    server.put("/models/old", json!({"model": "new"})).await.expect(200);
    server.post("/model-associations/internal_tasks_pool/models/new", Value::Null).await.expect(200);
    server.post("/model-associations/internal_tasks_pool/models/old", Value::Null).await.expect(409);
    let pools = server.get("/model-associations/old/pools").await.json();
    assert_eq!(column(&pools, "id"), ["internal_tasks_pool"]);
    server.delete("/model-associations/internal_tasks_pool/models/old").await.expect(200);
}
