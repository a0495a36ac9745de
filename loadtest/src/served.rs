//! Servers in processes of their own, what the kernel says of them, and how they are made ready for a measurement.

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
};
use tokio_util::task::TaskTracker;

/// Longest wait for a server to be ready.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// The model of the simulated backend.
pub(crate) const MODEL: &str = "chat:1b";
/// The same model to the server, and another text: its name must be put into the body.
pub(crate) const ALIAS: &str = "Chat:1B";

/// A server in a process of its own; it ends with this value.
pub(crate) struct Served {
    child: Child,
    pub(crate) url: String,
    /// Read on, so that the process never waits for somebody to take its log.
    _log: tokio::task::JoinHandle<()>,
}

impl Served {
    /// The floor proxy before this server.
    pub(crate) async fn floor(to: &str) -> io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["floor", "--to", to]);
        Self::start(command, |line| line.strip_prefix("listening ").map(str::to_owned)).await
    }

    /// A Penstock whose data is in this folder, with these settings.
    pub(crate) async fn penstock(binary: &Path, folder: &Path, settings: &[(&str, &str)]) -> io::Result<Self> {
        let mut command = Command::new(binary);
        let folder = folder.to_string_lossy().into_owned();
        command.arg("serve").env_clear().envs([
            ("PORT", "0"),
            ("ADDR", "127.0.0.1"),
            ("DATA_DIR", &folder),
            ("TASK_MODEL", MODEL),
            ("EMBED_MODEL", "embed:1b"),
        ]);
        command.envs(settings.iter().copied());
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

    /// Tells it to stop, as process managers do.
    pub(crate) async fn terminate(&self) -> io::Result<()> {
        let pid = self.child.id().ok_or_else(|| io::Error::other("the process has ended"))?;
        let sent = Command::new("kill").args(["-TERM", &pid.to_string()]).status().await?;
        if sent.success() { Ok(()) } else { Err(io::Error::other("the process could not be told to stop")) }
    }

    /// CPU time of all its threads so far.
    pub(crate) fn cpu_nanos(&self) -> io::Result<u64> {
        let pid = self.child.id().ok_or_else(|| io::Error::other("the process has ended"))?;
        let mut nanos = 0;
        for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
            let counted = fs::read_to_string(thread?.path().join("schedstat"))?;
            nanos += counted.split(' ').next().and_then(|field| field.parse::<u64>().ok()).unwrap_or_default();
        }
        Ok(nanos)
    }

    /// Bytes of its memory that are in RAM now.
    pub(crate) fn resident_bytes(&self) -> io::Result<u64> {
        let pid = self.child.id().ok_or_else(|| io::Error::other("the process has ended"))?;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kib.map(|kib| kib * 1024).ok_or_else(|| io::Error::other("the kernel does not tell its memory"))
    }
}

async fn drain(mut lines: Lines<BufReader<ChildStdout>>) {
    while let Ok(Some(_)) = lines.next_line().await {}
}

/// Registers the simulated backend with so many slots, waits until calls go there, and gives its id.
pub(crate) async fn register(http: &Client, server: &str, sim: &str, slots: usize) -> io::Result<String> {
    let post = |path: String, body: Value| {
        let request = http.post(format!("{server}{path}")).header("content-type", "application/json");
        let request = request.body(body.to_string());
        async move {
            let answer = request.send().await.map_err(io::Error::other)?;
            let (status, text) = (answer.status(), answer.text().await.map_err(io::Error::other)?);
            Ok::<_, io::Error>((status.as_u16(), text))
        }
    };
    let backend = json!({"name": "sim", "baseUrl": sim, "type": "vllm", "maxConcurrency": slots});
    let (status, text) = post("/backends".to_owned(), backend).await?;
    let created: Value = serde_json::from_str(&text).map_err(io::Error::other)?;
    let Some(id) = created["id"].as_str() else { return Err(io::Error::other(format!("{status}: {text}"))) };
    post(format!("/backend-associations/internal_tasks_pool/backends/{id}"), Value::Null).await?;
    let ready = async {
        loop {
            let call = json!({"model": ALIAS, "messages": [{"role": "user", "content": "hello"}]});
            if post("/v1/chat/completions".to_owned(), call).await?.0 == 200 {
                return Ok::<_, io::Error>(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, ready).await.map_err(io::Error::other)??;
    Ok(id.to_owned())
}

/// A folder of its own for a server's data; whoever asks removes it.
pub(crate) fn scratch_folder(what: &str) -> io::Result<PathBuf> {
    let folder = std::env::temp_dir().join(format!("loadtest-{what}-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    Ok(folder)
}
