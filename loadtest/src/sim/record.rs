//! What a simulated server saw: every request, how it ended, and how many ran at once.
//!
//! `desk` writes an entry when a request has arrived and gets a [`Ticket`]; the ticket travels with the answer's body, and
//! its drop before the end means that somebody hung up.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use hyper::{HeaderMap, Method};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::sim::{
    call::Call,
    capacity::Slot,
    route::{Route, Routes},
    wait::{WaitError, Watched},
};

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Not yet.
    Pending,
    /// The whole answer was handed to the connection.
    Answered {
        /// Its HTTP status.
        status: u16,
    },
    /// The client went away before the answer's end.
    Aborted,
    /// The server broke it off: a scripted cut, or it was stopped.
    Broken,
}

/// One request.
#[derive(Debug, Clone)]
pub struct SeenRequest {
    /// When it had arrived, since the server was made.
    pub at: Duration,
    /// What it asked for.
    pub route: Route,
    /// HTTP method.
    pub method: Method,
    /// Path without the query.
    pub path: String,
    /// What follows the `?`, or empty.
    pub query: String,
    /// Headers as sent.
    pub headers: HeaderMap,
    /// Body as sent.
    pub body: Bytes,
    /// The model it names.
    pub model: Option<String>,
    /// How it ended.
    pub outcome: Outcome,
}

impl SeenRequest {
    /// The body as JSON; null when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// A header's text, if it is there.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Whether a key came along.
    pub fn authorized(&self) -> bool {
        self.headers.contains_key(hyper::header::AUTHORIZATION)
    }

    fn describe(&self) -> String {
        let model = self.model.as_deref().unwrap_or("-");
        format!("{:?} {} {} {model}: {:?}", self.at, self.method, self.path, self.outcome)
    }
}

/// How many of a kind run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    /// Now.
    pub now: usize,
    /// The most at one time.
    pub max: usize,
}

impl Load {
    fn enter(&mut self) {
        self.now += 1;
        self.max = self.max.max(self.now);
    }
}

/// Everything seen so far.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// The requests in the order of their arrival; empty when the server only counts.
    pub requests: Vec<SeenRequest>,
    /// Requests that have arrived.
    pub arrived: usize,
    /// Requests that ended as [`Outcome::Answered`], whatever the status.
    pub answered: usize,
    /// Requests that ended as [`Outcome::Aborted`].
    pub aborted: usize,
    /// Requests that ended as [`Outcome::Broken`].
    pub broken: usize,
    /// Calls in flight ([`Routes::CALLS`]), from arrival to the end of the answer, held ones included.
    pub calls: Load,
    /// Pulls in flight.
    pub pulls: Load,
}

impl Record {
    /// The requests of these routes, oldest first.
    pub fn of(&self, routes: impl Into<Routes>) -> Vec<&SeenRequest> {
        let routes = routes.into();
        self.requests.iter().filter(|request| routes.contains(request.route)).collect()
    }

    fn load(&mut self, route: Route) -> Option<&mut Load> {
        match route {
            Route::Pull => Some(&mut self.pulls),
            route if Routes::CALLS.contains(route) => Some(&mut self.calls),
            _ => None,
        }
    }

    fn describe(&self) -> String {
        let counts = format!(
            "{} arrived, {} answered, {} aborted, {} broken, {} calls in flight",
            self.arrived, self.answered, self.aborted, self.broken, self.calls.now
        );
        let lines = self.requests.iter().map(|request| format!("\n  {}", request.describe()));
        std::iter::once(counts).chain(lines).collect()
    }
}

/// Writes the record; shared by the server and the tickets.
pub(crate) struct Recorder {
    started: Instant,
    /// False: only counters are kept, so that a load run does not fill the memory.
    keep_requests: bool,
    record: Watched<Record>,
    connections: AtomicUsize,
    taken: AtomicU64,
}

impl Recorder {
    pub(crate) fn new(keep_requests: bool) -> Arc<Self> {
        Arc::new(Self {
            started: Instant::now(),
            keep_requests,
            record: Watched::new(Record::default()),
            connections: AtomicUsize::new(0),
            taken: AtomicU64::new(0),
        })
    }

    /// Counts a connection.
    pub(crate) fn connected(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// Connections so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Bytes of answers that connections have taken so far.
    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Writes down a request; `closing` tells a hang-up of the client from a stop of the server.
    pub(crate) fn arrive(self: &Arc<Self>, call: &Call, closing: CancellationToken) -> Ticket {
        let seen = self.keep_requests.then(|| self.describe(call));
        self.enter(call.route, seen, closing)
    }

    /// Counts a request without a look at it.
    pub(crate) fn count(self: &Arc<Self>, route: Route, closing: CancellationToken) -> Ticket {
        self.enter(route, None, closing)
    }

    fn enter(self: &Arc<Self>, route: Route, seen: Option<SeenRequest>, closing: CancellationToken) -> Ticket {
        let index = self.record.change(|record| {
            let index = record.requests.len();
            record.requests.extend(seen);
            record.arrived += 1;
            if let Some(load) = record.load(route) {
                load.enter();
            }
            index
        });
        Ticket { recorder: Arc::clone(self), index, route, closing, ended: false, slot: None }
    }

    pub(crate) fn snapshot(&self) -> Record {
        self.record.read(Record::clone)
    }

    pub(crate) async fn until(
        &self,
        patience: Duration,
        wanted: &str,
        reached: impl FnMut(&Record) -> bool,
    ) -> Result<(), WaitError> {
        self.record.until(patience, wanted, Record::describe, reached).await
    }

    fn describe(&self, call: &Call) -> SeenRequest {
        SeenRequest {
            at: self.started.elapsed(),
            route: call.route,
            method: call.method.clone(),
            path: call.path.clone(),
            query: call.query.clone(),
            headers: call.headers.clone(),
            body: call.body.clone(),
            model: call.model().map(str::to_owned),
            outcome: Outcome::Pending,
        }
    }
}

/// A request that has not ended: dropping it without [`Ticket::end`] records a hang-up.
pub(crate) struct Ticket {
    recorder: Arc<Recorder>,
    index: usize,
    route: Route,
    closing: CancellationToken,
    ended: bool,
    /// Where the server works on so many at once only.
    pub(crate) slot: Slot,
}

impl Ticket {
    /// Counts bytes of the answer that the connection has taken.
    pub(crate) fn took(&self, bytes: usize) {
        self.recorder.taken.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Records how it ended; only the first end counts.
    pub(crate) fn end(&mut self, outcome: Outcome) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        self.recorder.record.change(|record| {
            match outcome {
                Outcome::Pending => {}
                Outcome::Answered { .. } => record.answered += 1,
                Outcome::Aborted => record.aborted += 1,
                Outcome::Broken => record.broken += 1,
            }
            if let Some(load) = record.load(self.route) {
                load.now -= 1;
            }
            if let Some(request) = record.requests.get_mut(self.index) {
                request.outcome = outcome;
            }
        });
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let stopped = self.closing.is_cancelled();
        self.end(if stopped { Outcome::Broken } else { Outcome::Aborted });
    }
}
