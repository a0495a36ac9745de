//! `/hooks/remote` and `/supported`: registered hooks (`docs/api.md`, remote hooks).

use serde_json::{Value, json};

use crate::support::{
    TestServer,
    shape::{assert_keys, assert_new, assert_rewritten},
};

const HOOK: &str = "id name endpointUrl method timeoutMs createdAt updatedAt";

fn body(name: &str) -> Value {
    json!({"name": name, "endpointUrl": "http://127.0.0.1:9/hook", "method": "post", "timeoutMs": 2000})
}

#[tokio::test]
async fn a_hook_is_created_read_listed_and_supported() {
    let server = TestServer::start(&[]).await;
    assert_eq!(server.get("/supported").await.expect(200).json(), json!([]));
    let made = server.post("/hooks/remote", body("lookup")).await.expect(201).json();
    assert_keys(&made, HOOK);
    assert_new(&made);
    assert_eq!(made["id"].as_str().unwrap().len(), 36);
    assert_eq!((&made["method"], &made["timeoutMs"]), (&json!("POST"), &json!(2000)));
    let path = format!("/hooks/remote/{}", made["id"].as_str().unwrap());
    assert_eq!(server.get(&path).await.expect(200).json(), made);
    assert_eq!(server.get("/hooks/remote").await.expect(200).json(), json!([made]));
    assert_eq!(server.get("/supported").await.expect(200).json(), json!(["lookup"]));
}

#[tokio::test]
async fn an_id_may_be_chosen_and_is_kept_by_a_put_whatever_the_body_says() {
    let server = TestServer::start(&[]).await;
    let mut sent = body("a");
    sent["id"] = json!("my/id 1");
    let made = server.post("/hooks/remote", sent.clone()).await.expect(201).json();
    assert_eq!(made["id"], "my/id 1");
    for id in [json!("other"), json!(5), json!({})] {
        let mut changed = body("b");
        changed["id"] = id;
        let put = server.put("/hooks/remote/my%2Fid%201", changed).await.expect(200).json();
        assert_keys(&put, HOOK);
        assert_eq!((&put["id"], &put["name"]), (&json!("my/id 1"), &json!("b")));
        assert_rewritten(&put, &made["createdAt"]);
    }
    sent["name"] = json!("other");
    server.post("/hooks/remote", sent.clone()).await.expect(409);
    sent["id"] = json!("");
    assert_eq!(server.post("/hooks/remote", sent).await.expect(201).json()["id"].as_str().unwrap().len(), 36);
}

#[tokio::test]
async fn what_is_no_valid_hook_is_refused_before_anybody_looks_for_it() {
    let server = TestServer::start(&[]).await;
    let changes: &[(&str, Value)] = &[
        ("name", json!("")),
        ("name", Value::Null),
        ("endpointUrl", json!("")),
        ("endpointUrl", json!("/hook")),
        ("endpointUrl", json!("ftp://h/x")),
        ("endpointUrl", Value::Null),
        ("method", json!("")),
        ("method", json!("PO ST")),
        ("method", Value::Null),
        ("timeoutMs", json!(0)),
        ("timeoutMs", json!(-5)),
        ("timeoutMs", Value::Null),
    ];
    for (field, value) in changes {
        let mut sent = body("a");
        sent[field] = value.clone();
        let posted = server.post("/hooks/remote", sent.clone()).await.expect(422);
        assert!(posted.error().contains(field), "{field}: {}", posted.text);
        server.put("/hooks/remote/unknown", sent).await.expect(422);
    }
    assert_eq!(server.get("/hooks/remote").await.expect(200).json(), json!([]));
}

#[tokio::test]
async fn hook_names_are_unique() {
    let server = TestServer::start(&[]).await;
    server.post("/hooks/remote", body("a")).await.expect(201);
    let other = server.post("/hooks/remote", body("b")).await.expect(201).json();
    server.post("/hooks/remote", body("a")).await.expect(409);
    let path = format!("/hooks/remote/{}", other["id"].as_str().unwrap());
    server.put(&path, body("a")).await.expect(409);
    server.put(&path, body("b")).await.expect(200);
}

#[tokio::test]
async fn a_deleted_hook_is_gone() {
    let server = TestServer::start(&[]).await;
    let made = server.post("/hooks/remote", body("a")).await.expect(201).json();
    let path = format!("/hooks/remote/{}", made["id"].as_str().unwrap());
    assert_eq!(server.delete(&path).await.expect(200).text.trim(), "\"deleted\"");
    assert_eq!(server.get("/supported").await.expect(200).json(), json!([]));
    for answer in [server.get(&path).await, server.put(&path, body("a")).await, server.delete(&path).await] {
        assert!(answer.expect(404).error().contains("not found"));
    }
}
