//! Values of the wrong type and values that are too long: 400, and the message names the field.

use serde_json::{Value, json};

use crate::support::TestServer;

fn backend() -> Value {
    json!({"name": "a", "baseUrl": "http://a.local", "type": "ollama"})
}

fn hook() -> Value {
    json!({"name": "a", "endpointUrl": "http://h.local", "method": "POST", "timeoutMs": 1})
}

/// The object with one member changed.
fn with(mut object: Value, field: &str, value: Value) -> Value {
    object[field] = value;
    object
}

#[tokio::test]
async fn a_value_of_the_wrong_type_is_refused_by_its_path() {
    let server = TestServer::start(&[]).await;
    let task = |field: &str, value: Value| {
        let task = with(json!({"id": "a", "handler": "noop"}), field, value);
        json!({"input": "x", "chain": {"tasks": [{"id": "first", "handler": "noop"}, task]}})
    };
    for (path, body, field) in [
        ("/backends", with(backend(), "name", json!(5)), "name"),
        ("/backends", with(backend(), "baseUrl", json!(["x"])), "baseUrl"),
        ("/backends", json!({"name": "a", "base_url": 5, "type": "ollama"}), "baseUrl"),
        ("/backends", with(backend(), "type", json!(true)), "type"),
        ("/backends", with(backend(), "weight", json!("1")), "weight"),
        ("/backends", with(backend(), "tier", json!(1.5)), "tier"),
        ("/backends", with(backend(), "enabled", json!("yes")), "enabled"),
        ("/backends", with(backend(), "labels", json!({"zone": 5})), "labels.zone"),
        ("/models", json!({"model": {}}), "model"),
        ("/models", json!({"model": "m", "contextLength": "4k"}), "contextLength"),
        ("/models", json!({"model": "m", "canChat": 1}), "canChat"),
        ("/pools", json!({"name": false}), "name"),
        ("/pools", json!({"name": "a", "queue": []}), "queue"),
        ("/pools", json!({"name": "a", "queue": {"capacity": "x"}}), "queue.capacity"),
        ("/pools", json!({"name": "a", "requireLabels": ["x"]}), "requireLabels"),
        ("/hooks/remote", with(hook(), "timeoutMs", json!("2s")), "timeoutMs"),
        ("/hooks/remote", with(hook(), "timeoutMs", json!(1e30)), "timeoutMs"),
        ("/hooks/remote", with(hook(), "id", json!(5)), "id"),
        ("/providers/openai/configure", json!({"apiKey": 5}), "apiKey"),
        ("/providers/openai/configure", json!({"apiKey": "x", "upsert": "yes"}), "upsert"),
        ("/execute", json!({"prompt": ["x"]}), "prompt"),
        ("/embed", json!({"text": {"a": 1}}), "text"),
        ("/tasks", json!({"input": "x", "chain": [1]}), "chain"),
        ("/tasks", json!({"input": "x", "chain": ["id", "description", false, []]}), "chain"),
        ("/tasks", json!({"input": "x", "inputType": 5, "chain": {}}), "inputType"),
        ("/tasks", json!({"input": "x", "chain": {"tasks": {}}}), "chain.tasks"),
        ("/tasks", task("transition", json!(["x"])), "chain.tasks[1].transition"),
        ("/tasks", task("retryOnFailure", json!("twice")), "chain.tasks[1].retry_on_failure"),
        (
            "/tasks",
            task("transition", json!({"branches": [{"when": {}}]})),
            "chain.tasks[1].transition.branches[0].when",
        ),
    ] {
        let answer = server.post(path, body.clone()).await.expect(400);
        assert!(answer.error().contains(&format!("'{field}'")), "{path} {body}: {}", answer.text);
    }
}

#[tokio::test]
async fn messages_speak_of_the_interface_and_not_of_our_code() {
    let server = TestServer::start(&[]).await;
    for (path, body) in [("/backends", json!(["a"])), ("/tasks", json!({"chain": 5})), ("/pools", json!("x"))] {
        let answer = server.post(path, body).await.expect(400);
        assert!(!answer.error().contains("struct") && !answer.error().contains("Input"), "{}", answer.text);
    }
}

#[tokio::test]
async fn what_is_longer_than_its_limit_is_refused_and_the_longest_is_taken() {
    let server = TestServer::start(&[]).await;
    let url = |bytes: usize| format!("http://{}", "x".repeat(bytes - 7));
    for (path, body, field, limit) in [
        ("/backends", backend(), "name", 512),
        ("/backends", backend(), "baseUrl", 512),
        ("/models", json!({}), "model", 512),
        ("/pools", json!({"name": "p"}), "name", 512),
        ("/pools", json!({"name": "q"}), "purposeType", 512),
        ("/hooks/remote", hook(), "name", 255),
        ("/hooks/remote", hook(), "id", 255),
        ("/hooks/remote", with(hook(), "name", json!("b")), "endpointUrl", 512),
        ("/hooks/remote", with(hook(), "name", json!("c")), "method", 10),
    ] {
        let of_length = |bytes: usize| if field.ends_with("Url") { url(bytes) } else { "x".repeat(bytes) };
        let refused = server.post(path, with(body.clone(), field, json!(of_length(limit + 1)))).await.expect(400);
        assert!(refused.error().contains(field), "{path} {field}: {}", refused.text);
        let mut fits = with(body, field, json!(of_length(limit)));
        if path == "/backends" && field == "name" {
            fits["baseUrl"] = json!("http://other.local");
        }
        server.post(path, fits).await.expect(201);
    }
    let long_type = with(backend(), "type", json!("x".repeat(513)));
    server.post("/backends", long_type).await.expect(400);
}

#[tokio::test]
async fn an_update_is_held_to_the_same_limits() {
    let server = TestServer::start(&[]).await;
    let long = "x".repeat(513);
    server.put("/pools/internal_tasks_pool", json!({"purposeType": long})).await.expect(400);
    server.put("/models/chat:1b", json!({"model": long})).await.expect(400);
    server.put("/hooks/remote/x", with(hook(), "name", json!("x".repeat(256)))).await.expect(400);
    let id = server.register_as(backend(), &[]).await;
    server.put(&format!("/backends/{id}"), with(backend(), "name", json!(long))).await.expect(400);
}
