//! Scenarios, played for a second by the program itself against the bare backend, the floor proxy, and servers that do wrong.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod backends;
mod scenarios;
mod wrong;

use std::{fs, process::Command};

use loadtest::report::{Report, json};
use tempfile::TempDir;

/// What the program printed, and the measurement that it wrote if it came so far.
struct Played {
    status: i32,
    out: String,
    errors: String,
    report: Option<Report>,
}

impl Played {
    fn report(&self) -> &Report {
        self.report.as_ref().unwrap_or_else(|| panic!("no report: {}{}", self.out, self.errors))
    }
}

/// Plays a scenario for a second.
async fn compare(targets: &[&str], scenario: &str, options: &[&str]) -> Played {
    let folder = TempDir::new().unwrap();
    let (file, result) = (folder.path().join("small.toml"), folder.path().join("result.json"));
    fs::write(&file, scenario).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadtest"));
    command.arg("compare").args(targets).arg("--scenario").arg(&file).arg("--json").arg(&result);
    command.args(["--rounds", "1", "--warm-up", "0.1"]).args(options);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let report = result.exists().then(|| json::read(&result).unwrap());
    Played {
        status: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        errors: String::from_utf8(output.stderr).unwrap(),
        report,
    }
}

/// A scenario of chats: these backends, these questions, this load, and more behind it.
fn scenario(backend: &str, questions: &str, load: &str, more: &str) -> String {
    format!("purpose = \"A test.\"\n{more}\n[[backends]]\ndialect = \"vllm\"\n{backend}\n{questions}\n[load]\n{load}\n")
}

const CHAT: &str = "[[questions]]\nkind = \"chat\"\n";
const STREAM: &str = "[[questions]]\nkind = \"chat_stream\"\n";
const CLOSED: &str = "shape = \"closed\"\nconnections = 4\nseconds = 1.0";
