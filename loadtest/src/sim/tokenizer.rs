//! A simulated token-counting service: `POST /tokenize {"model","prompt"}`, `GET /healthz` (`docs/operations.md`).

use std::{io, ops::Deref, sync::Arc};

use bytes::Bytes;
use hyper::Method;
use serde_json::json;

use crate::sim::{
    answer::{Answer, json_line},
    backend::SimServer,
    call::{Call, Input, token_count},
    capacity::Capacity,
    dialect::Dialect,
    gate::Gates,
    route::Route,
    script::{Effect, Rule, Scripted},
};

/// A tokenizer service, for every model. Everything a [`SimServer`] can do to a backend can be done to it; its requests
/// are [`Route::Tokenize`].
pub struct SimTokenizer {
    server: SimServer,
}

impl SimTokenizer {
    /// Starts one on a free port; it counts four bytes as a token.
    pub async fn start() -> io::Result<Self> {
        let server =
            SimServer::open(0, Arc::new(Counter), Arc::new(Gates::default()), Capacity::new(None), None, true).await?;
        Ok(Self { server })
    }

    /// Counts every text that contains this one as so many tokens.
    pub fn count(&self, containing: &str, tokens: usize) -> Scripted {
        self.server.script(Rule::on(Route::Tokenize).containing(containing).body(json_line(&counted(tokens))))
    }
}

impl Deref for SimTokenizer {
    type Target = SimServer;

    fn deref(&self) -> &SimServer {
        &self.server
    }
}

struct Counter;

fn counted(tokens: usize) -> serde_json::Value {
    json!({ "tokens": (1..=tokens).collect::<Vec<_>>(), "count": tokens })
}

impl Dialect for Counter {
    fn route(&self, method: &Method, path: &str) -> Route {
        match (path, method) {
            ("/tokenize", &Method::POST) => Route::Tokenize,
            ("/healthz", &Method::GET) => Route::Health,
            ("/tokenize" | "/healthz", _) => Route::WrongMethod,
            _ => Route::Unknown,
        }
    }

    fn answer(&self, call: &Call, _effect: &Effect) -> Answer {
        match (call.route, &call.fields) {
            (Route::Health, _) => Answer::json(200, &json!({ "status": "ok" })),
            (Route::Tokenize, Ok(fields)) => match (fields.model(), &fields.prompt) {
                (Some(_), Some(Input::Text(text))) => Answer::json(200, &counted(token_count(text))),
                _ => self.error(call, 400, "'model' and 'prompt' must be strings"),
            },
            (Route::Tokenize, Err(words)) => self.error(call, 400, words),
            (Route::WrongMethod, _) => self.error(call, 405, "wrong method"),
            _ => self.error(call, 404, "not found"),
        }
    }

    fn error(&self, _call: &Call, status: u16, message: &str) -> Answer {
        Answer::json(status, &json!({ "error": message }))
    }

    fn stream_type(&self, _call: &Call) -> &'static str {
        "application/json"
    }

    fn error_frame(&self, _call: &Call, message: &str) -> Bytes {
        json_line(&json!({ "error": message }))
    }
}
