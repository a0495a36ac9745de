//! What a refusal for load costs a server in CPU time, from the first byte of its request to the last of its answer: beside
//! the least that it answers at all (`GET /health`), on the same connections.

use std::{fs, io, path::PathBuf};

use bytes::Bytes;
use reqwest::{Client, Method};
use serde_json::json;
use tokio::task::JoinSet;

use crate::{
    served::{MODEL, Served, register, scratch_folder},
    sim::SimBackend,
};

/// What is measured.
#[derive(Debug, Clone)]
pub struct RefusalPlan {
    /// The server's binary.
    pub server: PathBuf,
    /// Bytes of the prompts that are refused.
    pub sizes: Vec<usize>,
    /// Requests of one turn.
    pub requests: usize,
    /// Turns of each.
    pub rounds: usize,
    /// Requests at a time.
    pub at_once: usize,
}

/// Microseconds of CPU time a request: the median of all turns.
#[derive(Debug, Clone, PartialEq)]
pub struct RefusalCost {
    /// What was asked.
    pub what: String,
    /// What it cost.
    pub micros: f64,
}

/// Measures.
///
/// # Errors
/// When the server cannot be started or read, or answers otherwise than it should.
pub async fn measure(plan: &RefusalPlan) -> io::Result<Vec<RefusalCost>> {
    let sim = SimBackend::vllm().model(MODEL).count_only().start().await?;
    let (http, mut costs) = (Client::new(), Vec::new());
    for (reason, status, setting) in [
        ("overloaded", 503, ("MAX_IN_FLIGHT", "1")),
        ("request_rate", 429, ("RATE_LIMIT_RPM", "1")),
        ("token_rate", 429, ("RATE_LIMIT_TPM", "1")),
        ("queue_full", 503, ("MAX_IN_FLIGHT", "1000")),
    ] {
        let folder = scratch_folder("refusal")?;
        let server = Served::penstock(&plan.server, &folder, &[setting]).await?;
        let mut asks: Vec<(String, Ask)> = Vec::new();
        if costs.is_empty() {
            let health = Ask { method: Method::GET, path: "/health", body: Bytes::new(), status: 200, reason: "" };
            asks.push(("GET /health, answered".to_owned(), health));
        }
        for size in &plan.sizes {
            let body =
                json!({"model": MODEL, "messages": [{"role": "user", "content": "x".repeat(*size)}]}).to_string();
            let ask = Ask { method: Method::POST, path: "/v1/chat/completions", body: body.into(), status, reason };
            asks.push((format!("{reason}, {size} bytes of prompt"), ask));
        }
        let mut running = JoinSet::new();
        match reason {
            // One request takes the only place, or the only slot.
            "overloaded" | "queue_full" => {
                let pool = http.put(format!("{}/pools/internal_tasks_pool", server.url));
                let pool = pool.body(json!({"queue": {"capacity": 0}}).to_string()).send().await;
                pool.and_then(reqwest::Response::error_for_status).map_err(io::Error::other)?;
                let slots = if reason == "queue_full" { 1 } else { 1000 };
                register(&http, &server.url, &sim.url(), slots).await?;
                let gate = sim.hold();
                let request = http.post(format!("{}/execute", server.url)).body(json!({"prompt": "?"}).to_string());
                running.spawn(async move { drop(request.send().await) });
                gate.wait_for_waiting(1).await.map_err(io::Error::other)?;
                measure_all(&http, &server, plan, &asks, &mut costs).await?;
                gate.release_all();
            }
            // Whatever becomes of the first.
            "request_rate" => {
                drop(http.post(format!("{}/execute", server.url)).body("{}").send().await);
                measure_all(&http, &server, plan, &asks, &mut costs).await?;
            }
            // The one that shows the server to be ready has used up more than there is.
            _ => {
                register(&http, &server.url, &sim.url(), 1000).await?;
                measure_all(&http, &server, plan, &asks, &mut costs).await?;
            }
        }
        fs::remove_dir_all(&folder)?;
    }
    Ok(costs)
}

async fn measure_all(
    http: &Client,
    server: &Served,
    plan: &RefusalPlan,
    asks: &[(String, Ask)],
    costs: &mut Vec<RefusalCost>,
) -> io::Result<()> {
    for (what, ask) in asks {
        let micros = median(http, server, plan, ask).await?;
        costs.push(RefusalCost { what: what.clone(), micros });
    }
    Ok(())
}

/// A request of which many are sent.
struct Ask {
    method: Method,
    path: &'static str,
    body: Bytes,
    status: u16,
    reason: &'static str,
}

async fn median(http: &Client, server: &Served, plan: &RefusalPlan, ask: &Ask) -> io::Result<f64> {
    let mut turns = Vec::new();
    // The first turn warms up.
    for round in 0..=plan.rounds {
        let spent = turn(http, server, plan, ask).await?;
        if round > 0 {
            turns.push(spent);
        }
    }
    turns.sort_by(f64::total_cmp);
    Ok(turns.get(turns.len() / 2).copied().unwrap_or_default())
}

/// CPU microseconds of one request, over a turn of many.
async fn turn(http: &Client, server: &Served, plan: &RefusalPlan, ask: &Ask) -> io::Result<f64> {
    let before = server.cpu_nanos()?;
    let mut running = JoinSet::new();
    let share = plan.requests.div_ceil(plan.at_once);
    for _ in 0..plan.at_once {
        let (http, url, body) = (http.clone(), format!("{}{}", server.url, ask.path), ask.body.clone());
        let (method, wanted, reason) = (ask.method.clone(), ask.status, ask.reason);
        running.spawn(async move {
            for _ in 0..share {
                let request = http.request(method.clone(), &url).header("content-type", "application/json");
                let answer = request.body(body.clone()).send().await.map_err(io::Error::other)?;
                let told = answer.headers().get("x-penstock-reason").map_or(&b""[..], |reason| reason.as_bytes());
                if answer.status().as_u16() != wanted || told != reason.as_bytes() {
                    return Err(io::Error::other(format!("{answer:?} is not the {wanted} {reason} that should be")));
                }
                answer.bytes().await.map_err(io::Error::other)?;
            }
            Ok::<_, io::Error>(())
        });
    }
    while let Some(ended) = running.join_next().await {
        ended.map_err(io::Error::other)??;
    }
    let spent = server.cpu_nanos()?.saturating_sub(before);
    Ok(spent as f64 / 1000.0 / (share * plan.at_once) as f64)
}
