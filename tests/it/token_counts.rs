//! Who counts the tokens of a call, and that a count that fails is no failure (`docs/operations.md`, token counts).

use loadtest::sim::{Flavour, Route, Rule, SimBackend, SimTokenizer};
use serde_json::{Value, json};

use crate::support::{Answer, Process, Scene, TASKS, TestServer, eventually, soon};

/// Twenty tokens or so to the built-in vocabulary, and 105 to the simulated ones, which count four bytes as one.
fn words() -> String {
    "internationalization ".repeat(20)
}

/// Asks within a limit of tokens.
fn limited(token_limit: u64, input: &str) -> Value {
    let task = json!({"id": "t", "handler": "model_execution", "transition": {"branches": [{"operator": "default"}]}});
    json!({"input": input, "chain": {"token_limit": token_limit, "tasks": [task]}})
}

async fn run(server: &TestServer, token_limit: u64) -> Answer {
    soon("the run", server.post("/tasks", limited(token_limit, &words()))).await
}

/// That the limit was held against this count.
#[track_caller]
fn assert_refused(answer: &Answer, counted: &str) {
    assert!(answer.status >= 400 && answer.error().contains(counted), "{} {}", answer.status, answer.text);
}

#[tokio::test]
async fn the_services_count_decides_a_token_limit() {
    let tokenizer = SimTokenizer::start().await.unwrap();
    let Scene { server, sim, .. } = Scene::start(&[("TOKENIZER_SERVICE_URL", &tokenizer.url())]).await;
    run(&server, 105).await.expect(200);
    assert_refused(&run(&server, 104).await, "105");
    tokenizer.count("internationalization", 100_000);
    assert_refused(&run(&server, 5000).await, "100000");
    let record = tokenizer.record();
    assert_eq!(record.of(Route::Tokenize)[0].json(), json!({"model": "chat:1b", "prompt": words()}));
    assert_eq!(sim.record().of(Route::Chat).len(), 1, "what is refused is not sent");
}

#[tokio::test]
async fn a_service_gets_no_text_that_may_go_to_labelled_backends_only() {
    let tokenizer = SimTokenizer::start().await.unwrap();
    let settings = [("TOKENIZER_SERVICE_URL", &*tokenizer.url())];
    let Scene { server, sim: _sim, .. } = Scene::with(&settings, json!({"labels": {"zone": "here"}})).await;
    let mut bound = limited(5000, &words());
    bound["chain"]["require"] = json!({"zone": "here"});
    server.post("/tasks", bound).await.expect(200);
    assert_eq!(tokenizer.record().of(Route::Tokenize).len(), 0, "the chain requires a label");
    server.put(&format!("/pools/{TASKS}"), json!({"requireLabels": {"zone": "here"}})).await.expect(200);
    run(&server, 5000).await.expect(200);
    assert_eq!(tokenizer.record().of(Route::Tokenize).len(), 0, "the pool requires a label");
    server.put(&format!("/pools/{TASKS}"), json!({"requireLabels": {}})).await.expect(200);
    run(&server, 5000).await.expect(200);
    assert_eq!(tokenizer.record().of(Route::Tokenize).len(), 1, "nothing does");
}

#[tokio::test]
async fn without_a_service_that_answers_the_built_in_vocabulary_decides() {
    let Scene { server, sim: _sim, .. } = Scene::start(&[]).await;
    run(&server, 100).await.expect(200);
    let refused = run(&server, 10).await;
    assert!(refused.status >= 400, "{}", refused.text);

    let tokenizer = SimTokenizer::start().await.unwrap();
    let Scene { server, sim: _sim, .. } = Scene::start(&[("TOKENIZER_SERVICE_URL", &tokenizer.url())]).await;
    for rule in [
        Rule::on(Route::Tokenize).status(503),
        Rule::on(Route::Tokenize).body("broken"),
        Rule::on(Route::Tokenize).close_before_headers(),
        Rule::on(Route::Tokenize).hang_before_headers(),
    ] {
        tokenizer.clear_script();
        let failing = tokenizer.script(rule);
        // Until the rest after the failure before this one is over, it is not asked.
        eventually("a failed count", || async {
            let answer = run(&server, 100).await;
            assert_eq!(answer.status, 200, "never a failed task: {}", answer.text);
            if failing.hits() > 0 { Ok(()) } else { Err("it was left alone".to_owned()) }
        })
        .await;
    }
    tokenizer.stop().await;
    run(&server, 100).await.expect(200);
    tokenizer.restart().await.unwrap();
    tokenizer.clear_script();
    eventually("an exact count", || async {
        let answer = run(&server, 100).await;
        if answer.error().contains("105") { Ok(()) } else { Err(answer.text) }
    })
    .await;
}

