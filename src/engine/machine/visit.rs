//! A visit of a task from its input to the way out: what it gets, what is kept of its output, where the run goes on.

use super::{Machine, Next, Phase, RunFailure, Settled, StepId, Turn, Visit, failing::fail};
use crate::{
    domain::{
        failure::{Failure, FailureClass},
        time::Timestamp,
        value::Value,
    },
    engine::{
        compose,
        program::{Program, Step},
        reply, transition,
        transition::Evaluation,
    },
};

impl Machine {
    /// Why the chain's input is refused, if it is.
    pub(super) fn refuse(&self, input: &Value) -> Option<RunFailure> {
        let violations = self.program.input_schema.as_ref()?.violations(&input.to_json());
        let told: Vec<String> = violations.iter().map(ToString::to_string).collect();
        let text = format!("the input is not what the chain's input_schema asks for: {}", told.join("; "));
        let failure = Failure::new(FailureClass::InvalidInput, text);
        (!violations.is_empty()).then_some(RunFailure { failure, task: None })
    }

    /// Resolves a task's input. What goes wrong here is a failure of the task that no retry can mend.
    pub(super) fn enter(&mut self, place: usize, step: &Step, inherited: Value, turn: &mut Turn) -> Next {
        let most = self.program.bounds.max_steps;
        if self.executed == most {
            let text = format!("the run executed {most} tasks without coming to an end");
            return Next::Finish(Err(RunFailure { failure: Failure::new(FailureClass::MaxSteps, text), task: None }));
        }
        self.executed += 1;
        let resolved = self.count_visit(place, step).and_then(|()| self.resolve(step, &inherited));
        let (input, problem) = match resolved {
            Ok(input) => (input, None),
            Err(failure) => (inherited, Some(failure)),
        };
        self.visit = Some(Visit {
            place,
            input,
            attempt: 0,
            choice: 0,
            tries: 0,
            began: turn.now,
            step: StepId(self.asked),
            phase: Phase::Asking,
            last_time: None,
            sent: None,
            conversation: None,
            mending: None,
            repairs: 0,
            recorded: 0,
            streamed: false,
        });
        match problem {
            None => Next::Attempt,
            Some(failure) => {
                self.record(step, &Settled::at_once(Err(failure.clone())));
                self.task_failed(step, failure, turn)
            }
        }
    }

    fn count_visit(&mut self, place: usize, step: &Step) -> Result<(), Failure> {
        let Some((visits, most)) = self.visits.get_mut(place).zip(step.max_visits) else { return Ok(()) };
        *visits = visits.saturating_add(1);
        if *visits <= most {
            return Ok(());
        }
        let text = format!("the run came to this task more than {most} times, its max_visits");
        Err(Failure::new(FailureClass::MaxVisits, text))
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
    pub(super) fn settle(&mut self, program: &Program, mut settled: Settled, turn: &mut Turn) -> Next {
        let Some(step) = self.visit.as_ref().and_then(|visit| program.steps.get(visit.place)) else {
            return Next::Wait;
        };
        self.tokens = self.tokens.saturating_add(settled.cost);
        let mut kept = None;
        if let Ok((output, value)) = &mut settled.result {
            match self.kept(step, output, turn.now) {
                Ok(output) => {
                    kept = Some(output);
                    if let Some(path) = &step.variable {
                        *value = self.variables.evaluate(path);
                    }
                }
                Err(failure) => {
                    settled.result = Err(failure);
                    settled.may_retry = false;
                }
            }
        }
        self.record(step, &settled);
        let Settled { result, elapsed, served, may_retry, mending, .. } = settled;
        self.served = served.or_else(|| self.served.take());
        match (result, mending) {
            (Ok((output, value)), _) => self.task_succeeded(step, kept.unwrap_or(output), &value, turn),
            (Err(failure), _) if failure.class == FailureClass::Cancelled => fail(step, failure),
            (Err(failure), None) => self.attempt_failed(step, failure, may_retry, elapsed, turn),
            (Err(failure), Some(mending)) => self.mend(step, mending, failure, elapsed, turn),
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
                let composed = compose::compose(compose.strategy, output, with, now).map_err(invalid)?;
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
            turn.effects.push(super::Effect::Print { task: step.id.clone(), text });
        }
        let Some(branch) = transition::choose(&step.branches, |branch| &branch.operator, value) else {
            let text = format!("no branch matches '{}'", reply::excerpt(&value.text));
            return fail(step, Failure::new(FailureClass::InvalidOutput, text));
        };
        if let Some(message) = &branch.alert {
            turn.effects.push(self.alert(step, message, ("eval", &value.text), turn.now));
        }
        match branch.goto {
            Some(place) => Next::Enter(place, output),
            None => Next::Finish(self.result(output)),
        }
    }

    /// What the run gives, when its last task gave `output`.
    fn result(&self, output: Value) -> Result<Value, RunFailure> {
        let Some(name) = &self.program.output_var else { return Ok(output) };
        self.variables.get(name).cloned().ok_or_else(|| {
            let text = format!("output_var names the variable '{name}', which is not set at the end of the run");
            RunFailure { failure: Failure::new(FailureClass::InvalidOutput, text), task: None }
        })
    }
}
