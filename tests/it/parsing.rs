//! Chains that route by a number, a range or a command, and that end with a response of OpenAI's chat API
//! (`docs/workflow-spec.md`, handlers).

use loadtest::sim::{Flavour, Route, Rule, SimBackend};
use serde_json::{Value, json};

use crate::support::{Scene, TestServer};

const RANGE: &str = r"^-?[0-9]+(\.[0-9]+)?-(-)?[0-9]+(\.[0-9]+)?$";

/// The chain of one task of this kind that ends the run.
fn only(handler: &str, execute_config: &Value) -> Value {
    json!({"tasks": [{"id": "t", "handler": handler, "execute_config": execute_config,
        "transition": {"branches": [{"operator": "default"}]}}]})
}

fn parsing() -> [(&'static str, Value, &'static str, Value); 3] {
    [
        ("parse_number", json!({"type": "integer"}), "42", json!(42)),
        ("parse_score", json!({"type": "number"}), "7.5", json!(7.5)),
        ("parse_range", json!({"type": "string", "pattern": RANGE}), "\"3-5\"", json!("3-5")),
    ]
}

#[tokio::test]
async fn ollama_is_told_the_form_of_the_number_it_is_asked_for() {
    let Scene { server, sim, .. } = Scene::start(&[]).await;
    for (handler, schema, reply, output) in parsing() {
        sim.script(Rule::on(Route::Generate).times(2).reply(reply));
        for constrain in ["auto", "off"] {
            let chain = only(handler, &json!({"constrain": constrain}));
            let answer = server.post("/tasks", json!({"input": "How many?", "chain": chain})).await.expect(200);
            assert_eq!(answer.json()["output"], output, "{handler}");
            let record = sim.record();
            let body = record.of(Route::Generate).last().unwrap().json();
            assert_eq!(body.get("format"), (constrain == "auto").then_some(&schema), "{handler}");
            assert!(!body["system"].as_str().unwrap().is_empty(), "parsing handlers send the fixed instruction");
            assert_eq!(body["options"]["temperature"], 0.0);
        }
    }
}

#[tokio::test]
async fn a_server_that_speaks_openais_api_is_told_the_form_of_the_number_it_is_asked_for() {
    let server = TestServer::start(&[]).await;
    let sim = SimBackend::openai().model("chat:1b").start().await.unwrap();
    server.ready("o", "openai", &sim).await;
    for (handler, schema, reply, output) in parsing() {
        sim.script(Rule::on(Route::Chat).times(1).reply(reply));
        let body = json!({"input": "How many?", "chain": only(handler, &json!({}))});
        assert_eq!(server.post("/tasks", body).await.expect(200).json()["output"], output, "{handler}");
        let record = sim.record();
        let format = record.of(Route::Chat).last().unwrap().json()["response_format"].clone();
        // OpenAI takes objects only: the form is asked for as the one field of an object, which the chain never sees.
        let schema = json!({"type": "object", "properties": {"answer": schema}, "required": ["answer"],
            "additionalProperties": false});
        let expected =
            json!({"type": "json_schema", "json_schema": {"name": "reply", "strict": true, "schema": schema}});
        assert_eq!(format, expected, "{handler}");
    }
}

#[tokio::test]
async fn llama_cpps_server_is_spared_the_object_around_the_form() {
    let server = TestServer::start(&[]).await;
    let sim = SimBackend::openai().flavour(Flavour::LlamaCpp).model("chat:1b").start().await.unwrap();
    server.ready("l", "openai", &sim).await;
    for (handler, schema, reply, output) in parsing() {
        sim.script(Rule::on(Route::Chat).times(1).reply(reply));
        let body = json!({"input": "How many?", "chain": only(handler, &json!({}))});
        assert_eq!(server.post("/tasks", body).await.expect(200).json()["output"], output, "{handler}");
        let record = sim.record();
        let format = record.of(Route::Chat).last().unwrap().json()["response_format"].clone();
        assert_eq!(format["json_schema"]["schema"], schema, "{handler}");
    }
}

