//! How a request says where it may go: names of models, pools, kinds, labels, sessions (`docs/api.md`, choosing where a
//! request goes).

use std::collections::BTreeSet;

use loadtest::sim::{Routes, Rule, SimBackend};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Client, Scene, TASKS, TestServer, eventually, in_background};

/// Sends a body with headers that choose.
pub(crate) async fn post(server: &Client, path: &str, body: Value, headers: &[(&str, &str)]) -> Answer {
    let mut request = server.request(Method::POST, path).header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    server.send(request.body(body.to_string())).await
}

/// A chat of an Ollama client, answered whole.
pub(crate) async fn chat(server: &TestServer, model: &str, headers: &[(&str, &str)]) -> Answer {
    let body = json!({"model": model, "messages": [{"role": "user", "content": "hi"}], "stream": false});
    post(server, "/api/chat", body, headers).await
}

pub(crate) fn calls(sim: &SimBackend) -> usize {
    sim.record().of(Routes::CALLS).len()
}

/// A server with two OpenAI-compatible backends of one's own with `m`: `prem` with a label in a pool of its own and in that of
/// tasks, `rest` in that of tasks alone; and a cloud with `gpt-x`.
pub(crate) struct Place {
    pub(crate) server: TestServer,
    pub(crate) prem: SimBackend,
    pub(crate) rest: SimBackend,
    pub(crate) cloud: SimBackend,
}

impl Place {
    pub(crate) async fn new() -> Self {
        let cloud = SimBackend::openai().model("gpt-x").api_key("sk-1234567890abcd").start().await.unwrap();
        let server = TestServer::start(&[("OPENAI_BASE_URL", &cloud.v1_url())]).await;
        let prem = SimBackend::openai().model("m").model("openai/gpt-oss").start().await.unwrap();
        let rest = SimBackend::openai().model("m").model("only-rest").start().await.unwrap();
        let pool = server.post("/pools", json!({"name": "night/shift"})).await.expect(201);
        let pool = pool.json()["id"].as_str().unwrap().to_owned();
        let body = json!({"name": "prem", "baseUrl": prem.v1_url(), "type": "openai", "labels": {"zone": "on-prem"}});
        let prem_id = server.register_as(body, &[TASKS, &pool]).await;
        let body = json!({"name": "rest", "baseUrl": rest.v1_url(), "type": "openai"});
        let rest_id = server.register_as(body, &[TASKS]).await;
        server.post("/providers/openai/configure", json!({"apiKey": "sk-1234567890abcd"})).await.expect(200);
        server.post(&format!("/backend-associations/{TASKS}/backends/openai"), Value::Null).await.expect(201);
        for (id, model) in [(prem_id.as_str(), "m"), (rest_id.as_str(), "m"), ("openai", "gpt-x")] {
            server.wait_for_model(id, model).await;
            server.wait_for_member(TASKS, id).await;
        }
        server.wait_for_member(&pool, &prem_id).await;
        Self { server, prem, rest, cloud }
    }
}

#[tokio::test]
async fn required_labels_are_a_hard_filter_on_every_route() {
    let Place { server, prem, rest, .. } = Place::new().await;
    let require = [("X-Penstock-Require", "zone=on-prem")];
    let task = json!({"input": "hi", "chain": {"tasks": [{"id": "t", "handler": "raw_string",
        "execute_config": {"model": "m"}, "transition": {"branches": [{"operator": "default"}]}}]}});
    for _ in 0..4 {
        chat(&server, "m", &require).await.expect(200);
        post(&server, "/execute", json!({"prompt": "hi", "model_name": "m"}), &require).await.expect(200);
        post(&server, "/tasks", task.clone(), &require).await.expect(200);
    }
    assert_eq!((calls(&prem), calls(&rest)), (12, 0));

    // Nobody has the label: nobody is asked.
    let require = [("X-Penstock-Require", "zone=moon")];
    for answer in [
        chat(&server, "m", &require).await,
        post(&server, "/execute", json!({"prompt": "hi", "model_name": "m"}), &require).await,
        post(&server, "/tasks", task, &require).await,
    ] {
        let answer = answer.expect(503);
        assert_eq!((answer.header("x-penstock-reason"), answer.header("retry-after")), ("no_backend", "1"));
        assert!(answer.error().contains("zone=moon"), "{}", answer.text);
    }
    assert_eq!((calls(&prem), calls(&rest)), (12, 0));
    // Neither does a model that only others have.
    let answer = chat(&server, "only-rest", &[("X-Penstock-Require", "zone=on-prem")]).await.expect(503);
    assert!(answer.error().contains("rest has it, but not the labels the request requires"), "{}", answer.text);
}

