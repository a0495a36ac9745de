//! Backends of the type `gemini`: what they are asked, how their answers and refusals are taken, and where their key goes
//! (`docs/backends.md`, Gemini).

use loadtest::sim::{Route, Rule, SimBackend, SimModel, embedding};
use serde_json::{Value, json};

use crate::support::{Answer, EMBED, TASKS, TestServer};

const KEY: &str = "AIza-secret-0123456789-wxyz";

async fn configured() -> (TestServer, SimBackend) {
    let sim = SimBackend::gemini()
        .model(SimModel::new("gemini-x").context_length(5000))
        .model("embed-x")
        .model(SimModel::new("pictures").capabilities(["predict"]))
        .page_size(2)
        .api_key(KEY)
        .start()
        .await
        .unwrap();
    let server = TestServer::start(&[("GEMINI_BASE_URL", &sim.url())]).await;
    server.post("/providers/gemini/configure", json!({"apiKey": KEY})).await.expect(200);
    for pool in [TASKS, EMBED] {
        server.post(&format!("/backend-associations/{pool}/backends/gemini"), Value::Null).await.expect(201);
        server.wait_for_member(pool, "gemini").await;
    }
    server.wait_for_model("gemini", "gemini-x").await;
    (server, sim)
}

async fn ask(server: &TestServer, prompt: &str) -> Answer {
    server.post("/execute", json!({"prompt": prompt, "model_name": "gemini-x", "model_provider": "gemini"})).await
}

fn chain(handler: &str, fields: Value) -> Value {
    let mut task = json!({"id": "t", "handler": handler, "system_instruction": "Be brief",
        "execute_config": {"model": "gemini-x", "provider": "gemini"},
        "transition": {"branches": [{"operator": "default"}]}});
    task.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    json!({"tasks": [task]})
}

#[tokio::test]
async fn all_pages_of_models_are_read_with_what_each_can_do() {
    let (server, sim) = configured().await;
    let shown = server.get("/backends/gemini").await.expect(200).json();
    let models: Vec<Value> = shown["pulledModels"].as_array().unwrap().clone();
    let seen: Vec<_> = models
        .iter()
        .map(|model| {
            (
                model["name"].as_str().or(model["model"].as_str()).unwrap(),
                &model["canChat"],
                &model["canEmbed"],
                model["contextLength"].as_i64().unwrap(),
            )
        })
        .collect();
    let (yes, no) = (json!(true), json!(false));
    assert_eq!(seen, [("pictures", &no, &no, 131_072), ("embed-x", &no, &yes, 131_072), ("gemini-x", &yes, &no, 5000)]);
    let record = sim.record();
    let lists = record.of(Route::List);
    assert_eq!(lists[0].path, "/v1beta/models");
    assert!(lists.iter().any(|call| call.query.contains("pageToken=2")), "the second page was asked for");
}

