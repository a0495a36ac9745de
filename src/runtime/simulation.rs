//! Pools and backends in virtual time: the policies that are in force, on backends that behave as batching engines do.
//!
//! Nothing here waits, and the same seed gives the same run: what is compared are decisions and not machines. A backend
//! works in steps, as vLLM and llama.cpp's server do: each step reads a piece of one prompt and adds one token to every
//! answer, and takes the longer the more answers there are. The figures stand in `docs/performance.md`.

mod backend;
mod scenario;
mod tests;

use std::{cmp::Reverse, collections::BinaryHeap};

use self::backend::{Engine, Finished};
use super::{
    backend::LatencyView,
    pool::{Load, Pick, order, stable_hash},
};
use crate::domain::pool::Policy;

/// Microseconds since the simulation began.
type Micros = u64;

/// One request of the simulation.
#[derive(Debug, Clone, Copy)]
struct Call {
    arrived: Micros,
    prompt_tokens: u32,
    answer_tokens: u32,
}

/// What is simulated.
#[derive(Debug, Clone)]
struct Plan {
    policy: Policy,
    engines: Vec<Engine>,
    /// Requests in a second.
    rate: f64,
    requests: usize,
    /// Requests that may wait, and how long.
    queue: usize,
    max_wait: Micros,
    seed: u64,
}

/// What came of it.
#[derive(Debug, Default)]
struct Outcome {
    /// How long answered requests took, sorted.
    took: Vec<Micros>,
    refused: usize,
    /// When each answer was whole.
    ended: Vec<Micros>,
    /// When the last request arrived.
    last_arrival: Micros,
    /// The most calls at once, by backend.
    most: Vec<usize>,
}

impl Outcome {
    /// Answers in a second while requests arrived, but for the first fifth of that time, in which backends fill.
    fn goodput(&self) -> f64 {
        let from = self.last_arrival / 5;
        let counted = self.ended.iter().filter(|end| (from..self.last_arrival).contains(end)).count();
        counted as f64 / ((self.last_arrival - from).max(1) as f64 / 1e6)
    }

    /// The time within which this part of the requests was answered, in milliseconds.
    fn quantile(&self, part: f64) -> f64 {
        let at = ((self.took.len().max(1) - 1) as f64 * part).round() as usize;
        self.took.get(at).map_or(f64::INFINITY, |micros| *micros as f64 / 1000.0)
    }
}

/// What happens next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrival,
    /// The end of a step of this engine.
    Step(usize),
}

/// A run of a plan.
struct Simulation {
    plan: Plan,
    random: fastrand::Rng,
    now: Micros,
    events: BinaryHeap<Reverse<(Micros, u64, Event)>>,
    number: u64,
    queue: std::collections::VecDeque<Call>,
    turn: usize,
    arrived: usize,
    outcome: Outcome,
}

impl Plan {
    fn run(&self) -> Outcome {
        let mut simulation = Simulation {
            random: fastrand::Rng::with_seed(self.seed),
            now: 0,
            events: BinaryHeap::new(),
            number: 0,
            queue: std::collections::VecDeque::new(),
            turn: 0,
            arrived: 0,
            outcome: Outcome { most: vec![0; self.engines.len()], ..Outcome::default() },
            plan: self.clone(),
        };
        simulation.at(0, Event::Arrival);
        while let Some(Reverse((now, _, event))) = simulation.events.pop() {
            simulation.now = now;
            match event {
                Event::Arrival => simulation.arrive(),
                Event::Step(engine) => simulation.step(engine),
            }
        }
        let mut outcome = simulation.outcome;
        outcome.took.sort_unstable();
        outcome
    }
}

impl Simulation {
    fn at(&mut self, time: Micros, event: Event) {
        self.number += 1;
        self.events.push(Reverse((time, self.number, event)));
    }

    fn arrive(&mut self) {
        self.arrived += 1;
        self.outcome.last_arrival = self.now;
        let call = Call {
            arrived: self.now,
            prompt_tokens: scenario::prompt_tokens(&mut self.random),
            answer_tokens: scenario::answer_tokens(&mut self.random),
        };
        if self.arrived < self.plan.requests {
            // Arrivals do not know of each other.
            let pause = -self.random.f64().max(1e-12).ln() / self.plan.rate * 1e6;
            self.at(self.now + pause as Micros, Event::Arrival);
        }
        if let Some(engine) = self.choose() {
            self.begin(engine, call);
        } else if self.queue.len() < self.plan.queue {
            self.queue.push_back(call);
        } else {
            self.outcome.refused += 1;
        }
    }

    /// The backend that the policy wants of those with a free slot, unless others wait already.
    fn choose(&mut self) -> Option<usize> {
        if !self.queue.is_empty() {
            return None;
        }
        let loads: Vec<Load> = self.plan.engines.iter().enumerate().map(|(at, engine)| load(at, engine)).collect();
        self.turn += 1;
        let pick = Pick { turn: self.turn, key: self.random.u64(..) };
        let random = &mut self.random;
        let order = order(self.plan.policy, &loads, pick, |below| random.usize(..below));
        order.into_iter().find(|at| self.plan.engines[*at].has_free_slot())
    }

    fn begin(&mut self, at: usize, call: Call) {
        let engine = &mut self.plan.engines[at];
        let was_idle = engine.begin(call);
        self.outcome.most[at] = self.outcome.most[at].max(engine.running());
        if was_idle {
            let end = self.now + engine.step_time();
            self.at(end, Event::Step(at));
        }
    }

    fn step(&mut self, at: usize) {
        let finished = self.plan.engines[at].step(self.now);
        for Finished { call, first_token } in finished {
            let took = self.now - call.arrived;
            self.plan.engines[at].learn(first_token);
            self.outcome.took.push(took);
            self.outcome.ended.push(self.now);
        }
        // A freed slot pulls the oldest request that still waits.
        while self.plan.engines[at].has_free_slot() {
            let Some(call) = self.queue.pop_front() else { break };
            if self.now - call.arrived > self.plan.max_wait {
                self.outcome.refused += 1;
                continue;
            }
            self.begin_busy(at, call);
        }
        let engine = &mut self.plan.engines[at];
        if engine.running() > 0 {
            let end = self.now + engine.step_time();
            self.at(end, Event::Step(at));
        }
    }

    /// A call for an engine between two steps.
    fn begin_busy(&mut self, at: usize, call: Call) {
        let engine = &mut self.plan.engines[at];
        engine.begin(call);
        self.outcome.most[at] = self.outcome.most[at].max(engine.running());
    }
}

fn load(at: usize, engine: &Engine) -> Load {
    Load {
        tier: 0,
        in_use: u16::try_from(engine.running()).unwrap_or(u16::MAX),
        limit: u16::try_from(engine.slots).unwrap_or(u16::MAX),
        weight: 1,
        hash: stable_hash([at.to_string().as_bytes()]),
        is_warm: true,
        context: 0,
        latency: LatencyView::UNKNOWN,
    }
}
