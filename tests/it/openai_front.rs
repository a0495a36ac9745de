//! OpenAI's API in front of every kind of backend (`docs/api.md`, OpenAI's API).

mod calls;
mod errors;
mod models;
mod responses;

use loadtest::sim::{Flavour, SimBackend, SimModel};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, EMBED, TASKS, TestServer};

/// Kinds of backend, as `type` names them.
const KINDS: [&str; 4] = ["ollama", "vllm", "openai", "gemini"];
/// Those that get a translated request.
const OTHERS: [&str; 2] = ["ollama", "gemini"];

const CHAT: &str = "/v1/chat/completions";

/// A server with one backend of some kind that has both default models.
struct Front {
    server: TestServer,
    sim: SimBackend,
    id: String,
    kind: &'static str,
}

impl Front {
    async fn of(kind: &'static str) -> Self {
        let server = TestServer::start(&[]).await;
        let chat = SimModel::new("chat:1b").capabilities(["completion", "tools", "thinking"]).context_length(8192);
        let builder = match kind {
            "ollama" => SimBackend::ollama(),
            "vllm" => SimBackend::vllm(),
            "gemini" => SimBackend::gemini().api_key("k-0123456789"),
            _ => SimBackend::openai().flavour(Flavour::LlamaCpp),
        };
        let sim = builder.model(chat).model("embed:1b").start().await.unwrap();
        let mut body = json!({"name": kind, "baseUrl": sim.url(), "type": kind});
        if kind == "gemini" {
            body["apiKey"] = json!("k-0123456789");
        }
        let id = server.register_as(body, &[TASKS, EMBED]).await;
        server.wait_for_model(&id, "chat:1b").await;
        server.wait_for_model(&id, "embed:1b").await;
        server.wait_for_member(EMBED, &id).await;
        Self { server, sim, id, kind }
    }

    /// Sends a request; what may go to a cloud names it.
    async fn ask(&self, method: Method, path: &str, body: &Value) -> Answer {
        let mut request = self.server.request(method, path).header("content-type", "application/json");
        if self.kind == "gemini" {
            request = request.header("x-penstock-provider", "gemini");
        }
        self.server.send(request.body(body.to_string())).await
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask(Method::POST, path, &body).await
    }

    /// A chat with these fields beside its one message.
    async fn chat(&self, fields: Value) -> Answer {
        self.post(CHAT, chat(fields)).await
    }
}

fn chat(fields: Value) -> Value {
    let mut body = json!({"model": "chat:1b", "messages": [{"role": "user", "content": "Hi"}]});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    body
}

/// The data of a stream, read as clients of server-sent events do.
#[track_caller]
fn data(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.header("content-type").split(';').next(), Some("text/event-stream"), "{}", answer.text);
    assert!(answer.text.ends_with("\n\n"), "an event has no end: {}", answer.text);
    let lines = answer.text.lines().filter_map(|line| line.strip_prefix("data: "));
    let read = |text: &str| if text == "[DONE]" { json!(text) } else { serde_json::from_str(text).unwrap() };
    lines.map(read).collect()
}

/// The object of an error, in OpenAI's shape.
#[track_caller]
fn fault(answer: &Answer) -> Value {
    let error = answer.json()["error"].clone();
    crate::support::shape::assert_keys(&error, "message type param code");
    error
}
