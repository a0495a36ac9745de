//! The road of calls in virtual time: chosen, sent, failed over, waiting, answered.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    time::Duration,
};

use super::{
    Micros,
    engine::{Engine, Harm},
    outcome::{Answer, Outcome},
    scenario::{Limits, Plan, Request},
};
use crate::{
    domain::pool::RetryBudget,
    providers::{ProviderError, ProviderErrorKind},
    runtime::{
        backend::{Access, CallSample, Entry, Limiter, Standing, Way},
        dispatch::MAX_ATTEMPTS,
        pool::{Budget, Load, Pick, order, stable_hash},
    },
};

/// How long it takes to learn that nobody listens, or that a call is refused.
const QUICK: Micros = 2_000;

/// What happens next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrival,
    /// The end of a step of this engine.
    Step(usize),
    /// A call fails.
    Fails {
        call: usize,
        how: Harm,
    },
    /// Those who wait for this backend may find that it lets calls in again.
    Look(usize),
}

/// A call, from the arrival of its request to its end.
struct Call {
    request: Request,
    arrived: Micros,
    tried: Vec<usize>,
    /// Where it is now.
    at: Option<Sent>,
}

struct Sent {
    began: Micros,
    in_flight: u16,
    entry: Entry,
    first_token: Option<Micros>,
}

/// A backend as dispatch sees it.
struct Backend {
    engine: Engine,
    access: Access,
    limiter: Limiter,
    in_use: u16,
    has_look: bool,
}

/// A run of a plan.
struct Run {
    plan: Plan,
    random: fastrand::Rng,
    now: Micros,
    clock: Micros,
    events: BinaryHeap<Reverse<(Micros, u64, Event)>>,
    number: u64,
    backends: Vec<Backend>,
    budget: Budget,
    calls: Vec<Call>,
    queue: VecDeque<usize>,
    turn: usize,
    outcome: Outcome,
}

impl Plan {
    pub(super) fn run(&self) -> Outcome {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        // Made inside, where the clock is the paused one.
        runtime.block_on(async { Run::new(self.clone()).run_to_end().await })
    }
}

impl Run {
    fn new(plan: Plan) -> Self {
        // The breaker's jitter is drawn from the thread's own.
        fastrand::seed(plan.seed);
        let backend = |engine: &Engine| Backend {
            engine: engine.clone(),
            access: Access::new(),
            limiter: Limiter::new(),
            in_use: 0,
            has_look: false,
        };
        let count = plan.engines.len();
        Self {
            random: fastrand::Rng::with_seed(plan.seed),
            now: 0,
            clock: 0,
            events: BinaryHeap::new(),
            number: 0,
            backends: plan.engines.iter().map(backend).collect(),
            budget: Budget::new(),
            calls: Vec::new(),
            queue: VecDeque::new(),
            turn: 0,
            outcome: Outcome { most: vec![0; count], sent: vec![0; count], ..Outcome::default() },
            plan,
        }
    }

    async fn run_to_end(mut self) -> Outcome {
        self.after(0, Event::Arrival);
        while let Some(Reverse((now, _, event))) = self.events.pop() {
            self.now = now;
            match event {
                Event::Arrival => self.arrive().await,
                Event::Step(backend) => self.step(backend).await,
                Event::Fails { call, how } => self.fail(call, how).await,
                Event::Look(backend) => self.look(backend).await,
            }
        }
        assert!(self.backends.iter().all(|backend| backend.in_use == 0), "all slots come back");
        let ended = self.outcome.answers.len() + self.outcome.refused + self.outcome.failed;
        assert_eq!(ended, self.plan.requests, "every request has one end");
        self.outcome.limits = (0..self.backends.len()).map(|at| self.limit(at)).collect();
        self.outcome
    }

    fn after(&mut self, time: Micros, event: Event) {
        self.number += 1;
        self.events.push(Reverse((self.now + time, self.number, event)));
    }

    /// Brings the clock of breakers, rests and latencies to the time of the event.
    async fn set_clock(&mut self) {
        tokio::time::advance(Duration::from_micros(self.now - self.clock)).await;
        self.clock = self.now;
    }

    async fn arrive(&mut self) {
        self.set_clock().await;
        self.outcome.last_arrival = self.now;
        let request = Request::draw(&mut self.random);
        let call = self.calls.len();
        self.calls.push(Call { request, arrived: self.now, tried: Vec::new(), at: None });
        if self.calls.len() < self.plan.requests {
            // Arrivals do not know of each other.
            let pause = -self.random.f64().max(1e-12).ln() / self.plan.rate * 1e6;
            self.after(pause as Micros, Event::Arrival);
        }
        self.budget.deposit(RetryBudget::default());
        self.admit(call);
    }

