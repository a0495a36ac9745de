//! A client of a server in this process, and what it asks.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::{Value as Json, json};
use tokio::net::TcpStream;
use tokio_util::task::TaskTracker;

use crate::served::MODEL;

/// Where chats are asked for, of a server and of the backend itself.
pub(crate) const CHATS: &str = "/v1/chat/completions";

/// One client with one connection.
pub(crate) struct Client {
    sender: http1::SendRequest<Full<Bytes>>,
    to: SocketAddr,
    /// Drives the connection, which ends with the sender.
    _tasks: TaskTracker,
}

impl Client {
    pub(crate) async fn connect(to: SocketAddr) -> Self {
        let stream = TcpStream::connect(to).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        let tasks = TaskTracker::new();
        tasks.spawn(connection);
        Self { sender, to, _tasks: tasks }
    }

    /// The whole answer to a request that must succeed.
    pub(crate) async fn post(&mut self, path: &str, body: &Bytes) -> Bytes {
        self.ask(Request::post(path).header("content-type", "application/json"), body.clone()).await
    }

    /// What stands there.
    pub(crate) async fn get(&mut self, path: &str) -> Bytes {
        self.ask(Request::get(path), Bytes::new()).await
    }

    async fn ask(&mut self, request: hyper::http::request::Builder, body: Bytes) -> Bytes {
        let request = request.header("host", self.to.to_string()).body(Full::new(body)).unwrap();
        self.sender.ready().await.unwrap();
        let answer = self.sender.send_request(request).await.unwrap();
        let status = answer.status();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(status, 200, "{body:?}");
        body
    }
}

/// A chat of 1 KB.
pub(crate) fn chat(stream: bool) -> Json {
    let mut prompt = "She said \"the sky is blue\", and went on to the next line of the text.\n".repeat(15);
    prompt.truncate(1 << 10);
    json!({"model": MODEL, "messages": [{"role": "user", "content": prompt}], "stream": stream})
}

/// A run of a chain that asks a model once, as `POST /tasks` takes it.
pub(crate) fn one_step() -> Json {
    let branch = json!({"operator": "default", "goto": "end"});
    let task = json!({"id": "a", "handler": "raw_string", "prompt_template": "Answer: {{.input}}",
        "transition": {"branches": [branch]}});
    json!({"input": "Why is the sky blue?", "chain": {"tasks": [task]}})
}
