//! Chains that retry with delays, fall back to other models, catch by class, parse JSON and are bounded
//! (`docs/workflow-spec.md`, errors and retries, parse_json, bounds of a run).

use std::time::{Duration, Instant};

use loadtest::sim::{Route, Rule, SimBackend};
use serde_json::{Value, json};

use crate::support::{Answer, Scene, TASKS, TestServer, eventually, in_background};

async fn run(server: &TestServer, chain: &Value) -> Answer {
    server.post("/tasks", json!({"input": "hello", "chain": chain})).await
}

/// A chain of one task that asks, with these fields, and two that tell what they know of its failure.
fn asking(fields: Value) -> Value {
    let tells = |id: &str| {
        json!({"id": id, "handler": "noop", "prompt_template": "X: {{.ask_error.class}} {{.ask_error.attempts}}".replace('X', id),
            "transition": {"branches": [{"goto": "end"}]}})
    };
    let mut ask = json!({"id": "ask", "handler": "raw_string", "transition": {"branches": [{"goto": "end"}]}});
    ask.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    json!({"tasks": [ask, tells("caught"), tells("failed")]})
}

fn errors(answer: &Answer) -> Vec<String> {
    let state = answer.json()["state"].clone();
    state.as_array().unwrap().iter().map(|unit| unit["error"]["error"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_busy_backend_is_asked_again_after_the_time_it_asks_for() {
    let Scene { server, sim, .. } = Scene::start(&[]).await;
    let busy = Rule::on(Route::Generate).status(429).header("retry-after-ms", "60");
    sim.script(busy.times(2));
    sim.script(Rule::on(Route::Generate).reply("at last"));
    let policy = json!({"initial_backoff": "1ms", "max_backoff": "1ms"});
    let began = Instant::now();
    let answer = run(&server, &asking(json!({"retry_policy": policy}))).await.expect(200);
    assert!(began.elapsed() >= Duration::from_millis(120), "{:?}", began.elapsed());
    assert_eq!(answer.json()["output"], "at last");
    let errors = errors(&answer);
    assert!(errors[0].contains("429") && errors[1].contains("429") && errors[2].is_empty(), "{errors:?}");
}

#[tokio::test]
async fn a_backend_that_asks_for_a_day_is_neither_waited_for_nor_asked_sooner() {
    let Scene { server, sim, .. } = Scene::start(&[]).await;
    let busy = sim.script(Rule::on(Route::Generate).status(429).header("retry-after", "86400"));
    let answer = run(&server, &asking(json!({"retry_policy": {"max_attempts": 5}}))).await.expect(500);
    assert_eq!((errors(&answer).len(), busy.hits()), (1, 1), "{}", answer.text);
}

#[tokio::test]
async fn a_run_that_waits_holds_no_slot_and_stops_when_its_caller_leaves() {
    let Scene { server, sim, id } = Scene::start(&[]).await;
    let broken = sim.script(Rule::on(Route::Generate).status(503));
    let policy = json!({"initial_backoff": "1h", "max_backoff": "1h", "jitter": 0});
    let client = (*server).clone();
    let body = json!({"input": "hello", "chain": asking(json!({"retry_policy": policy}))});
    let waiting = in_background(async move { client.post("/tasks", body).await });
    let asked_once = || async { if broken.hits() == 1 { Ok(()) } else { Err("not asked".to_owned()) } };
    eventually("the first attempt", asked_once).await;
    server.wait_until_idle(&id).await;
    assert_eq!(server.runtime.runs.active(), 1);
    waiting.abort();
    let is_over = || async { if server.runtime.runs.active() == 0 { Ok(()) } else { Err("it runs".to_owned()) } };
    eventually("the end of the run", is_over).await;
    assert_eq!(broken.hits(), 1);
}

#[tokio::test]
async fn another_model_answers_when_the_wanted_one_does_not() {
    let server = TestServer::start(&[]).await;
    let sim = SimBackend::ollama().model("chat:1b").model("large:8b").start().await.unwrap();
    server.post("/models", json!({"model": "large:8b"})).await.expect(201);
    server.post(&format!("/model-associations/{TASKS}/models/large:8b"), Value::Null).await.expect(200);
    let id = server.register("a", "ollama", &sim, &[TASKS]).await;
    server.wait_for_model(&id, "large:8b").await;
    sim.script(Rule::on(Route::Generate).model("chat:1b").status(500));
    sim.script(Rule::on(Route::Generate).model("large:8b").reply("saved"));
    let config = json!({"model": "chat:1b", "fallback_models": ["absent:1b", "large:8b"]});
    let answer = run(&server, &asking(json!({"retry_on_failure": 1, "execute_config": config}))).await.expect(200);
    assert_eq!(answer.json()["output"], "saved");
    let state = answer.json()["state"].clone();
    let models: Vec<&Value> = state.as_array().unwrap().iter().map(|unit| &unit["model"]).collect();
    // Nobody has the second one: it is passed over without its retry.
    assert_eq!(models, [&json!("chat:1b"), &json!("chat:1b"), &Value::Null, &json!("large:8b")]);
    assert_eq!(sim.record().of(Route::Generate).len(), 3);
}

#[tokio::test]
async fn failures_are_caught_by_their_class() {
    let Scene { server, sim, .. } = Scene::start(&[]).await;
    let transition = json!({"on_failure": "failed", "branches": [{"goto": "end"}],
        "catch": [{"errors": ["auth", "rate_limit"], "goto": "caught"}]});
    for (status, output) in [(429, "caught: rate_limit 1"), (401, "caught: auth 1"), (500, "failed: server_error 1")] {
        sim.script(Rule::on(Route::Generate).times(1).status(status));
        let answer = run(&server, &asking(json!({"transition": transition}))).await.expect(200);
        assert_eq!(answer.json()["output"], output);
    }
}

#[tokio::test]
async fn json_is_parsed_checked_and_mended_by_the_model() {
    let Scene { server, sim, .. } = Scene::start(&[]).await;
    let schema = json!({"type": "object", "required": ["intent"], "properties": {"intent": {"enum": ["buy", "ask"]}}});
    let branches = json!([{"when": "buy", "goto": "caught"}, {"operator": "default", "goto": "failed"}]);
    let chain = asking(json!({"handler": "parse_json", "output_schema": schema,
        "transition": {"variable": "ask.intent", "branches": branches}}));
    sim.script(Rule::on(Route::Generate).times(1).reply("```json\n{\"intent\": \"sell\"}\n```"));
    sim.script(Rule::on(Route::Chat).containing("is not one of").reply("Sorry: {\"intent\": \"buy\"}"));
    let answer = run(&server, &chain).await.expect(200);
    let state = answer.json()["state"].clone();
    assert_eq!(state.as_array().unwrap().len(), 3);
    assert!(errors(&answer)[0].contains("at /intent"), "{state}");
    assert_eq!((&state[1]["transition"], &state[1]["outputType"]), (&json!("buy"), &json!("json")));
    assert_eq!(state[2]["taskID"], "caught");
    let record = sim.record();
    assert_eq!(record.of(Route::Generate)[0].json()["format"], schema);
    let mended = record.of(Route::Chat)[0].json();
    assert_eq!(mended["format"], schema);
    let roles: Vec<&Value> = mended["messages"].as_array().unwrap().iter().map(|said| &said["role"]).collect();
    assert_eq!(roles, ["system", "user", "assistant", "user"]);

    sim.script(Rule::on([Route::Generate, Route::Chat]).reply("never"));
    let failed = run(&server, &chain).await;
    assert!(failed.status == 500 && failed.error().contains("task ask: "), "{}", failed.text);
    assert_eq!(failed.json()["state"].as_array().unwrap().len(), 2, "one repair");
}

#[tokio::test]
async fn a_run_has_so_many_tokens_and_no_more() {
    let Scene { server, sim, .. } = Scene::start(&[]).await;
    sim.script(Rule::on(Route::Generate).reply("one two three"));
    let transition = json!({"catch": [{"errors": ["budget"], "goto": "caught"}], "branches": [{"goto": "ask"}]});
    let mut chain = asking(json!({"input_var": "input", "transition": transition}));
    chain["token_budget"] = json!(1);
    let answer = run(&server, &chain).await.expect(200);
    assert_eq!(answer.json()["output"], "caught: budget 1");
    assert_eq!(sim.record().of(Route::Generate).len(), 1);
}

#[tokio::test]
async fn a_run_has_so_much_time_and_so_many_visits() {
    let Scene { server, sim, id } = Scene::start(&[]).await;
    sim.script(Rule::on(Route::Generate).hang_before_headers());
    let transition = json!({"catch": [{"goto": "caught"}], "on_failure": "failed", "branches": [{"goto": "end"}]});
    let mut chain = asking(json!({"transition": transition}));
    chain["timeout"] = json!("80ms");
    let failed = run(&server, &chain).await.expect(500);
    assert_eq!(failed.error(), "the run took longer than the chain's timeout of 80ms");
    assert_eq!(failed.json()["state"].as_array().unwrap().len(), 1);
    server.wait_until_idle(&id).await;

    let again = json!({"catch": [{"errors": ["max_visits"], "goto": "caught"}], "branches": [{"goto": "ask"}]});
    let chain = asking(json!({"handler": "noop", "max_visits": 4, "transition": again}));
    let answer = run(&server, &chain).await.expect(200);
    assert_eq!(answer.json()["output"], "caught: max_visits 0");
    assert_eq!(answer.json()["state"].as_array().unwrap().len(), 6);
}

#[tokio::test]
async fn the_input_is_checked_and_the_output_chosen() {
    let server = TestServer::start(&[]).await;
    let mut chain = asking(json!({"handler": "noop", "transition": {"branches": [{"goto": "caught"}]}}));
    chain["output_var"] = json!("ask");
    chain["input_schema"] = json!({"type": "object", "properties": {"n": {"type": "integer"}}});
    let send = |input: Value| {
        let body = json!({"input": input, "inputType": "json", "chain": chain});
        server.post("/tasks", body)
    };
    let answer = send(json!({"n": 7})).await.expect(200).json();
    assert_eq!((&answer["output"], &answer["outputType"]), (&json!({"n": 7}), &json!("json")));
    let refused = send(json!({"n": "x"})).await.expect(400);
    let text = "the input is not what the chain's input_schema asks for: at /n: \"x\" is not of type \"integer\"";
    assert_eq!(refused.error(), text);
    assert!(refused.json().get("state").is_none());
}

#[tokio::test]
async fn extensions_that_cannot_work_are_refused_and_warnings_harm_nothing() {
    let server = TestServer::start(&[]).await;
    let refused = run(&server, &asking(json!({"retry_policy": {"jitter": 2}}))).await.expect(400);
    assert!(refused.error().contains("task ask: retry_policy.jitter is 2, it can be from 0 to 1"), "{}", refused.text);
    let both = json!({"handler": "noop", "retry_on_failure": 1, "retry_policy": {}});
    run(&server, &asking(both)).await.expect(200);
}
