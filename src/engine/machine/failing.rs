//! What follows a failure: a mended reply, another attempt, another model, another task, or the end of the run
//! (`docs/workflow-spec.md`, errors and retries).

use std::{sync::Arc, time::Duration};

use super::{Effect, LONGEST_ERROR, Machine, Mending, Next, Phase, RunFailure, StepId, Turn};
use crate::{
    domain::{
        failure::{Failure, FailureClass, RefusalReason},
        time::Timestamp,
    },
    engine::{
        program::{Program, Step, Work},
        reply,
        retry::{Again, is_final},
        task_error::TaskError,
        tokens,
    },
};

impl Machine {
    /// The end of a run whose time is over. No task can catch it.
    pub(super) fn out_of_time(&self, now: Timestamp) -> Option<Next> {
        self.deadline.filter(|deadline| now >= *deadline).map(|_| self.time_is_over())
    }

    fn time_is_over(&self) -> Next {
        let timeout = self.program.bounds.timeout.unwrap_or_default();
        let text = format!("the run took longer than the chain's timeout of {timeout:?}");
        Next::Finish(Err(RunFailure { failure: Failure::new(FailureClass::Timeout, text), task: None }))
    }

    /// What is left of the run's time, where it is bounded.
    pub(super) fn left(&self, now: Timestamp) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.since(now))
    }

    /// Asks the model to mend its reply, for as often as the task allows; then the attempt has failed.
    pub(super) fn mend(
        &mut self,
        step: &Step,
        mending: Mending,
        failure: Failure,
        elapsed: Duration,
        turn: &mut Turn,
    ) -> Next {
        match (&step.work, &mut self.visit) {
            (Work::ParseJson { repairs, .. }, Some(visit)) if visit.repairs < *repairs => {
                visit.repairs += 1;
                visit.mending = Some(mending);
                match self.out_of_time(turn.now) {
                    Some(over) => over,
                    None => Next::Ask(None),
                }
            }
            _ => self.attempt_failed(step, failure, true, elapsed, turn),
        }
    }

    /// Decides between another attempt, another model and the failure of the task.
    pub(super) fn attempt_failed(
        &mut self,
        step: &Step,
        failure: Failure,
        may_retry: bool,
        elapsed: Duration,
        turn: &mut Turn,
    ) -> Next {
        if let Some(over) = self.out_of_time(turn.now) {
            return over;
        }
        let left = self.left(turn.now);
        let Some(visit) = &mut self.visit else { return Next::Wait };
        if failure.class == FailureClass::Timeout && visit.last_time.is_some_and(|time| elapsed >= time) {
            return self.time_is_over();
        }
        if self.told {
            return fail(step, failure);
        }
        if may_retry && !is_final(failure.class) {
            let falls_back = step.asks_a_model() && visit.choice < step.model.fallbacks.len();
            if !(falls_back && is_the_models(&failure)) {
                match step.retry.again(visit.tries, &failure, left) {
                    Again::AtOnce => return Next::Attempt,
                    Again::After { least, most } => {
                        self.asked += 1;
                        (visit.step, visit.phase) = (StepId(self.asked), Phase::Waiting);
                        turn.effects.push(Effect::Wait { step: visit.step, least, most });
                        return Next::Wait;
                    }
                    Again::No => {}
                }
            }
            if falls_back {
                visit.choice += 1;
                visit.tries = 0;
                return Next::Attempt;
            }
        }
        self.task_failed(step, failure, turn)
    }

    /// The failure of the task under way.
    pub(super) fn fail_current(&mut self, program: &Program, failure: Failure, turn: &mut Turn) -> Next {
        let step = self.visit.as_ref().and_then(|visit| program.steps.get(visit.place));
        match (step, self.out_of_time(turn.now)) {
            (None, _) => Next::Wait,
            (Some(_), Some(over)) => over,
            (Some(step), None) if failure.class == FailureClass::Cancelled => fail(step, failure),
            (Some(step), None) => self.task_failed(step, failure, turn),
        }
    }

    /// Remembers the failure, raises its alert and goes to the task that takes over, or ends the run.
    pub(super) fn task_failed(&mut self, step: &Step, failure: Failure, turn: &mut Turn) -> Next {
        if self.told {
            return fail(step, failure);
        }
        let error = TaskError {
            task: Arc::clone(&step.id),
            class: failure.class,
            message: reply::shortened(&failure.message, LONGEST_ERROR).into(),
            attempts: self.visit.as_ref().map_or(0, |visit| visit.attempt),
        };
        let names: Vec<&Arc<str>> = [&self.names.last_error, &step.error_id].into_iter().flatten().collect();
        self.variables.put_error(&names, error);
        if let Some(message) = &step.on_failure_alert {
            turn.effects.push(self.alert(step, message, ("error", &failure.message), turn.now));
        }
        match (step.after(failure.class), self.visit.take()) {
            (Some(place), Some(visit)) => Next::Enter(place, visit.input),
            _ => fail(step, failure),
        }
    }

    /// Why no further call may be made, where the run's tokens are spent.
    pub(super) fn within_budget(&self) -> Result<(), Failure> {
        match self.program.bounds.tokens {
            Some(most) if self.tokens >= most => {
                let text = format!("the run has spent {} tokens, the chain's token_budget is {most}", self.tokens);
                Err(Failure::new(FailureClass::Budget, text))
            }
            _ => Ok(()),
        }
    }

    /// The tokens of a call, where the run's are bounded.
    pub(super) fn budgeted<'a>(&self, counted: Option<u64>, texts: impl Iterator<Item = &'a str>) -> Option<u64> {
        self.program.bounds.tokens?;
        Some(counted.unwrap_or_else(|| texts.map(tokens::count).sum()))
    }
}

/// Whether only another model can do better, so that trying this one again is in vain.
fn is_the_models(failure: &Failure) -> bool {
    matches!(failure.class, FailureClass::ContextLength | FailureClass::Auth)
        || failure.refusal == Some(RefusalReason::NoBackend)
        || failure.status == Some(404)
}

/// The end of a run that a task could not go on from.
pub(super) fn fail(step: &Step, failure: Failure) -> Next {
    Next::Finish(Err(RunFailure { failure, task: Some(step.id.to_string()) }))
}
