//! What every path and answer has in common, and what the service says of itself (`docs/api.md`, conventions).

use loadtest::sim::SimBackend;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    TestServer,
    shape::{assert_keys, column},
};

#[tokio::test]
async fn health_and_readiness_answer_with_nothing() {
    let server = TestServer::start(&[]).await;
    for path in ["/health", "/ready"] {
        let answer = server.get(path).await.expect(200);
        assert_eq!((answer.text.as_str(), answer.header("content-type")), ("", ""));
    }
}

#[tokio::test]
async fn the_version_names_this_process_and_a_tenancy() {
    let (a, b) = (TestServer::start(&[]).await, TestServer::start(&[]).await);
    let (a, b) = (a.get("/version").await.expect(200).json(), b.get("/version").await.expect(200).json());
    assert_keys(&a, "version commit nodeInstanceID tenancy");
    assert_eq!(a["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!((a["nodeInstanceID"].as_str().unwrap().len(), a["tenancy"].as_str().unwrap().len()), (8, 36));
    assert_ne!(a["nodeInstanceID"], b["nodeInstanceID"], "new at every start");
    assert_eq!(a["tenancy"], b["tenancy"]);
}

#[tokio::test]
async fn the_default_model_is_the_embedding_one_without_any_backend() {
    let server = TestServer::start(&[("EMBED_MODEL", "vectors:2b")]).await;
    assert_eq!(server.get("/defaultmodel").await.expect(200).json(), json!({"modelName": "vectors:2b"}));
}

#[tokio::test]
async fn the_state_lists_backends_in_a_pool_by_name_and_holds_no_key() {
    let server = TestServer::start(&[]).await;
    assert_eq!(server.get("/state").await.expect(200).json(), json!([]));
    let sim = SimBackend::ollama().model("chat:1b").start().await.unwrap();
    let other = SimBackend::ollama().model("chat:1b").start().await.unwrap();
    let b = server.register("b", "ollama", &sim, &["internal_tasks_pool"]).await;
    let body = json!({"name": "a", "baseUrl": other.url(), "type": "ollama", "apiKey": "state-key-0123456789"});
    let a = server.register_as(body, &["internal_tasks_pool"]).await;
    let idle = json!({"name": "0", "baseUrl": "http://idle.local", "type": "ollama"});
    server.register_as(idle, &[]).await;
    server.wait_for_model(&a, "chat:1b").await;
    server.wait_for_model(&b, "chat:1b").await;
    let answer = server.get("/state").await.expect(200);
    assert!(!answer.text.contains("0123456789"));
    let state = answer.json();
    assert_eq!(column(&state, "name"), ["a", "b"]);
    assert_keys(&state[0], "id name models pulledModels backend generation slots breaker sharedCalls instance seenBy");
    assert_eq!((&state[0]["id"], &state[0]["models"]), (&json!(a), &json!(["chat:1b"])));
    assert_eq!(column(&state[0]["pulledModels"], "name"), ["chat:1b"]);
    let mut backend = server.get(&format!("/backends/{a}")).await.json();
    for more in ["models", "pulledModels"] {
        backend.as_object_mut().unwrap().remove(more);
    }
    assert_eq!(state[0]["backend"], backend);
}

#[tokio::test]
async fn a_backend_that_leaves_its_last_pool_leaves_the_state() {
    let server = TestServer::start(&[]).await;
    let sim = SimBackend::ollama().model("chat:1b").start().await.unwrap();
    let id = server.register("a", "ollama", &sim, &["internal_tasks_pool"]).await;
    server.wait_for_model(&id, "chat:1b").await;
    server.delete(&format!("/backend-associations/internal_tasks_pool/backends/{id}")).await.expect(200);
    assert_eq!(server.get("/state").await.json(), json!([]), "by the time of the answer");
    let seen = server.get(&format!("/backends/{id}")).await.json();
    assert_eq!((&seen["models"], &seen["pulledModels"], &seen["error"]), (&json!([]), &json!([]), &Value::Null));
}

#[tokio::test]
async fn unknown_paths_are_404_with_any_method() {
    let server = TestServer::start(&[]).await;
    for path in ["/nowhere", "/backends/", "/backends/a/b", "/pool-by-name/", "/hooks", "/queue/a/b", "//health", "//"]
    {
        for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
            let answer = server.send(server.request(method, path)).await.expect(404);
            assert!(answer.error().contains("not found"), "{path}: {}", answer.text);
            assert_eq!(answer.header("content-type"), "application/json");
        }
    }
}

#[tokio::test]
async fn wrong_methods_are_405_and_name_those_that_are_right() {
    let server = TestServer::start(&[]).await;
    for (method, path, allow) in [
        (Method::PATCH, "/backends", "GET, POST, HEAD"),
        (Method::POST, "/backends/a", "GET, PUT, DELETE, HEAD"),
        (Method::GET, "/models/a", "PUT, DELETE"),
        (Method::HEAD, "/models/a", "PUT, DELETE"),
        (Method::GET, "/execute", "POST"),
        (Method::POST, "/health", "GET, HEAD"),
        (Method::OPTIONS, "/pools", "GET, POST, HEAD"),
        (Method::POST, "/state", "GET, HEAD"),
        (Method::GET, "/queue/a", "DELETE"),
        (Method::GET, "/backend-associations/a/backends/b", "POST, DELETE"),
    ] {
        let is_head = method == Method::HEAD;
        let answer = server.send(server.request(method, path)).await.expect(405);
        assert_eq!(answer.header("allow"), allow, "{path}");
        assert_eq!(answer.header("content-type"), "application/json");
        assert!(is_head || !answer.error().is_empty());
    }
}

#[tokio::test]
async fn head_is_allowed_wherever_get_is_and_has_no_body() {
    let server = TestServer::start(&[]).await;
    for path in ["/pools", "/models", "/state", "/backends?limit=5", "/pools/internal_tasks_pool"] {
        let (get, head) = (server.get(path).await, server.send(server.request(Method::HEAD, path)).await.expect(200));
        assert_eq!(head.text, "");
        assert_eq!(head.header("content-length"), get.header("content-length"), "{path}");
        assert_eq!(head.header("content-type"), get.header("content-type"), "{path}");
    }
    assert_eq!(server.send(server.request(Method::HEAD, "/health")).await.expect(200).text, "");
    server.send(server.request(Method::HEAD, "/pools/unknown")).await.expect(404);
}

#[tokio::test]
async fn a_clients_request_id_is_echoed_and_else_one_is_made() {
    let server = TestServer::start(&[]).await;
    let with = |id: String| server.request(Method::GET, "/health").header("x-request-id", id);
    let longest = "x".repeat(128);
    for id in ["my-id 7", longest.as_str()] {
        assert_eq!(server.send(with(id.to_owned())).await.header("x-request-id"), id);
    }
    assert_eq!(server.send(with("x".repeat(129))).await.header("x-request-id").len(), 36);
    let made = server.get("/health").await;
    assert_eq!(made.header("x-request-id").len(), 36);
    assert_ne!(server.get("/health").await.header("x-request-id"), made.header("x-request-id"));
    for (method, path, status) in [(Method::GET, "/nowhere", 404), (Method::PATCH, "/pools", 405)] {
        let answer = server.send(server.request(method, path).header("x-request-id", "failed")).await.expect(status);
        assert_eq!(answer.header("x-request-id"), "failed");
    }
}

#[tokio::test]
async fn browsers_of_other_origins_get_no_permission() {
    let server = TestServer::start(&[]).await;
    let get = server.request(Method::GET, "/pools").header("origin", "http://evil.example");
    let preflight = server
        .request(Method::OPTIONS, "/pools")
        .header("origin", "http://evil.example")
        .header("access-control-request-method", "POST");
    for answer in [server.send(get).await.expect(200), server.send(preflight).await.expect(405)] {
        let cors = answer.headers.keys().filter(|name| name.as_str().starts_with("access-control-"));
        assert_eq!(cors.count(), 0);
    }
}

#[tokio::test]
async fn every_body_says_that_it_is_json() {
    let server = TestServer::start(&[]).await;
    let paths = ["/version", "/defaultmodel", "/state", "/supported", "/pools", "/queue", "/alerts", "/backends/x"];
    for path in paths {
        assert_eq!(server.get(path).await.header("content-type"), "application/json", "{path}");
    }
    let made = server.post("/pools", json!({"name": "a"})).await.expect(201);
    assert_eq!(made.header("content-type"), "application/json");
}
