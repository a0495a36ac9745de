//! A server of which everything is kept that was ever seen of it: answers with their headers, what it has written, what commands
//! have written beside it.

use std::{cell::RefCell, path::Path};

use reqwest::Method;
use serde_json::{Value, json};

use super::OWNER;
use crate::support::{Answer, Client, Process, TASKS, eventually, left, spawn_command};

/// A server, and all that was ever seen of it.
pub struct Watched {
    pub process: Process,
    pub client: Client,
    seen: RefCell<Vec<(String, String)>>,
}

impl Watched {
    pub async fn serve(folder: &Path, settings: &[(&str, &str)]) -> Self {
        let (process, client) = Process::serve(folder, settings).await;
        Self { process, client, seen: RefCell::default() }
    }

    /// Keeps what was seen, and of what.
    pub fn note(&self, what: impl Into<String>, text: impl Into<String>) {
        self.seen.borrow_mut().push((what.into(), text.into()));
    }

    /// Sends a request with this token; its answer is seen, all of it.
    pub async fn ask_as(&self, token: &str, method: &str, path: &str, body: &str) -> Answer {
        let method: Method = method.parse().unwrap();
        let request = self.client.request(method.clone(), path).bearer_auth(token);
        let request = request.header("content-type", "application/json").body(body.to_owned());
        let answer = self.client.send(request).await;
        self.note(format!("{method} {path}"), format!("{} {:?} {}", answer.status, answer.headers, answer.text));
        answer
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask_as(OWNER, "GET", path, "").await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask_as(OWNER, "POST", path, &body.to_string()).await
    }

    /// Registers a backend with a key where the default model is looked for.
    pub async fn add(&self, name: &str, kind: &str, url: &str, key: &str) -> String {
        let body = json!({"name": name, "baseUrl": url, "type": kind, "apiKey": key});
        let id = self.post("/backends", body).await.expect(201).json()["id"].as_str().unwrap().to_owned();
        self.post(&format!("/backend-associations/{TASKS}/backends/{id}"), Value::Null).await.expect(201);
        id
    }

    pub async fn wait_for_failure(&self, id: &str) {
        eventually("a failing backend", || async {
            let shown = self.get(&format!("/backends/{id}")).await;
            if shown.json().get("error").is_some() { Ok(()) } else { Err(shown.text) }
        })
        .await;
    }

    /// Asks a model in every way there is.
    pub async fn ask_model(&self, model: &str, words: &str) {
        for stream in [false, true] {
            let body = json!({"model": model, "stream": stream, "messages": [{"role": "user", "content": words}]});
            for path in ["/v1/chat/completions", "/api/chat"] {
                self.post(path, body.clone()).await;
            }
        }
        self.post("/execute", json!({"prompt": words, "model_name": model})).await;
        let task = json!({"id": "ask", "handler": "raw_string", "prompt_template": words,
            "execute_config": {"model": model}, "transition": {"branches": [{"operator": "default", "goto": "end"}]}});
        self.post("/tasks", json!({"input": "x", "chain": {"tasks": [task]}})).await;
    }

    /// Everything that shows what there is.
    pub async fn look_around(&self, ids: &[String]) {
        for path in [
            "/state",
            "/metrics",
            "/backends",
            "/providers/configs",
            "/providers/openai/config",
            "/providers/openai/status",
            "/pools",
            "/tokens",
            "/queue",
            "/alerts",
            "/version",
            "/openapi.json",
            "/supported",
            "/hooks/remote",
            "/runs/active",
        ] {
            self.get(path).await;
        }
        for id in ids {
            self.get(&format!("/backends/{id}")).await;
        }
    }

    /// Runs a command to its end beside the server; what it wrote is seen.
    pub async fn run(&self, folder: &Path, arguments: &[&str], settings: &[(&str, &str)]) -> String {
        let (status, out, words) = left(spawn_command(folder, arguments, settings), "").await;
        self.note(format!("the output of {arguments:?}"), out.clone());
        self.note(format!("the standard error of {arguments:?}"), words.clone());
        assert_eq!(status, 0, "{words}");
        out
    }

    /// Panics where a secret was seen, as it is or as programs write bytes.
    pub fn check(&self, secrets: &[&str]) {
        self.note("its log", self.process.log());
        self.note("what it printed", self.process.stdout() + &self.process.complaint());
        let mut found = Vec::new();
        for secret in secrets {
            let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
            let numbers = format!("{:?}", secret.as_bytes());
            for written in [*secret, hex.as_str(), numbers.trim_matches(['[', ']'])] {
                for (what, text) in self.seen.borrow().iter() {
                    let lines = text.lines().filter(|line| line.contains(written));
                    found.extend(lines.map(|line| format!("{secret} in {what}: {line}")));
                }
            }
        }
        assert!(found.is_empty(), "planted secrets were seen:\n{}", found.join("\n"));
    }
}
