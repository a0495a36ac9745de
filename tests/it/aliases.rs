//! `/aliases`, and calls that fall back along one (`docs/api.md`, aliases).

use loadtest::sim::{Routes, Rule, SimBackend};
use serde_json::{Value, json};

use crate::{
    choosing::{calls, chat, post},
    support::{
        Scene, TASKS, TestServer, in_background,
        shape::{assert_keys, assert_new, assert_rewritten, column},
    },
};

const ALIAS: &str = "name targets createdAt updatedAt";

async fn create(server: &TestServer, name: &str, targets: Value) -> Value {
    server.post("/aliases", json!({"name": name, "targets": targets})).await.expect(201).json()
}

/// Two backends of one's own, each with a model that the other does not have.
struct Two {
    server: TestServer,
    first: SimBackend,
    second: SimBackend,
    first_id: String,
}

impl Two {
    async fn start() -> Self {
        let server = TestServer::start(&[]).await;
        let first = SimBackend::openai().model("chat:1b").model("first").start().await.unwrap();
        let second = SimBackend::openai().model("chat:1b").model("second").start().await.unwrap();
        let body = json!({"name": "a", "baseUrl": first.v1_url(), "type": "openai", "maxConcurrency": 1});
        let first_id = server.register_as(body, &[TASKS]).await;
        let second_id = server.ready("b", "openai", &second).await;
        for id in [&first_id, &second_id] {
            server.wait_for_model(id, "chat:1b").await;
            server.wait_for_member(TASKS, id).await;
        }
        create(&server, "best", json!([{"model": "first"}, {"model": "second"}])).await;
        Self { server, first, second, first_id }
    }
}

#[tokio::test]
async fn an_alias_is_made_changed_listed_and_deleted() {
    let server = TestServer::start(&[]).await;
    let targets =
        json!([{"Model": " m ", "Provider": "OpenAI"}, {"model": "n", "providers": ["vllm", "ollama"], "pool": TASKS}]);
    let made = create(&server, "fast", targets).await;
    assert_keys(&made, ALIAS);
    assert_new(&made);
    let stored = json!([{"model": "m", "providers": ["openai"]}, {"model": "n", "providers": ["vllm", "ollama"], "pool": TASKS}]);
    assert_eq!(made["targets"], stored);
    assert_eq!(server.get("/aliases/fast").await.expect(200).json(), made);

    create(&server, "org/later", json!([{"model": "m"}])).await;
    assert_eq!(column(&server.get("/aliases").await.expect(200).json(), "name"), ["org/later", "fast"]);
    let page = server.get("/aliases?limit=1").await.expect(200).json();
    let cursor = page[0]["createdAt"].as_str().unwrap();
    assert_eq!(column(&server.get(&format!("/aliases?cursor={cursor}")).await.expect(200).json(), "name"), ["fast"]);

    let changed = server.put("/aliases/fast", json!({"targets": [{"model": "other"}]})).await.expect(200).json();
    assert_rewritten(&changed, &made["createdAt"]);
    assert_eq!((&changed["name"], &changed["targets"]), (&json!("fast"), &json!([{"model": "other"}])));
    let renamed = json!({"name": "faster", "targets": [{"model": "other"}]});
    assert_eq!(server.put("/aliases/fast", renamed).await.expect(200).json()["name"], "faster");
    server.get("/aliases/fast").await.expect(404);
    server.put("/aliases/fast", json!({"targets": [{"model": "other"}]})).await.expect(404);
    server.put("/aliases/faster", json!({"name": "org/later", "targets": [{"model": "o"}]})).await.expect(409);

    assert_eq!(server.delete("/aliases/org%2Flater").await.expect(200).json(), "deleted");
    server.delete("/aliases/org%2Flater").await.expect(404);
}

#[tokio::test]
async fn what_is_no_valid_alias_is_refused() {
    let server = TestServer::start(&[]).await;
    let target = json!({"model": "m"});
    let of = |name: &str, targets: Value| json!({"name": name, "targets": targets});
    for (body, status) in [
        (json!({}), 422),
        (of("", json!([target])), 422),
        (of("  ", json!([target])), 422),
        (of("chain/x", json!([target])), 422),
        (of("pool/x/y", json!([target])), 422),
        (of("x:latest", json!([target])), 422),
        (of("..", json!([target])), 422),
        (of("a\nb", json!([target])), 422),
        (of("x", json!([])), 422),
        (of("x", json!(vec![target.clone(); 11])), 422),
        (of("x", json!([{}])), 422),
        (of("x", json!([{"model": "chain/x"}])), 422),
        (of("x", json!([{"model": "m", "provider": "anthropic"}])), 422),
        (of("x", json!([{"model": "m", "providers": ["openai", ""]}])), 422),
        (of(&"x".repeat(256), json!([target])), 400),
        (of("x", json!("m")), 400),
    ] {
        let answer = server.post("/aliases", body.clone()).await;
        assert_eq!(answer.status, status, "{body} {}", answer.text);
        assert!(answer.error().contains("field '"), "{}", answer.text);
    }
    assert_eq!(server.get("/aliases").await.json(), json!([]));
    create(&server, "x", json!(vec![target.clone(); 10])).await;
    let taken = server.post("/aliases", of("x", json!([target]))).await.expect(409);
    assert_eq!(taken.error(), "an alias named 'x' exists already");
    let warned = server.post("/aliases", of("y", json!([{"model": "m", "pool": "nowhere"}]))).await.expect(201);
    assert!(warned.header("x-penstock-warning").contains("pool 'nowhere' not found"), "{warned:?}");
}

