//! What a refusal for load costs a server in CPU time, from the first byte of its request to the last of its answer: beside
//! the least that it answers at all (`GET /health`), on the same connections; of a server that drains, on new ones, because it
//! closes each behind its answer.

use std::{io, path::PathBuf, time::Duration};

use bytes::Bytes;
use reqwest::{Client, Method};
use serde_json::json;
use tokio::task::JoinSet;

use crate::{
    served::{MODEL, PATIENCE, Served, register},
    sim::{HoldGate, SimBackend},
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
        ("deadline", 503, ("MAX_IN_FLIGHT", "1000")),
        // Longer than the measurement; the process is killed after it.
        ("draining", 503, ("DRAIN_TIMEOUT", "1h")),
    ] {
        let server = Served::penstock(&plan.server, &[setting]).await?;
        let mut asks: Vec<(String, Ask)> = Vec::new();
        if costs.is_empty() {
            asks.push(("GET /health, answered".to_owned(), Ask::HEALTH));
        }
        if reason == "draining" {
            // Each answer of a server that drains is the last on its connection.
            asks.push(("GET /health while it drains, on new connections".to_owned(), Ask::HEALTH));
        }
        for size in &plan.sizes {
            let body =
                json!({"model": MODEL, "messages": [{"role": "user", "content": "x".repeat(*size)}]}).to_string();
            let ask = Ask {
                method: Method::POST,
                path: "/v1/chat/completions",
                body: body.into(),
                status,
                reason,
                deadline: reason == "deadline",
            };
            asks.push((format!("{reason}, {size} bytes of prompt"), ask));
        }
        let scene = Scene { http: &http, server: &server, sim: &sim };
        let mut running = JoinSet::new();
        match reason {
            // One request takes the only place, or the only slot.
            "overloaded" | "queue_full" => {
                scene.set_queue(0).await?;
                register(&http, &server.url, &sim.url(), if reason == "queue_full" { 1 } else { 1000 }).await?;
                let gate = sim.hold();
                scene.execute(&mut running);
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
            "token_rate" => {
                register(&http, &server.url, &sim.url(), 1000).await?;
                measure_all(&http, &server, plan, &asks, &mut costs).await?;
            }
            "deadline" => {
                let gate = scene.fill_queue(&mut running).await?;
                measure_all(&http, &server, plan, &asks, &mut costs).await?;
                gate.release_all();
            }
            // One call is held, or nothing would keep the server from ending.
            _ => {
                register(&http, &server.url, &sim.url(), 1000).await?;
                let gate = sim.hold();
                scene.execute(&mut running);
                gate.wait_for_waiting(1).await.map_err(io::Error::other)?;
                server.terminate().await?;
                scene.wait_until_draining().await?;
                measure_all(&http, &server, plan, &asks, &mut costs).await?;
                gate.release_all();
            }
        }
    }
    Ok(costs)
}

/// Grants after which the queue knows its pace, and those who wait then.
const SEEN: usize = 10;
const WAITING: usize = 5;
/// From one grant to the next: so many such pauses are more than the deadline of those who are refused.
const PAUSE: Duration = Duration::from_millis(200);
const DEADLINE_MS: &str = "500";

/// A server that is brought into the state in which it refuses.
struct Scene<'a> {
    http: &'a Client,
    server: &'a Served,
    sim: &'a SimBackend,
}

impl Scene<'_> {
    async fn set_queue(&self, capacity: usize) -> io::Result<()> {
        let pool = self.http.put(format!("{}/pools/internal_tasks_pool", self.server.url));
        let queue = json!({"queue": {"capacity": capacity, "maxWaitMs": 600_000}});
        let answer = pool.body(queue.to_string()).send().await;
        answer.and_then(reqwest::Response::error_for_status).map(drop).map_err(io::Error::other)
    }

    /// Sends a request whose answer nobody needs.
    fn execute(&self, running: &mut JoinSet<()>) {
        let request = self.http.post(format!("{}/execute", self.server.url));
        let request = request.body(json!({"prompt": "?"}).to_string());
        running.spawn(async move { drop(request.send().await) });
    }

    /// A queue before one slot that is granted so slowly that deadlines are out of reach. Held by the gate.
    async fn fill_queue(&self, running: &mut JoinSet<()>) -> io::Result<HoldGate> {
        self.set_queue(1_000).await?;
        register(self.http, &self.server.url, &self.sim.url(), 1).await?;
        let gate = self.sim.hold();
        for _ in 0..=SEEN + WAITING {
            self.execute(running);
        }
        for seen in 1..=SEEN {
            gate.wait_for_arrivals(seen).await.map_err(io::Error::other)?;
            tokio::time::sleep(PAUSE).await;
            gate.release(1);
        }
        gate.wait_for_arrivals(SEEN + 1).await.map_err(io::Error::other)?;
        Ok(gate)
    }

    async fn wait_until_draining(&self) -> io::Result<()> {
        let drains = async {
            // Who asks on a connection that the server is about to close gets no answer.
            while !self.http.get(format!("{}/ready", self.server.url)).send().await.is_ok_and(|ready| {
                ready.status() == 503 && ready.headers().get("x-penstock-reason").is_some_and(|why| why == "draining")
            }) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, drains).await.map_err(io::Error::other)
    }
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
    /// Whether it has a deadline, which must be out of reach.
    deadline: bool,
}

impl Ask {
    const HEALTH: Self =
        Self { method: Method::GET, path: "/health", body: Bytes::new(), status: 200, reason: "", deadline: false };
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
        let (method, wanted, reason, has_deadline) = (ask.method.clone(), ask.status, ask.reason, ask.deadline);
        running.spawn(async move {
            for _ in 0..share {
                let mut request = http.request(method.clone(), &url).header("content-type", "application/json");
                if has_deadline {
                    request = request.header("x-penstock-deadline-ms", DEADLINE_MS);
                }
                let answer = request.body(body.clone()).send().await.map_err(io::Error::other)?;
                let told = answer.headers().get("x-penstock-reason").map_or(&b""[..], |reason| reason.as_bytes());
                if answer.status().as_u16() != wanted || told != reason.as_bytes() {
                    return Err(io::Error::other(format!("{answer:?} is not the {wanted} {reason} that should be")));
                }
                let told = answer.text().await.map_err(io::Error::other)?;
                if has_deadline && !told.contains("out of reach") {
                    return Err(io::Error::other(format!("the deadline has passed, and was not out of reach: {told}")));
                }
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
