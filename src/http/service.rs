//! The road of one request: id, token, route, body, handler, answer, log line.

use std::{panic::AssertUnwindSafe, pin::pin, sync::Arc, time::Instant};

use bytes::Bytes;
use futures_util::FutureExt;
use hyper::{
    Method, Response, StatusCode,
    body::Body,
    header::{CONNECTION, HeaderName, HeaderValue},
};
use tracing::Instrument;

use super::{
    admission::{
        Admission, Admitted,
        bodies::{HeldBodies, HeldBody},
        tell_wait,
    },
    auth::{self, Caller},
    connection::LeftUnread,
    meters::{Followed, HttpMeters, OpenConnection},
    placed::Placed,
    request::{self, BodyLimits, Request},
    respond::{self, Outgoing},
    router::{self, Route},
};
use crate::{
    api::Api,
    config::{AccessLogConfig, AuthConfig, DeadlineConfig, LimitConfig, RateConfig},
    domain::{failure::RefusalReason, ids::RequestId, shared_rates::SharedRates, time::Timestamp, timing::CallTiming},
    error::{Error, ErrorCode},
    shutdown::{Drain, Phase},
    telemetry::{Now, families as f, process},
};

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
/// About the time a process manager takes to start the next instance.
const DRAIN_RETRY_SECONDS: u32 = 5;

/// What the HTTP layer is told.
#[derive(Clone)]
pub struct HttpConfig {
    /// Who may call.
    pub auth: AuthConfig,
    /// Limits of requests and connections.
    pub limits: LimitConfig,
    /// What a caller may use.
    pub rates: RateConfig,
    /// How long answers are wanted, where the request does not say it.
    pub deadlines: DeadlineConfig,
    /// Which requests are written to the log.
    pub access_log: AccessLogConfig,
}

/// Answers requests; cheap to clone.
#[derive(Clone)]
pub struct Service {
    api: Api,
    config: Arc<HttpConfig>,
    admission: Arc<Admission>,
    bodies: Arc<HeldBodies>,
    meters: Arc<HttpMeters>,
    door: Door,
    drain: Drain,
}

/// What is served at a door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    /// Everything.
    Whole,
    /// Everything but metrics, which have a door of their own.
    WithoutMetrics,
    /// Metrics and probes, to everybody who reaches it.
    Metrics,
}

impl Door {
    const fn serves(self, route: Route) -> bool {
        match self {
            Self::Whole => true,
            Self::WithoutMetrics => !matches!(route, Route::Metrics),
            Self::Metrics => matches!(route, Route::Metrics | Route::Health | Route::Ready),
        }
    }
}

impl Service {
    /// New work is refused, and running work ended, as `drain` says. Rates are those of all instances where they share them.
    pub fn new(api: Api, config: HttpConfig, drain: Drain, shared: Option<Arc<dyn SharedRates>>) -> Self {
        let now = tokio::time::Instant::now().into_std();
        let admission = Admission::new(&config.limits, &config.rates, now);
        let admission = Arc::new(match shared {
            Some(shared) => admission.together(shared),
            None => admission,
        });
        let bodies = HeldBodies::new(config.limits.max_held_bytes);
        let meters = HttpMeters::new(config.access_log.clone());
        Self { api, config: Arc::new(config), admission, bodies, meters, door: Door::Whole, drain }
    }

    /// Parts metrics from everything else: what is served at the usual door, and what at the other.
    pub fn with_metrics_apart(self) -> (Self, Self) {
        let metrics = Self { door: Door::Metrics, ..self.clone() };
        (Self { door: Door::WithoutMetrics, ..self }, metrics)
    }

    pub(super) fn limits(&self) -> &LimitConfig {
        &self.config.limits
    }

    /// What is known at the door for a scrape.
    fn now(&self) -> Now {
        let mut now = Now::default();
        let serves = self.drain.phase() == Phase::Serving && self.api.store.standing().is_up;
        now.is(&f::READY, &[], if serves { 1.0 } else { 0.0 });
        now.is(&f::STARTED_AT, &[], process::seconds(self.meters.started_at));
        now.is(&f::HTTP_CONNECTIONS, &[], self.meters.connections() as f64);
        now.is(&f::HTTP_CONNECTIONS_LIMIT, &[], self.limits().max_connections as f64);
        now.is(&f::HTTP_HELD_BYTES, &[], self.bodies.held() as f64);
        now.is(&f::HTTP_HELD_LIMIT, &[], self.limits().max_held_bytes as f64);
        now.is(&f::IN_FLIGHT, &[], self.admission.in_flight() as f64);
        now.is(&f::IN_FLIGHT_LIMIT, &[], self.limits().max_in_flight as f64);
        now
    }