#[tokio::test]
async fn an_alias_is_in_force_when_it_is_answered_and_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let sim = SimBackend::openai().model("chat:1b").start().await.unwrap();
    let server = TestServer::start_in(folder.path(), &[]).await;
    let id = server.ready("a", "openai", &sim).await;
    chat(&server, "best", &[]).await.expect(404);
    create(&server, "best", json!([{"model": "chat:1b"}])).await;
    for name in ["best", "best:latest"] {
        assert_eq!(chat(&server, name, &[]).await.expect(200).header("x-penstock-model"), "chat:1b");
    }
    server.put("/aliases/best", json!({"targets": [{"model": "absent"}]})).await.expect(200);
    chat(&server, "best", &[]).await.expect(503);
    server.put("/aliases/best", json!({"targets": [{"model": "chat:1b"}]})).await.expect(200);
    server.stop().await;

    let server = TestServer::start_in(folder.path(), &[]).await;
    server.wait_for_backend(&id, "its models", |view| !view.observed.is_empty()).await;
    post(&server, "/execute", json!({"prompt": "hi", "model_name": "best"}), &[]).await.expect(200);
    server.delete("/aliases/best").await.expect(200);
    chat(&server, "best", &[]).await.expect(404);
}

#[tokio::test]
async fn an_alias_beats_a_model_of_its_name_and_no_target_is_read_as_an_alias() {
    let Two { server, first, second, .. } = Two::start().await;
    create(&server, "first", json!([{"model": "second"}])).await;
    assert_eq!(chat(&server, "first", &[]).await.expect(200).header("x-penstock-model"), "second");
    // The target named `first` is the model.
    assert_eq!(chat(&server, "best", &[]).await.expect(200).header("x-penstock-model"), "first");
    create(&server, "round", json!([{"model": "round"}])).await;
    chat(&server, "round", &[]).await.expect(503);
    assert_eq!((calls(&first), calls(&second)), (1, 1));
}

#[tokio::test]
async fn a_failed_call_falls_back_and_tells_it() {
    let Two { server, first, second, .. } = Two::start().await;
    for status in [503, 500, 429, 401, 404] {
        let (before, then) = (calls(&first), calls(&second));
        server.forget_failures();
        first.script(Rule::on(Routes::CALLS).status(status).times(1));
        let answer = chat(&server, "best", &[]).await.expect(200);
        assert_eq!(
            (answer.header("x-penstock-model"), answer.header("x-penstock-attempts")),
            ("second", "2"),
            "{status}"
        );
        assert_eq!((calls(&first), calls(&second)), (before + 1, then + 1), "{status}");
    }
    server.forget_failures();
    let too_long = r#"{"error":{"message":"too long","code":"context_length_exceeded"}}"#;
    first.script(Rule::on(Routes::CALLS).status(400).body(too_long).times(1));
    assert_eq!(chat(&server, "best", &[]).await.expect(200).header("x-penstock-model"), "second");
    // The call is wrong: nobody would take it.
    let asked = calls(&second);
    first.script(Rule::on(Routes::CALLS).status(400).times(1));
    let refused = chat(&server, "best", &[]).await.expect(400);
    assert_eq!((refused.header("x-penstock-attempts"), calls(&second)), ("1", asked));
    // All have failed: the last one is told.
    first.script(Rule::on(Routes::CALLS).status(500).times(1));
    second.script(Rule::on(Routes::CALLS).status(500).times(1));
    let failed = chat(&server, "best", &[]).await.expect(502);
    assert_eq!((failed.header("x-penstock-model"), failed.header("x-penstock-attempts")), ("second", "2"));
}

