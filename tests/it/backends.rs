//! `/backends`: what is stored, what is refused, what a look at the backend adds (`docs/api.md`, backends).

use loadtest::sim::SimBackend;
use serde_json::{Value, json};

use crate::support::{
    TestServer, eventually,
    shape::{assert_keys, assert_new, assert_rewritten, assert_time, column},
};

/// What every backend shows; `maxConcurrency` and `cloud` only when set.
const BACKEND: &str = "id name baseUrl type apiKeySet weight tier enabled labels createdAt updatedAt";

fn body(name: &str) -> Value {
    json!({"name": name, "baseUrl": format!("http://{name}.local:11434"), "type": "ollama"})
}

#[tokio::test]
async fn a_backend_is_created_with_a_new_id_and_its_defaults() {
    let server = TestServer::start(&[]).await;
    let sent = json!({"id": "mine", "name": "a", "baseUrl": "http://a.local:1/", "type": "OLLAMA", "createdAt": 7});
    let made = server.post("/backends", sent).await.expect(201).json();
    assert_keys(&made, BACKEND);
    assert_new(&made);
    assert_eq!(made["id"].as_str().unwrap().len(), 36, "a UUID: {made}");
    assert_eq!((&made["name"], &made["baseUrl"]), (&json!("a"), &json!("http://a.local:1/")), "stored as sent");
    assert_eq!((&made["type"], &made["apiKeySet"]), (&json!("ollama"), &json!(false)));
    assert_eq!((&made["weight"], &made["tier"], &made["enabled"]), (&json!(1), &json!(0), &json!(true)));
    assert_eq!(made["labels"], json!({}));
}

#[tokio::test]
async fn a_backend_in_no_pool_has_empty_lists_and_no_error() {
    let server = TestServer::start(&[]).await;
    let id = server.register_as(body("a"), &[]).await;
    let seen = server.get(&format!("/backends/{id}")).await.expect(200).json();
    assert_keys(&seen, &format!("{BACKEND} models pulledModels"));
    assert_eq!((&seen["models"], &seen["pulledModels"]), (&json!([]), &json!([])));
    assert_eq!(server.get("/backends").await.expect(200).json(), json!([seen]));
}

#[tokio::test]
async fn additions_are_stored_shown_and_kept_by_a_put_that_leaves_them_out() {
    let server = TestServer::start(&[]).await;
    let mut sent = body("a");
    let additions = json!({"maxConcurrency": 3, "weight": 1000, "tier": 9, "cloud": true, "enabled": false,
        "labels": {"Zone_A": "on-prem"}});
    sent.as_object_mut().unwrap().extend(additions.as_object().unwrap().clone());
    sent["apiKey"] = json!("backend-key-12345678");
    let made = server.post("/backends", sent).await.expect(201).json();
    assert_keys(&made, &format!("{BACKEND} maxConcurrency cloud"));
    assert_eq!(made["apiKeySet"], true);
    let path = format!("/backends/{}", made["id"].as_str().unwrap());
    let kept = server.put(&path, body("a")).await.expect(200).json();
    for (name, value) in additions.as_object().unwrap() {
        assert_eq!((&made[name], &kept[name]), (value, value), "{name}");
    }
    assert_eq!(kept["apiKeySet"], true);
}

#[tokio::test]
async fn a_put_replaces_the_three_fields_and_keeps_id_and_creation_time() {
    let server = TestServer::start(&[]).await;
    let made = server.post("/backends", body("a")).await.expect(201).json();
    let path = format!("/backends/{}", made["id"].as_str().unwrap());
    let sent = json!({"id": "x", "name": "b", "baseUrl": "https://b.local/v1", "type": "openai"});
    let changed = server.put(&path, sent).await.expect(200).json();
    assert_keys(&changed, BACKEND);
    assert_eq!(changed["id"], made["id"]);
    assert_rewritten(&changed, &made["createdAt"]);
    assert_eq!((&changed["name"], &changed["type"]), (&json!("b"), &json!("openai")));
    let listed = server.get("/backends").await.expect(200).json();
    assert_eq!((&listed[0]["createdAt"], &listed[0]["name"]), (&made["createdAt"], &json!("b")));
}

#[tokio::test]
async fn a_deleted_backend_is_gone_with_its_assignments() {
    let server = TestServer::start(&[]).await;
    let id = server.register_as(body("a"), &["internal_tasks_pool"]).await;
    let path = format!("/backends/{id}");
    assert_eq!(server.delete(&path).await.expect(200).text.trim(), "\"backend removed\"");
    assert_eq!(server.get("/backend-associations/internal_tasks_pool/backends").await.json(), json!([]));
    assert_eq!(server.get("/state").await.expect(200).json(), json!([]));
    for answer in [server.get(&path).await, server.put(&path, body("a")).await, server.delete(&path).await] {
        assert!(answer.expect(404).error().contains("not found"));
    }
}

