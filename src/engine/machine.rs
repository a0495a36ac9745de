//! One run of a chain, without I/O: events go in, effects come out (`docs/workflow-spec.md`, model of execution).
//!
//! Owns the run's variables, its recorded steps and where it stands. It neither waits nor looks at a clock: the caller
//! carries out the effects, passes what came of them and when, and so decides about time, cancellation and order. Equal
//! events give equal effects. Driven by the actor of a run, by tests and by benches.

mod attempt;
mod converse;
mod current;
mod effect;
mod record;
mod settle;

use std::{sync::Arc, time::Duration};

pub use current::CurrentAttempt;
pub use effect::{Effect, EngineSettings, Event, RaisedAlert, RunFailure, RunInfo, RunOutcome, StepId};

use crate::{
    domain::{
        failure::{Failure, FailureClass},
        message::{ChatMessage, Served, Usage},
        time::Timestamp,
        value::Value,
    },
    engine::{
        program::{Program, Step},
        state::StateUnit,
        transition::Evaluation,
        variables::{INPUT, LAST_ERROR, PREVIOUS_OUTPUT, Variables},
    },
};

/// Tasks one run may execute; attempts do not count.
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
    attempts: u64,
    state: Vec<StateUnit>,
    /// Bytes of texts that may still be recorded.
    recordable: usize,
    warnings: Vec<String>,
    served: Option<Served>,
}

/// The engine's own variable names, allocated once a run.
#[derive(Debug)]
struct Names {
    previous_output: Arc<str>,
    last_error: Arc<str>,
}

/// One execution of a task, over all its attempts.
#[derive(Debug)]
struct Visit {
    /// Which task.
    place: usize,
    /// What its handler gets.
    input: Value,
    /// Attempts begun.
    attempt: u32,
    /// The attempt under way.
    step: StepId,
    /// What `model_execution` sent, to which the reply is added.
    conversation: Option<Conversation>,
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
enum Next {
    /// Execute the task at this place with this inherited input.
    Enter(usize, Value),
    /// Begin the next attempt.
    Attempt,
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
}

impl Settled {
    /// Of an attempt that asked nobody.
    fn at_once(result: Result<(Value, Evaluation), Failure>) -> Self {
        Self { result, elapsed: Duration::ZERO, served: None, usage: Usage::default() }
    }
}

impl Machine {
    /// A run that has not started.
    pub fn new(program: Arc<Program>, input: Value, run: RunInfo, settings: Arc<EngineSettings>) -> Self {
        Self {
            program,
            run,
            settings,
            names: Names { previous_output: PREVIOUS_OUTPUT.into(), last_error: LAST_ERROR.into() },
            variables: Variables::default(),
            visit: None,
            input: Some(input),
            paused: None,
            executed: 0,
            attempts: 0,
            state: Vec::new(),
            recordable: record::MOST_RECORDED,
            warnings: Vec::new(),
            served: None,
        }
    }

    /// Starts the run; a second time does nothing.
    pub fn start(&mut self, now: Timestamp) -> Vec<Effect> {
        let Some(input) = self.input.take() else { return Vec::new() };
        self.variables.put(&INPUT.into(), input.clone());
        self.drive(Next::Enter(0, input), now)
    }

    /// Goes on after an [`Effect::Yield`]; at any other time this does nothing.
    pub fn resume(&mut self, now: Timestamp) -> Vec<Effect> {
        self.paused.take().map_or_else(Vec::new, |next| self.drive(next, now))
    }