    /// A slot at once, else a place in the queue, else a refusal.
    fn admit(&mut self, call: usize) {
        let order = self.order(call);
        let taken = order.iter().find_map(|at| Some((*at, self.enter(*at, call, Way::Usual)?)));
        if let Some((at, entry)) = taken {
            return self.send(at, call, entry);
        }
        if self.queue.len() < self.plan.queue && !order.is_empty() {
            self.queue.push_back(call);
            (0..self.backends.len()).for_each(|at| self.plan_look(at));
        } else {
            self.outcome.refused += 1;
        }
    }

    /// The backends that it may go to, as the policy wants them.
    fn order(&mut self, call: usize) -> Vec<usize> {
        let call = &self.calls[call];
        let candidates: Vec<usize> = (0..self.backends.len()).filter(|at| !call.tried.contains(at)).collect();
        let loads: Vec<Load> = candidates.iter().map(|at| self.load(*at)).collect();
        self.turn += 1;
        let pick = Pick { turn: self.turn, key: stable_hash([call.request.session.to_le_bytes().as_slice()]) };
        let random = &mut self.random;
        let order = order(self.plan.policy, &loads, pick, |below| random.usize(..below));
        order.into_iter().map(|at| candidates[at]).collect()
    }

    fn load(&self, at: usize) -> Load {
        Load {
            tier: 0,
            in_use: self.backends[at].in_use,
            limit: self.limit(at),
            weight: 1,
            hash: stable_hash([at.to_string().as_bytes()]),
            is_warm: true,
            context: 0,
            latency: self.backends[at].access.latency(),
        }
    }

    fn limit(&self, at: usize) -> u16 {
        match self.plan.limits {
            Limits::Set => self.backends[at].engine.slots,
            Limits::Found => self.backends[at].limiter.limit(),
        }
    }

    fn enter(&self, at: usize, call: usize, way: Way) -> Option<Entry> {
        let backend = &self.backends[at];
        // Nobody overtakes those who wait for it.
        let others_wait =
            self.queue.iter().any(|waiting| *waiting != call && !self.calls[*waiting].tried.contains(&at));
        let has_room = backend.in_use < self.limit(at) && !others_wait;
        backend.access.admit(way, || has_room)
    }

    fn send(&mut self, at: usize, call: usize, entry: Entry) {
        let now = self.now;
        let backend = &mut self.backends[at];
        backend.in_use += 1;
        self.outcome.sent[at] += 1;
        self.outcome.most[at] = self.outcome.most[at].max(backend.in_use);
        self.calls[call].tried.push(at);
        self.calls[call].at = Some(Sent { began: now, in_flight: backend.in_use, entry, first_token: None });
        match backend.engine.trouble.and_then(|trouble| trouble.harm(now)) {
            Some(how) => {
                let after = if how == Harm::Silence { self.plan.first_byte } else { QUICK };
                self.after(after, Event::Fails { call, how });
            }
            None => {
                if backend.engine.begin(call, self.calls[call].request) {
                    self.plan_step(at);
                }
            }
        }
    }

    fn plan_step(&mut self, at: usize) {
        if let Some(time) = self.backends[at].engine.step_time(self.now) {
            self.after(time, Event::Step(at));
        }
    }

    async fn step(&mut self, at: usize) {
        let progress = self.backends[at].engine.step();
        if !progress.begun.is_empty() || !progress.ended.is_empty() {
            self.set_clock().await;
        }
        let (now, limit) = (self.now, self.limit(at));
        for call in progress.begun {
            let Some(sent) = &mut self.calls[call].at else { continue };
            sent.first_token = Some(now - sent.began);
            let after = Duration::from_micros(now - sent.began);
            self.backends[at].access.answered(&mut sent.entry, after, limit);
        }
        for call in progress.ended {
            let Some(sent) = self.leave(at, call) else { continue };
            let sample = CallSample {
                in_flight: sent.in_flight,
                prompt_tokens: self.calls[call].request.prompt_tokens,
                first_token: sent.first_token.map(Duration::from_micros),
                worked: None,
                total: Duration::from_micros(now - sent.began),
            };
            self.backends[at].limiter.on_answer(sample);
            let Call { arrived, tried, .. } = &self.calls[call];
            let met_trouble = tried.iter().any(|at| self.plan.engines[*at].trouble.is_some());
            self.outcome.answers.push(Answer { took: now - arrived, ended: now, met_trouble });
        }
        self.pull(at);
        self.plan_step(at);
    }

