//! What is counted of requests, and what is written of those that took long or were picked by lot
//! (`docs/operations.md`, metrics and logs).

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use hyper::{Method, StatusCode};
use metrics::{Counter, Histogram};

use super::{
    router::Route,
    templates::{UNKNOWN, method_name},
};
use crate::{
    config::AccessLogConfig,
    domain::{failure::RefusalReason, timing::CallTiming},
    telemetry::{Memo, families as f},
};

/// Routes with their methods: nobody else's names come in.
const MOST_ROUTES: usize = 1_024;
/// Statuses of one route.
const MOST_CODES: usize = 64;
/// What a client that left before its answer counts as, as many proxies do.
const CLIENT_LEFT: u16 = 499;

/// Of all requests; one for the process.
pub(super) struct HttpMeters {
    routes: Memo<(&'static str, &'static str), RouteMeters>,
    refusals: [Counter; RefusalReason::ALL.len()],
    connections: Arc<AtomicUsize>,
    log: AccessLogConfig,
    pub(super) started_at: SystemTime,
}

struct RouteMeters {
    method: &'static str,
    route: &'static str,
    codes: Memo<u16, Counter>,
    duration: Histogram,
    overhead: OnceLock<Histogram>,
}

/// Counts as a connection for as long as it lives.
pub(super) struct OpenConnection(Arc<AtomicUsize>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl HttpMeters {
    pub(super) fn new(log: AccessLogConfig) -> Arc<Self> {
        Arc::new(Self {
            routes: Memo::of_at_most(MOST_ROUTES),
            refusals: RefusalReason::ALL.map(|reason| f::REFUSALS.count(&[reason.as_str()])),
            connections: Arc::default(),
            log,
            started_at: SystemTime::now(),
        })
    }

    /// One more connection.
    pub(super) fn connected(&self) -> OpenConnection {
        self.connections.fetch_add(1, Ordering::Relaxed);
        OpenConnection(Arc::clone(&self.connections))
    }

    /// Connections that are open.
    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// A request was refused.
    pub(super) fn refused(&self, reason: RefusalReason) {
        self.refusals[reason.index()].increment(1);
    }

    /// Follows a request from its arrival to the last byte of its answer. Boxed, because it goes through many hands.
    pub(super) fn follow(self: &Arc<Self>, method: &Method, arrived: Instant) -> Box<Followed> {
        Box::new(Followed {
            meters: Arc::clone(self),
            method: method_name(method),
            route: UNKNOWN,
            arrived,
            code: CLIENT_LEFT,
            counted: None,
            stages: None,
            span: tracing::Span::current(),
        })
    }

    fn of(&self, method: &'static str, route: &'static str) -> Option<Arc<RouteMeters>> {
        self.routes.get(&(method, route), || RouteMeters {
            method,
            route,
            codes: Memo::of_at_most(MOST_CODES),
            duration: f::HTTP_DURATION.spread(&[method, route]),
            overhead: OnceLock::new(),
        })
    }
}

/// One request that is being answered. Dropping it ends it, wherever it is.
pub(super) struct Followed {
    meters: Arc<HttpMeters>,
    method: &'static str,
    route: &'static str,
    arrived: Instant,
    code: u16,
    /// Where it is counted, once its route is known.
    counted: Option<Arc<RouteMeters>>,
    stages: Option<Stages>,
    span: tracing::Span,
}

/// Where the time of a request went until its answer began, in the order in which it went there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stages {
    /// Until its body was there.
    pub(super) receive: Duration,
    /// Checks, plans and choices of ours, before the call.
    pub(super) route: Duration,
    /// In the queue.
    pub(super) queue: Duration,
    /// With backends that failed.
    pub(super) retry: Duration,
    /// Until there was a connection.
    pub(super) connect: Duration,
    /// Until the answer began.
    pub(super) first_byte: Duration,
    /// Until it was passed on.
    pub(super) relay: Duration,
    /// All of it.
    pub(super) total: Duration,
}

impl Stages {
    /// Of a request that has come and whose body was read in `received`, by what its call took. The answer begins now.
    pub(super) fn of(timing: &CallTiming, received: Duration, arrived: Instant, now: Instant) -> Option<Self> {
        let began = timing.began?;
        let total = now.saturating_duration_since(arrived);
        let until_called = began.saturating_duration_since(arrived);
        let route = until_called.saturating_sub(received + timing.queued + timing.before);
        let called = timing.connect + timing.first_byte;
        let relay = now.saturating_duration_since(began).saturating_sub(called);
        let CallTiming { queued: queue, before: retry, connect, first_byte, .. } = *timing;
        Some(Self { receive: received, route, queue, retry, connect, first_byte, relay, total })
    }

