//! Many clients at once: what a server remembers of those who wait, and of streams that are read slowly.
//!
//! The server runs in a process of its own; its memory is what the kernel says of it.

use std::{fs, io, path::PathBuf, time::Duration};

use futures_util::StreamExt;
use reqwest::Client;
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::Instant};

use crate::{
    served::{ALIAS, MODEL, PATIENCE, Served, register, scratch_folder},
    sim::{Routes, Rule, SimBackend},
};

/// Slots of the backend for which the clients wait.
const SLOTS: usize = 16;
/// Words of a stream, and the pause before each.
const STREAM_WORDS: usize = 25;
const STREAM_PAUSE: Duration = Duration::from_millis(200);
/// Time for the clients to arrive, and for all of them to be answered.
const ARRIVAL: Duration = Duration::from_secs(120);
/// After which memory must be given back.
const REST: Duration = Duration::from_secs(60);

/// What is measured.
#[derive(Debug, Clone)]
pub struct CrowdPlan {
    /// The server's binary.
    pub server: PathBuf,
    /// Clients that wait for a slot at the same time.
    pub waiting: usize,
    /// Streams at the same time.
    pub streams: usize,
}

/// What came of a crowd. Memory in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Crowd {
    /// Clients.
    pub clients: usize,
    /// Of those, answered as they should be.
    pub answered: usize,
    /// The server's memory before.
    pub idle: u64,
    /// Its most while they were there.
    pub most: u64,
    /// A minute after.
    pub after: u64,
}

/// Measures both crowds, one after the other, on servers of their own.
///
/// # Errors
/// When a process cannot be started or read, or the clients do not all arrive in time.
pub async fn measure(plan: &CrowdPlan, progress: &mut dyn FnMut(&str)) -> io::Result<(Crowd, Crowd)> {
    let waiting = waiting(plan, progress).await?;
    let streams = streams(plan, progress).await?;
    Ok((waiting, streams))
}

fn chat(stream: bool) -> String {
    json!({"model": ALIAS, "messages": [{"role": "user", "content": "hello"}], "stream": stream}).to_string()
}

/// Sends the requests, and hands every answer that is 200 to a reader of it, which says whether it is whole.
fn send_all(http: &Client, url: &str, count: usize, stream: bool) -> JoinSet<bool> {
    let (url, body) = (format!("{url}/v1/chat/completions"), bytes::Bytes::from(chat(stream)));
    let mut clients = JoinSet::new();
    for _ in 0..count {
        let request = http.post(&url).header("content-type", "application/json").body(body.clone());
        clients.spawn(async move {
            let Ok(answer) = request.send().await else { return false };
            if answer.status() != 200 {
                return false;
            }
            let mut bytes = answer.bytes_stream();
            let mut end = Vec::new();
            while let Some(Ok(chunk)) = bytes.next().await {
                end.extend_from_slice(&chunk);
                end.drain(..end.len().saturating_sub(64));
            }
            !stream || end.ends_with(b"data: [DONE]\n\n")
        });
    }
    clients
}

async fn finished(mut clients: JoinSet<bool>) -> io::Result<usize> {
    let mut whole = 0;
    while let Some(client) = clients.join_next().await {
        whole += usize::from(client.map_err(io::Error::other)?);
    }
    Ok(whole)
}

async fn waiting(plan: &CrowdPlan, progress: &mut dyn FnMut(&str)) -> io::Result<Crowd> {
    let sim = SimBackend::vllm().model(MODEL).count_only().start().await?;
    let folder = scratch_folder("crowd")?;
    // What is measured is the queue, and not what is refused before it.
    let server = Served::penstock(&plan.server, &folder, &[("MAX_IN_FLIGHT", "0")]).await?;
    let http = Client::new();
    let id = register(&http, &server.url, &sim.url(), SLOTS).await?;
    // Requests of the usual class may fill four fifths of a queue.
    let capacity = (plan.waiting * 5).div_ceil(4);
    let queue = json!({"queue": {"capacity": capacity, "maxWaitMs": 600_000}}).to_string();
    let pool = http.put(format!("{}/pools/internal_tasks_pool", server.url)).header("content-type", "application/json");
    pool.body(queue).send().await.and_then(reqwest::Response::error_for_status).map_err(io::Error::other)?;
    let gate = sim.hold_on(Routes::CALLS);
    let mut crowd = Crowd { clients: plan.waiting, idle: server.resident_bytes()?, ..Crowd::default() };
    progress(&format!("{} clients come", plan.waiting));
    let clients = send_all(&http, &server.url, plan.waiting, false);
    let wanted = plan.waiting.saturating_sub(SLOTS) as u64;
    let arrived = async {
        loop {
            let state = http.get(format!("{}/state", server.url)).send().await.map_err(io::Error::other)?;
            let state: Value = serde_json::from_str(&state.text().await.map_err(io::Error::other)?)?;
            let own = state.as_array().and_then(|all| all.iter().find(|backend| backend["id"] == id.as_str()));
            let waiters = own.and_then(|own| own["slots"]["waiters"].as_u64()).unwrap_or_default();
            if waiters >= wanted {
                return Ok::<_, io::Error>(());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(ARRIVAL, arrived).await.map_err(io::Error::other)??;
    crowd.most = server.resident_bytes()?;
    progress("all of them wait; they are answered");
    gate.release_all();
    crowd.answered = tokio::time::timeout(ARRIVAL, finished(clients)).await.map_err(io::Error::other)??;
    crowd.most = crowd.most.max(server.resident_bytes()?);
    drop(http);
    progress("all of them have gone; a minute of rest");
    tokio::time::sleep(REST).await;
    crowd.after = server.resident_bytes()?;
    fs::remove_dir_all(&folder)?;
    Ok(crowd)
}

async fn streams(plan: &CrowdPlan, progress: &mut dyn FnMut(&str)) -> io::Result<Crowd> {
    let sim = SimBackend::vllm().model(MODEL).count_only().start().await?;
    let folder = scratch_folder("crowd")?;
    let server = Served::penstock(&plan.server, &folder, &[]).await?;
    let http = Client::new();
    register(&http, &server.url, &sim.url(), plan.streams).await?;
    sim.script(Rule::on(Routes::CALLS).reply("word ".repeat(STREAM_WORDS)).chunk_delay(STREAM_PAUSE));
    let mut crowd = Crowd { clients: plan.streams, idle: server.resident_bytes()?, ..Crowd::default() };
    progress(&format!("{} streams begin, a word every {} ms", plan.streams, STREAM_PAUSE.as_millis()));
    let clients = send_all(&http, &server.url, plan.streams, true);
    let began = Instant::now();
    let running = finished(clients);
    tokio::pin!(running);
    crowd.answered = loop {
        tokio::select! {
            whole = &mut running => break whole?,
            () = tokio::time::sleep(Duration::from_millis(500)) => {
                crowd.most = crowd.most.max(server.resident_bytes()?);
                if began.elapsed() > ARRIVAL + PATIENCE {
                    return Err(io::Error::other("the streams did not end in time"));
                }
            }
        }
    };
    drop(http);
    progress("all of them have ended; a minute of rest");
    tokio::time::sleep(REST).await;
    crowd.after = server.resident_bytes()?;
    fs::remove_dir_all(&folder)?;
    Ok(crowd)
}
