//! Who may serve a request and who gets it: pools, names, labels, failover, policies (`docs/api.md`, routing).

use loadtest::sim::{Route, Routes, Rule, SimBackend};
use penstock::domain::{ids::PoolId, pool::Policy};
use serde_json::{Value, json};

use crate::support::{Answer, Scene, TASKS, TestServer, eventually};

async fn ask(server: &TestServer, model: &str) -> Answer {
    server.post("/execute", json!({"prompt": "hi", "model_name": model})).await
}

async fn ollama(models: &[&str]) -> SimBackend {
    let mut builder = SimBackend::ollama();
    for model in models {
        builder = builder.model(*model);
    }
    builder.start().await.unwrap()
}

fn calls(sim: &SimBackend) -> usize {
    sim.record().of(Routes::CALLS).len()
}

/// Declares a model and assigns it to a pool.
async fn declare(server: &TestServer, model: &str, pool: &str) {
    server.post("/models", json!({"model": model})).await.expect(201);
    server.post(&format!("/model-associations/{pool}/models/{model}"), Value::Null).await.expect(200);
}

async fn create_pool(server: &TestServer, body: Value) -> String {
    server.post("/pools", body).await.expect(201).json()["id"].as_str().unwrap().to_owned()
}

/// Waits until the pool that requests see has this policy.
async fn set_policy(server: &TestServer, policy: Policy) {
    server.put(&format!("/pools/{TASKS}"), json!({"policy": policy.as_str()})).await.expect(200);
    eventually("the policy in force", || async {
        let pool = server.runtime.directory.pool(&PoolId::new(TASKS)).unwrap();
        if pool.policy() == policy { Ok(()) } else { Err(format!("{:?}", pool.policy())) }
    })
    .await;
}

#[tokio::test]
async fn an_ollama_serves_only_models_that_share_a_pool_with_it() {
    let server = TestServer::start(&[]).await;
    let sim = ollama(&["chat:1b", "other:1b"]).await;
    server.ready("a", "ollama", &sim).await;
    ask(&server, "other:1b").await.expect(503);
    let elsewhere = create_pool(&server, json!({"name": "elsewhere"})).await;
    declare(&server, "other:1b", &elsewhere).await;
    ask(&server, "other:1b").await.expect(503);
    server.post(&format!("/model-associations/{TASKS}/models/other:1b"), Value::Null).await.expect(200);
    let answer = eventually("the assignment in force", || async {
        let answer = ask(&server, "other:1b").await;
        if answer.status == 200 { Ok(answer) } else { Err(answer.text) }
    })
    .await;
    assert_eq!(answer.header("x-penstock-pool"), TASKS);
}

#[tokio::test]
async fn an_openai_server_serves_what_is_declared_nowhere_and_what_its_pools_hold() {
    let server = TestServer::start(&[]).await;
    let sim = SimBackend::openai().model("chat:1b").model("free").model("bound").start().await.unwrap();
    server.ready("o", "openai", &sim).await;
    ask(&server, "free").await.expect(200);
    ask(&server, "bound").await.expect(200);
    let elsewhere = create_pool(&server, json!({"name": "elsewhere"})).await;
    declare(&server, "bound", &elsewhere).await;
    eventually("the declaration in force", || async {
        let answer = ask(&server, "bound").await;
        if answer.status == 503 { Ok(()) } else { Err(answer.text) }
    })
    .await;
    ask(&server, "free").await.expect(200);
}

#[tokio::test]
async fn a_name_without_a_tag_means_latest() {
    let server = TestServer::start(&[("TASK_MODEL", "chat")]).await;
    let sim = ollama(&["chat:latest"]).await;
    let id = server.register("a", "ollama", &sim, &[TASKS]).await;
    server.wait_for_model(&id, "chat:latest").await;
    for name in ["chat", "chat:latest"] {
        assert_eq!(ask(&server, name).await.expect(200).header("x-penstock-model"), "chat:latest");
    }
    server.post("/execute", json!({"prompt": "hi"})).await.expect(200);
    assert!(sim.record().of(Route::Pull).is_empty(), "it is there");
}

