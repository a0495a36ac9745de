//! The real binary as a child process, its log in files beside its data.

use std::{
    fs::{self, File},
    path::Path,
    process::{ExitStatus, Stdio},
};

use loadtest::{services::small_disk::SmallDisk, sim::SimBackend};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::AsyncWriteExt,
    process::{Child, Command},
};

use super::{Client, TASKS, eventually, soon};

/// How a line begins that is no part of the log.
const COMPLAINT: &str = "penstock: ";

/// A process that may live or have ended; killed when dropped.
pub struct Process {
    child: Child,
    log: TempDir,
}

impl Process {
    /// Starts `penstock` with these arguments and nothing but these settings in its environment.
    pub fn spawn(arguments: &[&str], settings: &[(&str, &str)]) -> Self {
        Self::spawn_by(Command::new(env!("CARGO_BIN_EXE_penstock")), arguments, settings)
    }

    fn spawn_by(mut command: Command, arguments: &[&str], settings: &[(&str, &str)]) -> Self {
        let log = tempfile::tempdir().unwrap();
        let file = |name: &str| Stdio::from(File::create(log.path().join(name)).unwrap());
        let child = command
            .args(arguments)
            .env_clear()
            .envs(settings.iter().copied())
            // What is written to a folder of its own choice must not land in the source tree.
            .current_dir(log.path())
            .stdin(Stdio::null())
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self { child, log }
    }

    /// Starts a server on a free port and this folder, and waits until it is ready.
    pub async fn serve(folder: &Path, settings: &[(&str, &str)]) -> (Self, Client) {
        Self::serve_by(Command::new(env!("CARGO_BIN_EXE_penstock")), folder, settings).await
    }

    /// The same on a disk that may be full.
    pub async fn serve_on(disk: &SmallDisk, settings: &[(&str, &str)]) -> (Self, Client) {
        let entrance = disk.entrance().unwrap();
        let mut command = Command::new(&entrance[0]);
        command.args(&entrance[1..]).arg(env!("CARGO_BIN_EXE_penstock"));
        Self::serve_by(command, disk.folder(), settings).await
    }

    async fn serve_by(command: Command, folder: &Path, settings: &[(&str, &str)]) -> (Self, Client) {
        let folder = folder.to_str().unwrap();
        let standard = [
            ("PORT", "0"),
            ("ADDR", "127.0.0.1"),
            ("DATA_DIR", folder),
            ("TASK_MODEL", "chat:1b"),
            ("EMBED_MODEL", "embed:1b"),
        ];
        let mut process = Self::spawn_by(command, &["serve"], &[&standard, settings].concat());
        let address = process.address().await;
        (process, Client::new(format!("http://{address}")))
    }

    /// The address its log names once it is ready.
    async fn address(&mut self) -> String {
        let (log, child) = (self.log.path().join("stderr"), &mut self.child);
        let ended = std::cell::RefCell::new(child);
        eventually("the server's readiness", || async {
            let text = fs::read_to_string(&log).unwrap();
            let mut lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let ready = lines.find(|line| line["message"] == "penstock is ready");
            if let Some(status) = ended.borrow_mut().try_wait().unwrap() {
                panic!("it ended with {status}: {text}");
            }
            ready.map(|line| line["address"].as_str().unwrap().to_owned()).ok_or(text)
        })
        .await
    }

    /// Sends a signal to this very process.
    pub async fn signal(&self, name: &str) {
        let pid = self.child.id().expect("it still runs");
        let sent = Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status().await.unwrap();
        assert!(sent.success());
    }

    /// Bytes of memory that it has in use.
    pub fn resident_bytes(&self) -> u64 {
        let pid = self.child.id().expect("it still runs");
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() * 1024
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> ExitStatus {
        soon("the end of the process", self.child.wait()).await.unwrap()
    }

    /// What chains have printed, or a command's answer.
    pub fn stdout(&self) -> String {
        self.written("stdout")
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.written("stderr")
            .lines()
            .filter(|line| !line.starts_with(COMPLAINT))
            .map(|line| format!("{line}\n"))
            .collect()
    }

    /// What it has said when it could not go on.
    pub fn complaint(&self) -> String {
        self.written("stderr")
            .lines()
            .filter(|line| line.starts_with(COMPLAINT))
            .map(|line| format!("{line}\n"))
            .collect()
    }

    fn written(&self, name: &str) -> String {
        fs::read_to_string(self.log.path().join(name)).unwrap()
    }
}

impl Client {
    /// Registers an Ollama with the default model and waits until prompts are answered.
    pub async fn add_ollama(&self, sim: &SimBackend) -> String {
        let backend = json!({"name": "a", "baseUrl": sim.url(), "type": "ollama"});
        let id = self.post("/backends", backend).await.expect(201).json()["id"].as_str().unwrap().to_owned();
        self.post(&format!("/backend-associations/{TASKS}/backends/{id}"), Value::Null).await.expect(201);
        eventually("the model", || async {
            let shown = self.get(&format!("/backends/{id}")).await;
            if shown.json()["pulledModels"].as_array().is_some_and(|seen| !seen.is_empty()) {
                Ok(())
            } else {
                Err(shown.text)
            }
        })
        .await;
        id
    }
}

/// Starts `penstock chain` in this folder with its input and output in pipes and nothing but this in its environment.
pub fn spawn_chain(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Child {
    spawn_command(folder, &[&["chain"], arguments].concat(), environment)
}

/// The same for any of its commands.
pub fn spawn_command(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_penstock"))
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// Status, standard output and standard error of a command that was run to its end with this input.
pub async fn left(mut child: Child, input: &str) -> (i32, String, String) {
    // A command that does not read its input closes it early.
    child.stdin.take().unwrap().write_all(input.as_bytes()).await.ok();
    let output = soon("the end of the command", child.wait_with_output()).await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}