    /// One more connection.
    pub(super) fn connected(&self) -> OpenConnection {
        self.meters.connected()
    }

    /// Answers one request. It always answers: a panic below becomes a 500.
    pub(super) async fn answer<B>(&self, request: hyper::Request<B>) -> Response<Placed>
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

    async fn answer_as<B>(&self, id: RequestId, request: hyper::Request<B>) -> Response<Placed>
    where
        B: Body<Data = Bytes> + Unpin + Send,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        let started = Instant::now();
        let limits = BodyLimits { bytes: self.limits().max_body_bytes, time: self.limits().body_timeout };
        let mut request = Request::new(id, request, limits, HeldBody::of(&self.bodies));
        let mut pass = Pass::default();
        let mut followed = self.meters.follow(&request.head.method, request.arrived);
        let answered = {
            // In one place: handed on as a value, it would be held twice.
            let work = pin!(AssertUnwindSafe(self.route(&mut request, &mut pass, &mut followed)).catch_unwind());
            self.drain.unless_over(work).await.unwrap_or_else(|| Ok(Err(stopping())))
        };
        let answered = answered
            .unwrap_or_else(|_| Err(Error::new(ErrorCode::Internal, "the server met a fault of its own; see its log")));
        let mut response = match answered {
            Ok(response) => {
                request.discard_rest().await;
                log(&request, &pass, started, response.status(), None);
                followed.answered(response.status(), pass.timing.as_ref(), request.received);
                let response = self.timed(&request, &followed, response);
                let place = pass.admitted.take().and_then(|admitted| admitted.place);
                response.map(|body| Placed::new(body, place, followed))
            }
            Err(error) => {
                // What is still read of it is read by nobody.
                pass.admitted = None;
                let response = self.refuse(&mut request, &error).await;
                log(&request, &pass, started, response.status(), Some(&error));
                if let Some(reason) = error.reason() {
                    self.meters.refused(reason);
                }
                let timing = error.served().filter(|_| error.run().is_none()).map(|served| served.timing);
                followed.answered(response.status(), timing.as_ref(), request.received);
                let response = self.timed(&request, &followed, response);
                response.map(|body| Placed::new(body, None, followed))
            }
        };
        if pass.is_limited {
            let token = pass.caller.as_ref().and_then(Caller::token);
            self.admission.tell(tokio::time::Instant::now().into_std(), token, response.headers_mut());
        }
        response
    }

    /// Says where the time went, to who wants to know it.
    fn timed<B>(
        &self,
        request: &Request<B>,
        followed: &Followed,
        mut response: Response<Outgoing>,
    ) -> Response<Outgoing>
    where
        B: Body<Data = Bytes> + Unpin + Send,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        if let Some(stages) = followed.stages().filter(|_| request.wants_timing())
            && let Ok(told) = HeaderValue::try_from(stages.header())
        {
            response.headers_mut().insert(SERVER_TIMING, told);
        }
        response
    }

    /// The answer of an error. A refusal for load costs us little, whatever was sent with the request.
    async fn refuse<B>(&self, request: &mut Request<B>, error: &Error) -> Response<Outgoing>
    where
        B: Body<Data = Bytes> + Unpin + Send,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        let mut response = respond::error(error, request.error_shape(), &request.warnings, &request.id);
        tell_wait(error, response.headers_mut());
        if error.reason().is_none() {
            request.discard_rest().await;
        } else if !request.discard_small().await {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            response.extensions_mut().insert(LeftUnread);
        }
        response
    }

    async fn route<B>(
        &self,
        request: &mut Request<B>,
        pass: &mut Pass,
        followed: &mut Followed,
    ) -> Result<Response<Outgoing>, Error>
    where
        B: Body<Data = Bytes> + Unpin + Send,
        B::Error: std::error::Error + Send + Sync + 'static,
    {
        // The token comes first: who may not call learns nothing, not even which paths exist.
        let method = request.method();
        let is_probe = method == Method::GET && matches!(request.head.uri.path(), "/health" | "/ready");
        let is_open = is_probe || self.door == Door::Metrics;
        let owner = self.config.auth.token.as_deref();
        let known = self.api.runtime.directory.tokens();
        let caller = auth::identify(&request.head.headers, owner, &known, Timestamp::now());
        let caller = match caller {
            Some(caller) => pass.caller.insert(caller).clone(),
            None if is_open => Caller::Anybody,
            None => {
                let message = "a valid token is required: send Authorization: Bearer <token> or X-API-Key: <token>";
                return Err(Error::new(ErrorCode::Unauthorized, message));
            }
        };
        request.decode_path()?;
        let path: Vec<&str> = request.path.iter().map(String::as_str).collect();
        let methods =
            router::methods(&path).filter(|methods| methods.iter().all(|(_, route)| self.door.serves(*route)));
        let Some(methods) = methods else {
            let path = request.head.uri.path();
            return Err(Error::new(ErrorCode::NotFound, format!("path '{path}' not found")));
        };
        let Some((_, route)) = methods.iter().find(|(known, _)| *known == method) else {
            return Ok(respond::method_not_allowed(&allow(methods), request.error_shape(), &request.id));
        };
        followed.routed(*route);
        let needs = route.needs();
        if !caller.may(needs) {
            return Err(Error::new(ErrorCode::Forbidden, format!("this token does not allow it: {needs}")));
        }
        match self.drain.phase() {
            Phase::Serving => {}
            Phase::Settling if *route != Route::Ready => {}
            // Running requests finish; what still comes belongs to another instance, or to the next.
            _ if !route.is_open_to_the_end() => return Err(stopping()),
            _ => {}
        }
        if route.asks_a_model() {
            pass.is_limited = true;
            let admitted = self.admission.admit_together(request.arrived, caller.token()).await?;
            let admitted = pass.admitted.insert(admitted);
            request.spending = admitted.spending.clone();
            request.patience = route.deadline(&self.config.deadlines);
        }
        let reply = router::dispatch(*route, &self.api, request, || self.now()).await?;
        // Of a run the last call is known, which says nothing of the whole; of a shared call, another request has the time.
        let alone = reply.served.as_ref().filter(|served| reply.run.is_none() && !served.is_shared);
        pass.timing = alone.map(|served| served.timing);
        Ok(respond::reply(reply, &request.warnings, &request.id, &self.drain))
    }
}