    /// The slot comes back.
    fn leave(&mut self, at: usize, call: usize) -> Option<Sent> {
        let sent = self.calls[call].at.take()?;
        self.backends[at].in_use -= 1;
        self.backends[at].access.leave(&sent.entry);
        Some(sent)
    }

    /// Free slots pull the oldest requests that wait for them.
    fn pull(&mut self, at: usize) {
        let (now, max_wait) = (self.now, self.plan.max_wait);
        let before = self.queue.len();
        self.queue.retain(|call| now - self.calls[*call].arrived <= max_wait);
        self.outcome.refused += before - self.queue.len();
        while let Some(place) = self.queue.iter().position(|call| !self.calls[*call].tried.contains(&at)) {
            let call = self.queue[place];
            let has_room = self.backends[at].in_use < self.limit(at);
            let way = self.way_into(at, call);
            let Some(entry) = way.and_then(|way| self.backends[at].access.admit(way, || has_room)) else { break };
            self.queue.remove(place);
            self.send(at, call, entry);
        }
    }

    /// As waiting requests go to a backend whose breaker may be open: in spite of it where there is no other.
    fn way_into(&self, at: usize, call: usize) -> Option<Way> {
        let call = &self.calls[call];
        match self.backends[at].access.standing() {
            Standing::In => Some(Way::Usual),
            Standing::Resting { .. } => None,
            Standing::Broken { .. } => {
                let mut others = self.backends.iter().enumerate().filter(|(other, _)| !call.tried.contains(other));
                let is_alone = !others.any(|(_, other)| other.access.standing() == Standing::In);
                (call.tried.is_empty() && is_alone).then_some(Way::Bypass)
            }
        }
    }

    async fn fail(&mut self, call: usize, how: Harm) {
        self.set_clock().await;
        let Some(at) = self.calls[call].tried.last().copied() else { return };
        let error = match how {
            Harm::Refusal => ProviderError {
                status: Some(429),
                retry_after: Some(Duration::from_secs(1)),
                ..ProviderError::new(ProviderErrorKind::RateLimited, "simulated")
            },
            Harm::Status(status) => {
                // As adapters read it: 500 may be the request's own doing, others are not.
                let kind = if status == 500 { ProviderErrorKind::Server } else { ProviderErrorKind::Transient };
                ProviderError { status: Some(status), ..ProviderError::new(kind, "simulated") }
            }
            Harm::Unreachable => ProviderError::new(ProviderErrorKind::Connect, "simulated"),
            Harm::Silence => ProviderError::new(ProviderErrorKind::Timeout, "simulated"),
        };
        if let Some(sent) = &mut self.calls[call].at {
            let after = Duration::from_micros(self.now - sent.began);
            self.backends[at].access.failed(&mut sent.entry, &error, after);
            if how == Harm::Refusal {
                self.backends[at].limiter.on_refusal(sent.in_flight);
            }
        }
        self.leave(at, call);
        let tried = &self.calls[call].tried;
        let has_another = (0..self.backends.len()).any(|at| {
            !tried.contains(&at)
                && matches!(self.backends[at].access.standing(), Standing::In | Standing::Resting { .. })
        });
        if error.may_fail_over()
            && tried.len() < MAX_ATTEMPTS
            && has_another
            && self.budget.spend(RetryBudget::default())
        {
            self.admit(call);
        } else {
            self.outcome.failed += 1;
            self.outcome.failed_elsewhere += usize::from(self.plan.engines[at].trouble.is_none());
        }
        self.pull(at);
        self.plan_look(at);
    }

    /// Those who wait look again when the backend may let calls in.
    fn plan_look(&mut self, at: usize) {
        let backend = &mut self.backends[at];
        if backend.has_look || self.queue.is_empty() {
            return;
        }
        if let Some(wait) = backend.access.next_look() {
            backend.has_look = true;
            let micros = Micros::try_from(wait.as_micros()).unwrap_or(Micros::MAX);
            self.after(micros + 1_000, Event::Look(at));
        }
    }

    async fn look(&mut self, at: usize) {
        self.set_clock().await;
        self.backends[at].has_look = false;
        self.pull(at);
        self.plan_look(at);
    }
}
