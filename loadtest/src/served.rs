//! Servers in processes of their own, what the kernel says of them, and how they are made ready for a measurement.

use std::{io, path::Path, process::Stdio, time::Duration};

use reqwest::Client;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader, Lines},
    process::{Child, Command},
};
use tokio_util::task::TaskTracker;

use crate::process::Process;

/// Longest wait for a server to be ready.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// The model of the simulated backend.
pub(crate) const MODEL: &str = "chat:1b";
/// The same model to the server, and another text: its name must be put into the body.
pub(crate) const ALIAS: &str = "Chat:1B";

/// What is read of a process.
type Output = Box<dyn AsyncRead + Send + Unpin>;

/// Where a process tells its address.
#[derive(Clone, Copy)]
enum Tells {
    /// On its standard output.
    Output,
    /// In its log, which is on its standard error.
    Log,
}

/// A server in a process of its own; it ends with this value.
pub(crate) struct Served {
    /// With its input, which is open as long: the simulated backends end when it closes, however this process ended.
    child: Child,
    pub(crate) url: String,
    /// Read on, so that the process never waits for somebody to take its log.
    _log: tokio::task::JoinHandle<()>,
    /// Where its data is, if it has any; removed behind it.
    _data: Option<TempDir>,
}

impl Served {
    /// The floor proxy before this server.
    pub(crate) async fn floor(to: &str) -> io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["floor", "--to", to]);
        Self::start(command, Tells::Output, |line| line.strip_prefix("listening ").map(str::to_owned)).await
    }

    /// The simulated backends of a scenario, and the line in which they tell where they are.
    pub(crate) async fn fleet(scenario: &Path, port: u16) -> io::Result<(Self, String)> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("fleet").arg("--spec").arg(scenario).args(["--port", &port.to_string()]);
        let served = Self::start(command, Tells::Output, |line| line.starts_with('{').then(|| line.to_owned())).await?;
        let line = served.url.clone();
        Ok((served, line))
    }

    /// A Penstock without any data, with these settings.
    pub(crate) async fn penstock(binary: &Path, settings: &[(&str, &str)]) -> io::Result<Self> {
        let data = TempDir::with_prefix("loadtest-")?;
        let mut command = Command::new(binary);
        let folder = data.path().to_string_lossy().into_owned();
        command.arg("serve").env_clear().envs([
            ("PORT", "0"),
            ("ADDR", "127.0.0.1"),
            ("DATA_DIR", &folder),
            ("TASK_MODEL", MODEL),
            ("EMBED_MODEL", "embed:1b"),
        ]);
        command.envs(settings.iter().copied());
        let served = Self::start(command, Tells::Log, |line| {
            let line: Value = serde_json::from_str(line).ok()?;
            (line["message"] == "penstock is ready")
                .then(|| format!("http://{}", line["address"].as_str().unwrap_or("")))
        })
        .await?;
        Ok(Self { _data: Some(data), ..served })
    }

    /// Starts a process and reads what it says until a line tells where it listens.
    async fn start(
        mut command: Command,
        tells: Tells,
        address_in: impl Fn(&str) -> Option<String>,
    ) -> io::Result<Self> {
        command.stdin(Stdio::piped()).kill_on_drop(true);
        match tells {
            Tells::Output => command.stdout(Stdio::piped()),
            Tells::Log => command.stdout(Stdio::null()).stderr(Stdio::piped()),
        };
        let mut child = command.spawn()?;
        let output: Option<Output> = match tells {
            Tells::Output => child.stdout.take().map(|output| Box::new(output) as Output),
            Tells::Log => child.stderr.take().map(|output| Box::new(output) as Output),
        };
        let output = output.ok_or_else(|| io::Error::other("the process has no output"))?;
        let mut lines = BufReader::new(output).lines();
        let mut last = "nothing".to_owned();
        let url = tokio::time::timeout(PATIENCE, async {
            while let Some(line) = lines.next_line().await? {
                if let Some(url) = address_in(&line) {
                    return Ok(url);
                }
                last = line;
            }
            Err(io::Error::other(format!("the process ended before it was ready; it said at last: {last}")))
        })
        .await
        .map_err(|_| io::Error::other("the process does not tell that it is ready"))??;
        Ok(Self { child, url, _log: TaskTracker::new().spawn(drain(lines)), _data: None })
    }

    /// Tells it to stop, as process managers do.
    pub(crate) async fn terminate(&self) -> io::Result<()> {
        let pid = self.child.id().ok_or_else(|| io::Error::other("the process has ended"))?;
        let sent = Command::new("kill").args(["-TERM", &pid.to_string()]).status().await?;
        if sent.success() { Ok(()) } else { Err(io::Error::other("the process could not be told to stop")) }
    }

    /// Its process.
    pub(crate) fn process(&self) -> io::Result<Process> {
        self.child.id().map(Process).ok_or_else(|| io::Error::other("the process has ended"))
    }

    /// CPU time of all its threads so far.
    pub(crate) fn cpu_nanos(&self) -> io::Result<u64> {
        Ok(self.process()?.usage()?.cpu_nanos)
    }
}

async fn drain(mut lines: Lines<BufReader<Output>>) {
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
