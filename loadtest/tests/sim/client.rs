//! A client of one connection that shows what came before the connection broke.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Method, Request, Response, StatusCode, body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpStream, task::JoinSet};

/// Whatever went wrong.
pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;

/// One connection; dropping it hangs up.
pub(crate) struct Client {
    sender: http1::SendRequest<Full<Bytes>>,
    _driver: JoinSet<hyper::Result<()>>,
}

/// An answer, read as far as it went.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// False: the connection broke before the end.
    pub(crate) whole: bool,
}

impl Client {
    pub(crate) async fn connect(addr: SocketAddr) -> Result<Self, Error> {
        let stream = TcpStream::connect(addr).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        Ok(Self { sender, _driver: driver })
    }

    /// Sends a request and waits for the head of the answer only.
    pub(crate) async fn head(
        &mut self,
        method: Method,
        path: &str,
        body: impl Into<Bytes>,
    ) -> Result<Response<Incoming>, Error> {
        let request =
            Request::builder().method(method).uri(path).header("host", "sim").header("authorization", "Bearer k");
        Ok(self.sender.send_request(request.body(Full::new(body.into()))?).await?)
    }
}

/// Sends one request on a connection of its own.
pub(crate) async fn send(addr: SocketAddr, method: Method, path: &str, body: impl Into<Bytes>) -> Result<Reply, Error> {
    let mut client = Client::connect(addr).await?;
    let response = client.head(method, path, body).await?;
    read(response).await
}

pub(crate) async fn get(addr: SocketAddr, path: &str) -> Result<Reply, Error> {
    send(addr, Method::GET, path, "").await
}

pub(crate) async fn post(addr: SocketAddr, path: &str, body: Value) -> Result<Reply, Error> {
    send(addr, Method::POST, path, body.to_string()).await
}

/// Reads an answer to its end, or to where it broke.
pub(crate) async fn read(response: Response<Incoming>) -> Result<Reply, Error> {
    let (head, mut body) = response.into_parts();
    let mut bytes = Vec::new();
    let whole = loop {
        match body.frame().await {
            Some(Ok(frame)) => bytes.extend_from_slice(frame.data_ref().map(AsRef::as_ref).unwrap_or_default()),
            Some(Err(_)) => break false,
            None => break true,
        }
    };
    Ok(Reply { status: head.status, headers: head.headers, body: bytes.into(), whole })
}

impl Reply {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON, null if it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The lines of an NDJSON stream.
    pub(crate) fn lines(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap_or_default()).collect()
    }

    /// The events of an SSE stream; `[DONE]` becomes a string.
    pub(crate) fn events(&self) -> Vec<Value> {
        let text = self.text();
        let data = text.split_terminator("\n\n").map(|event| event.strip_prefix("data: ").unwrap_or("not an event"));
        data.map(|data| serde_json::from_str(data).unwrap_or_else(|_| Value::from(data))).collect()
    }
}

/// The vector of a text as a JSON body shows it: its numbers are 32-bit floats in decimal.
pub(crate) fn vector(text: &str, dimension: usize) -> Value {
    let numbers = loadtest::sim::embedding(text, dimension);
    serde_json::to_string(&numbers).and_then(|numbers| serde_json::from_str(&numbers)).unwrap_or_default()
}
