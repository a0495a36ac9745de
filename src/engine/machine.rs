//! One run of a chain, without I/O: events go in, effects come out (`docs/workflow-spec.md`, model of execution).
//!
//! Owns the run's variables, its recorded steps and where it stands. It neither waits nor looks at a clock: the caller
//! carries out the effects, passes what came of them and when, and so decides about time, cancellation and order. Equal
//! events give equal effects. Driven by the actor of a run, by tests and by benches.

mod attempt;
mod converse;
mod current;
mod effect;
mod failing;
mod record;
mod settle;
mod visit;

use std::{sync::Arc, time::Duration};

pub use current::CurrentAttempt;
pub use effect::{
    Effect, EngineSettings, Event, RaisedAlert, RunFailure, RunInfo, RunOutcome, StepId, StreamWish, StreamedReply,
};

use crate::{
    domain::{
        chat::{Finish, Usage},
        failure::{Failure, FailureClass},
        message::{ChatMessage, Served},
        time::Timestamp,
        value::Value,
    },
    engine::{
        program::Program,
        state::StateUnit,
        transition::Evaluation,
        variables::{INPUT, LAST_ERROR, PREVIOUS_OUTPUT, Variables},
    },
};

/// Tasks one run may execute where the chain does not say; attempts do not count.
pub const MAX_STEPS: u32 = 1000;

/// Tasks entered and attempts begun in one turn, two for each task that waits for nothing; and bytes handled in it, after
/// which it is over, too. Between turns a run can be looked at and cancelled.
const MOST_MOVES: u32 = 128;
const MOST_WORK: usize = 16 * 1024 * 1024;

/// Characters that an error may put into a variable.
const LONGEST_ERROR: usize = 4000;

/// A run.
#[derive(Debug)]
pub struct Machine {
    program: Arc<Program>,
    run: RunInfo,
    settings: Arc<EngineSettings>,
    names: Names,
    variables: Variables,
    /// The task being executed; `None` before the start and after the end.
    visit: Option<Visit>,
    /// The chain's input until the start.
    input: Option<Value>,
    /// Where the run goes on, while it has yielded.
    paused: Option<Next>,
    executed: u32,
    /// How often each task was come to; empty where no task bounds it.
    visits: Vec<u32>,
    /// When the run must be over.
    deadline: Option<Timestamp>,
    /// Tokens that its calls have cost, where they are bounded.
    tokens: u64,
    /// Effects given out that are answered.
    asked: u64,
    state: Vec<StateUnit>,
    /// Bytes of texts that may still be recorded.
    recordable: usize,
    warnings: Vec<String>,
    served: Option<Served>,
    wish: StreamWish,
    /// Whether text of the run's output was told: then no failure is followed by anything but the end.
    told: bool,
    finish: Option<Finish>,
    is_over: bool,
}

/// The engine's own variable names, allocated once a run.
#[derive(Debug)]
struct Names {
    previous_output: Arc<str>,
    /// `None` where a task is called so.
    last_error: Option<Arc<str>>,
}

/// One execution of a task, over all its attempts.
#[derive(Debug)]
struct Visit {
    /// Which task.
    place: usize,
    /// What its handler gets.
    input: Value,
    /// Attempts begun, on all its models.
    attempt: u32,
    /// The model that is asked: 0 = the wanted ones, then the fallbacks.
    choice: usize,
    /// Attempts begun on it.
    tries: u32,
    /// When the attempt under way began.
    began: Timestamp,
    /// The effect that is out, and what it is for.
    step: StepId,
    phase: Phase,
    /// The time the effect has, where that is what was left of the run's.
    last_time: Option<Duration>,
    /// Tokens sent, where the run's tokens are bounded.
    sent: Option<u64>,
    /// What `model_execution` sent, to which the reply is added.
    conversation: Option<Conversation>,
    /// A reply that must be mended, and what was wrong with it.
    mending: Option<Mending>,
    /// How often the attempt under way had a reply mended.
    repairs: u32,
    /// What is recorded of it: attempts, and repairs of their replies.
    recorded: u32,
    /// Whether the reply it waits for is told while it arrives.
    streamed: bool,
}