#[tokio::test]
async fn a_pool_is_chosen_by_header_or_by_name_and_nothing_leaves_it() {
    let Place { server, prem, rest, .. } = Place::new().await;
    let id = server.get("/pool-by-name/night%2Fshift").await.json()["id"].as_str().unwrap().to_owned();
    for _ in 0..3 {
        let by_header = chat(&server, "m", &[("X-Penstock-Pool", "night/shift")]).await.expect(200);
        assert_eq!((by_header.header("x-penstock-pool"), by_header.header("x-penstock-attempts")), (id.as_str(), "1"));
        chat(&server, "m", &[("X-Penstock-Pool", &id)]).await.expect(200);
        chat(&server, "pool/night/shift/m", &[]).await.expect(200);
        chat(&server, &format!("pool/{id}/m"), &[("X-Penstock-Pool", "night/shift")]).await.expect(200);
    }
    assert_eq!((calls(&prem), calls(&rest)), (12, 0));

    let absent = chat(&server, "only-rest", &[("X-Penstock-Pool", "night/shift")]).await.expect(404);
    assert_eq!(absent.error(), "model 'only-rest' is not in pool 'night/shift', which the request names");
    chat(&server, "pool/night/shift/only-rest", &[]).await.expect(404);
    let other = chat(&server, "pool/night/shift/m", &[("X-Penstock-Pool", TASKS)]).await.expect(400);
    assert!(other.error().contains("X-Penstock-Pool"), "{}", other.text);
    chat(&server, "pool/night", &[]).await.expect(400);
    prem.set_down(503);
    let down = chat(&server, "pool/night/shift/m", &[]).await;
    assert!(matches!(down.status, 502 | 503), "{}", down.text);
    assert_eq!(calls(&rest), 0);
}

#[tokio::test]
async fn an_unknown_pool_is_not_found_on_every_route() {
    let Place { server, prem, rest, cloud } = Place::new().await;
    let pool = [("X-Penstock-Pool", "night shift")];
    let chain = json!({"input": "hi", "chain": {"tasks": [{"id": "t", "handler": "noop",
        "transition": {"branches": [{"operator": "default"}]}}]}});
    for answer in [
        chat(&server, "m", &pool).await,
        chat(&server, "pool/nightshift/m", &[]).await,
        chat(&server, "chain/x", &pool).await,
        post(&server, "/execute", json!({"prompt": "hi"}), &pool).await,
        post(&server, "/embed", json!({"text": "hi"}), &pool).await,
        post(&server, "/tasks", chain, &pool).await,
    ] {
        assert!(answer.expect(404).error().starts_with("pool 'night"));
    }
    assert!(chat(&server, "m", &pool).await.error().ends_with("did you mean 'night/shift'?"));
    assert_eq!(calls(&prem) + calls(&rest) + calls(&cloud), 0);
}