#[tokio::test]
async fn an_outage_of_the_service_is_logged_once() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = SimTokenizer::start().await.unwrap();
    tokenizer.script(Rule::on(Route::Tokenize).times(2).status(500));
    let (mut process, client) = Process::serve(folder.path(), &[("TOKENIZER_SERVICE_URL", &tokenizer.url())]).await;
    let sim = SimBackend::ollama().model("chat:1b").start().await.unwrap();
    client.add_ollama(&sim).await;
    eventually("the service's return", || async {
        client.post("/tasks", limited(100_000, "hi")).await.expect(200);
        let log = process.log();
        if log.contains("the tokenizer service answers again") { Ok(()) } else { Err(log) }
    })
    .await;
    process.signal("TERM").await;
    process.ended().await;
    let log = process.log();
    let warnings: Vec<&str> = log.lines().filter(|line| line.contains("the tokenizer service fails")).collect();
    assert_eq!(warnings.len(), 1, "{log}");
    assert!(warnings[0].contains("WARN") && warnings[0].contains("answered 500"), "{}", warnings[0]);
}

#[tokio::test]
async fn backends_that_can_count_are_asked_where_there_is_no_service() {
    for (kind, builder) in [("vllm", SimBackend::vllm()), ("openai", SimBackend::openai().flavour(Flavour::LlamaCpp))] {
        let server = TestServer::start(&[]).await;
        let sim = builder.model("chat:1b").start().await.unwrap();
        server.ready("b", kind, &sim).await;
        run(&server, 105).await.expect(200);
        assert_refused(&run(&server, 104).await, "105");
        assert_eq!(sim.record().of(Route::Tokenize)[0].path, "/tokenize", "{kind}");
    }
    let server = TestServer::start(&[("TASK_PROVIDER", "gemini"), ("TASK_MODEL", "gemini-x")]).await;
    let sim = SimBackend::gemini().model("gemini-x").api_key("k-0123456789").start().await.unwrap();
    let body = json!({"name": "g", "baseUrl": sim.url(), "type": "gemini", "apiKey": "k-0123456789"});
    let id = server.register_as(body, &[TASKS]).await;
    server.wait_for_model(&id, "gemini-x").await;
    assert_refused(&run(&server, 104).await, "105");
    assert_eq!(sim.record().of(Route::Tokenize)[0].path, "/v1beta/models/gemini-x:countTokens");
}

#[tokio::test]
async fn a_server_that_has_no_route_for_it_is_asked_once_and_one_that_fails_is_no_failure() {
    let server = TestServer::start(&[]).await;
    let sim = SimBackend::openai().flavour(Flavour::LlamaCpp).model("chat:1b").start().await.unwrap();
    server.ready("l", "openai", &sim).await;
    let failing = sim.script(Rule::on(Route::Tokenize).times(1).status(500));
    run(&server, 100).await.expect(200);
    assert_eq!(failing.hits(), 1);
    sim.script(Rule::on(Route::Tokenize).status(404).body("Not Found"));
    for _ in 0..3 {
        run(&server, 100).await.expect(200);
    }
    assert_eq!(sim.record().of(Route::Tokenize).len(), 2);

    let plain = SimBackend::openai().model("chat:1b").start().await.unwrap();
    let server = TestServer::start(&[]).await;
    server.ready("o", "openai", &plain).await;
    run(&server, 100).await.expect(200);
    assert!(plain.record().requests.iter().all(|call| call.path.starts_with("/v1/")), "others are not asked");
}

#[tokio::test]
async fn a_short_time_for_the_attempt_is_not_spent_on_counting() {
    let tokenizer = SimTokenizer::start().await.unwrap();
    let Scene { server, sim: _sim, .. } = Scene::start(&[("TOKENIZER_SERVICE_URL", &tokenizer.url())]).await;
    // The first count of the process loads the vocabulary, which takes its time in a debug build.
    penstock::engine::tokens::count("hi");
    tokenizer.script(Rule::on(Route::Tokenize).hang_before_headers());
    let mut body = limited(100_000, "hi");
    body["chain"]["tasks"][0]["timeout"] = json!("900ms");
    server.post("/tasks", body).await.expect(200);
}
