//! Tasks that call a remote hook: what it is sent, what its answers mean, how it can fail (`docs/hooks.md`).

use std::time::{Duration, Instant};

use loadtest::sim::{Route, Routes, Rule, SimHook};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, TestServer, in_background};

struct HookScene {
    server: TestServer,
    hook: SimHook,
    id: String,
}

async fn scene(timeout_ms: i64) -> HookScene {
    let server = TestServer::start(&[]).await;
    let hook = SimHook::start().await.unwrap();
    let body = json!({"name": "my-hook", "endpointUrl": format!("{}/run", hook.url()), "method": "post",
        "timeoutMs": timeout_ms});
    let id = server.post("/hooks/remote", body).await.expect(201).json()["id"].as_str().unwrap().to_owned();
    HookScene { server, hook, id }
}

fn chain(more: Value) -> Value {
    let mut task = json!({"id": "h", "handler": "hook", "hook": {"name": "my-hook", "args": {"k": "v", "n": 7}},
        "transition": {"branches": [{"operator": "equals", "when": "again", "goto": "never"}, {"operator": "default"}]}});
    task.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let never = json!({"id": "never", "handler": "raise_error"});
    json!({"tasks": [task, never]})
}

async fn run(server: &TestServer) -> Answer {
    run_with(server, json!({})).await
}

async fn run_with(server: &TestServer, more: Value) -> Answer {
    server.post("/tasks", json!({"input": "hello", "chain": chain(more)})).await
}

fn hook_rule() -> Rule {
    Rule::on(Routes::from(Route::Hook))
}

#[tokio::test]
async fn a_hook_gets_the_documented_request() {
    let HookScene { server, hook, .. } = scene(1_000).await;
    hook.reply(42, "int", "done");
    let body = json!({"input": {"a": [1]}, "inputType": "json", "chain": chain(json!({}))});
    let request = server.request(Method::POST, "/tasks").header("x-request-id", "r-7").body(body.to_string());
    let answer = server.send(request).await.expect(200).json();
    assert_eq!((&answer["output"], &answer["outputType"]), (&json!(42), &json!("int")));
    assert_eq!(answer["state"][0]["transition"], "done");
    let record = hook.record();
    let seen = record.of(Route::Hook)[0];
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("POST", "/run"));
    assert_eq!(seen.header("content-type"), Some("application/json"));
    assert_eq!(seen.header("x-request-id"), Some("r-7"));
    let mut sent = seen.json();
    let started = sent.as_object_mut().unwrap().remove("startingTime").unwrap();
    let started = started.as_str().unwrap();
    assert!(started.len() == "2025-08-08T12:00:00.000000Z".len() && started.ends_with('Z'), "{started}");
    assert_eq!(
        sent,
        json!({"input": {"a": [1]}, "dataType": "json", "transition": "",
            "args": {"name": "my-hook", "args": {"k": "v", "n": "7"}}})
    );
}

#[tokio::test]
async fn answers_of_hooks_are_read_by_the_type_they_name_or_show() {
    for (reply, output, data_type) in [
        (json!({"output": "7", "dataType": "int"}), json!(7), "int"),
        (json!({"output": 0, "dataType": "bool"}), json!(false), "bool"),
        (json!({"output": {"a": 1}}), json!({"a": 1}), "json"),
        (json!({"output": 0.5}), json!(0.5), "float"),
    ] {
        let HookScene { server, hook, .. } = scene(1_000).await;
        hook.script(hook_rule().status(201).body(reply.to_string()));
        let answer = run(&server).await.expect(200).json();
        assert_eq!((&answer["output"], &answer["outputType"]), (&output, &json!(data_type)), "{reply}");
    }
}