#[tokio::test]
async fn a_cloud_is_used_only_when_its_kind_is_named_in_the_model_or_a_header() {
    let Place { server, prem, cloud, .. } = Place::new().await;
    let refused = chat(&server, "gpt-x", &[]).await.expect(404);
    assert!(
        refused.error().contains("ask for 'openai/gpt-x', or send X-Penstock-Provider: openai"),
        "{}",
        refused.text
    );
    post(&server, "/execute", json!({"prompt": "hi", "model_name": "gpt-x"}), &[]).await.expect(503);
    assert_eq!(calls(&cloud), 0);

    let named = chat(&server, "openai/gpt-x", &[]).await.expect(200);
    assert_eq!((named.header("x-penstock-backend"), named.header("x-penstock-model")), ("openai", "gpt-x"));
    let provider = [("X-Penstock-Provider", "openai")];
    chat(&server, "gpt-x", &provider).await.expect(200);
    post(&server, "/execute", json!({"prompt": "hi", "model_name": "gpt-x"}), &provider).await.expect(200);
    assert_eq!(calls(&cloud), 3);
    chat(&server, "gpt-x", &[("X-Penstock-Provider", "gemini, ollama")]).await.expect(404);
    chat(&server, "openai/gpt-x", &[("X-Penstock-Provider", "gemini")]).await.expect(400);
    // What is really called so is no cloud's.
    chat(&server, "openai/gpt-oss", &[]).await.expect(200);
    assert_eq!((calls(&prem), calls(&cloud)), (1, 3));
}

#[tokio::test]
async fn a_body_and_its_headers_may_agree_but_not_contradict_each_other() {
    let Place { server, cloud, .. } = Place::new().await;
    let body = json!({"prompt": "hi", "model_name": "gpt-x", "model_provider": "openai"});
    post(&server, "/execute", body.clone(), &[("X-Penstock-Provider", "gemini, openai")]).await.expect(200);
    let refused = post(&server, "/execute", body, &[("X-Penstock-Provider", "gemini")]).await.expect(400);
    assert!(refused.error().contains("model_provider"), "{}", refused.text);
    let task = json!({"input": "hi", "chain": {"tasks": [{"id": "t", "handler": "raw_string",
        "execute_config": {"model": "gpt-x", "provider": "openai"},
        "transition": {"branches": [{"operator": "default"}]}}]}});
    let refused = post(&server, "/tasks", task.clone(), &[("X-Penstock-Provider", "vllm")]).await.expect(500);
    assert!(refused.error().contains("X-Penstock-Provider allows vllm, wanted is openai"), "{}", refused.text);
    assert_eq!(calls(&cloud), 1);
    post(&server, "/tasks", task, &[("X-Penstock-Provider", "openai")]).await.expect(200);
}

#[tokio::test]
async fn headers_that_say_nothing_or_too_much_are_refused() {
    let Place { server, prem, rest, .. } = Place::new().await;
    let long = "x".repeat(513);
    let many = (0..40).map(|at| format!("l{at}=v")).collect::<Vec<_>>().join(",");
    for (name, value) in [
        ("X-Penstock-Require", "zone"),
        ("X-Penstock-Require", "zone="),
        ("X-Penstock-Require", "=on-prem"),
        ("X-Penstock-Require", "zone=a,,b=c"),
        ("X-Penstock-Require", "zone=a,zone=b"),
        ("X-Penstock-Require", ""),
        ("X-Penstock-Require", many.as_str()),
        ("X-Penstock-Pool", ""),
        ("X-Penstock-Pool", long.as_str()),
        ("X-Penstock-Session", long.as_str()),
        ("X-Penstock-Provider", "anthropic"),
        ("X-Penstock-Policy", "fastest"),
    ] {
        let answer = chat(&server, "m", &[(name, value)]).await.expect(400);
        assert!(answer.error().to_lowercase().contains(&name.to_lowercase()), "{}", answer.text);
    }
    assert_eq!(calls(&prem) + calls(&rest), 0);
}

