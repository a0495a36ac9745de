//! What survives a restart: every resource as it was, keys included, and nothing that was only observed.

use std::{fs, path::Path};

use loadtest::sim::{Route, SimBackend};
use penstock::app::Ended;
use serde_json::{Value, json};

use crate::support::{TestServer, shape::column};

const KEY: &str = "sk-restart-0123456789-wxyz";

/// Every route that shows stored things, in one value.
async fn everything(server: &TestServer, more: &[String]) -> Value {
    let lists = [
        "/backends",
        "/internal/models",
        "/models",
        "/pools",
        "/hooks/remote",
        "/supported",
        "/providers/configs",
        "/taskchains",
    ];
    let paths = lists.iter().map(|path| (*path).to_owned()).chain(more.iter().cloned());
    let mut seen = serde_json::Map::new();
    for path in paths {
        let answer = server.get(&path).await.expect(200).json();
        seen.insert(path, answer);
    }
    Value::Object(seen)
}

/// Whether any file of the folder holds these bytes.
fn holds(folder: &Path, bytes: &[u8]) -> bool {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.is_file()).any(|path| {
        let content = fs::read(path).unwrap();
        content.windows(bytes.len()).any(|window| window == bytes)
    })
}

#[tokio::test]
async fn every_resource_is_the_same_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start_in(folder.path(), &[]).await;
    let pool = json!({"name": "p", "purposeType": "x", "policy": "random", "queue": {"capacity": 3},
        "requireLabels": {"Zone": "a"}});
    let pool = server.post("/pools", pool).await.expect(201).json()["id"].as_str().unwrap().to_owned();
    let backend = json!({"name": "b", "baseUrl": "http://127.0.0.1:9/", "type": "vllm", "maxConcurrency": 2,
        "weight": 5, "tier": 1, "cloud": true, "enabled": false, "labels": {"Zone": "a"}, "apiKey": KEY});
    let backend = server.register_as(backend, &[&pool]).await;
    let model = json!({"model": "org/m:1b", "contextLength": 8, "canEmbed": true});
    server.post("/models", model).await.expect(201);
    server.put("/models/org%2Fm:1b", json!({"model": "org/renamed:1b"})).await.expect(200);
    server.post(&format!("/model-associations/{pool}/models/org%2Fm:1b"), Value::Null).await.expect(200);
    let hook = json!({"id": "mine", "name": "h", "endpointUrl": "http://h.local", "method": "put", "timeoutMs": 7});
    server.post("/hooks/remote", hook).await.expect(201);
    for description in ["first", "second"] {
        let chain = json!({"id": "c/1", "description": description, "tasks": [{"id": "t", "handler": "raise_error"}]});
        server.post("/taskchains", chain).await.expect(201);
    }
    server.post("/providers/gemini/configure", json!({"apiKey": KEY})).await.expect(200);
    server.put("/pools/internal_tasks_pool", json!({"policy": "round-robin"})).await.expect(200);
    server.put("/models/chat:1b", json!({"canStream": false})).await.expect(200);

    let more = [
        format!("/backend-associations/{pool}/backends"),
        format!("/backend-associations/{backend}/pools"),
        format!("/model-associations/{pool}/models"),
        "/model-associations/org%2Fm:1b/pools".to_owned(),
        "/model-associations/internal_tasks_pool/models".to_owned(),
        "/providers/gemini/status".to_owned(),
        "/providers/gemini/config".to_owned(),
        format!("/pools/{pool}"),
        "/taskchains/c%2F1?version=1".to_owned(),
        "/taskchains/c%2F1/versions".to_owned(),
    ];
    let mut before = everything(&server, &more).await;
    assert_eq!(server.stop().await, Ended::Drained);
    let server = TestServer::start_in(folder.path(), &[]).await;
    let mut after = everything(&server, &more).await;
    // What was observed is looked up anew.
    for seen in [&mut before, &mut after] {
        for backend in seen["/backends"].as_array_mut().unwrap() {
            backend
                .as_object_mut()
                .unwrap()
                .retain(|key, _| !["models", "pulledModels", "error"].contains(&key.as_str()));
        }
    }
    assert_eq!(after, before);
}

#[tokio::test]
async fn new_entries_stay_newer_than_old_ones_across_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start_in(folder.path(), &[]).await;
    server.post("/models", json!({"model": "a"})).await.expect(201);
    server.stop().await;
    let server = TestServer::start_in(folder.path(), &[]).await;
    server.post("/models", json!({"model": "b"})).await.expect(201);
    assert_eq!(column(&server.get("/internal/models").await.json(), "id"), ["b", "a", "chat:1b", "embed:1b"]);
}

