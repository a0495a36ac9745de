//! The API token: which forms are accepted, what needs none, what nobody gets to see (`docs/api.md`, authentication).

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, TestServer, raw};

const TOKEN: &str = "open-sesame-42";

async fn guarded() -> TestServer {
    TestServer::start(&[("TOKEN", TOKEN)]).await
}

async fn get_with(server: &TestServer, headers: &[(&str, &str)]) -> Answer {
    let request = server.request(Method::GET, "/pools");
    server.send(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await
}

#[track_caller]
fn assert_refused(answer: Answer) {
    let answer = answer.expect(401);
    assert_eq!(answer.header("www-authenticate"), "Bearer");
    assert_eq!(answer.header("content-type"), "application/json");
    assert!(!answer.error().is_empty() && !answer.text.contains(TOKEN), "{}", answer.text);
}

#[tokio::test]
async fn each_documented_form_of_the_token_is_accepted() {
    let server = guarded().await;
    for headers in [
        &[("x-api-key", "open-sesame-42")][..],
        &[("x-api-key", "Bearer open-sesame-42")],
        &[("authorization", "Bearer open-sesame-42")],
        &[("authorization", "bearer open-sesame-42")],
        &[("authorization", "Bearer wrong"), ("x-api-key", "open-sesame-42")],
        &[("authorization", "Bearer open-sesame-42"), ("x-api-key", "wrong")],
    ] {
        get_with(&server, headers).await.expect(200);
    }
}

#[tokio::test]
async fn anything_else_is_refused() {
    let server = guarded().await;
    for headers in [
        &[][..],
        &[("x-api-key", "")],
        &[("x-api-key", "open-sesame-4")],
        &[("x-api-key", "open-sesame-422")],
        &[("x-api-key", "Open-Sesame-42")],
        &[("authorization", "open-sesame-42")],
        &[("authorization", "Basic open-sesame-42")],
        &[("authorization", "Bearer")],
        &[("cookie", "token=open-sesame-42")],
    ] {
        assert_refused(get_with(&server, headers).await);
    }
    assert_refused(server.get("/pools?token=open-sesame-42").await);
}

#[tokio::test]
async fn only_the_probes_of_health_and_readiness_need_no_token() {
    let server = guarded().await;
    for path in ["/health", "/ready"] {
        server.get(path).await.expect(200);
        server.send(server.request(Method::HEAD, path)).await.expect(200);
        assert_refused(server.post(path, json!({})).await);
    }
    for path in ["/version", "/state", "/defaultmodel", "/queue/inProgress", "/alerts", "/%68ealth", "/health/"] {
        assert_refused(server.get(path).await);
    }
}

#[tokio::test]
async fn who_may_not_call_learns_nothing_of_paths_methods_and_bodies() {
    let server = guarded().await;
    assert_refused(server.get("/nowhere").await);
    assert_refused(server.get("/pools/%ff").await);
    assert_refused(server.send(server.request(Method::PATCH, "/pools")).await);
    assert_refused(server.post_as("/backends", "image/png", b"\xff{".to_vec()).await);
    assert_refused(server.delete("/pools/internal_tasks_pool").await);
    assert_refused(server.get("/backends?limit=0").await);
}

#[tokio::test]
async fn a_refusal_does_not_wait_for_the_body() {
    let server = guarded().await;
    let mut client = raw::RawClient::connect(server.addr).await;
    client.send("POST /backends HTTP/1.1\r\nhost: h\r\ncontent-length: 5000000\r\n\r\n{").await;
    assert!(client.rest().await.starts_with("HTTP/1.1 401"));
}

#[tokio::test]
async fn without_a_token_credentials_are_ignored() {
    for settings in [&[][..], &[("TOKEN", "")]] {
        let server = TestServer::start(settings).await;
        get_with(&server, &[]).await.expect(200);
        get_with(&server, &[("authorization", "Bearer whatever"), ("x-api-key", "x")]).await.expect(200);
    }
}

#[tokio::test]
async fn stored_keys_come_back_masked_at_most() {
    let server = TestServer::start(&[]).await;
    let (provider, backend) = ("sk-provider-0123456789-wxyz", "sk-backend-0123456789-abcd");
    let mut seen = vec![server.post("/providers/openai/configure", json!({"apiKey": provider})).await.expect(200)];
    seen.push(server.post("/providers/openai/configure", json!({"apiKey": provider})).await.expect(422));
    let body = json!({"name": "a", "baseUrl": "http://127.0.0.1:9", "type": "openai", "apiKey": backend});
    seen.push(server.post("/backends", body.clone()).await.expect(201));
    let id = seen[2].json()["id"].as_str().unwrap().to_owned();
    seen.push(server.put(&format!("/backends/{id}"), body.clone()).await.expect(200));
    seen.push(server.post("/backends", body).await.expect(409));
    for id in [id.as_str(), "openai"] {
        let path = format!("/backend-associations/internal_tasks_pool/backends/{id}");
        server.post(&path, Value::Null).await.expect(201);
    }
    for path in [
        "/backends",
        "/backends/openai",
        "/state",
        "/providers/openai/config",
        "/providers/openai/status",
        "/providers/configs",
        "/backend-associations/internal_tasks_pool/backends",
    ] {
        seen.push(server.get(path).await.expect(200));
    }
    for answer in seen {
        for key in [provider, backend] {
            // The last four characters may show, no more.
            let secret = &key[..key.len() - 4];
            assert!(!answer.text.contains(secret) && !answer.text.contains(&key[key.len() - 5..]), "{}", answer.text);
        }
    }
    assert_eq!(server.get("/providers/openai/config").await.json()["APIKey"], "****wxyz");
}
