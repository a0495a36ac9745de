//! A server with one backend of any kind, for what holds over all of them.

use loadtest::sim::{Flavour, SimBackend, SimModel};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Answer, EMBED, TASKS, TestServer};

/// Kinds of backend, as `type` names them.
pub const KINDS: [&str; 4] = ["ollama", "vllm", "openai", "gemini"];

/// A server and a backend of this kind with both default models, in both default pools, ready for calls.
pub struct OneBackend {
    pub server: TestServer,
    pub sim: SimBackend,
    pub id: String,
    kind: &'static str,
}

impl OneBackend {
    pub async fn of(kind: &'static str) -> Self {
        let server = TestServer::start(&[]).await;
        let sim = sim_of(kind).await;
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
    pub async fn ask(&self, method: Method, path: &str, body: &Value) -> Answer {
        let mut request = self.server.request(method, path).header("content-type", "application/json");
        if self.kind == "gemini" {
            request = request.header("x-penstock-provider", "gemini");
        }
        self.server.send(request.body(body.to_string())).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask(Method::POST, path, &body).await
    }
}

/// A simulated backend of this kind with both default models.
pub async fn sim_of(kind: &str) -> SimBackend {
    let builder = match kind {
        "ollama" => SimBackend::ollama(),
        "vllm" => SimBackend::vllm(),
        "gemini" => SimBackend::gemini().api_key("k-0123456789"),
        _ => SimBackend::openai().flavour(Flavour::LlamaCpp),
    };
    let abilities = ["completion", "tools", "thinking", "vision"];
    let chat = SimModel::new("chat:1b").capabilities(abilities).context_length(8192);
    builder.model(chat).model("embed:1b").start().await.unwrap()
}