#[tokio::test]
async fn every_way_a_hook_can_fail_is_a_failure_of_the_task() {
    let HookScene { server, hook, .. } = scene(1_000).await;
    let oversized = json!({"output": "x".repeat((10 << 20) + 1)}).to_string();
    for (rule, part) in [
        (hook_rule().status(418).body(r#"{"error": "only tea"}"#), "only tea"),
        (hook_rule().status(500).body("<html>"), "500"),
        (hook_rule().status(302).header("location", "/elsewhere").body(""), "302"),
        (hook_rule().body(r#"{"error": "out of stock", "output": "x"}"#), "out of stock"),
        (hook_rule().body("no json"), "JSON"),
        (hook_rule().body("[]"), "object"),
        (hook_rule().body(r#"{"output": "x", "dataType": "int"}"#), "int"),
        (hook_rule().body(r#"{"output": "x", "dataType": "number"}"#), "number"),
        (hook_rule().body(oversized), "larger"),
        (hook_rule().close_before_headers(), "broke off"),
        (hook_rule().cut_after(1), "broke off"),
    ] {
        hook.clear_script();
        let scripted = hook.script(rule);
        let failed = run(&server).await.expect(500);
        assert!(failed.error().starts_with("task h: ") && failed.error().contains(part), "{part}: {}", failed.text);
        assert_eq!(scripted.hits(), 1, "hooks are not retried by themselves");
    }
    hook.stop().await;
    assert!(run(&server).await.expect(500).error().contains("reached"));
}

#[tokio::test]
async fn a_hook_that_says_when_to_come_again_is_called_no_sooner() {
    let HookScene { server, hook, .. } = scene(1_000).await;
    hook.script(hook_rule().times(1).status(503).header("retry-after-ms", "80"));
    let policy = json!({"retry_policy": {"initial_backoff": "1ms", "max_backoff": "2ms", "retry_on": ["hook_error"]}});
    let began = Instant::now();
    let answer = run_with(&server, policy).await.expect(200).json();
    assert_eq!(answer["state"].as_array().unwrap().len(), 2, "{answer}");
    assert!(began.elapsed() >= Duration::from_millis(80), "{:?}", began.elapsed());
}

#[tokio::test]
async fn the_status_of_a_refusal_is_the_transition_of_the_step() {
    let HookScene { server, hook, .. } = scene(1_000).await;
    hook.script(hook_rule().status(404));
    let failed = run_with(&server, json!({"retry_on_failure": 1})).await.expect(500).json();
    let state = failed["state"].as_array().unwrap();
    assert_eq!(state.len(), 2, "retried as the task says");
    assert!(state.iter().all(|unit| unit["transition"] == "404"), "{failed}");
}

#[tokio::test]
async fn the_shorter_of_the_two_timeouts_holds() {
    for (of_hook, of_task) in [(60, "10s"), (10_000, "60ms")] {
        let HookScene { server, hook, .. } = scene(of_hook).await;
        let gate = hook.hold();
        let began = Instant::now();
        let failed = run_with(&server, json!({"timeout": of_task})).await.expect(500);
        assert!(failed.error().contains("60"), "{}", failed.text);
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        hook.wait_for_aborts(1).await.unwrap();
        drop(gate);
    }
}

#[tokio::test]
async fn a_hook_that_was_deleted_is_unknown_and_a_changed_one_is_used_at_once() {
    let HookScene { server, hook, id } = scene(1_000).await;
    run(&server).await.expect(200);
    let moved = json!({"name": "my-hook", "endpointUrl": format!("{}/moved", hook.url()), "method": "PUT",
        "timeoutMs": 1_000});
    server.put(&format!("/hooks/remote/{id}"), moved).await.expect(200);
    run(&server).await.expect(200);
    let seen: Vec<_> = hook.record().requests.iter().map(|call| format!("{} {}", call.method, call.path)).collect();
    assert_eq!(seen, ["POST /run", "PUT /moved"]);
    server.delete(&format!("/hooks/remote/{id}")).await.expect(200);
    let failed = run(&server).await.expect(500);
    assert!(failed.error().contains("my-hook") && failed.error().contains("not registered"), "{}", failed.text);
    assert_eq!(hook.record().arrived, 2);
}

#[tokio::test]
async fn a_client_that_leaves_hangs_up_on_the_hook() {
    let HookScene { server, hook, .. } = scene(60_000).await;
    let gate = hook.hold();
    let client = (*server).clone();
    let body = json!({"input": "hello", "chain": chain(json!({}))});
    let leaver = in_background(async move { client.post("/tasks", body).await });
    gate.wait_for_arrivals(1).await.unwrap();
    leaver.abort();
    hook.wait_for_aborts(1).await.unwrap();
}
