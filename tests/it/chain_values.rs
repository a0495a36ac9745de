//! What chains pass from task to task stays what it was: values of hooks, counts of tokens, conversations in variables,
//! time limits that are over (`docs/workflow-spec.md`, data types and variables).

use std::time::{Duration, Instant};

use loadtest::sim::{Route, Rule, SimHook};
use serde_json::{Value, json};

use crate::support::{Scene, TASKS, TestServer};

async fn add_hook(server: &TestServer) -> SimHook {
    let hook = SimHook::start().await.unwrap();
    let body = json!({"name": "h", "endpointUrl": hook.url(), "method": "POST", "timeoutMs": 10_000});
    server.post("/hooks/remote", body).await.expect(201);
    hook
}

fn task(id: &str, handler: &str, goto: &str, more: Value) -> Value {
    let mut task = json!({"id": id, "handler": handler, "hook": {"name": "h"},
        "transition": {"branches": [{"operator": "default", "goto": goto}]}});
    task.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    task
}

#[tokio::test]
async fn the_task_behind_a_hook_gets_a_value_of_the_type_the_hook_named() {
    let Scene { server, sim, .. } = Scene::start(&[]).await;
    let hook = add_hook(&server).await;
    sim.script(Rule::on(Route::Generate).reply("a number"));
    sim.script(Rule::on(Route::Chat).reply("a turn"));
    let run = async |next: &str| {
        let tasks = json!([task("h", "hook", "next", json!({})), task("next", next, "end", json!({}))]);
        server.post("/tasks", json!({"input": "x", "chain": {"tasks": tasks}})).await.expect(200).json()
    };
    hook.reply("1000000", "int", "ok");
    assert_eq!(run("raw_string").await["state"][1]["inputType"], "int");
    let record = sim.record();
    assert_eq!(record.of(Route::Generate)[0].json()["prompt"], "1000000", "no exponent");
    hook.clear_script();
    let history = json!({"messages": [{"role": "user", "content": "hi"}], "inputTokens": 99999, "outputTokens": 99999});
    hook.reply(history, "chat_history", "ok");
    let output = run("model_execution").await["output"].clone();
    assert_eq!(output["messages"][1]["content"], "a turn");
    let told = [&output["inputTokens"], &output["outputTokens"]].map(|tokens| tokens.as_u64().unwrap());
    assert!(told.iter().all(|tokens| (1..20).contains(tokens)), "counts that were sent are not believed: {output}");
}

#[tokio::test]
async fn a_limit_on_tokens_is_held_to_our_own_count() {
    let Scene { server, sim, .. } = Scene::start(&[]).await;
    let history = json!({"messages": [{"role": "user", "content": "word ".repeat(50)}], "inputTokens": 1});
    let chain = json!({"token_limit": 20, "tasks": [task("t", "model_execution", "end", json!({}))]});
    let body = json!({"input": history, "inputType": "chat_history", "chain": chain});
    let refused = server.post("/tasks", body).await.expect(500);
    assert!(refused.error().contains("20"), "{}", refused.text);
    assert!(sim.record().of(Route::Chat).is_empty());
}

#[tokio::test]
async fn a_conversation_in_a_variable_is_not_changed_by_those_who_go_on_with_it() {
    let Scene { server, sim, .. } = Scene::start(&[]).await;
    for reply in ["first", "second", "third"] {
        sim.script(Rule::on(Route::Chat).times(1).reply(reply));
    }
    let tasks = json!([
        task("a", "model_execution", "b", json!({"system_instruction": "Be nice."})),
        task("b", "model_execution", "c", json!({"system_instruction": "Be brief."})),
        task("c", "model_execution", "d", json!({"input_var": "a", "compose": {"with_var": "b"}})),
        task("d", "noop", "end", json!({"input_var": "a"})),
    ]);
    let body = json!({"input": "hi", "chain": {"tasks": tasks}});
    let output = server.post("/tasks", body).await.expect(200).json()["output"].clone();
    let said: Vec<&str> =
        output["messages"].as_array().unwrap().iter().map(|m| m["content"].as_str().unwrap()).collect();
    assert_eq!(said, ["Be nice.", "hi", "first"]);
}

#[tokio::test]
async fn a_system_instruction_never_touches_what_asks_no_model() {
    let server = TestServer::start(&[]).await;
    for (handler, status, shown) in
        [("parse_transition", 200, "\"/buy milk\""), ("raise_error", 500, "\"task t: /buy milk\"")]
    {
        let task = task("t", handler, "end", json!({"system_instruction": "/sell all"}));
        let answer =
            server.post("/tasks", json!({"input": "/buy milk", "chain": {"tasks": [task]}})).await.expect(status);
        let told = if status == 200 { answer.json()["output"].clone() } else { answer.json()["error"].clone() };
        assert_eq!(told.to_string(), shown);
        assert!(!answer.text.contains("sell"), "{}", answer.text);
    }
}

#[tokio::test]
async fn limits_of_attempts_that_are_over_hold_up_nothing() {
    let Scene { server, sim, .. } = Scene::start(&[]).await;
    sim.script(Rule::on(Route::Generate).times(2).status(500));
    let tasks = json!([task("t", "raw_string", "end", json!({"timeout": "1h", "retry_on_failure": 2}))]);
    let answer = server.post("/tasks", json!({"input": "x", "chain": {"tasks": tasks}})).await.expect(200);
    assert_eq!(answer.json()["state"].as_array().unwrap().len(), 3);
    assert_eq!(answer.header("x-penstock-pool"), TASKS);
    // A timer or a task left behind would be waited for.
    let began = Instant::now();
    server.stop().await;
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}
