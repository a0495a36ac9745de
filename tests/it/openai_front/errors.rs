//! Errors, in the shape and with the words that OpenAI's own libraries know.

use loadtest::sim::{Routes, Rule};
use reqwest::Method;
use serde_json::{Value, json};

use super::{CHAT, data, fault};
use crate::support::{
    TestServer,
    one_backend::{KINDS, OneBackend},
};

#[tokio::test]
async fn every_route_below_v1_answers_errors_in_openais_shape() {
    let front = TestServer::start(&[("MAX_BODY_BYTES", "2000"), ("TOKEN", "t")]).await;
    let big = "x".repeat(3000);
    for (method, path, body, status, code) in [
        (Method::GET, "/v1/nothing", "", 404, json!("not_found")),
        (Method::GET, "/v1", "", 404, json!("not_found")),
        (Method::GET, CHAT, "", 405, json!("method_not_allowed")),
        (Method::DELETE, "/v1/models/chat:1b", "", 405, json!("method_not_allowed")),
        (Method::POST, CHAT, big.as_str(), 413, json!("request_too_large")),
        (Method::POST, CHAT, "", 400, Value::Null),
        (Method::POST, CHAT, "{\"model\":", 400, Value::Null),
        (Method::POST, "/v1/responses", "", 400, Value::Null),
    ] {
        let request = front.request(method.clone(), path).bearer_auth("t").body(body.to_owned());
        let error = fault(&front.send(request).await.expect(status));
        assert_eq!(error["code"], code, "{method} {path}");
    }
    for path in [CHAT, "/v1/models", "/v1/nothing"] {
        let refused = front.send(front.request(Method::POST, path).bearer_auth("wrong")).await.expect(401);
        let error = fault(&refused);
        assert_eq!(
            (&error["type"], &error["code"]),
            (&json!("authentication_error"), &json!("invalid_api_key")),
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_field_at_fault_is_named() {
    for kind in ["ollama", "gemini"] {
        let front = OneBackend::of(kind).await;
        let error = fault(&front.chat(json!({"temperature": "warm"})).await.expect(400));
        assert_eq!(
            (&error["param"], &error["type"]),
            (&json!("temperature"), &json!("invalid_request_error")),
            "{kind}"
        );
    }
    let front = OneBackend::of("ollama").await;
    for (body, param) in [
        ("{\"model\":7}", "model"),
        ("{\"Model\":\"m\"}", "model"),
        ("{\"model\":\"m\",\"stream\":1}", "stream"),
        ("{\"model\":\"m\",\"stream\":true,\"stream\":false}", "stream"),
    ] {
        let refused = front.server.post_as(CHAT, "application/json", body).await.expect(400);
        assert_eq!(fault(&refused)["param"], param, "{body}");
    }
}

#[tokio::test]
async fn a_backends_failure_has_the_status_by_which_clients_decide() {
    for kind in KINDS {
        let front = OneBackend::of(kind).await;
        for (status, answered, code) in
            [(429, 429, "rate_limit_exceeded"), (500, 502, "upstream_failed"), (401, 502, "upstream_failed")]
        {
            front.sim.clear_script();
            front.sim.script(Rule::on(Routes::CALLS).status(status).header("retry-after", "7"));
            for fields in [json!({}), json!({"stream": true})] {
                front.server.forget_failures();
                let answer = front.chat(fields).await.expect(answered);
                let error = fault(&answer);
                assert_eq!(
                    (answer.header("x-penstock-backend"), answer.header("x-should-retry")),
                    (front.id.as_str(), "")
                );
                if status == 429 {
                    assert_eq!(answer.header("retry-after"), "7", "{kind}");
                } else {
                    assert_eq!(error["code"], code, "{kind}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_stream_that_breaks_off_ends_with_an_error_and_no_end_mark() {
    for kind in KINDS {
        let front = OneBackend::of(kind).await;
        front.sim.script(Rule::on(Routes::CALLS).reply_chunks(["Hel", "lo", "!"]).cut_after(2));
        for (path, body) in [
            (CHAT, super::chat(json!({"stream": true}))),
            ("/v1/completions", json!({"model": "chat:1b", "prompt": "Hi", "stream": true})),
        ] {
            let answer = front.post(path, body).await.expect(200);
            let events = data(&answer);
            let last = events.last().unwrap();
            assert_eq!(last["error"]["code"], "upstream_failed", "{kind} {path}: {}", answer.text);
            assert!(!answer.text.contains("[DONE]"), "{kind} {path}");
        }
        front.server.wait_until_idle(&front.id).await;
    }
}

#[tokio::test]
async fn a_model_that_cannot_do_it_is_the_requests_fault_and_others_that_can_are_named() {
    for kind in KINDS {
        let front = OneBackend::of(kind).await;
        for (path, model, words) in [
            (CHAT, "embed:1b", "cannot chat, it can embed texts: name one that does, such as chat:1b"),
            ("/v1/completions", "embed:1b", "cannot complete texts, it can embed texts"),
            ("/v1/responses", "embed:1b", "cannot chat, it can embed texts"),
            ("/v1/embeddings", "chat:1b", "cannot embed texts, it can chat: name one that does, such as embed:1b"),
        ] {
            let mut body = json!({"model": model, "input": "x", "messages": [{"role": "user", "content": "x"}]});
            if path == "/v1/completions" {
                body["prompt"] = json!("x");
            }
            let answer = front.post(path, body).await.expect(400);
            assert_eq!((answer.header("retry-after"), answer.header("x-penstock-reason")), ("", ""), "{kind} {path}");
            let error = fault(&answer);
            assert_eq!((&error["type"], &error["param"]), (&json!("invalid_request_error"), &json!("model")));
            let message = error["message"].as_str().unwrap();
            // A cloud's model is named with its kind.
            let words = if kind == "gemini" { words.replace("such as ", "such as gemini/") } else { words.to_owned() };
            assert!(message.contains(&format!("model '{model}' {words}")), "{kind} {path}: {message}");
        }
        assert_eq!(front.sim.record().of(Routes::CALLS).len(), 0);
    }
}

#[tokio::test]
async fn nobody_who_can_serve_it_is_told_with_the_reason() {
    let front = OneBackend::of("ollama").await;
    let body = super::chat(json!({}));
    let refused = front.server.send(
        front.server.request(Method::POST, CHAT).header("x-penstock-require", "zone=moon").body(body.to_string()),
    );
    let refused = refused.await.expect(503);
    assert_eq!((refused.header("x-penstock-reason"), refused.header("retry-after")), ("no_backend", "1"));
    assert_eq!(fault(&refused)["code"], "no_backend");
}