#[tokio::test]
async fn what_is_no_valid_backend_is_refused_by_field_on_post_and_put() {
    let server = TestServer::start(&[]).await;
    let id = server.register_as(body("good"), &[]).await;
    let changes: &[(&str, Value)] = &[
        ("name", json!("")),
        ("name", json!("  ")),
        ("name", Value::Null),
        ("baseUrl", json!("")),
        ("baseUrl", json!("h:11434")),
        ("baseUrl", json!("/api")),
        ("baseUrl", json!("ftp://h")),
        ("baseUrl", Value::Null),
        ("type", json!("llamacpp")),
        ("type", json!("")),
        ("type", Value::Null),
        ("maxConcurrency", json!(0)),
        ("weight", json!(0)),
        ("weight", json!(1001)),
        ("tier", json!(-1)),
        ("tier", json!(10)),
    ];
    for (field, value) in changes {
        let mut sent = body("bad");
        sent[field] = value.clone();
        let posted = server.post("/backends", sent.clone()).await.expect(422);
        assert!(posted.error().contains(field), "{field}: {}", posted.text);
        let put = server.put(&format!("/backends/{id}"), sent).await.expect(422);
        assert!(put.error().contains(field), "{field}: {}", put.text);
    }
    assert_eq!(column(&server.get("/backends").await.json(), "name"), ["good"]);
}

#[tokio::test]
async fn names_and_urls_are_unique_whatever_slash_ends_the_url() {
    let server = TestServer::start(&[]).await;
    server.register_as(body("a"), &[]).await;
    let id = server.register_as(body("b"), &[]).await;
    let taken_name = json!({"name": "a", "baseUrl": "http://c.local", "type": "ollama"});
    let taken_url = json!({"name": "c", "baseUrl": "http://a.local:11434//", "type": "vllm"});
    for sent in [taken_name, taken_url] {
        server.post("/backends", sent.clone()).await.expect(409);
        server.put(&format!("/backends/{id}"), sent).await.expect(409);
    }
    server.put(&format!("/backends/{id}"), body("b")).await.expect(200);
}

#[tokio::test]
async fn a_look_at_an_ollama_backend_shows_declared_and_pulled_models_in_both_spellings() {
    let server = TestServer::start(&[]).await;
    let sim = SimBackend::ollama().model("chat:1b").start().await.unwrap();
    let id = server.register("a", "ollama", &sim, &["internal_tasks_pool"]).await;
    server.wait_for_model(&id, "chat:1b").await;
    let seen = server.get(&format!("/backends/{id}")).await.expect(200).json();
    assert_keys(&seen, &format!("{BACKEND} models pulledModels"));
    assert_eq!(seen["models"], json!(["chat:1b"]));
    let model = &seen["pulledModels"][0];
    assert_keys(
        model,
        "name model modified_at modifiedAt size digest details contextLength canChat canEmbed canPrompt canStream",
    );
    assert_keys(
        &model["details"],
        "parent_model format family families parameter_size quantization_level parentModel parameterSize \
         quantizationLevel",
    );
    assert_eq!((&model["name"], &model["model"]), (&json!("chat:1b"), &json!("chat:1b")));
    assert!(model["size"].as_u64().unwrap() > 0 && model["details"]["families"].is_array(), "{model}");
    assert_time(&model["modifiedAt"]);
    assert_eq!((&model["modified_at"], &model["canChat"]), (&model["modifiedAt"], &json!(true)));
}

#[tokio::test]
async fn a_server_of_openais_api_shows_the_names_it_reports() {
    let server = TestServer::start(&[]).await;
    let sim = SimBackend::openai().model("m1").start().await.unwrap();
    let body = json!({"name": "a", "baseUrl": sim.v1_url(), "type": "openai"});
    let id = server.register_as(body, &["internal_tasks_pool"]).await;
    server.wait_for_model(&id, "m1").await;
    let seen = server.get(&format!("/backends/{id}")).await.expect(200).json();
    assert_eq!(seen["models"], json!(["m1"]));
    let model = &seen["pulledModels"][0];
    assert_eq!((&model["name"], &model["model"], &model["size"]), (&json!("m1"), &json!("m1"), &json!(0)));
    assert_eq!((&model["digest"], &model["modifiedAt"]), (&json!(""), &json!("0001-01-01T00:00:00Z")));
    assert_eq!(model["details"]["families"], json!([]));
}

#[tokio::test]
async fn a_backend_that_does_not_answer_shows_an_error_and_empty_lists_of_what_was_pulled() {
    let server = TestServer::start(&[]).await;
    let sim = SimBackend::ollama().start().await.unwrap();
    sim.set_down(500);
    let id = server.register("a", "ollama", &sim, &["internal_tasks_pool"]).await;
    let seen = eventually("the error", || async {
        let seen = server.get(&format!("/backends/{id}")).await.json();
        seen["error"].is_string().then_some(seen.clone()).ok_or_else(|| seen.to_string())
    })
    .await;
    assert_keys(&seen, &format!("{BACKEND} models pulledModels error"));
    assert!(!seen["error"].as_str().unwrap().is_empty());
    assert_eq!(seen["pulledModels"], json!([]));
}
