//! `POST /execute`: what the model is asked, who is asked, and what a failure looks like (`docs/api.md`, execution).

use loadtest::sim::{Route, Rule, SimBackend};
use serde_json::{Value, json};

use crate::support::{Answer, Scene, TASKS, TestServer};

async fn ask(server: &TestServer, body: Value) -> Answer {
    server.post("/execute", body).await
}

fn last_body(sim: &SimBackend, route: Route) -> Value {
    sim.record().of(route).last().expect("a request").json()
}

#[tokio::test]
async fn the_default_model_gets_one_prompt_behind_a_short_instruction() {
    let Scene { server, sim, id } = Scene::start(&[]).await;
    sim.script(Rule::on(Route::Generate).reply("  Four.\n"));
    let answer = ask(&server, json!({"prompt": "2 + 2?"})).await.expect(200);
    assert_eq!(answer.json()["response"], "Four.");
    assert!(uuid::Uuid::parse_str(answer.json()["id"].as_str().unwrap()).is_ok());
    for (name, value) in [("backend", id.as_str()), ("pool", TASKS), ("model", "chat:1b"), ("attempts", "1")] {
        assert_eq!(answer.header(&format!("x-penstock-{name}")), value);
    }
    assert_eq!(answer.header("x-penstock-warning"), "");
    let body = last_body(&sim, Route::Generate);
    assert_eq!((&body["model"], &body["prompt"]), (&json!("chat:1b"), &json!("2 + 2?")));
    assert_eq!((&body["stream"], &body["think"]), (&json!(false), &json!(false)));
    assert_eq!((&body["options"]["temperature"], &body["options"]["num_predict"]), (&json!(0.0), &json!(512)));
    let system = body["system"].as_str().expect("an instruction");
    assert!(!system.is_empty() && system.len() < 500, "{system}");
}

#[tokio::test]
async fn the_instruction_and_the_length_of_the_answer_are_settings() {
    let settings = [("DEFAULT_SYSTEM_INSTRUCTION", "Be brief."), ("MAX_OUTPUT_TOKENS", "2")];
    let Scene { server, sim, .. } = Scene::start(&settings).await;
    sim.script(Rule::on(Route::Generate).reply("one two three"));
    let answer = ask(&server, json!({"prompt": "count"})).await.expect(200);
    assert_eq!(answer.json()["response"], "one two");
    assert!(answer.header("x-penstock-warning").contains("2 tokens"), "{}", answer.header("x-penstock-warning"));
    let body = last_body(&sim, Route::Generate);
    assert_eq!((&body["system"], &body["options"]["num_predict"]), (&json!("Be brief."), &json!(2)));
}

#[tokio::test]
async fn an_empty_instruction_is_not_sent() {
    let Scene { server, sim, .. } = Scene::start(&[("DEFAULT_SYSTEM_INSTRUCTION", "")]).await;
    ask(&server, json!({"prompt": "hi"})).await.expect(200);
    assert!(last_body(&sim, Route::Generate).get("system").is_none());
}

