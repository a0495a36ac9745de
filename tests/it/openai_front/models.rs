//! `GET /v1/models` and `GET /v1/models/{id}`.

use serde_json::{Value, json};

use super::fault;
use crate::support::one_backend::OneBackend;

#[tokio::test]
async fn models_are_listed_by_the_names_to_ask_for_them() {
    let front = OneBackend::of("ollama").await;
    front
        .server
        .post(
            "/taskchains",
            json!({"id": "talk", "tasks": [{"id": "a", "handler": "noop", "transition": {"branches": [{}]}}]}),
        )
        .await
        .expect(201);
    let list = front.server.get("/v1/models").await.expect(200).json();
    assert_eq!(list["object"], "list");
    let of = |id: &str| list["data"].as_array().unwrap().iter().find(|model| model["id"] == id).cloned();
    let model = of("chat:1b").unwrap();
    assert_eq!((&model["object"], &model["owned_by"]), (&json!("model"), &json!("ollama")));
    assert_eq!((&model["max_model_len"], model["created"].is_u64()), (&json!(8192), true));
    assert_eq!(of("chain/talk").unwrap()["owned_by"], "penstock");
    assert_eq!(front.server.get("/v1/models/chat:1b").await.expect(200).json(), model);
    assert_eq!(front.server.get("/v1/models/chat%3A1b").await.expect(200).json(), model);
}

#[tokio::test]
async fn a_name_with_slashes_is_found_whether_they_are_encoded_or_not() {
    let front = OneBackend::of("vllm").await;
    front.sim.add_model("org/name-7b");
    // A changed backend is looked at again at once.
    let body = json!({"name": "vllm", "baseUrl": front.sim.v1_url(), "type": "vllm"});
    front.server.put(&format!("/backends/{}", front.id), body).await.expect(200);
    front
        .server
        .post(
            "/taskchains",
            json!({"id": "a/b", "tasks": [{"id": "a", "handler": "noop", "transition": {"branches": [{}]}}]}),
        )
        .await
        .expect(201);
    for path in ["/v1/models/chain/a/b", "/v1/models/chain%2Fa%2Fb", "/v1/models/chain/a%2Fb"] {
        assert_eq!(front.server.get(path).await.expect(200).json()["id"], "chain/a/b", "{path}");
    }
    front.server.wait_for_model(&front.id, "org/name-7b").await;
    for path in ["/v1/models/org/name-7b", "/v1/models/org%2Fname-7b"] {
        assert_eq!(front.server.get(path).await.expect(200).json()["owned_by"], "vllm", "{path}");
    }
}

#[tokio::test]
async fn an_unknown_model_is_not_found_wherever_it_is_named() {
    let front = OneBackend::of("ollama").await;
    let chat = json!({"model": "nobody:7b", "messages": [{"role": "user", "content": "Hi"}]});
    for answer in [
        front.server.get("/v1/models/nobody:7b").await,
        front.server.post(super::CHAT, chat).await,
        front.server.post("/v1/responses", json!({"model": "nobody:7b", "input": "Hi"})).await,
        front.server.post("/v1/embeddings", json!({"model": "nobody:7b", "input": "Hi"})).await,
        front.server.get("/v1/models/chain/nobody").await,
    ] {
        let error = fault(&answer.expect(404));
        assert_eq!((&error["code"], &error["param"]), (&json!("model_not_found"), &json!("model")), "{error}");
    }
    let unnamed =
        front.server.post(super::CHAT, json!({"messages": [{"role": "user", "content": "Hi"}]})).await.expect(400);
    let error: Value = fault(&unnamed);
    assert_eq!((&error["param"], &error["type"]), (&json!("model"), &json!("invalid_request_error")));
}