#[tokio::test]
async fn an_unknown_model_is_told_from_one_that_nobody_can_serve_now() {
    let Scene { server, sim, id } = Scene::start(&[]).await;
    let typo = chat(&server, "chat:1", &[]).await.expect(404);
    assert_eq!(typo.error(), "model 'chat:1' not found; did you mean 'chat:1b'?");
    assert_eq!(chat(&server, "zzz", &[]).await.expect(404).error(), "model 'zzz' not found");
    assert_eq!(
        chat(&server, "openai/zzz", &[]).await.expect(404).error(),
        "model 'openai/zzz' not found on openai backends"
    );
    chat(&server, &"x".repeat(600), &[]).await.expect(400);

    sim.set_down(500);
    server.wait_for_backend(&id, "the failure", |view| view.error().is_some()).await;
    let known = chat(&server, "chat:1b", &[]).await.expect(503);
    assert_eq!((known.header("x-penstock-reason"), known.header("retry-after")), ("no_backend", "1"));
    // It is not declared, but the backend had it.
    server.post("/models", json!({"model": "later:1b"})).await.expect(201);
    eventually("the declaration in force", || async {
        let answer = chat(&server, "later:1b", &[]).await;
        if answer.status == 503 { Ok(()) } else { Err(answer.text) }
    })
    .await;
    chat(&server, "zzz", &[]).await.expect(404);
}

#[tokio::test]
async fn what_a_failing_backend_had_is_not_forgotten() {
    let server = TestServer::start(&[]).await;
    let sim = SimBackend::openai().model("chat:1b").model("free").start().await.unwrap();
    let id = server.ready("o", "openai", &sim).await;
    chat(&server, "free", &[]).await.expect(200);
    sim.set_down(500);
    server.wait_for_backend(&id, "the failure", |view| view.error().is_some()).await;
    chat(&server, "free", &[]).await.expect(503);
    chat(&server, "unheard-of", &[]).await.expect(404);
    // One that has never answered may have anything.
    let down = SimBackend::openai().model("hidden").start().await.unwrap();
    down.set_down(500);
    let body = json!({"name": "d", "baseUrl": down.v1_url(), "type": "openai"});
    let down_id = server.register_as(body, &[TASKS]).await;
    server.wait_for_backend(&down_id, "the failure", |view| view.error().is_some()).await;
    chat(&server, "unheard-of", &[]).await.expect(503);
}

#[tokio::test]
async fn a_session_meets_the_same_backend_whatever_the_pools_policy_and_others_spread() {
    let server = TestServer::start(&[]).await;
    let sims = [
        SimBackend::openai().model("chat:1b").start().await.unwrap(),
        SimBackend::openai().model("chat:1b").start().await.unwrap(),
        SimBackend::openai().model("chat:1b").start().await.unwrap(),
    ];
    for (at, sim) in sims.iter().enumerate() {
        let id = server.ready(&format!("b{at}"), "openai", sim).await;
        server.wait_for_member(TASKS, &id).await;
    }
    server.put(&format!("/pools/{TASKS}"), json!({"policy": "round-robin"})).await.expect(200);
    let mut homes = BTreeSet::new();
    for session in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        let mut met = BTreeSet::new();
        for prompt in ["one", "two", "three"] {
            let body = json!({"prompt": prompt});
            let answer = post(&server, "/execute", body, &[("X-Penstock-Session", session)]).await.expect(200);
            met.insert(answer.header("x-penstock-backend").to_owned());
        }
        assert_eq!(met.len(), 1, "session {session} met {met:?}");
        homes.extend(met);
    }
    assert!(homes.len() > 1, "all sessions met {homes:?}");
}

#[tokio::test]
async fn a_request_chooses_its_policy_in_place_of_the_chains_and_the_pools() {
    let Place { server, prem, rest, .. } = Place::new().await;
    server.put(&format!("/pools/{TASKS}"), json!({"policy": "random"})).await.expect(200);
    let task = json!({"input": "hi", "chain": {"routing_strategy": "random", "tasks": [{"id": "t", "handler": "raw_string",
        "execute_config": {"model": "m"}, "transition": {"branches": [{"operator": "default"}]}}]}});
    let policy = [("X-Penstock-Policy", "Round-Robin")];
    for _ in 0..6 {
        chat(&server, "m", &policy).await.expect(200);
        chat(&server, "m", &policy).await.expect(200);
        post(&server, "/tasks", task.clone(), &policy).await.expect(200);
        post(&server, "/tasks", task.clone(), &policy).await.expect(200);
    }
    let counts = (calls(&prem), calls(&rest));
    assert!(counts.0 == 12 && counts.1 == 12, "{counts:?}");
    for policy in ["auto", "low-latency"] {
        let stored = server.put(&format!("/pools/{TASKS}"), json!({"policy": policy})).await.expect(200);
        assert_eq!(stored.json()["policy"], policy);
        chat(&server, "m", &[]).await.expect(200);
    }
}

