//! What a request costs a server in CPU time, beside what it costs the floor proxy: the same requests to both in turns, so
//! that whatever else the machine does meets both alike.
//!
//! CPU time is what the kernel counts for all threads of the server's process, in nanoseconds; the simulated backend and
//! the client live in this process and are not counted.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use reqwest::Client;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    task::JoinSet,
};
use tokio_util::task::TaskTracker;

use crate::sim::{Routes, Rule, SimBackend};

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

/// Longest wait for a server to be ready.
const PATIENCE: Duration = Duration::from_secs(30);
const MODEL: &str = "chat:1b";
/// The same model to the server, and another text: its name must be put into the body.
const ALIAS: &str = "Chat:1B";

/// Measures.
///
/// # Errors
/// When a process cannot be started or read, or answers anything but 200.
pub async fn measure(plan: &CostPlan) -> io::Result<Vec<Cost>> {
    let sim = SimBackend::vllm().model(MODEL).count_only().start().await?;
    sim.script(Rule::on(Routes::CALLS).reply("word ".repeat(20)));
    let floor = Served::floor(&sim.url()).await?;
    let folder = tempfile_folder()?;
    let server = Served::penstock(&plan.server, &folder).await?;
    let http = Client::new();
    register(&http, &server.url, &sim.url()).await?;
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

/// A server in a process of its own; it ends with this value.
struct Served {
    child: Child,
    url: String,
    /// Read on, so that the process never waits for somebody to take its log.
    _log: tokio::task::JoinHandle<()>,
}

impl Served {
    async fn floor(to: &str) -> io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["floor", "--to", to]);
        Self::start(command, |line| line.strip_prefix("listening ").map(str::to_owned)).await
    }

    async fn penstock(binary: &Path, folder: &Path) -> io::Result<Self> {
        let mut command = Command::new(binary);
        let folder = folder.to_string_lossy().into_owned();
        command.arg("serve").env_clear().envs([
            ("PORT", "0"),
            ("ADDR", "127.0.0.1"),
            ("DATA_DIR", &folder),
            ("TASK_MODEL", MODEL),
            ("EMBED_MODEL", "embed:1b"),
        ]);
        Self::start(command, |line| {
            let line: Value = serde_json::from_str(line).ok()?;
            (line["message"] == "penstock is ready")
                .then(|| format!("http://{}", line["address"].as_str().unwrap_or("")))
        })
        .await
    }

    /// Starts a process and reads its log until a line tells where it listens.
    async fn start(mut command: Command, address_in: impl Fn(&str) -> Option<String>) -> io::Result<Self> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let output = child.stdout.take().ok_or_else(|| io::Error::other("the process has no output"))?;
        let mut lines = BufReader::new(output).lines();
        let url = tokio::time::timeout(PATIENCE, async {
            while let Some(line) = lines.next_line().await? {
                if let Some(url) = address_in(&line) {
                    return Ok(url);
                }
            }
            Err(io::Error::other("the process ended before it was ready"))
        })
        .await
        .map_err(io::Error::other)??;
        Ok(Self { child, url, _log: TaskTracker::new().spawn(drain(lines)) })
    }

    /// CPU time of all its threads so far.
    fn cpu_nanos(&self) -> io::Result<u64> {
        let pid = self.child.id().ok_or_else(|| io::Error::other("the process has ended"))?;
        let mut nanos = 0;
        for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
            let counted = fs::read_to_string(thread?.path().join("schedstat"))?;
            nanos += counted.split(' ').next().and_then(|field| field.parse::<u64>().ok()).unwrap_or_default();
        }
        Ok(nanos)
    }
}

async fn drain(mut lines: Lines<BufReader<ChildStdout>>) {
    while let Ok(Some(_)) = lines.next_line().await {}
}

/// Registers the simulated backend and waits until calls go there.
async fn register(http: &Client, server: &str, sim: &str) -> io::Result<()> {
    let post = |path: String, body: Value| {
        let request = http.post(format!("{server}{path}")).header("content-type", "application/json");
        let request = request.body(body.to_string());
        async move {
            let answer = request.send().await.map_err(io::Error::other)?;
            let (status, text) = (answer.status(), answer.text().await.map_err(io::Error::other)?);
            Ok::<_, io::Error>((status.as_u16(), text))
        }
    };
    let backend = json!({"name": "sim", "baseUrl": sim, "type": "vllm", "maxConcurrency": 1000});
    let (status, text) = post("/backends".to_owned(), backend).await?;
    let id: Value = serde_json::from_str(&text).map_err(io::Error::other)?;
    let Some(id) = id["id"].as_str() else { return Err(io::Error::other(format!("{status}: {text}"))) };
    post(format!("/backend-associations/internal_tasks_pool/backends/{id}"), Value::Null).await?;
    let ready = async {
        loop {
            let call = serde_json::from_str(&body(ALIAS, 10, false)).map_err(io::Error::other)?;
            if post("/v1/chat/completions".to_owned(), call).await?.0 == 200 {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, ready).await.map_err(io::Error::other)?
}

fn tempfile_folder() -> io::Result<PathBuf> {
    let folder = std::env::temp_dir().join(format!("loadtest-cost-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    Ok(folder)
}