/// Rates a text and goes three ways, or a fourth when there is no rating.
const RATE: &str = r#"
tasks:
  - id: score
    handler: parse_score
    input_var: input
    prompt_template: "Rate from 0 to 10: {{.input}}"
    transition:
      on_failure: unclear
      branches:
        - {operator: ">", when: 7.5, goto: good}
        - {operator: in_range, when: 5-7.5, goto: fair}
        - {operator: default, goto: poor}
  - {id: good, handler: noop, prompt_template: "good {{.score}}", transition: {branches: [{goto: end}]}}
  - {id: fair, handler: noop, prompt_template: "fair {{.score}}", transition: {branches: [{goto: end}]}}
  - {id: poor, handler: noop, prompt_template: "poor {{.score}}", transition: {branches: [{goto: end}]}}
  - {id: unclear, handler: noop, prompt_template: "{{.last_error}}", transition: {branches: [{goto: end}]}}
"#;

#[tokio::test]
async fn a_score_decides_the_way_by_its_thresholds() {
    let Scene { server, sim, .. } = Scene::start(&[]).await;
    for (reply, transition, output) in [
        ("Score: 9/10", "9.00", "good 9"),
        ("7.5", "7.50", "fair 7.5"),
        ("\"5\"", "5.00", "fair 5"),
        ("-1", "-1.00", "poor -1"),
        ("great", "", "the reply 'great' holds no number"),
    ] {
        sim.script(Rule::on(Route::Generate).times(1).reply(reply));
        let indented: String = RATE.lines().map(|line| format!("  {line}\n")).collect();
        let body = format!("input: a poem\nchain:\n{indented}");
        let answer = server.post_as("/tasks", "application/yaml", body).await.expect(200).json();
        assert_eq!(answer["output"], output, "{answer}");
        assert_eq!(answer["state"][0]["transition"], transition);
    }
}

#[tokio::test]
async fn a_command_is_routed_without_asking_a_model() {
    let Scene { server, sim, .. } = Scene::start(&[]).await;
    let chain = json!({"tasks": [
        {"id": "command", "handler": "parse_transition", "transition": {"branches": [
            {"when": "help", "goto": "help"}, {"when": "pass", "goto": "end"}]}},
        {"id": "help", "handler": "noop", "prompt_template": "asked: {{.command}}", "transition": {"branches": [{}]}}
    ]});
    for (input, output) in [("/help me", "asked: /help me"), ("hello", "hello")] {
        let answer = server.post("/tasks", json!({"input": input, "chain": chain})).await.expect(200);
        assert_eq!(answer.json()["output"], output);
    }
    let failed = server.post("/tasks", json!({"input": "/", "chain": chain})).await.expect(500);
    assert!(failed.error().starts_with("task command: "), "{}", failed.text);
    assert!(sim.record().of(Route::Generate).is_empty());
}

#[tokio::test]
async fn a_conversation_ends_as_a_response_with_an_id_of_its_own() {
    let Scene { server, sim, .. } = Scene::start(&[]).await;
    sim.script(Rule::on(Route::Chat).reply("Fine."));
    let chain = json!({"tasks": [
        {"id": "chat", "handler": "model_execution", "transition": {"branches": [{"when": "executed", "goto": "reply"}]}},
        {"id": "reply", "handler": "convert_to_openai_chat_response",
            "transition": {"branches": [{"when": "converted", "goto": "end"}]}}
    ]});
    let body =
        json!({"input": {"messages": [{"role": "user", "content": "Hi"}]}, "inputType": "openai_chat", "chain": chain});
    let mut ids = Vec::new();
    for _ in 0..2 {
        let answer = server.post("/tasks", body.clone()).await.expect(200).json();
        assert_eq!(answer["outputType"], "openai_chat_response");
        let output = &answer["output"];
        assert_eq!((&output["object"], &output["model"]), (&json!("chat.completion"), &json!("chat:1b")));
        assert_eq!(
            output["choices"],
            json!([{"index": 0, "message": {"role": "assistant", "content": "Fine."}, "finish_reason": "stop"}])
        );
        let tokens = |name: &str| output["usage"][name].as_u64().unwrap();
        assert!(tokens("prompt_tokens") > 0 && tokens("completion_tokens") > 0);
        assert_eq!(tokens("total_tokens"), tokens("prompt_tokens") + tokens("completion_tokens"));
        ids.push(output["id"].as_str().unwrap().to_owned());
    }
    assert!(ids.iter().all(|id| id.starts_with("chatcmpl-")) && ids[0] != ids[1], "{ids:?}");
}