/// What a run waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing, or the answer to what the task does.
    Asking,
    /// A count of tokens, before the task asks.
    Counting,
    /// The delay before the next attempt.
    Waiting,
}

/// What a model is told of a reply that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mending {
    reply: String,
    complaint: String,
}

/// A conversation on its way to a model.
#[derive(Debug)]
struct Conversation {
    messages: Vec<ChatMessage>,
    model: String,
    input_tokens: u64,
}

/// What to do next; steps that wait for nothing are executed in a loop, never recursively.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one a run, and it is moved once a step")]
enum Next {
    /// Execute the task at this place with this inherited input.
    Enter(usize, Value),
    /// Begin the next attempt.
    Attempt,
    /// Go on with the attempt: its tokens are counted, or a reply must be mended.
    Ask(Option<u64>),
    /// The task has failed without a further attempt.
    Fail(Failure),
    /// An attempt is over.
    Settle(Settled),
    /// Effects are out.
    Wait,
    /// The run is over.
    Finish(Result<Value, RunFailure>),
}

/// One call of the machine: when it is, what it wants done, and how much it has worked.
struct Turn {
    now: Timestamp,
    effects: Vec<Effect>,
    moves: u32,
    /// Bytes handled by attempts that asked nobody.
    work: usize,
}

/// What came of an attempt.
#[derive(Debug)]
struct Settled {
    result: Result<(Value, Evaluation), Failure>,
    elapsed: Duration,
    served: Option<Served>,
    usage: Usage,
    /// Tokens to count against the run's budget.
    cost: u64,
    /// Whether another attempt can come to anything else.
    may_retry: bool,
    /// What to tell the model, where it may mend its reply.
    mending: Option<Mending>,
}

impl Settled {
    /// Of an attempt that asked nobody.
    fn at_once(result: Result<(Value, Evaluation), Failure>) -> Self {
        Self::after(result, Duration::ZERO, None)
    }

    /// Of an attempt that could not ask: its input cannot change.
    fn refused(failure: Failure) -> Self {
        Self { may_retry: false, ..Self::at_once(Err(failure)) }
    }

    /// Of one that asked.
    fn after(result: Result<(Value, Evaluation), Failure>, elapsed: Duration, served: Option<Served>) -> Self {
        Self { result, elapsed, served, usage: Usage::default(), cost: 0, may_retry: true, mending: None }
    }
}

impl Machine {
    /// A run that has not started.
    pub fn new(program: Arc<Program>, input: Value, run: RunInfo, settings: Arc<EngineSettings>) -> Self {
        let last_error = program.sets_last_error.then(|| LAST_ERROR.into());
        let bounds_visits = program.steps.iter().any(|step| step.max_visits.is_some());
        Self {
            run,
            settings,
            names: Names { previous_output: PREVIOUS_OUTPUT.into(), last_error },
            variables: Variables::default(),
            visit: None,
            input: Some(input),
            paused: None,
            executed: 0,
            visits: vec![0; if bounds_visits { program.steps.len() } else { 0 }],
            deadline: None,
            tokens: 0,
            asked: 0,
            state: Vec::new(),
            recordable: record::MOST_RECORDED,
            warnings: Vec::new(),
            served: None,
            wish: StreamWish::Nothing,
            told: false,
            finish: None,
            is_over: false,
            program,
        }
    }

    /// The same, telling of its output what somebody wishes and the chain allows.
    #[must_use]
    pub fn telling(self, wish: StreamWish) -> Self {
        Self { wish, ..self }
    }

    /// Starts the run; a second time does nothing.
    pub fn start(&mut self, now: Timestamp) -> Vec<Effect> {
        let Some(input) = self.input.take() else { return Vec::new() };
        self.deadline = self.program.bounds.timeout.map(|timeout| now.after(timeout));
        let next = match self.refuse(&input) {
            Some(refused) => Next::Finish(Err(refused)),
            None => Next::Enter(0, input.clone()),
        };
        self.variables.put(&INPUT.into(), input);
        self.drive(next, now)
    }

    /// Goes on after an [`Effect::Yield`]; at any other time this does nothing.
    pub fn resume(&mut self, now: Timestamp) -> Vec<Effect> {
        self.paused.take().map_or_else(Vec::new, |next| self.drive(next, now))
    }

