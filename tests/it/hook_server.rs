//! The hook server of `docs/hooks.md` that is written in Rust, called by chains.

#[expect(dead_code, reason = "its main is that of the example")]
#[path = "../../deploy/examples/hook_server.rs"]
mod example;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use crate::support::{Answer, TestServer};

/// A server that knows the hook as `stock`.
async fn scene() -> TestServer {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}/stock", listener.local_addr().unwrap());
    TaskTracker::new().spawn(example::serve(listener));
    let server = TestServer::start(&[]).await;
    for (name, method) in [("stock", "POST"), ("stock-put", "PUT")] {
        let hook = json!({"name": name, "endpointUrl": url, "method": method, "timeoutMs": 5000});
        server.post("/hooks/remote", hook).await.expect(201);
    }
    server
}

async fn order(server: &TestServer, hook: &str, input: Value, request_id: &str) -> Answer {
    let transition =
        json!({"branches": [{"when": "reserved", "goto": "left"}, {"operator": "default", "goto": "end"}]});
    let end = json!({"branches": [{"goto": "end"}]});
    let chain = json!({"tasks": [
        {"id": "take", "handler": "hook", "hook": {"name": hook, "args": {"order": 7}}, "transition": transition},
        {"id": "left", "handler": "noop", "prompt_template": "{{.take.left}} left", "transition": end},
    ]});
    let body = json!({"input": input, "inputType": "json", "chain": chain}).to_string();
    server.send(server.request(Method::POST, "/tasks").header("x-request-id", request_id).body(body)).await
}

#[tokio::test]
async fn a_call_that_comes_twice_takes_once() {
    let server = scene().await;
    let two = json!({"article": "tea", "count": 2});
    for (request_id, left) in [("r-1", "8 left"), ("r-1", "8 left"), ("r-2", "6 left")] {
        assert_eq!(order(&server, "stock", two.clone(), request_id).await.expect(200).json()["output"], left);
    }
}

#[tokio::test]
async fn what_the_chain_can_go_on_from_is_a_transition_and_the_rest_an_error() {
    let server = scene().await;
    for (input, transition) in
        [(json!({"article": "mug", "count": 2}), "sold_out"), (json!({"article": "ship", "count": 1}), "unknown")]
    {
        let answer = order(&server, "stock", input, "r-1").await.expect(200).json();
        assert_eq!(answer["state"][0]["transition"], transition);
    }
    for (hook, input, part) in [
        ("stock", json!({"article": "tea"}), "400: the input must be an object with 'article' and 'count'"),
        ("stock", json!({"article": "x".repeat(70_000), "count": 1}), "413"),
        ("stock-put", json!({"article": "tea", "count": 1}), "405: register this hook with the method POST"),
    ] {
        let failed = order(&server, hook, input, "r-1").await.expect(500);
        assert!(failed.error().contains(part), "{}", failed.text);
    }
}