#[tokio::test]
async fn an_openai_server_gets_a_chat_with_the_key() {
    let server = TestServer::start(&[]).await;
    let sim = SimBackend::openai().model("chat:1b").api_key("sk-mine").start().await.unwrap();
    let backend = json!({"name": "o", "baseUrl": sim.v1_url(), "type": "openai", "apiKey": "sk-mine"});
    let id = server.register_as(backend, &[TASKS]).await;
    server.wait_for_model(&id, "chat:1b").await;
    sim.script(Rule::on(Route::Chat).reply("Paris"));
    let answer = ask(&server, json!({"prompt": "Capital of France?"})).await.expect(200);
    assert_eq!(answer.json()["response"], "Paris");
    let body = last_body(&sim, Route::Chat);
    let roles: Vec<&str> = body["messages"].as_array().unwrap().iter().map(|m| m["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["system", "user"]);
    assert_eq!(body["messages"][1]["content"], "Capital of France?");
    assert_eq!((&body["temperature"], &body["max_completion_tokens"]), (&json!(0.0), &json!(512)));
    assert!(body.get("response_format").is_none(), "nothing was asked to be constrained");
    assert_eq!(sim.record().of(Route::Chat)[0].header("authorization"), Some("Bearer sk-mine"));
}

#[tokio::test]
async fn thoughts_in_front_of_an_answer_are_removed() {
    let Scene { server, sim, .. } = Scene::start(&[]).await;
    sim.script(Rule::on(Route::Generate).reply("<think>\nhm, four?\n</think>\n\nFour."));
    assert_eq!(ask(&server, json!({"prompt": "2 + 2?"})).await.expect(200).json()["response"], "Four.");
}

#[tokio::test]
async fn an_old_server_that_gives_no_reason_for_stopping_is_understood() {
    let Scene { server, sim, .. } = Scene::start(&[]).await;
    sim.script(Rule::on(Route::Generate).reply("Four.").done_reason_absent());
    assert_eq!(ask(&server, json!({"prompt": "2 + 2?"})).await.expect(200).json()["response"], "Four.");
}

#[tokio::test]
async fn a_prompt_is_required_before_anything_else() {
    let server = TestServer::start(&[]).await;
    for body in [json!({}), json!({"prompt": ""}), json!({"prompt": " \n"}), json!({"model_provider": "acme"})] {
        let answer = ask(&server, body).await.expect(400);
        assert!(answer.error().contains("prompt"), "{}", answer.text);
    }
    let answer = ask(&server, json!({"prompt": "hi", "model_provider": "acme"})).await.expect(400);
    assert!(answer.error().contains("acme") && answer.error().contains("ollama"), "{}", answer.text);
    ask(&server, json!({"prompt": 7})).await.expect(400);
}

#[tokio::test]
async fn a_model_and_a_provider_can_be_named() {
    let Scene { server, sim: ollama, id: ollama_id } = Scene::start(&[]).await;
    let openai = SimBackend::openai().model("gpt-x").start().await.unwrap();
    let openai_id = server.register("o", "openai", &openai, &[TASKS]).await;
    server.wait_for_model(&openai_id, "gpt-x").await;
    for (extra, backend, model) in [
        (json!({"model_name": "gpt-x"}), &openai_id, "gpt-x"),
        (json!({"modelName": "chat:1b"}), &ollama_id, "chat:1b"),
        (json!({"model_provider": "OpenAI"}), &openai_id, "gpt-x"),
        (json!({"model_provider": "ollama"}), &ollama_id, "chat:1b"),
        (json!({"model_name": "gpt-x", "model_provider": "openai"}), &openai_id, "gpt-x"),
    ] {
        let mut body = extra.clone();
        body["prompt"] = json!("hi");
        let answer = ask(&server, body).await.expect(200);
        assert_eq!(answer.header("x-penstock-backend"), backend, "{extra}");
        assert_eq!(answer.header("x-penstock-model"), model, "{extra}");
    }
    // A provider that does not have the model is no licence to take another.
    let body = json!({"prompt": "hi", "model_name": "chat:1b", "model_provider": "openai"});
    ask(&server, body).await.expect(503);
    assert_eq!(ollama.record().of(Route::Generate).len(), 2);
}

#[tokio::test]
async fn without_a_backend_the_answer_says_what_was_wanted_and_what_there_is() {
    let server = TestServer::start(&[]).await;
    let answer = ask(&server, json!({"prompt": "hi"})).await.expect(503);
    let told = answer.error();
    assert!(told.contains("chat:1b") && told.contains("no backend is registered"), "{told}");
    let sim = SimBackend::ollama().model("chat:1b").start().await.unwrap();
    server.ready("first-box", "ollama", &sim).await;
    let answer = ask(&server, json!({"prompt": "hi", "model_name": "huge:70b"})).await.expect(503);
    for part in ["huge:70b", "first-box", "chat:1b"] {
        assert!(answer.error().contains(part), "{part} is missing: {}", answer.text);
    }
    assert_eq!(answer.header("x-penstock-reason"), "no_backend");
    assert!(answer.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds > 0));
}

#[tokio::test]
async fn a_failed_call_is_a_short_500_without_secrets() {
    let server = TestServer::start(&[]).await;
    let sim = SimBackend::openai().model("chat:1b").start().await.unwrap();
    let backend = json!({"name": "o", "baseUrl": sim.url(), "type": "openai", "apiKey": "sk-very-secret"});
    let id = server.register_as(backend, &[TASKS]).await;
    server.wait_for_model(&id, "chat:1b").await;
    let long = format!(r#"{{"error":{{"message":"{}"}}}}"#, "x".repeat(5_000));
    let refused = r#"{"error":{"message":"Incorrect API key provided: sk-very-secret"}}"#;
    let empty = r#"{"choices":[{"message":{"content":""},"finish_reason":"stop"}]}"#;
    let filtered = r#"{"choices":[{"message":{"content":"x"},"finish_reason":"content_filter"}]}"#;
    for rule in [
        Rule::on(Route::Chat).status(500).body(long),
        Rule::on(Route::Chat).status(401).body(refused),
        Rule::on(Route::Chat).status(400),
        Rule::on(Route::Chat).status(404),
        Rule::on(Route::Chat).status(429),
        Rule::on(Route::Chat).status(503),
        Rule::on(Route::Chat).body("<html>"),
        Rule::on(Route::Chat).body(empty),
        Rule::on(Route::Chat).body(filtered),
    ] {
        sim.clear_script();
        let scripted = sim.script(rule.clone());
        let answer = ask(&server, json!({"prompt": "my own words"})).await.expect(500);
        assert!(!answer.error().is_empty() && answer.error().len() < 400, "{}", answer.text);
        for secret in ["sk-very-secret", "my own words", &sim.url()] {
            assert!(!answer.text.contains(secret), "{}", answer.text);
        }
        assert_eq!(scripted.hits(), 1, "nobody else could be asked: {rule:?}");
    }
    server.wait_until_idle(&id).await;
}

#[tokio::test]
async fn a_cloud_backend_is_used_only_when_it_is_named() {
    let server = TestServer::start(&[]).await;
    let sim = SimBackend::openai().model("chat:1b").model("gpt-x").start().await.unwrap();
    let backend = json!({"name": "c", "baseUrl": sim.url(), "type": "openai", "cloud": true, "apiKey": "k"});
    let id = server.register_as(backend, &[TASKS]).await;
    server.wait_for_model(&id, "gpt-x").await;
    for body in [json!({"prompt": "hi"}), json!({"prompt": "hi", "model_name": "gpt-x"})] {
        ask(&server, body).await.expect(503);
    }
    assert!(sim.record().of(Route::Chat).is_empty());
    let body = json!({"prompt": "hi", "model_name": "gpt-x", "model_provider": "openai"});
    assert_eq!(ask(&server, body).await.expect(200).header("x-penstock-backend"), id);
}

#[tokio::test]
async fn the_provider_of_the_default_model_is_a_setting() {
    let Scene { server, sim: ollama, .. } = Scene::start(&[("TASK_PROVIDER", "openai")]).await;
    ask(&server, json!({"prompt": "hi"})).await.expect(503);
    let cloud = SimBackend::openai().model("chat:1b").start().await.unwrap();
    let backend = json!({"name": "c", "baseUrl": cloud.url(), "type": "openai", "cloud": true, "apiKey": "k"});
    let id = server.register_as(backend, &[TASKS]).await;
    server.wait_for_model(&id, "chat:1b").await;
    assert_eq!(ask(&server, json!({"prompt": "hi"})).await.expect(200).header("x-penstock-backend"), id);
    assert!(ollama.record().of(Route::Generate).is_empty());
}

#[tokio::test]
async fn a_failed_request_names_the_backend_that_failed_it() {
    let scene = Scene::start(&[]).await;
    scene.sim.script(Rule::on(Route::Generate).status(500).body(r#"{"error":"boom"}"#));
    let answer = scene.server.post("/execute", json!({"prompt": "x"})).await.expect(500);
    assert_eq!(answer.header("x-penstock-backend"), scene.id);
    assert_eq!(answer.header("x-penstock-attempts"), "1");
}
