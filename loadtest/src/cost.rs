//! What a request costs a server in CPU time, beside what it costs the floor proxy: the same requests to both in turns, so
//! that whatever else the machine does meets both alike.
//!
//! CPU time is what the kernel counts for all threads of the server's process, in nanoseconds; the simulated backend and
//! the client live in this process and are not counted.

use std::{fs, io, path::PathBuf};

use reqwest::Client;
use serde_json::json;
use tokio::task::JoinSet;

use crate::{
    served::{ALIAS, MODEL, Served, register, scratch_folder},
    sim::{Routes, Rule, SimBackend},
};

/// What is measured.
#[derive(Debug, Clone)]
pub struct CostPlan {
    /// The server's binary.
    pub server: PathBuf,
    /// Sizes of the prompts in bytes.
    pub sizes: Vec<usize>,
    /// Requests of one turn.
    pub requests: usize,
    /// Turns of each server and size.
    pub rounds: usize,
    /// Requests at a time.
    pub at_once: usize,
    /// Whether the answers are streamed.
    pub stream: bool,
}

/// What one size costs, in microseconds of CPU time a request: the median of all turns.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cost {
    /// Bytes of the prompt.
    pub size: usize,
    /// The floor proxy.
    pub floor: f64,
    /// The server.
    pub server: f64,
    /// The median of the turns' own ratios.
    pub ratio: f64,
}

/// Measures.
///
/// # Errors
/// When a process cannot be started or read, or answers anything but 200.
pub async fn measure(plan: &CostPlan) -> io::Result<Vec<Cost>> {
    let sim = SimBackend::vllm().model(MODEL).count_only().start().await?;
    sim.script(Rule::on(Routes::CALLS).reply("word ".repeat(20)));
    let floor = Served::floor(&sim.url()).await?;
    let folder = scratch_folder("cost")?;
    let server = Served::penstock(&plan.server, &folder, &[]).await?;
    let http = Client::new();
    register(&http, &server.url, &sim.url(), 1000).await?;
    let mut costs = Vec::new();
    for size in &plan.sizes {
        let to_floor = body(MODEL, *size, plan.stream);
        let to_server = body(ALIAS, *size, plan.stream);
        let mut turns = Vec::new();
        // The first turn warms up.
        for round in 0..=plan.rounds {
            let floor = turn(&http, &floor, &to_floor, plan).await?;
            let server = turn(&http, &server, &to_server, plan).await?;
            if round > 0 {
                turns.push((floor, server, server / floor));
            }
        }
        let median = |pick: fn(&(f64, f64, f64)) -> f64| {
            let mut values: Vec<f64> = turns.iter().map(pick).collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or_default()
        };
        costs.push(Cost {
            size: *size,
            floor: median(|turn| turn.0),
            server: median(|turn| turn.1),
            ratio: median(|turn| turn.2),
        });
    }
    fs::remove_dir_all(&folder)?;
    Ok(costs)
}

/// A chat whose prompt is of this size: lines of text with the escapes that prompts have.
fn body(model: &str, size: usize, stream: bool) -> String {
    let mut prompt = "She said \"the sky is blue\", and went on to the next line of the text.\n".repeat(size / 70 + 1);
    prompt.truncate(size);
    json!({"model": model, "messages": [{"role": "user", "content": prompt}], "stream": stream}).to_string()
}

/// CPU microseconds of one request, over a turn of many.
async fn turn(http: &Client, served: &Served, body: &str, plan: &CostPlan) -> io::Result<f64> {
    let before = served.cpu_nanos()?;
    let mut running = JoinSet::new();
    let body = bytes::Bytes::copy_from_slice(body.as_bytes());
    let share = plan.requests.div_ceil(plan.at_once);
    for _ in 0..plan.at_once {
        let (http, url, body) = (http.clone(), format!("{}/v1/chat/completions", served.url), body.clone());
        running.spawn(async move {
            for _ in 0..share {
                let request = http.post(&url).header("content-type", "application/json").body(body.clone());
                let answer = request.send().await.and_then(reqwest::Response::error_for_status);
                answer.map_err(io::Error::other)?.bytes().await.map_err(io::Error::other)?;
            }
            Ok::<_, io::Error>(())
        });
    }
    while let Some(ended) = running.join_next().await {
        ended.map_err(io::Error::other)??;
    }
    let spent = served.cpu_nanos()?.saturating_sub(before);
    Ok(spent as f64 / 1000.0 / (share * plan.at_once) as f64)
}
