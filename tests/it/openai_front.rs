//! OpenAI's API in front of every kind of backend (`docs/api.md`, OpenAI's API).

mod calls;
mod errors;
mod models;
mod responses;

use serde_json::{Value, json};

use crate::support::{Answer, one_backend::OneBackend};

/// Kinds of backend that get a translated request.
const OTHERS: [&str; 2] = ["ollama", "gemini"];

const CHAT: &str = "/v1/chat/completions";

impl OneBackend {
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
