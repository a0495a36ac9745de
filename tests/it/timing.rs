//! Where the time of a request went: told on demand, and logged where it was long (`docs/api.md`, timing; `docs/operations.md`, logs).

use std::{collections::BTreeMap, time::Duration};

use loadtest::sim::{Routes, Rule, SimBackend};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Client, Process, Scene, eventually, in_background};

/// The stages of an answer in milliseconds.
fn stages(answer: &Answer) -> BTreeMap<String, f64> {
    let parts = answer.header("server-timing").split(", ").filter(|part| !part.is_empty());
    parts
        .map(|part| part.split_once(";dur=").unwrap())
        .map(|(name, millis)| (name.to_owned(), millis.parse().unwrap()))
        .collect()
}

async fn timed(client: &Client, path: &str, body: Value) -> Answer {
    let request = client.request(Method::POST, path).header("x-penstock-timing", "1").body(body.to_string());
    client.send(request).await
}

#[tokio::test]
async fn the_stages_of_a_request_are_told_to_who_asks() {
    let Scene { server, sim, id } = Scene::with(&[], json!({"maxConcurrency": 1})).await;
    let plain = server.post("/execute", json!({"prompt": "x"})).await.expect(200);
    assert_eq!(plain.header("server-timing"), "", "only on demand");
    let gate = sim.hold();
    let first = server.execute_later("first");
    gate.wait_for_arrivals(1).await.unwrap();
    let client = Client::clone(&server);
    let second = in_background(async move { timed(&client, "/execute", json!({"prompt": "second"})).await });
    server.wait_for_waiters(&id, 1).await;
    sim.script(Rule::on(Routes::GENERATING).containing("second").delay(Duration::from_millis(30)).reply("done"));
    gate.release_all();
    first.await.unwrap().expect(200);
    let stages = stages(&second.await.unwrap().expect(200));
    let names: Vec<&str> = stages.keys().map(String::as_str).collect();
    assert_eq!(names, ["connect", "first_byte", "queue", "receive", "relay", "retry", "route", "total"]);
    assert!(stages["queue"] > 0.0 && stages["first_byte"] >= 25.0 && stages["retry"] == 0.0, "{stages:?}");
    let sum: f64 = stages.iter().filter(|(name, _)| *name != "total").map(|(_, millis)| millis).sum();
    assert!((sum - stages["total"]).abs() < 0.1, "{sum} {stages:?}");
}

#[tokio::test]
async fn a_failover_is_told_as_a_retry_and_a_stream_until_its_first_words() {
    let Scene { server, sim, .. } = Scene::start(&[]).await;
    let other = SimBackend::ollama().model("chat:1b").start().await.unwrap();
    let second = server.ready("b", "ollama", &other).await;
    sim.script(Rule::on(Routes::GENERATING).containing("retry").status(503).delay(Duration::from_millis(20)));
    // The first one is asked first.
    server
        .put(&format!("/backends/{second}"), json!({"name": "b", "baseUrl": other.url(), "type": "ollama", "tier": 1}))
        .await
        .expect(200);
    server.runtime.reconcile.apply().await.unwrap();
    let answer = timed(&server, "/execute", json!({"prompt": "retry"})).await;
    assert_eq!(answer.header("x-penstock-attempts"), "2", "{answer:?}");
    assert!(stages(&answer)["retry"] >= 15.0, "{:?}", stages(&answer));
    let body = json!({"model": "chat:1b", "stream": true, "messages": [{"role": "user", "content": "x"}]});
    let stream = timed(&server, "/v1/chat/completions", body).await.expect(200);
    assert!(stages(&stream)["first_byte"] > 0.0, "{stream:?}");
}

#[tokio::test]
async fn chains_and_answers_of_nobody_have_no_stages() {
    let Scene { server, .. } = Scene::start(&[]).await;
    let chain = json!({"tasks": [{"id": "t", "handler": "raw_string", "prompt_template": "{{.input}}",
        "transition": {"branches": [{"operator": "default", "goto": "end"}]}}]});
    for (path, body) in [("/tasks", json!({"input": "x", "chain": chain})), ("/execute", json!({"prompt": 7}))] {
        assert_eq!(timed(&server, path, body).await.header("server-timing"), "", "{path}");
    }
}

#[tokio::test]
async fn slow_requests_and_a_sample_are_logged_with_their_stages_and_nothing_else_is() {
    let folder = tempfile::tempdir().unwrap();
    let sim = SimBackend::ollama().model("chat:1b").start().await.unwrap();
    for (settings, message) in [
        (&[("SLOW_REQUEST", "20ms")][..], Some("slow request")),
        (&[("ACCESS_LOG", "1"), ("SLOW_REQUEST", "off")], Some("request")),
        (&[("SLOW_REQUEST", "off")], None),
    ] {
        let (mut process, client) = Process::serve(folder.path(), settings).await;
        if client.get("/backends").await.json().as_array().unwrap().is_empty() {
            client.add_ollama(&sim).await;
        }
        sim.script(Rule::on(Routes::GENERATING).containing("slowly").delay(Duration::from_millis(40)).reply("done"));
        let ask = |text: &str| client.post("/execute", json!({"prompt": text}));
        eventually("an answer", || async {
            let answer = ask("quick").await;
            if answer.status == 200 { Ok(()) } else { Err(answer.text) }
        })
        .await;
        ask("slowly").await.expect(200);
        process.signal("TERM").await;
        process.ended().await;
        let log = process.log();
        let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let of_requests: Vec<&Value> = lines.iter().filter(|line| line.get("route").is_some()).collect();
        match message {
            Some(message) => {
                let last = of_requests.iter().rfind(|line| line["route"] == "/execute").unwrap();
                assert_eq!(
                    (&last["message"], &last["status"], &last["method"]),
                    (&json!(message), &json!(200), &json!("POST"))
                );
                assert!(last["stages"].as_str().unwrap().contains("first_byte;dur="), "{last}");
                assert!(last["elapsed_ms"].as_f64().unwrap() >= 40.0 && log.contains("request_id"), "{last}");
            }
            None => assert!(of_requests.is_empty(), "{log}"),
        }
    }
}

#[tokio::test]
async fn the_level_of_the_log_can_be_changed_while_the_server_runs() {
    let folder = tempfile::tempdir().unwrap();
    let (mut process, client) = Process::serve(folder.path(), &[]).await;
    assert_eq!(client.get("/log-level").await.expect(200).json(), json!({"level": "info"}));
    let ask = |id: &'static str| client.send(client.request(Method::GET, "/version").header("x-request-id", id));
    ask("before-1").await.expect(200);
    let set = json!({"level": "info,penstock::http=debug"});
    assert_eq!(client.put("/log-level", set.clone()).await.expect(200).json(), set);
    ask("between-2").await.expect(200);
    for wrong in [json!({"level": "loud"}), json!({"level": ""}), json!({})] {
        client.put("/log-level", wrong).await.expect(422);
    }
    assert_eq!(client.get("/log-level").await.expect(200).json(), set, "what is wrong changes nothing");
    client.put("/log-level", json!({"level": "info"})).await.expect(200);
    ask("after-3").await.expect(200);
    process.signal("TERM").await;
    process.ended().await;
    let log = process.log();
    assert!(log.contains("between-2") && !log.contains("before-1") && !log.contains("after-3"), "{log}");
}
