//! Errors are told in Ollama's form, and in its words where it has some.

use loadtest::sim::{Routes, Rule};
use reqwest::Method;
use serde_json::json;

use super::{OTHERS, user};
use crate::support::{
    Answer, TASKS, TestServer,
    one_backend::{KINDS, OneBackend},
};

#[track_caller]
fn assert_ollamas(answer: &Answer) {
    let body = answer.json();
    assert!(body["error"].as_str().is_some_and(|text| !text.is_empty()), "{body}");
}

#[tokio::test]
async fn requests_that_are_none_are_refused_in_ollamas_words() {
    let server = TestServer::start(&[("MAX_BODY_BYTES", "2000")]).await;
    for path in ["/api/chat", "/api/generate", "/api/embed", "/api/embeddings", "/api/show", "/api/pull"] {
        let empty = server.post_as(path, "application/json", "").await.expect(400);
        assert_eq!(empty.error(), "missing request body", "{path}");
        assert_ollamas(&server.post_as(path, "application/json", "{").await.expect(400));
        assert_ollamas(&server.post_as(path, "application/json", "[]").await.expect(400));
        assert_ollamas(&server.post(path, json!({"model": 7})).await.expect(400));
        assert_ollamas(&server.post(path, json!({"model": "x".repeat(3000)})).await.expect(413));
        assert_ollamas(&server.get(path).await.expect(405));
    }
    for (path, status, words) in [
        ("/api/chat", 400, "model is required"),
        ("/api/generate", 404, "model '' not found"),
        ("/api/embed", 404, "model '' not found"),
        ("/api/embeddings", 400, "model is required"),
        ("/api/show", 400, "model is required"),
        ("/api/pull", 400, "invalid model name"),
    ] {
        for body in [json!({}), json!({"model": ""}), json!({"model": null})] {
            assert_eq!(server.post(path, body).await.expect(status).error(), words, "{path}");
        }
    }
    assert_ollamas(&server.get("/api/nothing").await.expect(404));
    assert_ollamas(&server.post("/api/tags", json!({})).await.expect(405));
}

#[tokio::test]
async fn a_model_that_is_not_here_is_not_found() {
    for kind in KINDS {
        let behind = OneBackend::of(kind).await;
        for path in ["/api/chat", "/api/generate", "/api/embed", "/api/embeddings", "/api/show"] {
            let answer =
                behind.post(path, json!({"model": "nobody:7b", "prompt": "x", "messages": user("x"), "input": "x"}));
            let error = answer.await.expect(404).error();
            let words = match path {
                "/api/embed" => "model \"nobody:7b\" not found, try pulling it first",
                _ => "model 'nobody:7b' not found",
            };
            assert!(error.starts_with(words), "{kind} {path}: {error}");
        }
    }
}

#[tokio::test]
async fn a_model_that_cannot_is_said_not_to_support_it() {
    let behind = OneBackend::of("vllm").await;
    for (path, model, words) in [
        ("/api/chat", "embed:1b", "\"embed:1b\" does not support chat"),
        ("/api/generate", "embed:1b", "\"embed:1b\" does not support generate"),
        ("/api/embed", "chat:1b", "\"chat:1b\" does not support embeddings"),
    ] {
        let body = json!({"model": model, "prompt": "x", "messages": user("x"), "input": "x"});
        assert_eq!(behind.post(path, body).await.expect(400).error(), words);
    }
}

#[tokio::test]
async fn a_field_of_the_wrong_type_is_named_over_every_other_kind() {
    for kind in OTHERS {
        let behind = OneBackend::of(kind).await;
        let body = json!({"model": "chat:1b", "messages": user("x"), "options": {"temperature": "warm"}});
        let error = behind.post("/api/chat", body).await.expect(400).error();
        assert_eq!(error, "option \"temperature\" must be of type float32", "{kind}");
        let body = json!({"model": "chat:1b", "messages": [{"role": "user", "content": ["x"]}]});
        assert!(behind.post("/api/chat", body).await.expect(400).error().contains("messages[0].content"), "{kind}");
    }
}

#[tokio::test]
async fn failures_of_backends_keep_their_meaning() {
    let behind = OneBackend::of("vllm").await;
    let ask = || behind.post("/api/chat", json!({"model": "chat:1b", "messages": user("x")}));
    for (status, wanted) in [(429, 429), (500, 502), (401, 502), (400, 400)] {
        behind.sim.script(Rule::on(Routes::CALLS).times(1).status(status).header("retry-after", "7"));
        behind.server.forget_failures();
        let answer = ask().await.expect(wanted);
        assert_ollamas(&answer);
        assert_eq!(answer.header("x-penstock-backend"), behind.id);
        if status == 429 {
            assert_eq!(answer.header("retry-after"), "7");
        }
    }
}

#[tokio::test]
async fn what_is_too_long_is_told_in_ollamas_words_whatever_the_backend_says() {
    for kind in ["vllm", "openai"] {
        let behind = OneBackend::of(kind).await;
        let too_long = r#"{"error":{"message":"9 tokens, 8 fit","code":"context_length_exceeded"}}"#;
        behind.sim.script(Rule::on(Routes::CALLS).status(400).body(too_long));
        for (path, model) in [("/api/chat", "chat:1b"), ("/api/embed", "embed:1b")] {
            let body = json!({"model": model, "messages": user("x"), "input": "x"});
            let error = behind.post(path, body).await.expect(400).error();
            assert!(error.starts_with("the input length exceeds the context length"), "{kind} {path}: {error}");
            assert!(error.contains("9 tokens, 8 fit"), "{error}");
        }
    }
}

#[tokio::test]
async fn a_busy_server_says_so() {
    let behind = OneBackend::of("vllm").await;
    let body = json!({"name": "vllm", "baseUrl": behind.sim.url(), "type": "vllm", "maxConcurrency": 1});
    behind.server.put(&format!("/backends/{}", behind.id), body).await.expect(200);
    behind.server.put(&format!("/pools/{TASKS}"), json!({"queue": {"capacity": 0}})).await.expect(200);
    behind.server.wait_for_slots(&behind.id, "a single slot", |slots| slots.limit == 1).await;
    let hanging = behind.sim.script(Rule::on(Routes::CALLS).hang_before_headers());
    let first = behind.server.execute_later("Hi");
    behind.server.wait_for_slots(&behind.id, "a running call", |slots| slots.in_use == 1).await;
    let answer = behind.post("/api/chat", json!({"model": "chat:1b", "messages": user("x")})).await.expect(503);
    assert_ollamas(&answer);
    assert_eq!((answer.header("x-penstock-reason"), answer.header("retry-after")), ("queue_full", "1"));
    let words = "server busy, please try again.  maximum pending requests exceeded";
    assert!(answer.error().starts_with(words), "{}", answer.error());
    hanging.release();
    first.await.unwrap();
}

#[tokio::test]
async fn a_token_is_asked_for_before_anything_else() {
    let server = TestServer::start(&[("TOKEN", "t-0123456789")]).await;
    for (method, path) in [(Method::GET, "/"), (Method::GET, "/api/tags"), (Method::POST, "/api/chat")] {
        assert_ollamas(&server.send(server.request(method, path)).await.expect(401));
    }
}
