//! The road of one request: id, token, route, body, handler, answer, log line.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Instant};

use bytes::Bytes;
use futures_util::FutureExt;
use hyper::{Method, Response, body::Body};
use tokio_util::sync::CancellationToken;

use super::{
    auth,
    request::{self, BodyLimits, Request},
    respond::{self, Outgoing},
    router::{self, Route},
};
use crate::{
    api::Api,
    config::{AuthConfig, LimitConfig},
    domain::ids::RequestId,
    error::{Error, ErrorCode, RefusalReason},
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
        let started = Instant::now();
        let id = request::request_id(request.headers());
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let trace = request::trace_parent(request.headers()).map(|(trace, span)| (trace.to_owned(), span.to_owned()));
        let answered = AssertUnwindSafe(self.route(request, &id)).catch_unwind().await;
        let response = answered
            .unwrap_or_else(|_| Err(Error::new(ErrorCode::Internal, "the server met a fault of its own; see its log")));
        let (trace_id, span_id) = trace.unzip();
        let elapsed = started.elapsed();
        match response {
            Ok(response) => {
                let status = response.status().as_u16();
                tracing::debug!(request_id = %id, trace_id, span_id, %method, path, status, ?elapsed, "answered");
                response
            }
            Err(error) => {
                let response = respond::error(&error, &id);
                let status = response.status().as_u16();
                let detail = error.detail().map(chain_of);
                if status >= 500 {
                    tracing::warn!(
                        request_id = %id, trace_id, span_id, %method, path, status, ?elapsed, %error, detail,
                        "request failed"
                    );
                } else {
                    tracing::debug!(
                        request_id = %id, trace_id, span_id, %method, path, status, ?elapsed, %error, detail,
                        "request refused"
                    );
                }
                response
            }
        }
    }

    async fn route<B>(&self, request: hyper::Request<B>, id: &RequestId) -> Result<Response<Outgoing>, Error>
    where
        B: Body<Data = Bytes> + Unpin + Send,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        let limits = BodyLimits { bytes: self.limits().max_body_bytes, time: self.limits().body_timeout };
        // The token comes first: who may not call learns nothing, not even which paths exist.
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        let is_probe = is_read && matches!(request.uri().path(), "/health" | "/ready");
        if let Some(token) = &self.config.auth.token
            && !is_probe
            && !auth::is_authorized(request.headers(), token)
        {
            let message = "a valid token is required: send Authorization: Bearer <token> or X-API-Key: <token>";
            return Err(Error::new(ErrorCode::Unauthorized, message));
        }
        let mut request = Request::new(id.clone(), request, limits)?;
        let path: Vec<&str> = request.path.iter().map(String::as_str).collect();
        let Some(methods) = router::methods(&path) else {
            let path = request.head.uri.path();
            return Err(Error::new(ErrorCode::NotFound, format!("path '{path}' not found")));
        };
        let method = request.method();
        let Some((_, route)) = methods.iter().find(|(known, _)| *known == method) else {
            return Ok(respond::method_not_allowed(&allow(methods), id));
        };
        // Running requests finish; what still comes on an open connection belongs to another instance, or to the next.
        if self.stopping.is_cancelled() && *route != Route::Health {
            return Err(Error::refused(RefusalReason::Draining, "the server is stopping", DRAIN_RETRY_SECONDS));
        }
        let reply = router::dispatch(*route, &self.api, &mut request).await?;
        let warnings = std::mem::take(&mut request.warnings);
        Ok(respond::reply(reply, warnings, id, &self.stopping))
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
