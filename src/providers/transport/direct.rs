//! HTTP/1 to servers behind plain `http://` URLs, which are mostly near: a connection is driven by whoever waits for its
//! answer, in the same task. Were it driven by a task of its own, each piece of a reply would cost two changes of thread, and
//! those cost more than all else that is done to a request.
//!
//! The cloud, TLS, and what goes through a proxy are reqwest's.

mod connection;
mod idle;
#[cfg(test)]
mod tests;

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use hyper::{
    HeaderMap, Method, Request, StatusCode, Uri,
    body::{Body, Incoming},
    header::{self, HeaderValue},
    http::uri::Authority,
};
use hyper_util::client::{legacy::connect::HttpConnector, proxy::matcher::Matcher};
use tokio::time::Instant;
use tower_service::Service;
use url::{Position, Url};

use self::{
    connection::{Connection, ExchangeError},
    idle::IdleConnections,
};
use crate::telemetry::stages;

use super::{USER_AGENT, answer::NoAnswer, root_cause, spliced::Spliced};

/// How a server is noticed whose machine has gone while its answer is waited for; as reqwest does it.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
const KEEP_ALIVE_RETRIES: u32 = 3;
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

/// Calls servers of plain HTTP; cheap to clone.
#[derive(Clone)]
pub(super) struct DirectClient {
    connector: HttpConnector,
    connect_timeout: Duration,
    idle: Arc<IdleConnections>,
    /// The environment's proxies, by the rules that reqwest follows.
    proxies: Arc<Matcher>,
}

/// A URL that is called directly.
pub(super) struct DirectTarget {
    uri: Uri,
    origin: Authority,
    host: HeaderValue,
}

/// An answer whose body has not been read to its end. Dropping it closes the connection.
pub(super) struct DirectBody {
    body: Incoming,
    /// `None` once the body has ended.
    connection: Option<Connection>,
    idle: Arc<IdleConnections>,
    origin: Authority,
}

impl DirectClient {
    pub(super) fn new(connect_timeout: Duration) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        // A name's addresses share the time.
        connector.set_connect_timeout(Some(connect_timeout));
        connector.set_keepalive(Some(KEEP_ALIVE));
        connector.set_keepalive_interval(Some(KEEP_ALIVE));
        connector.set_keepalive_retries(Some(KEEP_ALIVE_RETRIES));
        connector.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
        Self { connector, connect_timeout, idle: Arc::default(), proxies: Arc::new(Matcher::from_system()) }
    }

    /// What can be called directly: plain HTTP without a proxy, and without a password in the URL.
    pub(super) fn target(&self, url: &Url) -> Option<DirectTarget> {
        if url.scheme() != "http" || !url.username().is_empty() || url.password().is_some() {
            return None;
        }
        let uri: Uri = url[..Position::AfterQuery].parse().ok()?;
        let origin = uri.authority()?.clone();
        let host = HeaderValue::from_str(origin.as_str()).ok()?;
        self.proxies.intercept(&uri).is_none().then_some(DirectTarget { uri, origin, host })
    }

    /// Sends a request and returns as soon as its answer begins. One whose kept connection ends before anything of an
    /// answer has come is sent once more, over a new one: servers close what is idle whenever they like, and what a
    /// server was just closing says nothing about it (RFC 9112, section 9.5). Calls of models may be made twice.
    pub(super) async fn send(
        &self,
        target: DirectTarget,
        method: Method,
        headers: HeaderMap,
        body: Spliced,
    ) -> Result<(StatusCode, HeaderMap, DirectBody), NoAnswer> {
        let request = || target.request(method.clone(), headers.clone(), body.clone());
        let kept = poll_fn(|context| Poll::Ready(self.idle.take(&target.origin, context))).await;
        if let Some(mut kept) = kept {
            match kept.exchange(request()).await {
                Ok(answer) => return Ok(self.answer(answer, kept, target.origin)),
                Err(ExchangeError::Unheard) => {}
                Err(ExchangeError::Broken) => return Err(NoAnswer::Closed),
            }
        }
        let began = Instant::now();
        let mut fresh = self.connect(target.uri.clone()).await?;
        stages::connected(began.elapsed());
        let answer = fresh.exchange(request()).await.map_err(|_| NoAnswer::Closed)?;
        Ok(self.answer(answer, fresh, target.origin))
    }

    async fn connect(&self, uri: Uri) -> Result<Connection, NoAnswer> {
        // Names are looked up on a thread for what blocks.
        let connecting = self.connector.clone().call(uri);
        let connected = tokio::time::timeout(self.connect_timeout, connecting).await;
        let stream = connected.map_err(|_| NoAnswer::ConnectTimeout)?.map_err(|error| {
            let cause = root_cause(&error);
            let is_late = |error: &io::Error| error.kind() == io::ErrorKind::TimedOut;
            if cause.downcast_ref().is_some_and(is_late) {
                NoAnswer::ConnectTimeout
            } else {
                NoAnswer::Connect(cause.to_string())
            }
        })?;
        Connection::over(stream).await.map_err(|_| NoAnswer::Closed)
    }

    fn answer(
        &self,
        answer: hyper::Response<Incoming>,
        connection: Connection,
        origin: Authority,
    ) -> (StatusCode, HeaderMap, DirectBody) {
        let (head, body) = answer.into_parts();
        let body = DirectBody { body, connection: Some(connection), idle: Arc::clone(&self.idle), origin };
        (head.status, head.headers, body)
    }
}

impl DirectTarget {
    fn request(&self, method: Method, mut headers: HeaderMap, body: Spliced) -> Request<Spliced> {
        headers.insert(header::HOST, self.host.clone());
        headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.headers_mut() = headers;
        *request.uri_mut() = self.uri.path_and_query().cloned().map(Uri::from).unwrap_or_default();
        request
    }
}

impl DirectBody {
    /// The next piece, `None` at the end. Trailers are not looked at.
    pub(super) async fn chunk(&mut self) -> hyper::Result<Option<Bytes>> {
        poll_fn(|context| self.poll_chunk(context)).await
    }

    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<hyper::Result<Option<Bytes>>> {
        let mut is_driven = false;
        loop {
            // It is filled by driving the connection and by nothing else, so that nobody must be woken for it.
            match Pin::new(&mut self.body).poll_frame(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Some(Ok(frame))) => {
                    if let Ok(piece) = frame.into_data() {
                        return Poll::Ready(Ok(Some(piece)));
                    }
                }
                Poll::Ready(Some(Err(error))) => {
                    self.connection = None;
                    return Poll::Ready(Err(error));
                }
                Poll::Ready(None) => {
                    if let Some(connection) = self.connection.take() {
                        self.idle.keep(&self.origin, connection);
                    }
                    return Poll::Ready(Ok(None));
                }
                Poll::Pending if is_driven => return Poll::Pending,
                Poll::Pending => {
                    is_driven = true;
                    if let Some(connection) = &mut self.connection {
                        connection.drive(context);
                    }
                }
            }
        }
    }
}
