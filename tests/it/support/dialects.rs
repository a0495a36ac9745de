//! The two dialects that clients speak, as tests that hold for both see them.

use loadtest::sim::SimBackend;
use serde_json::{Value, json};

use super::TestServer;

/// A dialect of clients, and the backend that speaks it too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Front {
    Openai,
    Ollama,
}

impl Front {
    pub const ALL: [Self; 2] = [Self::Openai, Self::Ollama];

    /// The route of chats.
    pub const fn chat(self) -> &'static str {
        match self {
            Self::Openai => "/v1/chat/completions",
            Self::Ollama => "/api/chat",
        }
    }

    /// The type of a backend that speaks it.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Openai => "vllm",
            Self::Ollama => "ollama",
        }
    }

    /// A chat of one message with the default model.
    pub fn question(self, words: &str, stream: bool) -> Value {
        json!({"model": "chat:1b", "messages": [{"role": "user", "content": words}], "stream": stream})
    }

    /// A simulated backend that speaks it, with the default model.
    pub async fn sim(self) -> SimBackend {
        let builder = if self == Self::Openai { SimBackend::vllm() } else { SimBackend::ollama() };
        builder.model("chat:1b").start().await.unwrap()
    }

    /// One piece of a reply's stream, as the backend writes it.
    pub fn piece(self, words: &str) -> String {
        match self {
            Self::Openai => format!("data: {}\n\n", json!({"choices": [{"index": 0, "delta": {"content": words}}]})),
            Self::Ollama => {
                let message = json!({"role": "assistant", "content": words});
                format!("{}\n", json!({"model": "chat:1b", "message": message, "done": false}))
            }
        }
    }

    /// The end of a reply's stream.
    pub fn end(self) -> String {
        match self {
            Self::Openai => "data: [DONE]\n\n".to_owned(),
            Self::Ollama => {
                let message = json!({"role": "assistant", "content": ""});
                format!("{}\n", json!({"model": "chat:1b", "message": message, "done": true, "done_reason": "stop"}))
            }
        }
    }

    /// What a stream's text holds behind these beginnings: the typed error that ends it. Fails where the error is not the
    /// last thing, or the end mark came too.
    #[track_caller]
    pub fn error_behind(self, stream: &str, beginning: &str) -> String {
        let rest = stream.strip_prefix(beginning).unwrap_or_else(|| panic!("{stream:?} does not begin {beginning:?}"));
        match self {
            Self::Openai => {
                let event = rest.trim_start().strip_prefix("data: ").unwrap_or_else(|| panic!("no event: {rest:?}"));
                let event: Value = serde_json::from_str(event.trim_end()).unwrap_or_else(|_| panic!("{rest:?}"));
                let error = &event["error"];
                assert!(error["type"].is_string() && error.get("param").is_some() && error.get("code").is_some());
                error["message"].as_str().unwrap().to_owned()
            }
            Self::Ollama => {
                let line: Value = serde_json::from_str(rest.trim_end()).unwrap_or_else(|_| panic!("{rest:?}"));
                line["error"].as_str().unwrap().to_owned()
            }
        }
    }
}

/// A server and a backend of this dialect, ready for calls; and the backend's id.
pub async fn same_dialect(front: Front, settings: &[(&str, &str)]) -> (TestServer, SimBackend, String) {
    let server = TestServer::start(settings).await;
    let sim = front.sim().await;
    let id = server.ready("a", front.kind(), &sim).await;
    (server, sim, id)
}