#[tokio::test]
async fn stored_keys_are_used_after_a_restart_and_lie_in_no_file() {
    let provider = SimBackend::openai().model("gpt").api_key(KEY).start().await.unwrap();
    let own = SimBackend::openai().model("m").api_key("sk-own-0123456789-abcd").start().await.unwrap();
    let (folder, settings) = (tempfile::tempdir().unwrap(), [("OPENAI_BASE_URL", provider.v1_url())]);
    let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
    let server = TestServer::start_in(folder.path(), &settings).await;
    server.post("/providers/openai/configure", json!({"apiKey": KEY})).await.expect(200);
    server.post("/backend-associations/internal_tasks_pool/backends/openai", Value::Null).await.expect(201);
    let body = json!({"name": "own", "baseUrl": own.url(), "type": "openai", "apiKey": "sk-own-0123456789-abcd"});
    let id = server.register_as(body, &["internal_tasks_pool"]).await;
    server.wait_for_model("openai", "gpt").await;
    assert!(!holds(folder.path(), KEY.as_bytes()) && !holds(folder.path(), b"sk-own-0123456789-abcd"));
    assert!(holds(folder.path(), b"internal_tasks_pool"), "the search sees what is not encrypted");
    server.stop().await;
    assert!(!holds(folder.path(), KEY.as_bytes()));

    let seen = provider.record().requests.len();
    let server = TestServer::start_in(folder.path(), &settings).await;
    server.wait_for_model("openai", "gpt").await;
    server.wait_for_model(&id, "m").await;
    for (sim, key, from) in [(&provider, KEY, seen), (&own, "sk-own-0123456789-abcd", 0)] {
        let record = sim.record();
        let probes: Vec<_> = record.requests[from..].iter().filter(|request| request.route == Route::List).collect();
        assert!(!probes.is_empty());
        for probe in probes {
            assert_eq!(probe.header("authorization"), Some(format!("Bearer {key}").as_str()));
        }
    }
}

#[tokio::test]
async fn the_default_things_are_still_protected_and_not_made_twice() {
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let server = TestServer::start_in(folder.path(), &[]).await;
        for path in ["/pools/internal_tasks_pool", "/pools/internal_embed_pool", "/models/chat:1b", "/models/embed:1b"]
        {
            server.delete(path).await.expect(403);
        }
        server.delete("/model-associations/internal_tasks_pool/models/chat:1b").await.expect(403);
        assert_eq!(server.get("/pools").await.json().as_array().unwrap().len(), 2);
        assert_eq!(server.get("/internal/models").await.json().as_array().unwrap().len(), 2);
        server.stop().await;
    }
}

#[tokio::test]
async fn a_changed_default_model_is_added_and_the_old_one_becomes_an_ordinary_one() {
    let folder = tempfile::tempdir().unwrap();
    TestServer::start_in(folder.path(), &[]).await.stop().await;
    let server = TestServer::start_in(folder.path(), &[("TASK_MODEL", "better:2b")]).await;
    let models = server.get("/model-associations/internal_tasks_pool/models").await.json();
    assert_eq!(column(&models, "id"), ["better:2b", "chat:1b"]);
    assert_eq!(models[0]["canChat"], true);
    server.delete("/models/better:2b").await.expect(403);
    server.delete("/model-associations/internal_tasks_pool/models/better:2b").await.expect(403);
    server.delete("/model-associations/internal_tasks_pool/models/chat:1b").await.expect(200);
    server.delete("/models/chat:1b").await.expect(200);
    server.delete("/models/embed:1b").await.expect(403);
}

#[tokio::test]
async fn a_running_request_is_answered_before_the_server_ends() {
    let server = TestServer::start(&[]).await;
    let sim = SimBackend::ollama().model("chat:1b").start().await.unwrap();
    let id = server.register("a", "ollama", &sim, &["internal_tasks_pool"]).await;
    server.wait_for_model(&id, "chat:1b").await;
    let gate = sim.hold_on(Route::Generate);
    let answer = async {
        let answer = server.post("/execute", json!({"prompt": "hi"})).await;
        answer.expect(200);
    };
    let stop = async {
        gate.wait_for_arrivals(1).await.unwrap();
        server.begin_stop();
        server.wait_until_draining().await;
        gate.release_all();
    };
    tokio::join!(answer, stop);
    assert_eq!(server.stop().await, Ended::Drained);
}
