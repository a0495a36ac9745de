//! The road of one request: id, token, route, body, handler, answer, log line.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Instant};

use bytes::Bytes;
use futures_util::FutureExt;
use hyper::{Method, Response, body::Body};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::{
    auth,
    request::{self, BodyLimits, Request},
    respond::{self, Outgoing},
    router::{self, Route},
};
use crate::{
    api::Api,
    config::{AuthConfig, LimitConfig},
    domain::{failure::RefusalReason, ids::RequestId},
    error::{Error, ErrorCode},
};

/// About the time a process manager takes to start the next instance.
const DRAIN_RETRY_SECONDS: u32 = 5;

/// What the HTTP layer is told.
#[derive(Clone)]
pub struct HttpConfig {
    /// Who may call.
    pub auth: AuthConfig,
    /// Limits of requests and connections.
    pub limits: LimitConfig,
}

/// Answers requests; cheap to clone.
#[derive(Clone)]
pub struct Service {
    api: Api,
    config: Arc<HttpConfig>,
    stopping: CancellationToken,
}

impl Service {
    /// Streams end, and `/ready` turns false, when `stopping` is cancelled.
    pub fn new(api: Api, config: HttpConfig, stopping: CancellationToken) -> Self {
        Self { api, config: Arc::new(config), stopping }
    }

    pub(super) fn limits(&self) -> &LimitConfig {
        &self.config.limits
    }

    pub(super) fn stopping(&self) -> &CancellationToken {
        &self.stopping
    }

    /// Answers one request. It always answers: a panic below becomes a 500.
    pub(super) async fn answer<B>(&self, request: hyper::Request<B>) -> Response<Outgoing>
    where
        B: Body<Data = Bytes> + Unpin + Send,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        let id = request::request_id(request.headers());
        let (trace_id, span_id) = request::trace_parent(request.headers()).unzip();
        // Every log line of the request carries its ids.
        let span = tracing::error_span!("request", request_id = %id, trace_id, span_id);
        self.answer_as(id, request).instrument(span).await
    }

    async fn answer_as<B>(&self, id: RequestId, request: hyper::Request<B>) -> Response<Outgoing>
    where
        B: Body<Data = Bytes> + Unpin + Send,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        let started = Instant::now();
        let limits = BodyLimits { bytes: self.limits().max_body_bytes, time: self.limits().body_timeout };
        let mut request = Request::new(id, request, limits);
        let answered = AssertUnwindSafe(self.route(&mut request)).catch_unwind().await;
        let answered = answered
            .unwrap_or_else(|_| Err(Error::new(ErrorCode::Internal, "the server met a fault of its own; see its log")));
        request.discard_rest().await;
        let (method, path) = (&request.head.method, request.head.uri.path());
        let elapsed_ms = started.elapsed().as_secs_f64() * 1000.0;
        match answered {
            Ok(response) => {
                tracing::debug!(%method, path, status = response.status().as_u16(), elapsed_ms, "answered");
                response
            }
            Err(error) => {
                let response = respond::error(&error, request.error_shape(), &request.warnings, &request.id);
                let (status, detail) = (response.status().as_u16(), error.detail().map(chain_of));
                // A refusal for load is no fault, and there are many of them just when there is no time to write them.
                if status >= 500 && error.reason().is_none() {
                    tracing::warn!(%method, path, status, elapsed_ms, %error, detail, "request failed");
                } else {
                    tracing::debug!(%method, path, status, elapsed_ms, %error, detail, "request refused");
                }
                response
            }
        }
    }

    async fn route<B>(&self, request: &mut Request<B>) -> Result<Response<Outgoing>, Error>
    where
        B: Body<Data = Bytes> + Unpin + Send,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        // The token comes first: who may not call learns nothing, not even which paths exist.
        let method = request.method();
        let is_probe = method == Method::GET && matches!(request.head.uri.path(), "/health" | "/ready");
        if let Some(token) = &self.config.auth.token
            && !is_probe
            && !auth::is_authorized(&request.head.headers, token)
        {
            let message = "a valid token is required: send Authorization: Bearer <token> or X-API-Key: <token>";
            return Err(Error::new(ErrorCode::Unauthorized, message));
        }
        request.decode_path()?;
        let path: Vec<&str> = request.path.iter().map(String::as_str).collect();
        let Some(methods) = router::methods(&path) else {
            let path = request.head.uri.path();
            return Err(Error::new(ErrorCode::NotFound, format!("path '{path}' not found")));
        };
        let Some((_, route)) = methods.iter().find(|(known, _)| *known == method) else {
            return Ok(respond::method_not_allowed(&allow(methods), request.error_shape(), &request.id));
        };
        // Running requests finish; what still comes on an open connection belongs to another instance, or to the next.
        if self.stopping.is_cancelled() && *route != Route::Health {
            return Err(Error::refused(RefusalReason::Draining, "the server is stopping", DRAIN_RETRY_SECONDS));
        }
        let reply = router::dispatch(*route, &self.api, request).await?;
        Ok(respond::reply(reply, &request.warnings, &request.id, &self.stopping))
    }
}

/// The `Allow` header of a path.
fn allow(methods: &[(Method, Route)]) -> String {
    let mut names: Vec<&str> = methods.iter().map(|(method, _)| method.as_str()).collect();
    if names.contains(&"GET") {
        names.push("HEAD");
    }
    names.join(", ")
}

/// An error with all its causes, for the log.
fn chain_of(error: &(dyn std::error::Error + Send + Sync)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