/// What a request has got at the door.
#[derive(Default)]
struct Pass {
    /// Whether the caller's rates apply to it, whether it was let in or not.
    is_limited: bool,
    /// Who it is, once that is known.
    caller: Option<Caller>,
    admitted: Option<Admitted>,
    /// Where the time of its call went.
    timing: Option<CallTiming>,
}

/// The error of what may not begin, or not go on, because the server stops.
pub(super) fn stopping() -> Error {
    let message = "the server is stopping; it is safe to retry";
    Error::refused(RefusalReason::Draining, message, DRAIN_RETRY_SECONDS)
}

fn log<B>(request: &Request<B>, pass: &Pass, started: Instant, status: StatusCode, error: Option<&Error>)
where
    B: Body<Data = Bytes> + Unpin + Send,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    let (method, path, status) = (&request.head.method, request.head.uri.path(), status.as_u16());
    let token = pass.caller.as_ref().and_then(Caller::token).map(|token| token.name.as_str());
    let elapsed_ms = started.elapsed().as_secs_f64() * 1000.0;
    let Some(error) = error else {
        tracing::debug!(%method, path, status, elapsed_ms, token, "answered");
        return;
    };
    let detail = error.detail().map(chain_of);
    // A refusal for load is no fault, and there are many of them just when there is no time to write them.
    if status >= 500 && error.reason().is_none() {
        tracing::warn!(%method, path, status, elapsed_ms, token, %error, detail, "request failed");
    } else {
        tracing::debug!(%method, path, status, elapsed_ms, token, %error, detail, "request refused");
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
