//! What Prometheus scrapes (`docs/operations.md`, metrics).

use std::collections::BTreeMap;

use penstock::runtime::metrics::FAMILIES;
use serde_json::json;

use crate::support::{Client, Scene, TASKS, in_background};

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

#[tokio::test]
async fn the_table_of_the_documentation_is_what_is_told() {
    let Scene { server, .. } = Scene::start(&[]).await;
    let text = server.get("/metrics").await.expect(200).text;
    let documented = include_str!("../../docs/operations.md").split("\n## Metrics\n").nth(1).unwrap();
    let documented = documented.split("\n## ").next().unwrap();
    for (name, says) in FAMILIES {
        assert!(text.contains(&format!("# HELP {name} {says}\n# TYPE {name} gauge\n{name}{{")), "{name} in {text}");
        assert!(documented.contains(&format!("| `{name}` |")), "{name} is not documented");
    }
    let told = text.lines().filter(|line| line.starts_with("# TYPE")).count();
    assert_eq!((told, documented.matches("\n| `penstock_").count()), (FAMILIES.len(), FAMILIES.len()));
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
