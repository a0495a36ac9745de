//! `POST /tasks`: chains from the request to the answer with every step (`docs/workflow-spec.md`, `docs/api.md`, execution).

use loadtest::sim::{Route, Rule, SimBackend, embedding};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, README_CHAIN, Scene, TASKS, TestServer, in_background};

/// Runs a chain of these tasks on a text.
pub async fn run(server: &TestServer, tasks: Value) -> Answer {
    server.post("/tasks", json!({"input": "hello", "inputType": "string", "chain": {"tasks": tasks}})).await
}

fn only(handler: &str, more: Value) -> Value {
    let mut task = json!({"id": "t", "handler": handler, "transition": {"branches": [{"operator": "default"}]}});
    task.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!([task])
}

fn unit(answer: &Answer, at: usize) -> Value {
    answer.json()["state"][at].clone()
}

fn ids(answer: &Answer) -> Vec<String> {
    let state = answer.json()["state"].clone();
    state.as_array().unwrap().iter().map(|unit| unit["taskID"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn the_readmes_chain_runs_as_printed() {
    let Scene { server, sim, id } = Scene::start(&[]).await;
    sim.script(Rule::on(Route::Generate).containing("Is this a valid question?").reply("Valid."));
    sim.script(Rule::on(Route::Generate).containing("Answer this question: Is the sky blue?").reply("Yes, mostly.\n"));
    for content_type in ["application/json", "application/yaml"] {
        let answer = server.post_as("/tasks", content_type, README_CHAIN).await.expect(200);
        let body = answer.json();
        assert_eq!((&body["output"], &body["outputType"]), (&json!("Yes, mostly."), &json!("string")));
        assert_eq!(ids(&answer), ["validate", "answer"]);
        let mut first = unit(&answer, 0);
        assert!(first["duration"].as_f64().unwrap() > 0.0);
        assert!(first["inputTokens"].as_u64().unwrap() > 0 && first["outputTokens"].as_u64().unwrap() > 0);
        for known in ["duration", "inputTokens", "outputTokens", "queueMs"] {
            first.as_object_mut().unwrap().remove(known);
        }
        assert_eq!(
            first,
            json!({"taskID": "validate", "taskHandler": "condition_key", "attempt": 1, "inputType": "string",
                "outputType": "string", "transition": "valid", "error": {"error": ""}, "input": "", "output": "",
                "backend": id, "model": "chat:1b"})
        );
        assert_eq!(unit(&answer, 1)["transition"], "Yes, mostly.");
        // The two lines that are no strict YAML are named, each with the form that is.
        let warnings: Vec<&str> =
            answer.headers.get_all("x-penstock-warning").iter().map(|value| value.to_str().unwrap()).collect();
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        for part in ["line 24", "column", "'Answer this question: {{.input}}'"] {
            assert!(warnings[0].contains(part), "{part} is missing: {warnings:?}");
        }
        assert_eq!(answer.header("x-penstock-backend"), id);
        assert_eq!(answer.header("x-penstock-pool"), TASKS);
    }
}

#[tokio::test]
async fn a_chain_that_is_sent_again_in_the_same_bytes_runs_on_what_it_is_sent_with() {
    let Scene { server, .. } = Scene::start(&[]).await;
    let chain = r#"{"id": "again", "tasks": [{"id": "t", "handler": "noop",
        "prompt_template": "{{.input}}!", "transition": {"branches": [{"operator": "default", "goto": "end"}]}}]}"#;
    let send = async |head: &str, chain: &str| {
        server.post_as("/tasks", "application/json", format!(r#"{{{head}, "chain": {chain}}}"#)).await
    };
    for input in ["one", "two", "three"] {
        let answer = send(&format!(r#""input": "{input}""#), chain).await.expect(200);
        assert_eq!(answer.json()["output"], format!("{input}!"));
        assert_eq!(answer.headers.get_all("x-penstock-warning").iter().count(), 0);
    }
    let other = send(r#""input": "one""#, &chain.replace('!', "?")).await.expect(200);
    assert_eq!(other.json()["output"], "one?");
    // What there is to say about the rest of the body is said as the first time.
    let refused = send(r#""input": 1"#, chain).await.expect(400);
    assert!(refused.error().contains("inputType"), "{}", refused.text);
    let warned = send(r#""input": "one", "colour": "blue""#, chain).await.expect(200);
    assert!(warned.header("x-penstock-warning").contains("colour"), "{:?}", warned.headers);
    let plain = chain.replace(r#""prompt_template": "{{.input}}!", "#, "");
    for number in [1, 2] {
        let typed = send(&format!(r#""input": {{"a": {number}}}, "inputType": "json""#), &plain).await.expect(200);
        assert_eq!((&typed.json()["output"], &typed.json()["outputType"]), (&json!({"a": number}), &json!("json")));
    }
}

#[tokio::test]
async fn the_readmes_chain_takes_the_other_branch_and_fails_on_an_answer_that_is_no_key() {
    let Scene { server, sim, id } = Scene::start(&[]).await;
    sim.script(Rule::on(Route::Generate).containing("Is this a valid question?").times(1).reply("`INVALID`!"));
    let answer = server.post_as("/tasks", "application/json", README_CHAIN).await.expect(200);
    assert_eq!(ids(&answer), ["validate", "reject"]);
    assert!(answer.json()["output"].as_str().unwrap().contains("This is not a valid question: Is the sky blue?"));
    sim.script(Rule::on(Route::Generate).reply("perhaps"));
    let failed = server.post_as("/tasks", "application/json", README_CHAIN).await.expect(500);
    assert!(failed.error().starts_with("task validate"), "{}", failed.text);
    for part in ["perhaps", "valid", "invalid"] {
        assert!(failed.error().contains(part), "{part} is missing: {}", failed.text);
    }
    let unit = unit(&failed, 0);
    assert_eq!((&unit["taskID"], &unit["outputType"]), (&json!("validate"), &json!("any")));
    assert!(unit["error"]["error"].as_str().unwrap().contains("perhaps"), "{unit}");
    server.wait_until_idle(&id).await;
}

#[tokio::test]
async fn a_file_sent_without_its_newlines_is_refused_with_the_remedy() {
    let server = TestServer::start(&[]).await;
    let collapsed = README_CHAIN.replace('\n', "");
    let refused = server.post_as("/tasks", "application/json", collapsed).await.expect(400);
    assert!(refused.error().contains("--data-binary"), "{}", refused.text);
}

#[tokio::test]
async fn chains_that_cannot_run_are_refused_before_anything_is_asked() {
    let Scene { server, sim, .. } = Scene::start(&[]).await;
    let fine = json!({"tasks": only("raw_string", json!({}))});
    for (body, part) in [
        (json!({"input": "x"}), "chain"),
        (json!({"input": "x", "chain": {"tasks": []}}), "task"),
        (json!({"input": "x", "chain": {"tasks": only("no_such_handler", json!({}))}}), "no_such_handler"),
        (json!({"input": "x", "chain": {"tasks": only("condition_key", json!({}))}}), "valid_conditions"),
        (json!({"input": "x", "chain": {"tasks": only("raw_string", json!({"prompt_template": "{{.a"}))}}), "t"),
        (
            json!({"input": "x", "chain": {"tasks": [{"id": "t", "handler": "raw_string",
            "transition": {"branches": [{"goto": "nowhere"}]}}]}}),
            "nowhere",
        ),
        (json!({"input": "x", "inputType": "text", "chain": fine}), "text"),
        (json!({"input": 7, "chain": fine}), "inputType"),
        (json!({"input": "seven", "inputType": "int", "chain": fine}), "input"),
        (json!({"input": {"a": 1}, "inputType": "chat_history", "chain": fine}), "input"),
    ] {
        let refused = server.post("/tasks", body.clone()).await.expect(400);
        assert!(refused.error().contains(part), "{part} is missing in {} for {body}", refused.text);
        assert!(refused.json().get("state").is_none());
    }
    assert!(sim.record().of(Route::Generate).is_empty());
}

#[tokio::test]
async fn inputs_are_read_by_their_type() {
    let server = TestServer::start(&[]).await;
    for (input, input_type, output) in [
        (json!("plain"), json!(null), json!("plain")),
        (json!({"value": "inner"}), json!("string"), json!("inner")),
        (json!(1e6), json!("string"), json!("1000000")),
        (json!("t"), json!("BOOL"), json!(true)),
        (json!(7.9), json!("int"), json!(7)),
        (json!("0.5"), json!("float"), json!(0.5)),
        (json!([1, 2]), json!("vector"), json!([1.0, 2.0])),
        (json!({"b": 1, "aKey_x": null}), json!("json"), json!({"b": 1, "aKey_x": null})),
        (json!([true]), json!("any"), json!([true])),
    ] {
        let body = json!({"input": input, "inputType": input_type, "chain": {"tasks": only("noop", json!({}))}});
        let answer = server.post("/tasks", body).await.expect(200);
        let (given, wanted) = (answer.json()["output"].clone(), &output);
        assert_eq!(given.to_string(), wanted.to_string(), "{input} as {input_type}");
    }
}

#[tokio::test]
async fn a_run_fails_with_the_status_of_its_root_cause() {
    let Scene { server, sim, .. } = Scene::start(&[]).await;
    let nobody = only("raw_string", json!({"execute_config": {"model": "absent:1b"}}));
    let answer = run(&server, nobody).await.expect(503);
    assert!(answer.error().starts_with("task t") && answer.error().contains("absent:1b"), "{}", answer.text);
    assert_eq!(answer.header("x-penstock-reason"), "no_backend");
    assert_eq!(answer.json()["state"].as_array().unwrap().len(), 1);
    sim.script(Rule::on(Route::Generate).status(500));
    let answer = run(&server, only("raw_string", json!({"retry_on_failure": 2}))).await.expect(500);
    assert_eq!(ids(&answer), ["t", "t", "t"], "every attempt is a step");
    let answer = run(&server, only("raise_error", json!({"prompt_template": "no {{.input}}"}))).await.expect(500);
    assert_eq!(answer.error(), "task t: no hello");
}

#[tokio::test]
async fn a_failed_task_can_be_caught_and_its_input_goes_on() {
    let Scene { server, sim, .. } = Scene::start(&[]).await;
    sim.script(Rule::on(Route::Generate).containing("hello").times(1).status(500));
    let tasks = json!([
        {"id": "first", "handler": "raw_string", "transition": {"on_failure": "caught",
            "on_failure_alert": "the first one failed", "branches": [{"operator": "default"}]}},
        {"id": "caught", "handler": "noop", "prompt_template": "{{.input}} / {{.last_error}}",
            "transition": {"branches": [{"operator": "default", "goto": "end", "alert_on_match": "it was caught"}]}}
    ]);
    let body = json!({"input": "hello", "chain": {"tasks": tasks}});
    let request = server.request(Method::POST, "/tasks").header("x-request-id", "r-1").body(body.to_string());
    let answer = server.send(request).await.expect(200);
    assert_eq!(ids(&answer), ["first", "caught"]);
    let output = answer.json()["output"].as_str().unwrap().to_owned();
    assert!(output.starts_with("hello / ") && output.contains("500"), "{output}");
    let alerts = server.get("/alerts").await.expect(200).json();
    let messages: Vec<&str> = alerts.as_array().unwrap().iter().map(|a| a["message"].as_str().unwrap()).collect();
    assert_eq!(messages, ["it was caught", "the first one failed"], "newest first");
    assert_eq!((&alerts[0]["requestID"], &alerts[0]["metadata"]["task_id"]), (&json!("r-1"), &json!("caught")));
    assert_eq!(alerts[0]["metadata"]["eval"], "noop");
    assert!(alerts[1]["metadata"]["error"].as_str().unwrap().contains("500"), "{alerts}");
    assert!(alerts[1]["Timestamp"].as_str().unwrap().ends_with('Z'));
}

#[tokio::test]
async fn debugging_shows_inputs_and_outputs() {
    let Scene { server, sim, .. } = Scene::start(&[]).await;
    sim.script(Rule::on(Route::Generate).reply("hi"));
    let chain = json!({"debug": true, "tasks": only("raw_string", json!({"promptTemplate": "say {{.input}}"}))});
    let answer = server.post("/tasks", json!({"input": "x", "chain": chain})).await.expect(200);
    assert_eq!((&unit(&answer, 0)["input"], &unit(&answer, 0)["output"]), (&json!("say x"), &json!("hi")));
}

#[tokio::test]
async fn an_embedding_task_gives_a_vector() {
    let Scene { server, sim, .. } = Scene::start(&[]).await;
    let answer = run(&server, only("embedding", json!({}))).await.expect(200);
    assert_eq!((&answer.json()["outputType"], &unit(&answer, 0)["transition"]), (&json!("vector"), &json!("ok")));
    let output: Vec<f32> =
        answer.json()["output"].as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect();
    assert_eq!(output, embedding("hello", 8));
    assert_eq!(sim.record().of(Route::Embed).len(), 1);
}

#[tokio::test]
async fn a_conversation_is_continued_by_the_model() {
    let Scene { server, sim, .. } = Scene::start(&[]).await;
    sim.script(Rule::on(Route::Chat).reply("Fine."));
    let history = json!({"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "How are you?"}]});
    let tasks = only("model_execution", json!({"system_instruction": "Be nice."}));
    let body = json!({"input": history, "inputType": "chat_history", "chain": {"tasks": tasks}});
    let answer = server.post("/tasks", body).await.expect(200).json();
    assert_eq!(
        (&answer["outputType"], &answer["state"][0]["transition"]),
        (&json!("chat_history"), &json!("executed"))
    );
    let output = &answer["output"];
    let said: Vec<&str> =
        output["messages"].as_array().unwrap().iter().map(|m| m["content"].as_str().unwrap()).collect();
    assert_eq!(said, ["Be nice.", "Hi", "Hello", "How are you?", "Fine."]);
    assert_eq!((&output["model"], &output["messages"][4]["role"]), (&json!("chat:1b"), &json!("assistant")));
    assert!(output["inputTokens"].as_u64().unwrap() > 0 && output["outputTokens"].as_u64().unwrap() > 0);
    let sent = sim.record().of(Route::Chat)[0].json();
    assert_eq!(sent["messages"].as_array().unwrap().len(), 4);
    assert!(sent["options"].get("temperature").is_none(), "only sent when given");
    // A text becomes one user message.
    let answer = run(&server, only("model_execution", json!({}))).await.expect(200).json();
    assert_eq!(answer["output"]["messages"][0]["content"], "hello");
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_run_and_the_call_upstream() {
    let Scene { server, sim, id } = Scene::start(&[]).await;
    let gate = sim.hold();
    let client = (*server).clone();
    let leaver = in_background(async move { client.post_as("/tasks", "application/yaml", README_CHAIN).await });
    gate.wait_for_arrivals(1).await.unwrap();
    assert_eq!(server.runtime.runs.active(), 1);
    leaver.abort();
    sim.wait_for_aborts(1).await.unwrap();
    server.wait_until_idle(&id).await;
    crate::support::eventually("the end of the run", || async {
        let active = server.runtime.runs.active();
        if active == 0 { Ok(()) } else { Err(active.to_string()) }
    })
    .await;
    assert_eq!(sim.record().of(Route::Generate).len(), 1, "no step after the one that was aborted");
}

#[tokio::test]
async fn an_attempt_that_takes_too_long_is_aborted() {
    let Scene { server, sim, id } = Scene::start(&[]).await;
    let gate = sim.hold();
    let answer = run(&server, only("raw_string", json!({"timeout": "80ms", "retry_on_failure": 1}))).await.expect(500);
    assert!(answer.error().contains("80ms"), "{}", answer.text);
    assert_eq!(ids(&answer).len(), 2);
    sim.wait_for_aborts(2).await.unwrap();
    drop(gate);
    server.wait_until_idle(&id).await;
}

#[tokio::test]
async fn a_choice_is_constrained_where_the_backend_can() {
    let choosing = |constrain: &str| {
        only(
            "condition_key",
            json!({"validConditions": {"yes": true, "no": false},
            "executeConfig": {"constrain": constrain}}),
        )
    };
    let schema = json!({"type": "string", "enum": ["yes", "no"]});
    let Scene { server, sim, .. } = Scene::start(&[]).await;
    sim.script(Rule::on(Route::Generate).reply("no"));
    assert_eq!(run(&server, choosing("auto")).await.expect(200).json()["output"], "no");
    run(&server, choosing("off")).await.expect(200);
    let record = sim.record();
    let bodies: Vec<Value> = record.of(Route::Generate).iter().map(|call| call.json()).collect();
    assert_eq!(bodies[0]["format"], schema);
    assert!(bodies[1].get("format").is_none());
    assert!(!bodies[0]["system"].as_str().unwrap().is_empty(), "parsing handlers send the fixed instruction");

    let server = TestServer::start(&[]).await;
    let openai = SimBackend::openai().model("chat:1b").start().await.unwrap();
    server.ready("o", "openai", &openai).await;
    openai.script(Rule::on(Route::Chat).reply("no"));
    assert_eq!(run(&server, choosing("auto")).await.expect(200).json()["output"], "no");
    let body = openai.record().of(Route::Chat)[0].json();
    assert_eq!(body["response_format"]["type"], "json_schema");
    assert_eq!(body["response_format"]["json_schema"]["schema"]["properties"]["answer"], schema);
}

#[tokio::test]
async fn a_backend_that_refuses_constraints_is_asked_without_and_remembered() {
    let Scene { server, sim, .. } = Scene::start(&[]).await;
    let refusal = sim.script(Rule::on(Route::Generate).times(1).status(400));
    sim.script(Rule::on(Route::Generate).reply("Yes."));
    let tasks = only("condition_key", json!({"validConditions": ["yes", "no"]}));
    for _ in 0..2 {
        assert_eq!(run(&server, tasks.clone()).await.expect(200).json()["output"], "yes");
    }
    assert_eq!(refusal.hits(), 1);
    let record = sim.record();
    let constrained: Vec<bool> =
        record.of(Route::Generate).iter().map(|call| call.json().get("format").is_some()).collect();
    assert_eq!(constrained, [true, false, false]);
    // What was refused is one kind of form; another is tried.
    sim.script(Rule::on(Route::Generate).reply("4"));
    run(&server, only("parse_number", json!({"on_failure": "end"}))).await;
    let record = sim.record();
    let number = record.of(Route::Generate).last().unwrap().json();
    assert_eq!(number["format"], json!({"type": "integer"}));
}