#[tokio::test]
async fn a_loosely_written_name_is_understood_but_its_tag_is_kept() {
    let server = TestServer::start(&[]).await;
    let sim = SimBackend::openai().model("chat:1b").model("Qwen/Qwen3-8B-AWQ").model("qwen3:8b").start().await.unwrap();
    server.ready("o", "openai", &sim).await;
    assert_eq!(ask(&server, "qwen3_8b").await.expect(200).header("x-penstock-model"), "Qwen/Qwen3-8B-AWQ");
    assert_eq!(ask(&server, "QWEN3:8b").await.expect(200).header("x-penstock-model"), "qwen3:8b");
    ask(&server, "qwen3:4b").await.expect(503);
}

#[tokio::test]
async fn a_disabled_backend_takes_no_new_work_and_finishes_what_runs() {
    let Scene { server, sim, id } = Scene::start(&[]).await;
    let gate = sim.hold();
    let running = server.execute_later("hi");
    gate.wait_for_arrivals(1).await.unwrap();
    let body = json!({"name": "a", "baseUrl": sim.url(), "type": "ollama", "enabled": false});
    server.put(&format!("/backends/{id}"), body).await.expect(200);
    server.wait_for_backend(&id, "cordoned", |view| !view.backend.enabled).await;
    let refused = server.post("/execute", json!({"prompt": "hi"})).await.expect(503);
    assert!(refused.error().contains("disabled"), "{}", refused.text);
    gate.release_all();
    running.await.unwrap().expect(200);
}

#[tokio::test]
async fn a_pool_that_requires_labels_skips_backends_without_them() {
    let server = TestServer::start(&[]).await;
    let (plain, labelled) = (ollama(&["chat:1b"]).await, ollama(&["chat:1b"]).await);
    server.ready("plain", "ollama", &plain).await;
    let labels = json!({"requireLabels": {"zone": "on-prem"}});
    server.put(&format!("/pools/{TASKS}"), labels).await.expect(200);
    eventually("the labels in force", || async {
        let answer = server.post("/execute", json!({"prompt": "hi"})).await;
        if answer.status == 503 { Ok(()) } else { Err(answer.text) }
    })
    .await;
    let before = calls(&plain);
    let body =
        json!({"name": "b", "baseUrl": labelled.url(), "type": "ollama", "labels": {"zone": "on-prem", "x": "y"}});
    let id = server.register_as(body, &[TASKS]).await;
    server.wait_for_model(&id, "chat:1b").await;
    for _ in 0..4 {
        server.post("/execute", json!({"prompt": "hi"})).await.expect(200);
    }
    assert_eq!((calls(&plain), calls(&labelled)), (before, 4));
}

#[tokio::test]
async fn a_failing_backend_is_not_asked_until_a_probe_succeeds() {
    let Scene { server, sim, id } = Scene::start(&[]).await;
    sim.set_down(500);
    // Any change of the backend looks at it anew.
    let touched = |name: &str| json!({"name": name, "baseUrl": sim.url(), "type": "ollama"});
    server.put(&format!("/backends/{id}"), touched("b")).await.expect(200);
    server.wait_for_backend(&id, "failing", |view| view.error().is_some()).await;
    let seen = calls(&sim);
    let refused = server.post("/execute", json!({"prompt": "hi"})).await.expect(503);
    assert!(refused.error().contains("b is failing"), "{}", refused.text);
    assert_eq!(calls(&sim), seen);
    let shown = server.get(&format!("/backends/{id}")).await.expect(200).json();
    assert!(shown["error"].as_str().unwrap().contains("500") && shown["pulledModels"] == json!([]), "{shown}");
    sim.set_healthy();
    server.put(&format!("/backends/{id}"), touched("c")).await.expect(200);
    server.wait_for_model(&id, "chat:1b").await;
    server.post("/execute", json!({"prompt": "hi"})).await.expect(200);
    assert!(server.get(&format!("/backends/{id}")).await.json().get("error").is_none());
}

