//! What Prometheus scrapes (`docs/operations.md`, metrics).

use std::collections::BTreeMap;

use loadtest::sim::{Routes, Rule, SimBackend};
use penstock::telemetry::families::ALL;
use serde_json::json;

use crate::support::{Client, Process, Scene, TASKS, eventually, in_background};

/// Samples by name and labels, in the text format that Prometheus reads.
async fn scrape(client: &Client) -> BTreeMap<String, f64> {
    let answer = client.get("/metrics").await.expect(200);
    assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    let samples = answer.text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    samples
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .collect()
}

#[tokio::test]
async fn slots_and_queues_are_told_as_they_are_and_forgotten_with_their_backend() {
    let Scene { server, sim, id } = Scene::with(&[], json!({"maxConcurrency": 1})).await;
    let of = |name: &str| format!("{name}{{backend=\"{id}\"}}");
    let waiting = format!("penstock_pool_waiting_requests{{pool=\"{TASKS}\",class=\"interactive\"}}");
    let idle = scrape(&server).await;
    assert_eq!((idle[&of("penstock_backend_slots_limit")], idle[&of("penstock_backend_slots_in_use")]), (1.0, 0.0));
    assert_eq!((idle[&waiting], idle[&format!("penstock_pool_queue_capacity{{pool=\"{TASKS}\"}}")]), (0.0, 1024.0));
    let gate = sim.hold();
    let running = server.execute_later("runs");
    gate.wait_for_arrivals(1).await.unwrap();
    let client = Client::clone(&server);
    let urgent = in_background(async move {
        let request = client.request(reqwest::Method::POST, "/execute").header("x-penstock-priority", "interactive");
        client.send(request.header("content-type", "application/json").body(r#"{"prompt": "waits"}"#)).await
    });
    server.wait_for_waiters(&id, 1).await;
    let busy = scrape(&server).await;
    assert_eq!(busy[&of("penstock_backend_slots_in_use")], 1.0);
    assert_eq!((busy[&of("penstock_backend_waiting_requests")], busy[&waiting]), (1.0, 1.0));
    gate.release_all();
    for answer in [running, urgent] {
        answer.await.unwrap().expect(200);
    }
    server.delete(&format!("/backends/{id}")).await.expect(200);
    server.runtime.reconcile.apply().await.unwrap();
    let gone = scrape(&server).await;
    assert!(gone.keys().all(|name| !name.contains(&id)), "{gone:?}");
}

#[tokio::test]
async fn a_limit_that_is_found_is_told_as_state_shows_it() {
    let Scene { server, id, .. } = Scene::start(&[]).await;
    let shown = server.get("/state").await.expect(200).json()[0]["slots"]["limit"].as_f64().unwrap();
    assert_eq!(scrape(&server).await[&format!("penstock_backend_slots_limit{{backend=\"{id}\"}}")], shown);
}

/// The table of `docs/operations.md`, as the code has it.
fn table() -> String {
    let line = |family: &&penstock::telemetry::Family| {
        let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        format!("| `{}` | {} | {} | {} |\n", family.name, family.kind.as_str(), labels.join(", "), family.says)
    };
    ALL.iter().map(line).collect()
}

#[test]
fn the_table_of_the_documentation_is_made_of_the_code() {
    let documented = include_str!("../../docs/operations.md");
    let table = table();
    if !documented.contains(&table) {
        let made = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("metrics.md");
        std::fs::write(&made, table).unwrap();
        panic!("docs/operations.md, metrics: its table must be that of {}", made.display());
    }
}

/// The value of a series, 0 where it is not told.
fn value(told: &BTreeMap<String, f64>, series: &str) -> f64 {
    told.get(series).copied().unwrap_or(0.0)
}

#[tokio::test]
async fn calls_are_counted_by_their_backend_with_what_came_of_them_and_what_they_took() {
    let Scene { server, sim, id } = Scene::start(&[]).await;
    sim.script(Rule::on(Routes::GENERATING).containing("fails").status(400));
    server.post("/execute", json!({"prompt": "one two"})).await.expect(200);
    server.post("/execute", json!({"prompt": "fails"})).await;
    let stream = json!({"model": "chat:1b", "stream": true, "messages": [{"role": "user", "content": "x"}]});
    server.post("/v1/chat/completions", stream).await.expect(200);
    server.post("/embed", json!({"text": "vectors"})).await.expect(200);
    let told = eventually("the end of the stream", || async {
        let told = scrape(&server).await;
        let first = value(&told, &format!("penstock_backend_time_to_first_token_seconds_count{{backend=\"{id}\"}}"));
        if first == 1.0 { Ok(told) } else { Err(format!("{told:?}")) }
    })
    .await;
    let of = |name: &str, rest: &str| value(&told, &format!("{name}{{backend=\"{id}\"{rest}}}"));
    assert_eq!(of("penstock_backend_calls_total", ",outcome=\"ok\""), 3.0);
    assert_eq!(of("penstock_backend_calls_total", ",outcome=\"caller\""), 1.0);
    assert_eq!(of("penstock_backend_calls_total", ",outcome=\"left\""), 0.0);
    assert_eq!(of("penstock_backend_call_duration_seconds_count", ""), 3.0);
    assert!(of("penstock_backend_tokens_total", ",direction=\"input\"") > 0.0, "{told:?}");
    assert!(of("penstock_backend_tokens_total", ",direction=\"output\"") > 0.0, "{told:?}");
    // A look at the backend may have made the connection.
    assert!(told.contains_key(&format!("penstock_backend_connect_seconds_count{{backend=\"{id}\"}}")), "{told:?}");
    assert_eq!(of("penstock_backend_up", ""), 1.0);
    assert_eq!(of("penstock_backend_breaker_state", ",state=\"closed\""), 1.0);
    assert!(of("penstock_backend_probes_total", ",outcome=\"ok\"") >= 1.0, "{told:?}");
    assert_eq!(of("penstock_backend_models", ",state=\"observed\""), 2.0);
    server.delete(&format!("/backends/{id}")).await.expect(200);
    server.runtime.reconcile.apply().await.unwrap();
    eventually("the end of its series", || async {
        let told = scrape(&server).await;
        if told.keys().all(|name| !name.contains(&id)) { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .await;
}

#[tokio::test]
async fn no_word_of_a_request_is_a_label() {
    let folder = tempfile::tempdir().unwrap();
    let sim = SimBackend::ollama().model("chat:1b").start().await.unwrap();
    let (_process, client) = Process::serve(folder.path(), &[]).await;
    client.add_ollama(&sim).await;
    let secret = "planted-word-7";
    client.post("/execute", json!({"prompt": secret, "model_name": secret})).await;
    client
        .post(
            "/tasks",
            json!({"input": secret, "chain": {"id": secret, "tasks": [{"id": secret, "handler": "noop",
        "transition": {"branches": [{"operator": "default", "goto": "end"}]}}]}}),
        )
        .await
        .expect(200);
    client.get(&format!("/{secret}")).await.expect(404);
    client.get(&format!("/backends/{secret}")).await.expect(404);
    let method = reqwest::Method::from_bytes(b"PLANTED").unwrap();
    client.send(client.request(method, "/execute").header("x-request-id", secret)).await.expect(405);
    let told = scrape(&client).await;
    assert!(told.keys().all(|name| !name.contains("planted") && !name.contains("PLANTED")), "{told:?}");
    let of_chain = "penstock_chain_runs_total{chain=\"inline\",outcome=\"ok\"}";
    assert_eq!(value(&told, of_chain), 1.0);
    assert_eq!(value(&told, "penstock_http_requests_total{method=\"GET\",route=\"unknown\",code=\"404\"}"), 1.0);
    assert_eq!(value(&told, "penstock_http_requests_total{method=\"unknown\",route=\"unknown\",code=\"405\"}"), 1.0);
}

#[tokio::test]
async fn metrics_can_have_a_port_of_their_own_that_serves_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let (process, client) =
        Process::serve(folder.path(), &[("METRICS_ADDR", "127.0.0.1:0"), ("TOKEN", "secret")]).await;
    let log = process.log();
    let line = log.lines().find(|line| line.contains("metrics are served here")).unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    let apart = Client::new(format!("http://{}", line["address"].as_str().unwrap()));
    assert!(scrape(&apart).await.contains_key("penstock_ready"));
    for path in ["/health", "/ready"] {
        apart.get(path).await.expect(200);
    }
    for path in ["/version", "/backends", "/state"] {
        apart.get(path).await.expect(404);
    }
    let request = client.request(reqwest::Method::GET, "/metrics").bearer_auth("secret");
    client.send(request).await.expect(404);
}

#[tokio::test]
async fn metrics_need_the_token_as_everything_does() {
    let Scene { server, .. } = Scene::start(&[]).await;
    server.get("/metrics").await.expect(200);
    let guarded = crate::support::TestServer::start(&[("TOKEN", "secret")]).await;
    guarded.get("/metrics").await.expect(401);
    let request = guarded.request(reqwest::Method::GET, "/metrics").header("authorization", "Bearer secret");
    guarded.send(request).await.expect(200);
}
