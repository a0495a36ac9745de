//! A real Prometheus that scrapes a loaded server: the story is read back through its own language, and its alerts come and go
//! (`docs/operations.md`, metrics and alerts).

use std::{path::Path, process::Stdio};

use loadtest::{
    services::prometheus::Prometheus,
    sim::{Routes, Rule, SimBackend},
};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, process::Command};

use crate::support::{Client, Process, TASKS, eventually, in_background};

/// The latest values of an expression, one for each series: its labels and its value.
async fn query(prometheus: &Client, expression: &str) -> Vec<(Value, f64)> {
    let body = url::form_urlencoded::Serializer::new(String::new()).append_pair("query", expression).finish();
    let answer =
        prometheus.post_as("/api/v1/query", "application/x-www-form-urlencoded", body).await.expect(200).json();
    let value = |series: &Value| series["value"][1].as_str().unwrap().parse().unwrap();
    answer["data"]["result"]
        .as_array()
        .unwrap()
        .iter()
        .map(|series| (series["metric"].clone(), value(series)))
        .collect()
}

/// Waits until an expression has one value of which this is true.
async fn until(prometheus: &Client, expression: &str, is_wanted: impl Fn(f64) -> bool) -> f64 {
    eventually(expression, || async {
        let found = query(prometheus, expression).await;
        match found.as_slice() {
            [(_, value)] if is_wanted(*value) => Ok(*value),
            _ => Err(format!("{found:?}")),
        }
    })
    .await
}