/// Two backends, the first of which is tried first.
async fn ranked(server: &TestServer) -> (SimBackend, SimBackend) {
    let (first, second) = (ollama(&["chat:1b"]).await, ollama(&["chat:1b"]).await);
    for (name, sim, tier) in [("first", &first, 0), ("second", &second, 1)] {
        let body = json!({"name": name, "baseUrl": sim.url(), "type": "ollama", "tier": tier});
        let id = server.register_as(body, &[TASKS]).await;
        server.wait_for_model(&id, "chat:1b").await;
    }
    (first, second)
}

#[tokio::test]
async fn passing_trouble_of_one_backend_is_tried_on_another() {
    let server = TestServer::start(&[("FIRST_BYTE_TIMEOUT", "300ms")]).await;
    let (first, second) = ranked(&server).await;
    for (rule, asked) in [
        (Rule::on(Route::Generate).status(429), 1),
        (Rule::on(Route::Generate).status(502), 1),
        (Rule::on(Route::Generate).status(503).header("retry-after", "1"), 1),
        (Rule::on(Route::Generate).status(504), 1),
        // A kept connection that ends without a word may have been at its end already: it is asked once more over a new one.
        (Rule::on(Route::Generate).close_before_headers(), 2),
        (Rule::on(Route::Generate).hang_before_headers(), 1),
    ] {
        first.clear_script();
        let (before, scripted) = (calls(&second), first.script(rule.clone()));
        server.forget_failures();
        let answer = server.post("/execute", json!({"prompt": "hi"})).await.expect(200);
        assert_eq!(answer.header("x-penstock-attempts"), "2", "{rule:?}");
        assert_eq!((scripted.hits(), calls(&second)), (asked, before + 1), "{rule:?}");
    }
}

#[tokio::test]
async fn a_backend_that_cannot_be_reached_is_passed_over() {
    let server = TestServer::start(&[]).await;
    let (first, _second) = ranked(&server).await;
    first.stop().await;
    server.post("/execute", json!({"prompt": "hi"})).await.expect(200);
}

#[tokio::test]
async fn faults_of_the_call_are_not_tried_on_another() {
    let server = TestServer::start(&[]).await;
    let (first, second) = ranked(&server).await;
    for rule in [
        Rule::on(Route::Generate).status(400),
        Rule::on(Route::Generate).status(500),
        Rule::on(Route::Generate).cut_after(1),
        Rule::on(Route::Generate).body("{"),
    ] {
        first.clear_script();
        first.script(rule.clone());
        server.post("/execute", json!({"prompt": "hi"})).await.expect(500);
        assert_eq!(calls(&second), 0, "{rule:?}");
    }
}

#[tokio::test]
async fn when_all_are_in_trouble_the_last_failure_is_told() {
    let server = TestServer::start(&[]).await;
    let (first, second) = ranked(&server).await;
    first.script(Rule::on(Route::Generate).status(429));
    second.script(Rule::on(Route::Generate).status(503));
    let answer = server.post("/execute", json!({"prompt": "hi"})).await.expect(500);
    assert!(answer.error().contains("503"), "{}", answer.text);
    assert_eq!((calls(&first), calls(&second)), (1, 1));
}