#[tokio::test]
async fn a_prompt_and_a_conversation_go_to_generate_content() {
    let (server, sim) = configured().await;
    sim.script(Rule::on(Route::Chat).reply("It is Paris").thinking("hm"));
    let answer = ask(&server, "Capital of France?").await.expect(200);
    assert_eq!(answer.json()["response"], "It is Paris");
    assert_eq!((answer.header("x-penstock-backend"), answer.header("x-penstock-model")), ("gemini", "gemini-x"));
    let history = json!({"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "So?"}]});
    let body = json!({"input": history, "inputType": "chat_history", "chain": chain("model_execution", json!({}))});
    let answer = server.post("/tasks", body).await.expect(200).json();
    let messages = answer["output"]["messages"].as_array().unwrap();
    assert_eq!(messages.last().unwrap()["role"], "assistant", "{answer}");
    let record = sim.record();
    let calls = record.of(Route::Chat);
    assert_eq!(calls[1].path, "/v1beta/models/gemini-x:generateContent");
    let sent = calls[1].json();
    assert_eq!(sent["system_instruction"], json!({"parts": [{"text": "Be brief"}]}));
    let roles: Vec<&str> =
        sent["contents"].as_array().unwrap().iter().map(|said| said["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["user", "model", "user"]);
    assert_eq!(calls[0].json()["generationConfig"], json!({"temperature": 0.0, "maxOutputTokens": 512}));
}

#[tokio::test]
async fn a_model_is_found_with_its_prefix_too() {
    let (server, _sim) = configured().await;
    let body = json!({"prompt": "hi", "model_name": "models/gemini-x", "model_provider": "gemini"});
    assert_eq!(server.post("/execute", body).await.expect(200).header("x-penstock-model"), "gemini-x");
}

#[tokio::test]
async fn a_text_becomes_a_vector() {
    let (server, sim) = configured().await;
    let tasks = chain(
        "embedding",
        json!({"system_instruction": "", "execute_config": {"model": "embed-x", "provider": "gemini"}}),
    );
    let answer = server.post("/tasks", json!({"input": "a cat", "chain": tasks})).await.expect(200).json();
    let vector: Vec<f32> =
        answer["output"].as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect();
    assert_eq!(vector, embedding("a cat", 8));
    let call = &sim.record().of(Route::Embed)[0].clone();
    assert_eq!(call.path, "/v1beta/models/embed-x:batchEmbedContents");
    assert_eq!(
        call.json(),
        json!({"requests": [{"model": "models/embed-x", "content": {"parts": [{"text": "a cat"}]}}]})
    );
}

#[tokio::test]
async fn replies_are_forced_into_their_form() {
    let (server, sim) = configured().await;
    for (handler, fields, schema, output) in [
        (
            "condition_key",
            json!({"valid_conditions": {"yes": true}}),
            json!({"type": "STRING", "enum": ["yes"]}),
            json!("yes"),
        ),
        ("parse_number", json!({}), json!({"type": "INTEGER"}), json!(0)),
        ("parse_score", json!({}), json!({"type": "NUMBER"}), json!(0.0)),
    ] {
        let answer =
            server.post("/tasks", json!({"input": "Is it?", "chain": chain(handler, fields)})).await.expect(200);
        assert_eq!(answer.json()["output"].as_f64(), output.as_f64(), "{handler}");
        let config = sim.record().of(Route::Chat).last().unwrap().json()["generationConfig"].clone();
        assert_eq!((&config["responseMimeType"], &config["responseSchema"]), (&json!("application/json"), &schema));
    }
}

#[tokio::test]
async fn cut_replies_are_warned_of_and_withheld_ones_are_failures() {
    let (server, sim) = configured().await;
    sim.script(Rule::on(Route::Chat).times(1).finish("MAX_TOKENS"));
    assert!(!ask(&server, "a").await.expect(200).header("x-penstock-warning").is_empty());
    sim.script(Rule::on(Route::Chat).times(1).finish("SAFETY"));
    let withheld = ask(&server, "a").await;
    assert!(withheld.status >= 500 && withheld.error().contains("content filter"), "{}", withheld.text);
    sim.script(Rule::on(Route::Chat).times(1).body(r#"{"promptFeedback":{"blockReason":"PROHIBITED_CONTENT"}}"#));
    let blocked = ask(&server, "a").await;
    assert!(blocked.status >= 500 && blocked.error().contains("content filter"), "{}", blocked.text);
}

#[tokio::test]
async fn failures_carry_the_services_status_and_words() {
    let (server, sim) = configured().await;
    for status in [400, 403, 404, 429, 500, 503] {
        sim.script(Rule::on(Route::Chat).times(1).status(status));
        server.forget_failures();
        let failed = ask(&server, "a").await;
        assert!(failed.status >= 400 && failed.error().contains(&format!("answered {status}: ")), "{}", failed.text);
    }
    let long = ask(&server, &"a ".repeat(20_000)).await;
    assert!(long.error().contains("400: The input token count"), "{}", long.text);
}

#[tokio::test]
async fn the_key_goes_into_googles_header_and_nowhere_else() {
    let (server, sim) = configured().await;
    ask(&server, "a").await.expect(200);
    for call in sim.record().requests {
        assert_eq!(call.header("x-goog-api-key"), Some(KEY));
        assert!(!call.authorized() && !call.query.contains("key") && !call.path.contains("secret"), "{call:?}");
    }
    let wrong = json!({"apiKey": "AIza-wrong-0123456789", "upsert": true});
    server.post("/providers/gemini/configure", wrong).await.expect(200);
    server.wait_for_backend("gemini", "the refusal", |view| view.error().is_some()).await;
    let shown = server.get("/backends/gemini").await.expect(200).text;
    assert!(shown.contains("check the API key") && !shown.contains("AIza"), "{shown}");
}

#[tokio::test]
async fn a_gemini_without_a_key_is_in_error_and_never_called() {
    let server = TestServer::start(&[]).await;
    let sim = SimBackend::gemini().model("gemini-x").start().await.unwrap();
    let id = server.register("g", "gemini", &sim, &[TASKS]).await;
    server.wait_for_backend(&id, "the error", |view| view.error() == Some("API key not configured")).await;
    assert!(sim.record().requests.is_empty());
    // One of the own network, such as a gateway with the key in it, needs none.
    let own = json!({"name": "gateway", "baseUrl": format!("{}/v1beta", sim.url()), "type": "gemini", "cloud": false});
    server.delete(&format!("/backends/{id}")).await.expect(200);
    let id = server.register_as(own, &[TASKS]).await;
    server.wait_for_model(&id, "gemini-x").await;
}
