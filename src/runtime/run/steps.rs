//! What a run shows of its steps while it runs, to one watcher. The run never waits for it: what does not fit into the
//! channel is not shown, beginnings first. The whole record comes with the end of the run, by another way.

use std::{sync::Arc, time::Duration};

use serde::Serialize;
use tokio::sync::mpsc;

use crate::engine::{CurrentAttempt, Effect, Machine, StateUnit};

/// Events a watcher may be behind.
const WATCHER_BUFFER: usize = 256;
/// The part of it that beginnings of attempts may not fill.
const RESERVED_FOR_ENDS: usize = 64;

/// One step of a run.
#[derive(Debug, Clone, PartialEq)]
pub enum StepEvent {
    /// An attempt has begun that asks somebody.
    Started(StartedStep),
    /// The run waits before the next attempt.
    Retrying(RetriedStep),
    /// An attempt is over; its unit says how it went.
    Ended(Box<EndedStep>),
}

/// An attempt that has begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StartedStep {
    /// Which task.
    pub task: Arc<str>,
    /// What it does.
    pub handler: &'static str,
    /// Which attempt of this visit, from 1.
    pub attempt: u32,
}

/// An attempt that will be made after a delay, drawn between these.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RetriedStep {
    /// Which task.
    pub task: Arc<str>,
    /// What it does.
    pub handler: &'static str,
    /// The attempt to come.
    pub attempt: u32,
    /// Milliseconds.
    pub at_least_ms: u64,
    /// Milliseconds.
    pub at_most_ms: u64,
}

/// An attempt that is over.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EndedStep {
    /// Which task.
    pub task: Arc<str>,
    /// What it does.
    pub handler: &'static str,
    /// As it is recorded.
    #[serde(flatten)]
    pub unit: StateUnit,
}

impl EndedStep {
    /// Whether the attempt failed.
    pub fn has_failed(&self) -> bool {
        !self.unit.error.error.is_empty()
    }
}

/// The run's end of the channel.
#[derive(Debug)]
pub struct Watch {
    sender: mpsc::Sender<StepEvent>,
    /// Recorded attempts that were shown, or had no room.
    shown: usize,
}

/// A watch for a run, and what will be seen of it.
pub fn watch() -> (Watch, mpsc::Receiver<StepEvent>) {
    let (sender, receiver) = mpsc::channel(WATCHER_BUFFER);
    (Watch { sender, shown: 0 }, receiver)
}

impl Watch {
    /// Shows what a turn of the machine did. `None` when there is nothing more to show: the run is over, or nobody
    /// watches any more.
    pub(super) fn after_turn(mut self, machine: &Machine, effects: &[Effect]) -> Option<Self> {
        let finished = effects.iter().find_map(|effect| match effect {
            Effect::Finish(outcome) => Some(outcome),
            _ => None,
        });
        for unit in finished.map_or_else(|| machine.state(), |outcome| &outcome.state).iter().skip(self.shown) {
            self.shown += 1;
            let ended = EndedStep { task: Arc::clone(&unit.task_id), handler: unit.task_handler, unit: unit.clone() };
            self.show(StepEvent::Ended(Box::new(ended)), 0);
        }
        if finished.is_some() || self.sender.is_closed() {
            return None;
        }
        if let Some(event) =
            machine.current().and_then(|current| effects.iter().find_map(|effect| of(effect, &current)))
        {
            self.show(event, RESERVED_FOR_ENDS);
        }
        Some(self)
    }

    fn show(&self, event: StepEvent, reserved: usize) {
        if self.sender.capacity() > reserved
            && let Err(error) = self.sender.try_send(event)
        {
            tracing::trace!(%error, "a step was not shown");
        }
    }
}