/// Waits until an alert fires, or does not any more.
async fn until_alert(prometheus: &Client, name: &str, fires: bool) {
    let expression = format!("ALERTS{{alertname=\"{name}\", alertstate=\"firing\"}}");
    eventually(&format!("{name} firing: {fires}"), || async {
        let found = query(prometheus, &expression).await;
        if found.is_empty() != fires { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
}

/// What Prometheus' own tool says of metrics.
async fn complaints(metrics: &str) -> String {
    let mut tool = Command::new("promtool");
    tool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut tool = tool.spawn().unwrap();
    tool.stdin.take().unwrap().write_all(metrics.as_bytes()).await.unwrap();
    let said = tool.wait_with_output().await.unwrap();
    String::from_utf8([said.stdout, said.stderr].concat()).unwrap()
}

#[tokio::test]
async fn the_story_of_a_loaded_server_can_be_read_back_and_its_alerts_come_and_go() {
    if !Prometheus::is_installed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (process, client) = Process::serve(folder.path(), &[("METRICS_ADDR", "127.0.0.1:0")]).await;
    let log = process.log();
    let line = log.lines().find(|line| line.contains("metrics are served here")).unwrap();
    let metrics = serde_json::from_str::<Value>(line).unwrap()["address"].as_str().unwrap().to_owned();
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus");
    let server = Prometheus::start(&metrics, &[&rules.join("recording.yml"), &rules.join("alerts.yml")]).unwrap();
    let prometheus = Client::new(server.url());
    until(&prometheus, "penstock_ready", |ready| ready == 1.0).await;

    // Load of all kinds.
    let sim = SimBackend::ollama().model("chat:1b").start().await.unwrap();
    let id = client.add_ollama(&sim).await;
    let stream = json!({"model": "chat:1b", "stream": true, "messages": [{"role": "user", "content": "one two"}]});
    let chain = json!({"input": "x", "chain": {"tasks": [{"id": "t", "handler": "raw_string", "prompt_template": "{{.input}}",
        "transition": {"branches": [{"operator": "default", "goto": "end"}]}}]}});
    for _ in 0..20 {
        client.post("/execute", json!({"prompt": "one two three"})).await.expect(200);
        client.post("/v1/chat/completions", stream.clone()).await.expect(200);
        client.post("/tasks", chain.clone()).await.expect(200);
    }
    let of_route =
        |route: &str| format!("sum(rate(penstock_http_requests_total{{route=\"{route}\", code=\"200\"}}[1m]))");
    // A rate needs two looks with something in between.
    for route in ["/execute", "/v1/chat/completions", "/tasks"] {
        let ask = || client.post("/execute", json!({"prompt": "more"}));
        ask().await.expect(200);
        let counted = format!("sum(penstock_http_requests_total{{route=\"{route}\", code=\"200\"}})");
        until(&prometheus, &counted, |count| count >= 20.0).await;
    }
    until(&prometheus, &of_route("/execute"), |rate| rate > 0.0).await;
    let quantile = "histogram_quantile(0.99, sum by (le) (penstock_http_overhead_seconds_bucket))";
    let overhead = until(&prometheus, quantile, |seconds| seconds > 0.0).await;
    assert!(overhead < 0.5, "{overhead}");
    until(&prometheus, "sum(penstock_backend_time_to_first_token_seconds_count)", |count| count >= 20.0).await;
    until(&prometheus, "sum(gen_ai_client_token_usage_sum{gen_ai_token_type=\"output\"})", |tokens| tokens > 20.0)
        .await;
    until(&prometheus, "sum(penstock_chain_runs_total{chain=\"inline\", outcome=\"ok\"})", |runs| runs == 20.0).await;
    let named = "sum by (name) (penstock_backend_calls_total{outcome=\"ok\"} * on (instance, backend) group_left (name) \
         penstock_backend_info)";
    until(&prometheus, named, |calls| calls >= 60.0).await;

    let told = Client::new(format!("http://{metrics}")).get("/metrics").await.expect(200).text;
    assert_eq!(complaints(&told).await, "", "what is told keeps the rules of Prometheus");

    // A queue fills, and empties.
    let queue = json!({"queue": {"capacity": 4, "maxWaitMs": 600_000}});
    client.put(&format!("/pools/{TASKS}"), queue).await.expect(200);
    let backend = json!({"name": "a", "baseUrl": sim.url(), "type": "ollama", "maxConcurrency": 1});
    client.put(&format!("/backends/{id}"), backend).await.expect(200);
    until(&prometheus, "penstock_backend_slots_limit", |limit| limit == 1.0).await;
    let gate = sim.hold_on(Routes::GENERATING);
    let waiting: Vec<_> = (0..5)
        .map(|_| {
            let client = client.clone();
            in_background(async move { client.post("/execute", json!({"prompt": "waits"})).await })
        })
        .collect();
    until(&prometheus, "sum(penstock_pool_waiting_requests)", |waiting| waiting == 4.0).await;
    client.post("/execute", json!({"prompt": "one too many"})).await.expect(503);
    until(&prometheus, "sum(penstock_refusals_total{reason=\"queue_full\"})", |refused| refused >= 1.0).await;
    until_alert(&prometheus, "PenstockQueueFills", true).await;
    gate.release_all();
    for answer in waiting {
        answer.await.unwrap().expect(200);
    }
    until_alert(&prometheus, "PenstockQueueFills", false).await;
    until(&prometheus, "sum(penstock_pool_queue_waits_total{outcome=\"granted\"})", |granted| granted == 4.0).await;

    // A backend fails, and comes back.
    sim.script(Rule::on(Routes::GENERATING).status(500));
    for _ in 0..10 {
        client.post("/execute", json!({"prompt": "fails"})).await;
    }
    until(&prometheus, "sum(penstock_backend_calls_total{outcome=\"server\"})", |failed| failed >= 5.0).await;
    until_alert(&prometheus, "PenstockBreakerOpen", true).await;
    sim.stop().await;
    client.post("/execute", json!({"prompt": "nobody"})).await;
    until_alert(&prometheus, "PenstockAllBackendsDown", true).await;
    until_alert(&prometheus, "PenstockBackendDown", true).await;
    sim.clear_script();
    sim.restart().await.unwrap();
    // What is changed is looked at at once.
    let again = json!({"name": "again", "baseUrl": sim.url(), "type": "ollama"});
    client.put(&format!("/backends/{id}"), again).await.expect(200);
    client.post(&format!("/backends/{id}/breaker/reset"), Value::Null).await.expect(200);
    until_alert(&prometheus, "PenstockBackendDown", false).await;
    until_alert(&prometheus, "PenstockBreakerOpen", false).await;
    client.post("/execute", json!({"prompt": "again"})).await.expect(200);
}