    /// Takes what came of an effect. Events of attempts that are over are ignored.
    pub fn on_event(&mut self, event: Event, now: Timestamp) -> Vec<Effect> {
        let waits = self.paused.is_none();
        let visit = self.visit.as_mut().filter(|visit| waits && visit.step == event.step());
        let Some(visit) = visit else { return Vec::new() };
        let program = Arc::clone(&self.program);
        let Some(step) = program.steps.get(visit.place) else { return Vec::new() };
        let settled = settle::settle(step, visit, event, now, &mut self.warnings);
        self.drive(Next::Settle(settled), now)
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
                Next::Settle(settled) => self.settle(&program, settled, &mut turn),
                Next::Wait => return turn.effects,
                Next::Finish(result) => {
                    self.visit = None;
                    turn.effects.push(Effect::Finish(Box::new(RunOutcome {
                        result,
                        state: std::mem::take(&mut self.state),
                        warnings: std::mem::take(&mut self.warnings),
                        served: self.served.take(),
                    })));
                    return turn.effects;
                }
            }
        }
    }

    /// Resolves a task's input. What goes wrong here is a failure of the task that no retry can mend.
    fn enter(&mut self, place: usize, step: &Step, inherited: Value, turn: &mut Turn) -> Next {
        if self.executed == MAX_STEPS {
            let text = format!("the run executed {MAX_STEPS} tasks without coming to an end");
            return Next::Finish(Err(RunFailure { failure: Failure::new(FailureClass::MaxSteps, text), task: None }));
        }
        self.executed += 1;
        let (input, problem) = match self.resolve(step, &inherited) {
            Ok(input) => (input, None),
            Err(failure) => (inherited, Some(failure)),
        };
        self.visit = Some(Visit { place, input, attempt: 0, step: StepId(self.attempts), conversation: None });
        match problem {
            None => Next::Attempt,
            Some(failure) => {
                self.record(step, &Settled::at_once(Err(failure.clone())));
                self.task_failed(step, failure, turn)
            }
        }
    }

    fn resolve(&mut self, step: &Step, inherited: &Value) -> Result<Value, Failure> {
        let invalid = |message: String| Failure::new(FailureClass::InvalidInput, message);
        let input = match &step.input_var {
            None => inherited,
            Some(name) => self
                .variables
                .get(name)
                .ok_or_else(|| invalid(format!("input_var names the variable '{name}', which is not set")))?,
        };
        match &step.prompt {
            None => Ok(input.clone()),
            Some(template) => {
                let rendered = self.variables.render(template);
                rendered.map(Value::string).map_err(|error| invalid(format!("prompt_template: {error}")))
            }
        }
    }

    /// Records the attempt and goes on: after a success to the next task, after a failure to the next attempt.
    fn settle(&mut self, program: &Program, mut settled: Settled, turn: &mut Turn) -> Next {
        let Some((step, attempt)) =
            self.visit.as_ref().and_then(|visit| Some((program.steps.get(visit.place)?, visit.attempt)))
        else {
            return Next::Wait;
        };
        let mut kept = None;
        let mut may_retry = true;
        if let Ok((output, _)) = &settled.result {
            match self.kept(step, output, turn.now) {
                Ok(value) => kept = Some(value),
                Err(failure) => {
                    settled.result = Err(failure);
                    may_retry = false;
                }
            }
        }
        self.record(step, &settled);
        self.served = settled.served.or_else(|| self.served.take());
        match settled.result {
            Ok((output, value)) => self.task_succeeded(step, kept.unwrap_or(output), &value, turn),
            Err(failure) if failure.class == FailureClass::Cancelled => fail(step, failure),
            Err(_) if may_retry && attempt < step.attempts => Next::Attempt,
            Err(failure) => self.task_failed(step, failure, turn),
        }
    }

    /// A task's output as the next tasks get it, composed where the task says so, and set as variables.
    fn kept(&mut self, step: &Step, output: &Value, now: Timestamp) -> Result<Value, Failure> {
        let (names, output) = match &step.compose {
            None => (&[&self.names.previous_output, &step.id][..], output.clone()),
            Some(compose) => {
                let invalid = |message: String| Failure::new(FailureClass::InvalidInput, format!("compose: {message}"));
                let with = self.variables.get(&compose.with_var);
                let with = with.ok_or_else(|| invalid(format!("the variable '{}' is not set", compose.with_var)))?;
                let composed = super::compose::compose(compose.strategy, output, with, now).map_err(invalid)?;
                (&[&self.names.previous_output, &step.id, &step.composed_id][..], composed)
            }
        };
        let set = self.variables.set(names, output.clone());
        set.map_err(|problem| Failure::new(FailureClass::Budget, problem))?;
        Ok(output)
    }

    fn task_succeeded(&mut self, step: &Step, output: Value, value: &Evaluation, turn: &mut Turn) -> Next {
        if let Some(template) = &step.print {
            let text = self.variables.render(template);
            turn.effects.push(Effect::Print { task: Arc::clone(&step.id), text });
        }
        let Some(branch) = super::transition::choose(&step.branches, |branch| &branch.operator, value) else {
            let text = format!("no branch matches '{}'", super::reply::excerpt(&value.text));
            return fail(step, Failure::new(FailureClass::InvalidOutput, text));
        };
        if let Some(message) = &branch.alert {
            turn.effects.push(self.alert(step, message, ("eval", &value.text), turn.now));
        }
        match branch.goto {
            Some(place) => Next::Enter(place, output),
            None => Next::Finish(Ok(output)),
        }
    }

    fn task_failed(&mut self, step: &Step, failure: Failure, turn: &mut Turn) -> Next {
        let text = super::reply::shortened(&failure.message, LONGEST_ERROR);
        self.variables.put(&self.names.last_error, Value::string(text));
        if let Some(message) = &step.on_failure_alert {
            turn.effects.push(self.alert(step, message, ("error", &failure.message), turn.now));
        }
        match (step.on_failure, self.visit.take()) {
            (Some(place), Some(visit)) => Next::Enter(place, visit.input),
            _ => fail(step, failure),
        }
    }
}

/// The end of a run that a task could not go on from.
fn fail(step: &Step, failure: Failure) -> Next {
    Next::Finish(Err(RunFailure { failure, task: Some(step.id.to_string()) }))
}

#[cfg(test)]
mod tests;