    /// What was ours of it: neither the client's nor the queue's nor a backend's.
    fn overhead(&self, timing: &CallTiming) -> Duration {
        self.total.saturating_sub(self.receive + timing.queued + timing.upstream())
    }

    /// As `Server-Timing` has it: in milliseconds.
    pub(super) fn header(&self) -> String {
        let stage = |(name, time): (&str, Duration)| format!("{name};dur={:.3}", time.as_secs_f64() * 1e3);
        self.named().map(stage).join(", ")
    }

    const fn named(&self) -> [(&'static str, Duration); 8] {
        [
            ("receive", self.receive),
            ("route", self.route),
            ("queue", self.queue),
            ("retry", self.retry),
            ("connect", self.connect),
            ("first_byte", self.first_byte),
            ("relay", self.relay),
            ("total", self.total),
        ]
    }
}

impl Followed {
    /// Its route is known.
    pub(super) fn routed(&mut self, route: Route) {
        self.route = route.template();
        self.counted = self.meters.of(self.method, self.route);
    }

    /// Its answer begins, with what is known of the call behind it.
    pub(super) fn answered(&mut self, status: StatusCode, timing: Option<&CallTiming>, received: Duration) {
        self.code = status.as_u16();
        let Some(timing) = timing else { return };
        let now = tokio::time::Instant::now().into_std();
        self.stages = Stages::of(timing, received, self.arrived, now);
        if let Some(stages) = &self.stages
            && let Some(meters) = &self.counted
        {
            let overhead = || f::HTTP_OVERHEAD.spread(&[meters.method, meters.route]);
            meters.overhead.get_or_init(overhead).record(stages.overhead(timing));
        }
    }

    /// Where its time went, once its answer begins.
    pub(super) const fn stages(&self) -> Option<&Stages> {
        self.stages.as_ref()
    }

    fn write(&self, took: Duration) {
        let (method, route, status) = (self.method, self.route, self.code);
        let elapsed_ms = took.as_secs_f64() * 1e3;
        let AccessLogConfig { sample, slow } = self.meters.log;
        let is_slow = slow.is_some_and(|slow| took >= slow);
        if !is_slow && (sample <= 0.0 || fastrand::f64() >= sample) {
            return;
        }
        let stages = self.stages.as_ref().map(Stages::header);
        self.span.in_scope(|| {
            if is_slow {
                tracing::warn!(method, route, status, elapsed_ms, stages, "slow request");
            } else {
                tracing::info!(method, route, status, elapsed_ms, stages, "request");
            }
        });
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        let took = tokio::time::Instant::now().into_std().saturating_duration_since(self.arrived);
        // What was turned away before has none.
        if let Some(meters) = self.counted.take().or_else(|| self.meters.of(self.method, self.route)) {
            let code = self.code;
            let made = || f::HTTP_REQUESTS.count(&[meters.method, meters.route, &code.to_string()]);
            if let Some(count) = meters.codes.get(&code, made) {
                count.increment(1);
            }
            meters.duration.record(took);
        }
        self.write(took);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_add_up_to_the_whole_and_what_is_ours_is_the_rest() {
        let arrived = Instant::now();
        let ms = Duration::from_millis;
        let timing = CallTiming {
            queued: ms(30),
            before: ms(40),
            began: Some(arrived + ms(10 + 5 + 30 + 40)),
            connect: ms(1),
            first_byte: ms(100),
            rest: ms(7),
        };
        let stages = Stages::of(&timing, ms(10), arrived, arrived + ms(200)).unwrap();
        let parts: Duration = stages.named().iter().take(7).map(|(_, time)| *time).sum();
        assert_eq!((parts, stages.total, stages.route, stages.relay), (ms(200), ms(200), ms(5), ms(14)));
        assert_eq!(stages.overhead(&timing), ms(200 - 10 - 30 - 40 - 1 - 100 - 7));
        assert!(stages.header().starts_with("receive;dur=10.000, route;dur=5.000, queue;dur=30.000"));
        assert_eq!(Stages::of(&CallTiming::default(), ms(0), arrived, arrived), None, "no call was made");
    }
}
