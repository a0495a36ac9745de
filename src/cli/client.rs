//! The one HTTP client of the command line: sends a request to a server and reads what it tells. The token goes into one
//! header and nowhere else.

mod sse;

use std::{net::IpAddr, time::Duration};

use clap::Args;
pub(super) use reqwest::Method;
use reqwest::{
    Client, Response, Url,
    header::{ACCEPT, CONTENT_TYPE, HeaderValue},
};
use serde_json::Value as Json;

use self::sse::{Decoder, Event};
use crate::config;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of an answer; a run records at most so much, twice.
const MOST_BYTES: usize = 64 * 1024 * 1024;

/// Which server, and who asks it.
#[derive(Args)]
pub(super) struct ServerArguments {
    /// The server.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8081")]
    server: String,
    /// The server's token; better kept in PENSTOCK_TOKEN, where the list of processes does not show it.
    #[arg(long, value_name = "TOKEN", hide_default_value = true)]
    token: Option<String>,
}

/// What a server is asked.
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) accept: &'static str,
    pub(super) body: Option<Json>,
}

/// What it answers.
pub(super) enum Answer {
    /// The steps of the run, one by one.
    Steps(Steps),
    /// One answer: its status and its body, which may be any text.
    Whole(u16, String),
}

/// Why there is no answer.
pub(super) enum CallError {
    /// The command is not in order.
    Usage(String),
    /// There is no server, or it has gone.
    Gone(String),
}

/// A stream of steps.
pub(super) struct Steps {
    response: Response,
    decoder: Decoder,
    read: usize,
}

/// Sends the call and waits for the first byte of the answer.
///
/// # Errors
/// Without a server that answers.
pub(super) async fn send(server: &ServerArguments, call: Call) -> Result<Answer, CallError> {
    let usage = CallError::Usage;
    let base = Url::parse(&server.server).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let base =
        base.ok_or_else(|| usage(format!("--server '{}' is no address such as http://localhost:8081", server.server)))?;
    let url = format!("{}{}", base.as_str().trim_end_matches('/'), call.path);
    // Another one may be there already; it serves as well.
    rustls::crypto::ring::default_provider().install_default().ok();
    let client = Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .retry(reqwest::retry::never())
        // It could carry the token where nobody sent it.
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("penstock/", env!("CARGO_PKG_VERSION")));
    let client = if is_loopback(&base) { client.no_proxy() } else { client };
    let client = client.build().map_err(|error| usage(format!("the HTTP client cannot be built: {}", told(&error))))?;
    let mut request = client.request(call.method, url).header(ACCEPT, call.accept);
    if let Some(body) = call.body {
        request = request.header(CONTENT_TYPE, "application/json").body(body.to_string());
    }
    if let Some(token) = server.token.clone().or_else(config::client_token) {
        let header = HeaderValue::from_str(&format!("Bearer {token}"));
        let mut header = header.map_err(|_| usage("the token holds characters that no header can carry".to_owned()))?;
        header.set_sensitive(true);
        request = request.header("authorization", header);
    }
    let response = request.send().await.map_err(|error| {
        let hint = "start one with 'penstock serve', or name another one with --server";
        CallError::Gone(format!("no server answers at {}: {}; {hint}", shown(&base), told(&error)))
    })?;
    let is_stream =
        response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    if is_stream && response.status().is_success() {
        return Ok(Answer::Steps(Steps { response, decoder: Decoder::default(), read: 0 }));
    }
    let (status, mut steps) = (response.status().as_u16(), Steps { response, decoder: Decoder::default(), read: 0 });
    let mut body = Vec::new();
    while let Some(chunk) = steps.chunk().await? {
        body.extend_from_slice(&chunk);
    }
    Ok(Answer::Whole(status, String::from_utf8_lossy(&body).into_owned()))
}

impl Steps {
    /// The next event; `None` at the end of the stream.
    ///
    /// # Errors
    /// When the server has gone.
    pub(super) async fn next(&mut self) -> Result<Option<Event>, CallError> {
        loop {
            if let Some(event) = self.decoder.next() {
                return Ok(Some(event));
            }
            match self.chunk().await? {
                Some(chunk) => self.decoder.feed(&chunk),
                None => return Ok(None),
            }
        }
    }

    async fn chunk(&mut self) -> Result<Option<Vec<u8>>, CallError> {
        let chunk = self.response.chunk().await;
        let chunk =
            chunk.map_err(|error| CallError::Gone(format!("the connection to the server broke: {}", told(&error))))?;
        self.read = self.read.saturating_add(chunk.as_ref().map_or(0, |chunk| chunk.len()));
        if self.read > MOST_BYTES {
            return Err(CallError::Gone(format!("the server answers more than {MOST_BYTES} bytes")));
        }
        Ok(chunk.map(|chunk| chunk.to_vec()))
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// The address without what somebody may have put into it as a password.
fn shown(url: &Url) -> String {
    format!(
        "{}://{}{}",
        url.scheme(),
        url.host_str().unwrap_or_default(),
        url.port().map_or_else(String::new, |port| format!(":{port}"))
    )
}

/// The innermost cause, which says most.
fn told(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