    /// Takes what came of an effect. Events of effects that are over are ignored.
    pub fn on_event(&mut self, event: Event, now: Timestamp) -> Vec<Effect> {
        let waits = self.paused.is_none();
        let visit = self.visit.as_mut().filter(|visit| waits && visit.step == event.step());
        let Some(visit) = visit else { return Vec::new() };
        let program = Arc::clone(&self.program);
        let Some(step) = program.steps.get(visit.place) else { return Vec::new() };
        let next = match (visit.phase, event) {
            (Phase::Counting, Event::Counted { tokens, .. }) => Next::Ask(Some(tokens)),
            (Phase::Waiting, Event::Waited { .. }) => Next::Attempt,
            // The attempt before the delay is recorded already.
            (Phase::Waiting, Event::Failed { failure, .. }) => Next::Fail(failure),
            (Phase::Waiting, _) => Next::Fail(settle::unasked()),
            (Phase::Counting, event) if !matches!(event, Event::Failed { .. }) => {
                Next::Settle(Settled::at_once(Err(settle::unasked())))
            }
            (_, event) => {
                let finish = match &event {
                    Event::Answered { completion, .. } => Some(completion.finish),
                    _ => None,
                };
                let broke_off = matches!(event, Event::BrokeOff { .. });
                let settled = settle::settle(step, visit, event, now, &mut self.warnings);
                if settled.result.is_ok() && program.streamed.get(visit.place).is_some_and(Option::is_some) {
                    self.finish = finish;
                    self.told |= visit.streamed;
                }
                self.told |= broke_off;
                Next::Settle(settled)
            }
        };
        self.drive(next, now)
    }

    /// Ends the run from outside, wherever it is: what has been recorded is its record. A run that is over stays so.
    pub fn end(&mut self, failure: Failure) -> Vec<Effect> {
        if self.is_over {
            return Vec::new();
        }
        self.input = None;
        self.paused = None;
        let task = self.current().map(|current| current.task.as_ref().to_owned());
        self.drive(Next::Finish(Err(RunFailure { failure, task })), Timestamp::ZERO)
    }

    /// The recorded attempts so far, for a look at a run under way. They leave with the outcome.
    pub fn state(&self) -> &[StateUnit] {
        &self.state
    }

    fn drive(&mut self, mut next: Next, now: Timestamp) -> Vec<Effect> {
        let program = Arc::clone(&self.program);
        let mut turn = Turn { now, effects: Vec::new(), moves: 0, work: 0 };
        let worked_before = self.variables.work();
        loop {
            if matches!(next, Next::Enter(..) | Next::Attempt) {
                if let Some(over) = self.out_of_time(now) {
                    next = over;
                    continue;
                }
                let work = turn.work.saturating_add(self.variables.work() - worked_before);
                if turn.moves >= MOST_MOVES || work >= MOST_WORK {
                    self.paused = Some(next);
                    turn.effects.push(Effect::Yield);
                    return turn.effects;
                }
                turn.moves += 1;
            }
            next = match next {
                Next::Enter(place, inherited) => match program.steps.get(place) {
                    Some(step) => self.enter(place, step, inherited, &mut turn),
                    None => Next::Finish(Err(RunFailure {
                        failure: Failure::new(FailureClass::Internal, "the chain has no such task"),
                        task: None,
                    })),
                },
                Next::Attempt => self.attempt(&program, &mut turn),
                Next::Ask(counted) => self.ask(&program, counted, &mut turn),
                Next::Fail(failure) => self.fail_current(&program, failure, &mut turn),
                Next::Settle(settled) => self.settle(&program, settled, &mut turn),
                Next::Wait => return turn.effects,
                Next::Finish(result) => {
                    self.visit = None;
                    self.is_over = true;
                    turn.effects.push(Effect::Finish(Box::new(RunOutcome {
                        run_id: self.run.run_id.clone(),
                        result,
                        state: std::mem::take(&mut self.state),
                        warnings: std::mem::take(&mut self.warnings),
                        served: self.served.take(),
                        finish: self.finish.take(),
                    })));
                    return turn.effects;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