/// What an effect shows of the attempt it belongs to.
fn of(effect: &Effect, current: &CurrentAttempt) -> Option<StepEvent> {
    let CurrentAttempt { task, handler, attempt } = current.clone();
    let millis = |time: &Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    match effect {
        Effect::AskModel { .. } | Effect::Embed { .. } | Effect::CallHook { .. } => {
            Some(StepEvent::Started(StartedStep { task, handler, attempt }))
        }
        Effect::Wait { least, most, .. } => Some(StepEvent::Retrying(RetriedStep {
            task,
            handler,
            attempt,
            at_least_ms: millis(least),
            at_most_ms: millis(most),
        })),
        Effect::CountTokens { .. }
        | Effect::RaiseAlert(_)
        | Effect::Print { .. }
        | Effect::Yield
        | Effect::Finish(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::{
        domain::{
            chain::Chain,
            chat::{Finish, Usage},
            failure::{Failure, FailureClass},
            ids::{RequestId, RunId},
            message::Completion,
            time::Timestamp,
            value::Value,
        },
        engine::{self, EngineSettings, Event, RunInfo},
    };

    fn machine(tasks: Json) -> Machine {
        let chain: Chain = serde_json::from_value(json!({ "tasks": tasks })).unwrap();
        let info = RunInfo { run_id: RunId::new("r"), request_id: RequestId::new("r"), started_at: Timestamp::ZERO };
        let settings = EngineSettings {
            default_system_instruction: String::new(),
            max_output_tokens: 1,
            default_step_timeout: Duration::from_secs(1),
            counts_exactly: false,
        };
        Machine::new(Arc::new(engine::compile(&chain).unwrap()), Value::string("x"), info, Arc::new(settings))
    }

    fn told(receiver: &mut mpsc::Receiver<StepEvent>) -> Vec<String> {
        let mut told = Vec::new();
        while let Ok(event) = receiver.try_recv() {
            told.push(match event {
                StepEvent::Started(step) => format!("started {} {}", step.task, step.attempt),
                StepEvent::Retrying(step) => format!("retrying {} {}, {}", step.task, step.attempt, step.at_most_ms),
                StepEvent::Ended(step) if step.has_failed() => format!("failed {} {}", step.task, step.unit.attempt),
                StepEvent::Ended(step) => format!("completed {} {}", step.task, step.unit.attempt),
            });
        }
        told
    }

    #[test]
    fn every_attempt_is_shown_in_order_and_those_that_ask_when_they_begin() {
        let mut machine = machine(json!([
            {"id": "a", "handler": "noop", "transition": {"branches": [{"goto": "b"}]}},
            {"id": "b", "handler": "raw_string", "retry_policy": {"max_attempts": 2, "initial_backoff": "3s"}, "transition": {"branches": [{"goto": "end"}]}},
        ]));
        let (watch, mut receiver) = watch();
        let effects = machine.start(Timestamp::ZERO);
        let mut watch = watch.after_turn(&machine, &effects);
        assert_eq!(told(&mut receiver), ["completed a 1", "started b 1"]);
        let mut step = effects.iter().find_map(|effect| match effect {
            Effect::AskModel { step, .. } => Some(*step),
            _ => None,
        });
        for wanted in [&["failed b 1", "retrying b 2, 3000"][..], &["failed b 2"]] {
            let failure = Failure::new(FailureClass::Timeout, "too long");
            let event = Event::Failed { step: step.unwrap(), failure, served: None, elapsed: Duration::ZERO };
            let effects = machine.on_event(event, Timestamp::ZERO);
            watch = watch.unwrap().after_turn(&machine, &effects);
            assert_eq!(told(&mut receiver), wanted);
            let waits = effects.iter().find_map(|effect| match effect {
                Effect::Wait { step, .. } => Some(*step),
                _ => None,
            });
            let Some(waiting) = waits else { break };
            let effects = machine.on_event(Event::Waited { step: waiting }, Timestamp::ZERO);
            watch = watch.unwrap().after_turn(&machine, &effects);
            assert_eq!(told(&mut receiver), ["started b 2"]);
            step = effects.iter().find_map(|effect| match effect {
                Effect::AskModel { step, .. } => Some(*step),
                _ => None,
            });
        }
        assert!(watch.is_none(), "the run is over");
        assert!(matches!(receiver.try_recv(), Err(mpsc::error::TryRecvError::Disconnected)));
    }

    #[test]
    fn replies_that_are_mended_and_ways_back_to_the_same_task_count_alike_at_beginning_and_end() {
        let mut machine = machine(json!([
            {"id": "a", "handler": "parse_json", "repair_attempts": 1, "retry_on_failure": 1, "max_visits": 2,
             "transition": {"catch": [{"errors": ["max_visits"], "goto": "b"}], "on_failure": "a",
                "branches": [{"goto": "end"}]}},
            {"id": "b", "handler": "noop", "transition": {"branches": [{"goto": "end"}]}},
        ]));
        let (watch, mut receiver) = watch();
        let mut effects = machine.start(Timestamp::ZERO);
        let mut watching = watch.after_turn(&machine, &effects);
        while let Some(watch) = watching {
            let step = effects.iter().find_map(|effect| match effect {
                Effect::AskModel { step, .. } => Some(*step),
                _ => None,
            });
            let (step, elapsed) = (step.unwrap(), Duration::ZERO);
            let completion = Completion {
                text: "no".to_owned(),
                role: "assistant".to_owned(),
                finish: Finish::Stop,
                usage: Usage::default(),
            };
            effects = machine.on_event(Event::Answered { step, completion, served: None, elapsed }, Timestamp::ZERO);
            watching = watch.after_turn(&machine, &effects);
        }
        let visit = (1..=4).flat_map(|attempt| [format!("started a {attempt}"), format!("failed a {attempt}")]);
        let visits: Vec<String> =
            visit.clone().chain(visit).chain(["failed a 1".to_owned(), "completed b 1".to_owned()]).collect();
        assert_eq!(told(&mut receiver), visits);
        let Some(Effect::Finish(outcome)) = effects.last() else { panic!("it is over") };
        let path = engine::visited(&outcome.state);
        assert_eq!(path.iter().map(|task| &**task).collect::<Vec<_>>(), ["a", "a", "a", "b"]);
    }

    #[test]
    fn a_watcher_that_does_not_read_misses_steps_and_one_that_has_left_costs_nothing() {
        let mut machine = machine(json!([{"id": "a", "handler": "noop", "transition": {"branches": [{"goto": "a"}]}}]));
        let (watch, mut receiver) = watch();
        let mut effects = machine.start(Timestamp::ZERO);
        let mut watching = watch.after_turn(&machine, &effects);
        while let Some(watch) = watching {
            effects = machine.resume(Timestamp::ZERO);
            watching = watch.after_turn(&machine, &effects);
        }
        assert!(matches!(effects.last(), Some(Effect::Finish(_))), "it came to its end all the same");
        assert_eq!(told(&mut receiver).len(), WATCHER_BUFFER);
        let (watch, receiver) = super::watch();
        drop(receiver);
        assert!(watch.after_turn(&machine, &[]).is_none());
    }
}