#[tokio::test]
async fn a_lower_tier_gets_everything_until_it_is_full() {
    let server = TestServer::start(&[]).await;
    let (near, far) = (ollama(&["chat:1b"]).await, ollama(&["chat:1b"]).await);
    for (name, sim, tier) in [("far", &far, 5), ("near", &near, 1)] {
        let body = json!({"name": name, "baseUrl": sim.url(), "type": "ollama", "tier": tier, "maxConcurrency": 2});
        let id = server.register_as(body, &[TASKS]).await;
        server.wait_for_model(&id, "chat:1b").await;
    }
    let (at_near, at_far) = (near.hold(), far.hold());
    let running = [server.execute_later("1"), server.execute_later("2")];
    at_near.wait_for_waiting(2).await.unwrap();
    let spilled = server.execute_later("3");
    at_far.wait_for_waiting(1).await.unwrap();
    at_near.release_all();
    at_far.release_all();
    for answer in running.into_iter().chain([spilled]) {
        answer.await.unwrap().expect(200);
    }
    assert_eq!((calls(&near), calls(&far)), (2, 1));
}

#[tokio::test]
async fn the_policy_of_a_pool_decides_the_distribution() {
    let server = TestServer::start(&[]).await;
    let sims = [ollama(&["chat:1b"]).await, ollama(&["chat:1b"]).await, ollama(&["chat:1b"]).await];
    for (at, sim) in sims.iter().enumerate() {
        server.ready(&format!("b{at}"), "ollama", sim).await;
    }
    let counts = || -> Vec<usize> { sims.iter().map(calls).collect() };

    set_policy(&server, Policy::RoundRobin).await;
    for _ in 0..9 {
        server.post("/execute", json!({"prompt": "hi"})).await.expect(200);
    }
    assert_eq!(counts(), [3, 3, 3]);

    set_policy(&server, Policy::Random).await;
    for _ in 0..60 {
        server.post("/execute", json!({"prompt": "hi"})).await.expect(200);
    }
    let random: Vec<usize> = counts().iter().map(|count| count - 3).collect();
    assert!(random.iter().all(|count| *count >= 5) && random != [20, 20, 20], "{random:?}");

    // Whoever is busiest is left alone, so much more so than the others that no chance in their latencies matters.
    let gate = sims[0].hold();
    let mut running = Vec::new();
    while gate.waiting() < 7 {
        running.push(server.execute_later("long"));
        let (waiting, started) = (gate.waiting(), running.len());
        eventually("the call placed", || async {
            let placed = counts().iter().sum::<usize>() >= 69 + started;
            if placed || gate.waiting() > waiting { Ok(()) } else { Err(format!("{:?}", counts())) }
        })
        .await;
    }
    set_policy(&server, Policy::LeastLoaded).await;
    let before = counts();
    for _ in 0..20 {
        server.post("/execute", json!({"prompt": "hi"})).await.expect(200);
    }
    assert_eq!(counts()[0], before[0], "an idle backend is always better than a busy one");
    assert!(counts()[1] > before[1] && counts()[2] > before[2], "{before:?} {:?}", counts());
    gate.release_all();
    for answer in running {
        answer.await.unwrap().expect(200);
    }
}

/// Asks with a policy in force only for this chain.
async fn ask_by(server: &TestServer, strategy: &str, prompt: &str) {
    let chain = json!({"routing_strategy": strategy, "tasks": [{"id": "t", "handler": "raw_string",
        "system_instruction": "be brief", "transition": {"branches": [{"operator": "default"}]}}]});
    server.post("/tasks", json!({"input": prompt, "chain": chain})).await.expect(200);
}

#[tokio::test]
async fn weighted_sends_calls_in_proportion_to_the_weights() {
    let server = TestServer::start(&[]).await;
    let (heavy, light) = (ollama(&["chat:1b"]).await, ollama(&["chat:1b"]).await);
    for (name, sim, weight) in [("heavy", &heavy, 3), ("light", &light, 1)] {
        let body = json!({"name": name, "baseUrl": sim.url(), "type": "ollama", "weight": weight});
        let id = server.register_as(body, &[TASKS]).await;
        server.wait_for_model(&id, "chat:1b").await;
    }
    set_policy(&server, Policy::Weighted).await;
    for _ in 0..200 {
        server.post("/execute", json!({"prompt": "hi"})).await.expect(200);
    }
    // 150 are expected, with a standard deviation of 6.
    let counts = (calls(&heavy), calls(&light));
    assert!(counts.0 + counts.1 == 200 && (115..185).contains(&counts.0), "{counts:?}");
}