#[tokio::test]
async fn a_stream_falls_back_before_its_first_word_and_never_after() {
    let Scene { server, sim: first, .. } = Scene::start(&[]).await;
    let second = SimBackend::openai().model("second").start().await.unwrap();
    let id = server.register_as(json!({"name": "b", "baseUrl": second.v1_url(), "type": "openai"}), &[TASKS]).await;
    server.wait_for_model(&id, "second").await;
    server.wait_for_member(TASKS, &id).await;
    create(&server, "best", json!([{"model": "chat:1b"}, {"model": "second"}])).await;
    let body = json!({"model": "best", "messages": [{"role": "user", "content": "hi"}]});
    first.script(Rule::on(Routes::CALLS).status(503).times(1));
    let answer = post(&server, "/api/chat", body.clone(), &[]).await.expect(200);
    assert_eq!((answer.header("x-penstock-model"), answer.header("x-penstock-attempts")), ("second", "2"));
    let asked = calls(&second);
    first.script(Rule::on(Routes::CALLS).reply_chunks(["one", "two", "three"]).cut_after(2).times(1));
    let answer = post(&server, "/api/chat", body, &[]).await.expect(200);
    assert_eq!((answer.header("x-penstock-model"), calls(&second)), ("chat:1b", asked));
    let last: Value = serde_json::from_str(answer.text.trim().lines().last().unwrap()).unwrap();
    assert!(answer.text.contains("one") && last["error"].is_string(), "{}", answer.text);
}

#[tokio::test]
async fn a_full_queue_falls_back_to_the_next_target() {
    let Two { server, first, second, first_id } = Two::start().await;
    server.put(&format!("/pools/{TASKS}"), json!({"queue": {"capacity": 0}})).await.expect(200);
    let gate = first.hold();
    let client = (*server).clone();
    let running =
        in_background(async move { client.post("/execute", json!({"prompt": "hi", "model_name": "first"})).await });
    gate.wait_for_arrivals(1).await.unwrap();
    let answer = chat(&server, "best", &[]).await.expect(200);
    assert_eq!((answer.header("x-penstock-model"), answer.header("x-penstock-attempts")), ("second", "1"));
    // A plain name waits for its own.
    chat(&server, "first", &[]).await.expect(503);
    gate.release_all();
    running.await.unwrap().expect(200);
    server.wait_until_idle(&first_id).await;
    assert_eq!((calls(&first), calls(&second)), (1, 1));
}

#[tokio::test]
async fn the_headers_of_a_request_narrow_an_alias() {
    let Two { server, first, second, .. } = Two::start().await;
    let pool = server.post("/pools", json!({"name": "night"})).await.expect(201).json();
    let targets = json!([{"model": "first", "providers": ["openai", "vllm"]}, {"model": "second", "pool": TASKS}]);
    create(&server, "mixed", targets).await;
    let answer = chat(&server, "mixed", &[("X-Penstock-Provider", "ollama"), ("X-Penstock-Pool", "night")]).await;
    assert!(answer.expect(404).error().contains("no target of alias 'mixed'"));
    let answer = chat(&server, "mixed", &[("X-Penstock-Require", "zone=on-prem")]).await.expect(503);
    assert!(answer.error().contains("zone=on-prem"), "{}", answer.text);
    chat(&server, "mixed", &[("X-Penstock-Pool", pool["id"].as_str().unwrap())]).await.expect(503);
    assert_eq!((calls(&first), calls(&second)), (0, 0));
    chat(&server, "pool/internal_tasks_pool/mixed", &[]).await.expect(200);
    assert_eq!(calls(&first), 1);
}

#[tokio::test]
async fn a_target_goes_to_a_cloud_only_where_its_kind_is_named() {
    let cloud = SimBackend::openai().model("gpt-x").api_key("sk-1234567890abcd").start().await.unwrap();
    let server = TestServer::start(&[("OPENAI_BASE_URL", &cloud.v1_url())]).await;
    server.post("/providers/openai/configure", json!({"apiKey": "sk-1234567890abcd"})).await.expect(200);
    server.post(&format!("/backend-associations/{TASKS}/backends/openai"), Value::Null).await.expect(201);
    server.wait_for_model("openai", "gpt-x").await;
    server.wait_for_member(TASKS, "openai").await;
    create(&server, "unnamed", json!([{"model": "gpt-x"}])).await;
    chat(&server, "unnamed", &[]).await.expect(503);
    assert_eq!(calls(&cloud), 0);
    create(&server, "named", json!([{"model": "gpt-x", "provider": "openai"}])).await;
    create(&server, "prefixed", json!([{"model": "openai/gpt-x"}])).await;
    chat(&server, "named", &[]).await.expect(200);
    chat(&server, "prefixed", &[]).await.expect(200);
}

#[tokio::test]
async fn lists_of_models_hold_aliases_that_somebody_serves() {
    let Scene { server, sim: _sim, .. } = Scene::start(&[]).await;
    create(&server, "best", json!([{"model": "absent"}, {"model": "chat:1b"}])).await;
    create(&server, "idle", json!([{"model": "absent"}])).await;
    let names = column(&server.get("/api/tags").await.expect(200).json()["models"], "name");
    let has = |name: &str| names.iter().any(|listed| listed.trim_end_matches(":latest") == name);
    assert!(has("best") && has("chat:1b") && has("embed:1b") && !has("idle"), "{names:?}");
}