#[tokio::test]
async fn errors_and_streams_tell_who_was_asked() {
    let Scene { server, sim, id } = Scene::start(&[]).await;
    sim.script(Rule::on(Routes::CALLS).status(400).times(1));
    let refused = chat(&server, "chat:1b", &[]).await.expect(400);
    let body = json!({"model": "chat:1b", "messages": [{"role": "user", "content": "hi"}]});
    let streamed = post(&server, "/api/chat", body, &[]).await.expect(200);
    let embedded = post(&server, "/api/embed", json!({"model": "embed:1b", "input": "hi"}), &[]).await.expect(200);
    for (answer, model) in [(refused, "chat:1b"), (streamed, "chat:1b"), (embedded, "embed:1b")] {
        let header = |name: &str| answer.header(&format!("x-penstock-{name}")).to_owned();
        assert_eq!(
            (header("backend"), header("model"), header("attempts")),
            (id.clone(), model.to_owned(), "1".to_owned())
        );
        assert!(!header("pool").is_empty());
    }
}

/// A chat of a client of OpenAI's API.
async fn openai_chat(server: &TestServer, model: &str, headers: &[(&str, &str)]) -> Answer {
    let body = json!({"model": model, "messages": [{"role": "user", "content": "hi"}]});
    post(server, "/v1/chat/completions", body, headers).await
}

#[tokio::test]
async fn clients_of_openais_api_choose_in_the_same_way_and_read_their_own_errors() {
    let Place { server, prem, rest, cloud } = Place::new().await;
    for (model, headers) in [
        ("m", &[("X-Penstock-Require", "zone=on-prem")][..]),
        ("m", &[("X-Penstock-Pool", "night/shift")]),
        ("pool/night/shift/m", &[]),
        ("openai/gpt-oss", &[]),
    ] {
        let answer = openai_chat(&server, model, headers).await.expect(200);
        assert_eq!(answer.header("x-penstock-attempts"), "1", "{model}");
    }
    assert_eq!((calls(&prem), calls(&rest), calls(&cloud)), (4, 0, 0));
    openai_chat(&server, "openai/gpt-x", &[]).await.expect(200);
    assert_eq!(calls(&cloud), 1);

    let told = |answer: Answer| {
        let error = answer.json()["error"].clone();
        (error["type"].as_str().unwrap().to_owned(), error["code"].as_str().unwrap_or_default().to_owned())
    };
    let of = |kind: &str, code: &str| (kind.to_owned(), code.to_owned());
    let unknown = openai_chat(&server, "absent", &[]).await.expect(404);
    assert_eq!(told(unknown), of("invalid_request_error", "model_not_found"));
    let nowhere = openai_chat(&server, "m", &[("X-Penstock-Require", "zone=moon")]).await.expect(503);
    assert_eq!((nowhere.header("retry-after"), told(nowhere.clone())), ("1", of("server_error", "no_backend")));
    openai_chat(&server, "", &[]).await.expect(400);
    let listed = server.get("/v1/models").await.expect(200).json()["data"].clone();
    let listed = crate::support::shape::column(&listed, "id");
    for name in ["m", "only-rest", "openai/gpt-oss", "openai/gpt-x"] {
        assert!(listed.iter().any(|listed| listed == name), "{name} in {listed:?}");
    }
    let mut sorted = listed.clone();
    sorted.sort_unstable();
    assert_eq!(listed, sorted);
}

