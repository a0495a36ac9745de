//! What is counted of chain runs and their steps, for Prometheus (`docs/operations.md`, metrics).

use std::sync::{Arc, OnceLock};

use metrics::{Counter, Histogram};
use tokio::time::Instant;

use crate::{
    domain::{
        failure::FailureClass,
        ids::{ChainId, RequestId, RunId},
    },
    engine::{RunOutcome, StateUnit},
    runtime::feed::{Feed, Happening},
    telemetry::{Memo, families as f},
};

/// Stored chains that are told apart; the others are `other`.
const MOST_CHAINS: usize = 512;
/// Kinds of task: a closed set.
const MOST_HANDLERS: usize = 64;

/// Of all runs. Cheap to clone.
#[derive(Clone)]
pub(in crate::runtime) struct RunMeters {
    chains: Arc<Memo<String, ChainMeters>>,
    handlers: Arc<Memo<String, HandlerMeters>>,
    inline: Arc<ChainMeters>,
    other: Arc<OnceLock<Arc<ChainMeters>>>,
}

impl Default for RunMeters {
    fn default() -> Self {
        Self {
            chains: Arc::new(Memo::of_at_most(MOST_CHAINS)),
            handlers: Arc::new(Memo::of_at_most(MOST_HANDLERS)),
            inline: Arc::new(ChainMeters::of("inline")),
            other: Arc::default(),
        }
    }
}

impl RunMeters {
    /// Of a run that begins now. Only stored chains have names of their own: what a request writes is none.
    pub(super) fn begin(&self, stored: Option<&ChainId>) -> RunTally {
        let other = || Arc::clone(self.other.get_or_init(|| Arc::new(ChainMeters::of("other"))));
        let chain = match stored {
            None => Arc::clone(&self.inline),
            Some(id) => self.chains.get(id.as_str(), || ChainMeters::of(id.as_str())).unwrap_or_else(other),
        };
        RunTally { chain, meters: self.clone(), began: Instant::now(), steps: 0, is_over: false, told: None }
    }
}

/// The count of one run. One that is dropped before its end was left by its caller.
pub(super) struct RunTally {
    chain: Arc<ChainMeters>,
    meters: RunMeters,
    began: Instant,
    /// Attempts that are counted.
    steps: usize,
    is_over: bool,
    told: Option<ToldRun>,
}

/// The run as those know it who watch.
pub(super) struct ToldRun {
    pub(super) feed: Feed,
    pub(super) run: RunId,
    pub(super) request: RequestId,
    pub(super) chain: Option<ChainId>,
}

impl ToldRun {
    fn tell(&self, status: &'static str, duration_ms: Option<u64>) {
        let (run, request, chain) = (self.run.clone(), self.request.clone(), self.chain.clone());
        self.feed.tell(Happening::Run { run, request, chain, status, duration_ms });
    }
}

impl RunTally {
    /// Tells those who watch of its beginning and its end, too.
    pub(super) fn telling(mut self, told: ToldRun) -> Self {
        told.tell("started", None);
        self.told = Some(told);
        self
    }

    /// Counts the attempts that are new among all of the run.
    pub(super) fn steps(&mut self, units: &[StateUnit]) {
        for unit in units.iter().skip(self.steps) {
            let handler = unit.task_handler;
            if let Some(meters) = self.meters.handlers.get(handler, || HandlerMeters::of(handler)) {
                meters.ended(unit);
            }
        }
        self.steps = units.len();
    }

    /// The run is over.
    pub(super) fn ended(&mut self, outcome: &RunOutcome) {
        self.steps(&outcome.state);
        self.end(outcome.result.as_ref().err().map_or("", |failed| failed.failure.class.as_str()));
    }

    fn end(&mut self, why: &'static str) {
        self.is_over = true;
        let took = self.began.elapsed();
        self.chain.ended(why, took.as_secs_f64());
        if let Some(told) = &self.told {
            told.tell(if why.is_empty() { "ok" } else { why }, u64::try_from(took.as_millis()).ok());
        }
    }
}

impl Drop for RunTally {
    fn drop(&mut self) {
        if !self.is_over {
            self.end("left");
        }
    }
}

/// Of one chain: by why its runs ended, empty where they ended well.
struct ChainMeters {
    name: String,
    ends: Memo<String, (Counter, Histogram)>,
}

impl ChainMeters {
    fn of(name: &str) -> Self {
        // All classes, those that ended well, and those that were left.
        Self { name: name.to_owned(), ends: Memo::of_at_most(FailureClass::ALL.len() + 2) }
    }

    fn ended(&self, why: &'static str, seconds: f64) {
        let made = || {
            let outcome = if why.is_empty() { "ok" } else { why };
            (f::RUNS.count(&[&self.name, outcome]), f::WORKFLOW_DURATION.spread(&[&self.name, why]))
        };
        if let Some(ends) = self.ends.get(why, made) {
            ends.0.increment(1);
            ends.1.record(seconds);
        }
    }
}

/// Of one kind of task.
struct HandlerMeters {
    name: &'static str,
    ends: Memo<String, Counter>,
    duration: Histogram,
}

impl HandlerMeters {
    fn of(name: &'static str) -> Self {
        Self { name, ends: Memo::of_at_most(FailureClass::ALL.len() + 1), duration: f::STEP_DURATION.spread(&[name]) }
    }

    fn ended(&self, unit: &StateUnit) {
        let outcome = unit.error.class.map_or("ok", FailureClass::as_str);
        if let Some(ends) = self.ends.get(outcome, || f::STEPS.count(&[self.name, outcome])) {
            ends.increment(1);
        }
        self.duration.record(unit.duration);
    }
}
