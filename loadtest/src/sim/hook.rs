//! A simulated remote hook: it repeats its input unless the script says otherwise (`docs/hooks.md`).

use std::{io, ops::Deref, sync::Arc};

use bytes::Bytes;
use hyper::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};

use crate::sim::{
    answer::{Answer, json_line},
    backend::SimServer,
    call::Call,
    capacity::Capacity,
    dialect::Dialect,
    gate::Gates,
    route::{Route, Routes},
    script::{Effect, Rule, Scripted},
};

/// A hook server, on every path and method. Everything a [`SimServer`] can do to a backend can be done to it: delays,
/// statuses, broken JSON ([`Rule::body`]), cuts; its requests are [`Route::Hook`].
pub struct SimHook {
    server: SimServer,
}

impl SimHook {
    /// Starts one on a free port.
    pub async fn start() -> io::Result<Self> {
        Self::open(true).await
    }

    /// Starts one that counts requests without keeping them: for long runs under load.
    pub async fn start_counting() -> io::Result<Self> {
        Self::open(false).await
    }

    async fn open(keep_requests: bool) -> io::Result<Self> {
        let server =
            SimServer::open(0, Arc::new(Echo), Arc::new(Gates::default()), Capacity::new(None), None, keep_requests)
                .await?;
        Ok(Self { server })
    }

    /// Answers every call from now on with this output, data type and transition.
    pub fn reply(&self, output: impl Into<Value>, data_type: &str, transition: &str) -> Scripted {
        let body = json!({ "output": output.into(), "dataType": data_type, "transition": transition });
        self.server.script(Rule::on(Routes::from(Route::Hook)).body(json_line(&body)))
    }

    /// Answers every call from now on with valid JSON of about this many bytes.
    pub fn reply_oversized(&self, bytes: usize) -> Scripted {
        self.reply("x".repeat(bytes), "string", "ok")
    }
}

impl Deref for SimHook {
    type Target = SimServer;

    fn deref(&self) -> &SimServer {
        &self.server
    }
}

/// Returns the input as the output.
struct Echo;

#[derive(Deserialize)]
struct Asked<'a> {
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    #[serde(rename = "dataType")]
    data_type: Option<String>,
}

#[derive(Serialize)]
struct Reply<'a> {
    output: Option<&'a RawValue>,
    #[serde(rename = "dataType")]
    data_type: String,
    transition: &'static str,
}

impl Dialect for Echo {
    fn route(&self, _method: &Method, _path: &str) -> Route {
        Route::Hook
    }

    fn answer(&self, call: &Call, _effect: &Effect) -> Answer {
        match serde_json::from_slice::<Asked<'_>>(&call.body) {
            Ok(Asked { input, data_type }) => {
                let data_type = data_type.unwrap_or_else(|| "string".to_owned());
                Answer::json(200, &Reply { output: input, data_type, transition: "ok" })
            }
            Err(error) => self.error(call, 400, &error.to_string()),
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