#[tokio::test]
async fn what_a_request_allows_holds_for_the_steps_of_a_chain_however_it_is_called() {
    let Place { server, prem, rest, .. } = Place::new().await;
    let chain = json!({"id": "talk", "tasks": [
        {"id": "ask", "handler": "model_execution", "execute_config": {"model": "m"},
            "transition": {"branches": [{"operator": "default", "goto": "tell"}]}},
        {"id": "tell", "handler": "convert_to_openai_chat_response",
            "transition": {"branches": [{"operator": "default", "goto": "end"}]}}]});
    server.post("/taskchains", chain).await.expect(201);
    let messages = json!([{"role": "user", "content": "hi"}]);
    let ways = [
        ("/v1/chat/completions", json!({"model": "chain/talk", "messages": messages})),
        ("/api/chat", json!({"model": "chain/talk", "messages": messages, "stream": false})),
        ("/talk/v1/chat/completions", json!({"messages": messages})),
        ("/api/chat", json!({"model": "chain/talk", "messages": messages})),
        ("/v1/chat/completions", json!({"model": "chain/talk", "messages": messages, "stream": true})),
    ];
    for (path, body) in &ways {
        for header in [("X-Penstock-Require", "zone=on-prem"), ("X-Penstock-Pool", "night/shift")] {
            let before = calls(&prem);
            post(&server, path, body.clone(), &[header]).await.expect(200);
            assert_eq!((calls(&prem), calls(&rest)), (before + 1, 0), "{path} with {header:?}");
        }
    }
    let before = calls(&prem);
    for (path, body) in &ways {
        let answer = post(&server, path, body.clone(), &[("X-Penstock-Require", "zone=moon")]).await;
        assert!(answer.status == 503 || answer.text.contains("zone=moon"), "{path} {}", answer.text);
    }
    assert_eq!((calls(&prem), calls(&rest)), (before, 0));
}

#[tokio::test]
async fn an_embedding_goes_where_its_headers_allow() {
    let Scene { server, sim, .. } = Scene::start(&[]).await;
    post(&server, "/embed", json!({"text": "hi"}), &[("X-Penstock-Pool", "Embedder")]).await.expect(200);
    for header in [("X-Penstock-Require", "zone=on-prem"), ("X-Penstock-Provider", "vllm")] {
        post(&server, "/embed", json!({"text": "hi"}), &[header]).await.expect(503);
    }
    assert_eq!(calls(&sim), 1);
}

#[tokio::test]
async fn a_waiting_request_does_not_go_where_a_change_forbids_it_meanwhile() {
    let Place { server, prem, rest, .. } = Place::new().await;
    let id = |name: &'static str| {
        let server = &server;
        async move {
            let all = server.get("/backends").await.json();
            let all = all.as_array().unwrap().clone();
            all.iter().find(|backend| backend["name"] == name).unwrap()["id"].as_str().unwrap().to_owned()
        }
    };
    let prem_id = id("prem").await;
    let body = |labels: Value| json!({"name": "prem", "baseUrl": prem.v1_url(), "type": "openai", "maxConcurrency": 1, "labels": labels});
    server.put(&format!("/backends/{prem_id}"), body(json!({"zone": "on-prem"}))).await.expect(200);
    let gate = prem.hold();
    let client = (*server).clone();
    let ask = move || {
        let client = client.clone();
        let body = json!({"prompt": "hi", "model_name": "m"}).to_string();
        in_background(async move {
            let request = client.request(Method::POST, "/execute").header("content-type", "application/json");
            client.send(request.header("X-Penstock-Require", "zone=on-prem").body(body)).await
        })
    };
    let running = ask();
    gate.wait_for_arrivals(1).await.unwrap();
    let waiting = ask();
    server.wait_for_waiters(&prem_id, 1).await;
    server.put(&format!("/backends/{prem_id}"), body(json!({"zone": "cloud"}))).await.expect(200);
    waiting.await.unwrap().expect(503);
    gate.release_all();
    running.await.unwrap().expect(200);
    assert_eq!((calls(&prem), calls(&rest)), (1, 0));
}