#[tokio::test]
async fn prefix_affinity_sends_the_same_beginning_to_the_same_backend_and_spreads_others() {
    let server = TestServer::start(&[]).await;
    let sims = [ollama(&["chat:1b"]).await, ollama(&["chat:1b"]).await, ollama(&["chat:1b"]).await];
    for (at, sim) in sims.iter().enumerate() {
        server.ready(&format!("b{at}"), "ollama", sim).await;
    }
    let counts = || -> Vec<usize> { sims.iter().map(calls).collect() };
    for prompt in 0..30 {
        let before = counts();
        for _ in 0..3 {
            ask_by(&server, "prefix-affinity", &format!("question {prompt}")).await;
        }
        let gained: Vec<usize> = counts().iter().zip(before).map(|(now, before)| now - before).collect();
        assert!(gained.contains(&3), "{gained:?}");
    }
    assert!(counts().iter().all(|count| *count >= 3), "{:?}", counts());

    // Later turns of a conversation go where the first went, and the policy of a pool does the same.
    set_policy(&server, Policy::PrefixAffinity).await;
    let before = counts();
    let mut messages = vec![json!({"role": "user", "content": "hello"})];
    for _ in 0..4 {
        let chain = json!({"tasks": [{"id": "t", "handler": "model_execution",
            "transition": {"branches": [{"operator": "default"}]}}]});
        let sent = json!({"input": {"messages": messages}, "inputType": "chat_history", "chain": chain});
        server.post("/tasks", sent).await.expect(200);
        messages.extend([json!({"role": "assistant", "content": "ho"}), json!({"role": "user", "content": "and?"})]);
    }
    let gained: Vec<usize> = counts().iter().zip(before).map(|(now, before)| now - before).collect();
    assert!(gained.contains(&4), "{gained:?}");
}

#[tokio::test]
async fn prefix_affinity_passes_an_overloaded_backend_over() {
    let server = TestServer::start(&[]).await;
    let sims = [ollama(&["chat:1b"]).await, ollama(&["chat:1b"]).await];
    for (at, sim) in sims.iter().enumerate() {
        server.ready(&format!("b{at}"), "ollama", sim).await;
    }
    set_policy(&server, Policy::PrefixAffinity).await;
    let gates = [sims[0].hold(), sims[1].hold()];
    // With the next call 1, 2, 3, 4 are to be shared; five quarters of half of them, rounded up, are 1, 2, 2, 3.
    let mut running = Vec::new();
    for call in 1..=4 {
        running.push(server.execute_later("the same"));
        eventually("the call placed", || async {
            let placed = gates[0].waiting() + gates[1].waiting();
            if placed == call { Ok(()) } else { Err(format!("{placed}")) }
        })
        .await;
    }
    let mut placed = [gates[0].waiting(), gates[1].waiting()];
    placed.sort_unstable();
    gates.iter().for_each(|gate| gate.release_all());
    for answer in running {
        answer.await.unwrap().expect(200);
    }
    assert_eq!(placed, [1, 3]);
}

