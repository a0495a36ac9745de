//! Backends of the type `vllm`: what they are asked and how their answers are taken (`docs/backends.md`, vLLM).

use loadtest::sim::{Route, Rule, SimBackend, SimModel, embedding};
use serde_json::{Value, json};

use crate::support::{EMBED, Scene, TASKS, TestServer};

async fn ready() -> (TestServer, SimBackend, String) {
    let server = TestServer::start(&[]).await;
    let sim = SimBackend::vllm()
        .model(SimModel::new("chat:1b").context_length(2048))
        .model("embed:1b")
        .api_key("k-0123456789")
        .start()
        .await
        .unwrap();
    let body = json!({"name": "v", "baseUrl": sim.v1_url(), "type": "vllm", "apiKey": "k-0123456789"});
    let id = server.register_as(body, &[TASKS, EMBED]).await;
    server.wait_for_model(&id, "chat:1b").await;
    server.wait_for_member(EMBED, &id).await;
    (server, sim, id)
}

fn no_such_route() -> Rule {
    Rule::on(Route::Chat).status(404).body(r#"{"detail":"Not Found"}"#)
}

fn chain(handler: &str, fields: Value) -> Value {
    let mut task = json!({"id": "t", "handler": handler, "transition": {"branches": [{"operator": "default"}]}});
    task.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    json!({"input": "Is it?", "chain": {"tasks": [task]}})
}

#[tokio::test]
async fn a_probe_shows_the_served_models_with_their_context() {
    let (server, sim, id) = ready().await;
    let shown = server.get(&format!("/backends/{id}")).await.expect(200).json();
    let chat = shown["pulledModels"].as_array().unwrap().iter().find(|model| model["name"] == "chat:1b").unwrap();
    assert_eq!(chat["contextLength"], 2048);
    assert_eq!(shown["error"].as_str().unwrap_or_default(), "");
    assert!(sim.record().of(Route::List).iter().all(|call| call.path == "/v1/models" && call.authorized()));
    let long = server.post("/execute", json!({"prompt": "a ".repeat(9000)})).await;
    assert!(long.status >= 400 && long.error().contains("maximum context length"), "{}", long.text);
}

#[tokio::test]
async fn a_server_without_models_is_in_error() {
    let server = TestServer::start(&[]).await;
    let sim = SimBackend::vllm().start().await.unwrap();
    let id = server.register("v", "vllm", &sim, &[TASKS]).await;
    server.wait_for_backend(&id, "the error", |view| view.error() == Some("the server lists no model")).await;
}

#[tokio::test]
async fn prompts_chats_and_texts_go_to_the_openai_routes() {
    let (server, sim, id) = ready().await;
    sim.script(Rule::on(Route::Chat).reply("Paris"));
    let answer = server.post("/execute", json!({"prompt": "Capital of France?"})).await.expect(200);
    assert_eq!((answer.json()["response"].as_str(), answer.header("x-penstock-backend")), (Some("Paris"), id.as_str()));
    let body = sim.record().of(Route::Chat)[0].json();
    assert_eq!((&body["model"], &body["max_tokens"]), (&json!("chat:1b"), &json!(512)));
    assert_eq!(body["messages"][1], json!({"role": "user", "content": "Capital of France?"}));
    let chat = chain("model_execution", json!({}));
    assert_eq!(server.post("/tasks", chat).await.expect(200).json()["outputType"], "chat_history");
    let vector = server.post("/embed", json!({"text": "a cat"})).await.expect(200).json()["vector"].clone();
    let vector: Vec<f32> = vector.as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect();
    assert_eq!(vector, embedding("a cat", 8));
    assert!(sim.record().requests.iter().all(|call| !call.query.contains("k-0123456789")));
}

#[tokio::test]
async fn forms_are_asked_for_in_vllms_own_words() {
    let (server, sim, _) = ready().await;
    let schema =
        json!({"type": "json_schema", "json_schema": {"name": "reply", "strict": true, "schema": {"type": "integer"}}});
    for (handler, fields, name, form, output) in [
        (
            "condition_key",
            json!({"valid_conditions": {"yes": true, "no": true}}),
            "structured_outputs",
            json!({"choice": ["yes", "no"]}),
            json!("yes"),
        ),
        (
            "parse_range",
            json!({}),
            "structured_outputs",
            json!({"regex": r"-?[0-9]+(\.[0-9]+)?-(-)?[0-9]+(\.[0-9]+)?"}),
            json!("1-1"),
        ),
        ("parse_number", json!({}), "response_format", schema, json!(0)),
    ] {
        let answer = server.post("/tasks", chain(handler, fields)).await.expect(200).json();
        assert_eq!(answer["output"], output, "{handler}: {answer}");
        let record = sim.record();
        let body = record.of(Route::Chat).last().unwrap().json();
        let mut sent = body[name].clone();
        if let Some(choice) = sent.get_mut("choice").and_then(Value::as_array_mut) {
            choice.sort_by_key(|key| std::cmp::Reverse(key.to_string()));
        }
        assert_eq!(sent, form, "{handler}");
    }
}

#[tokio::test]
async fn a_server_that_cannot_chat_completes_prompts() {
    let (server, sim, _) = ready().await;
    sim.script(no_such_route());
    sim.script(Rule::on(Route::Generate).reply(" Paris"));
    let answer = server.post("/execute", json!({"prompt": "The capital of France is"})).await.expect(200);
    assert_eq!(answer.json()["response"], "Paris");
    let body = sim.record().of(Route::Generate)[0].json();
    assert!(body["prompt"].as_str().unwrap().ends_with("\n\nThe capital of France is"), "{body}");
    assert_eq!((&body["max_tokens"], body.get("messages")), (&json!(512), None));
    // A conversation cannot be completed, and an unknown model is no missing route.
    server.post("/tasks", chain("model_execution", json!({}))).await.expect(500);
    sim.clear_script();
    sim.script(Rule::on(Route::Chat).status(404));
    assert_ne!(server.post("/execute", json!({"prompt": "a"})).await.status, 200);
    assert_eq!(sim.record().of(Route::Generate).len(), 1);
}

#[tokio::test]
async fn failures_are_told_apart_and_another_backend_takes_over_where_it_may() {
    let Scene { server, sim: other, .. } = Scene::with(&[], json!({"tier": 1})).await;
    let sim = SimBackend::vllm().model("chat:1b").start().await.unwrap();
    server.ready("v", "vllm", &sim).await;
    sim.script(Rule::on(Route::Chat).times(1).status(503));
    server.post("/execute", json!({"prompt": "a"})).await.expect(200);
    assert_eq!(other.record().of(Route::Generate).len(), 1, "503 goes elsewhere");
    sim.script(Rule::on(Route::Chat).times(1).status(500));
    assert_ne!(server.post("/execute", json!({"prompt": "a"})).await.status, 200);
    sim.script(Rule::on(Route::Chat).times(1).finish("content_filter"));
    assert_ne!(server.post("/execute", json!({"prompt": "a"})).await.status, 200);
    assert_eq!(other.record().of(Route::Generate).len(), 1, "what was answered stays");
}

#[tokio::test]
async fn what_one_protocol_has_no_words_for_is_asked_of_a_backend_of_another() {
    let Scene { server, sim: ollama, .. } = Scene::start(&[]).await;
    let sim = SimBackend::vllm().model("chat:1b").start().await.unwrap();
    let body = json!({"model": "chat:1b", "n": 2, "messages": [{"role": "user", "content": "Hi"}]});
    let alone = server.post("/v1/chat/completions", body.clone()).await.expect(400);
    assert!(alone.text.contains("'n' must be 1"), "{}", alone.text);
    let id = server.register_as(json!({"name": "v", "baseUrl": sim.url(), "type": "vllm", "tier": 1}), &[TASKS]).await;
    server.wait_for_model(&id, "chat:1b").await;
    server.wait_for_member(TASKS, &id).await;
    let answer = server.post("/v1/chat/completions", body).await.expect(200);
    assert_eq!(answer.json()["choices"].as_array().unwrap().len(), 2);
    assert_eq!((answer.header("x-penstock-backend"), answer.header("x-penstock-attempts")), (id.as_str(), "2"));
    assert!(ollama.record().of([Route::Chat, Route::Generate]).is_empty(), "nothing was sent to the first");
}
