//! Ollama's API in front of every kind of backend (`docs/api.md`, Ollama's API).

mod calls;
mod chains;
mod errors;
mod model_lists;
mod translated;

use loadtest::sim::{Flavour, SimBackend, SimModel};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, EMBED, TASKS, TestServer};

/// Kinds of backend, as `type` names them.
const KINDS: [&str; 4] = ["ollama", "vllm", "openai", "gemini"];
/// Those that get a translated request.
const OTHERS: [&str; 3] = ["vllm", "openai", "gemini"];

/// A server with one backend of some kind that has both default models.
struct Behind {
    server: TestServer,
    sim: SimBackend,
    id: String,
    kind: &'static str,
}

impl Behind {
    async fn start(kind: &'static str) -> Self {
        let server = TestServer::start(&[]).await;
        Self::on(server, kind).await
    }

    async fn on(server: TestServer, kind: &'static str) -> Self {
        let sim = sim(kind).await;
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

    /// Sends a request as clients of this backend's users must: what may go to a cloud names it.
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
}

async fn sim(kind: &str) -> SimBackend {
    let builder = match kind {
        "ollama" => SimBackend::ollama(),
        "vllm" => SimBackend::vllm(),
        "gemini" => SimBackend::gemini().api_key("k-0123456789"),
        _ => SimBackend::openai().flavour(Flavour::LlamaCpp),
    };
    let chat =
        SimModel::new("chat:1b").capabilities(["completion", "tools", "thinking", "vision"]).context_length(8192);
    builder.model(chat).model("embed:1b").start().await.unwrap()
}

/// The objects of an answer in lines.
#[track_caller]
fn lines(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.header("content-type"), "application/x-ndjson", "{}", answer.text);
    answer.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn user(text: &str) -> Value {
    json!([{"role": "user", "content": text}])
}