#[tokio::test]
async fn warm_first_prefers_the_backend_that_has_the_model_in_memory() {
    let server = TestServer::start(&[]).await;
    let sims = [ollama(&["chat:1b"]).await, ollama(&["chat:1b"]).await, ollama(&["chat:1b"]).await];
    sims[1].load_model("chat:1b");
    for (at, sim) in sims.iter().enumerate() {
        let body = json!({"name": format!("b{at}"), "baseUrl": sim.url(), "type": "ollama", "maxConcurrency": 1});
        let id = server.register_as(body, &[TASKS]).await;
        server.wait_for_model(&id, "chat:1b").await;
    }
    for _ in 0..12 {
        ask_by(&server, "warm-first", "hi").await;
    }
    assert_eq!(sims.iter().map(calls).collect::<Vec<_>>(), [0, 12, 0]);

    // A cold one is better than none.
    set_policy(&server, Policy::WarmFirst).await;
    let gate = sims[1].hold();
    let running = server.execute_later("long");
    gate.wait_for_waiting(1).await.unwrap();
    server.post("/execute", json!({"prompt": "hi"})).await.expect(200);
    assert_eq!(calls(&sims[0]) + calls(&sims[2]), 1);
    gate.release_all();
    running.await.unwrap().expect(200);
}

#[tokio::test]
async fn servers_that_do_not_tell_what_is_in_memory_count_as_warm() {
    let server = TestServer::start(&[]).await;
    let (old, cold, openai) = (ollama(&["chat:1b"]).await, ollama(&["chat:1b"]).await, SimBackend::openai());
    let openai = openai.model("chat:1b").start().await.unwrap();
    old.script(Rule::on(Route::Running).status(404));
    server.ready("old", "ollama", &old).await;
    server.ready("cold", "ollama", &cold).await;
    server.ready("other", "openai", &openai).await;
    set_policy(&server, Policy::WarmFirst).await;
    for _ in 0..30 {
        server.post("/execute", json!({"prompt": "hi"})).await.expect(200);
    }
    assert!(calls(&old) > 0 && calls(&openai) > 0 && calls(&cold) == 0);
}

#[tokio::test]
async fn a_model_is_asked_only_for_what_it_can_do() {
    let Scene { server, sim, .. } = Scene::start(&[]).await;
    let refused = ask(&server, "embed:1b").await.expect(503);
    assert!(refused.error().contains("prompt"), "{}", refused.text);
    // What is declared of a model outranks what the server says of it.
    let only_embeds = json!({"canPrompt": false, "canChat": false, "canStream": false, "canEmbed": true});
    server.put("/models/chat:1b", only_embeds).await.expect(200);
    eventually("the declaration in force", || async {
        let answer = ask(&server, "chat:1b").await;
        if answer.status == 503 { Ok(()) } else { Err(answer.text) }
    })
    .await;
    assert!(sim.record().of(Route::Generate).iter().all(|call| call.model.as_deref() == Some("chat:1b")));
}

#[tokio::test]
async fn a_server_that_cannot_describe_its_models_is_used_all_the_same() {
    let server = TestServer::start(&[]).await;
    let sim = ollama(&["chat:1b"]).await;
    sim.script(Rule::on(Route::Show).status(404));
    server.ready("old", "ollama", &sim).await;
    ask(&server, "chat:1b").await.expect(200);
}

#[tokio::test]
async fn models_are_tried_in_the_order_they_are_named_and_too_small_ones_are_skipped() {
    let server = TestServer::start(&[]).await;
    let sim = SimBackend::openai().model("chat:1b").model("small").model("big").start().await.unwrap();
    server.ready("o", "openai", &sim).await;
    declare(&server, "small", TASKS).await;
    server.put("/models/small", json!({"contextLength": 50})).await.expect(200);
    let run = |input: String| {
        let chain = json!({"tasks": [{"id": "t", "handler": "raw_string", "execute_config":
            {"models": ["absent", "small", "big"]}, "transition": {"branches": [{"operator": "default"}]}}]});
        server.post("/tasks", json!({"input": input, "chain": chain}))
    };
    assert_eq!(run("short".to_owned()).await.expect(200).header("x-penstock-model"), "small");
    eventually("the context length in force", || async {
        let answer = run("many words ".repeat(300)).await.expect(200);
        if answer.header("x-penstock-model") == "big" { Ok(()) } else { Err(answer.text) }
    })
    .await;
}
