//! Runs a chain without a server: the engine's machine, fed with what a test's mocks say. Waiting takes no time.

use std::{collections::HashMap, sync::Arc, time::Duration};

use super::{
    cases::Case,
    mock::{self, Answer, Mock},
};
use crate::{
    domain::{
        chat::{Finish, Usage},
        failure::Failure,
        ids::{RequestId, RunId},
        message::Completion,
        time::Timestamp,
        value::Value,
    },
    engine::{
        Effect, EngineSettings, Event, Machine, Program, RunFailure, RunInfo, StateUnit, StepId, tokens, visited,
    },
};

/// What came of a case's run.
pub(super) struct Ran {
    /// The end of the run; `None` when it could not go on for want of a mock.
    pub(super) result: Option<Result<Value, RunFailure>>,
    /// The tasks it came to.
    pub(super) path: Vec<Arc<str>>,
    /// What is wrong with the mocks.
    pub(super) problems: Vec<String>,
}

/// Runs a case.
pub(super) fn run(program: &Arc<Program>, case: &Case) -> Ran {
    let info = RunInfo {
        run_id: RunId::new("test"),
        request_id: RequestId::new("test"),
        started_at: Timestamp::from_micros(0),
    };
    let settings = EngineSettings {
        counts_exactly: false,
        default_system_instruction: String::new(),
        max_output_tokens: 512,
        default_step_timeout: Duration::from_secs(300),
    };
    let machine = Machine::new(Arc::clone(program), case.input.clone(), info, Arc::new(settings));
    Rig { machine, mocks: &case.mocks, calls: HashMap::new(), now: Timestamp::from_micros(0) }.run()
}

struct Rig<'a> {
    machine: Machine,
    mocks: &'a [(String, Mock)],
    /// Task to the calls it has made.
    calls: HashMap<Arc<str>, usize>,
    now: Timestamp,
}

/// What a mock answers to.
enum Asked {
    Model,
    Embedding,
    Hook,
}

impl Rig<'_> {
    fn run(mut self) -> Ran {
        let mut effects = self.machine.start(self.now);
        loop {
            let mut next = None;
            for effect in effects {
                match effect {
                    Effect::AskModel { step, .. } => next = Some(self.answered(step, &Asked::Model)),
                    Effect::Embed { step, .. } => next = Some(self.answered(step, &Asked::Embedding)),
                    Effect::CallHook { step, .. } => next = Some(self.answered(step, &Asked::Hook)),
                    Effect::CountTokens { step, texts, .. } => {
                        let tokens = texts.iter().map(|text| tokens::count(text)).sum();
                        next = Some(Ok(Event::Counted { step, tokens }));
                    }
                    Effect::Wait { step, .. } => next = Some(Ok(Event::Waited { step })),
                    Effect::RaiseAlert(_) | Effect::Print { .. } | Effect::Yield => {}
                    Effect::Finish(outcome) => {
                        let path = visited(&outcome.state);
                        return self.ended(Some(outcome.result), path, None);
                    }
                }
            }
            effects = match next {
                Some(Ok(event)) => self.machine.on_event(event, self.now),
                Some(Err(problem)) => {
                    let path = self.path_so_far();
                    return self.ended(None, path, Some(problem));
                }
                // It has yielded.
                None => self.machine.resume(self.now),
            };
        }
    }

    /// The recorded tasks, and the one that is being asked.
    fn path_so_far(&self) -> Vec<Arc<str>> {
        let units: &[StateUnit] = self.machine.state();
        let mut path = visited(units);
        path.extend(self.machine.current().filter(|current| current.attempt == 1).map(|current| current.task));
        path
    }

    fn ended(&self, result: Option<Result<Value, RunFailure>>, path: Vec<Arc<str>>, problem: Option<String>) -> Ran {
        let is_useless = |task: &str| path.iter().any(|seen| **seen == *task) && !self.calls.contains_key(task);
        let useless = self.mocks.iter().filter(|(task, _)| is_useless(task));
        let useless = useless.map(|(task, _)| format!("task '{task}' ran and asked nobody: its mock is of no use"));
        Ran { result, problems: problem.into_iter().chain(useless).collect(), path }
    }

    fn answered(&mut self, step: StepId, asked: &Asked) -> Result<Event, String> {
        let task = self.machine.current().map_or_else(|| "".into(), |current| current.task);
        let calls = self.calls.entry(Arc::clone(&task)).or_default();
        let call = *calls;
        *calls += 1;
        let mock = self.mocks.iter().find(|(name, _)| **name == *task).map(|(_, mock)| mock);
        let mock = mock.ok_or_else(|| format!("task '{task}' asks {}, and there is no mock for it", asked.whom()))?;
        if let (Asked::Embedding, Some(vector)) = (asked, mock.vector()) {
            return Ok(Event::Embedded { step, vector, served: None, elapsed: Duration::ZERO });
        }
        let answer = mock.answer(call).ok_or_else(|| {
            format!("task '{task}' asks {} once more, after all {call} answers of its mock", asked.whom())
        })?;
        Ok(match answer {
            Answer::Fail(failure) => Self::failed(step, failure.clone()),
            Answer::Reply(json) => match asked {
                Asked::Model => {
                    let (text, role) = (mock::text_of(json), "assistant".to_owned());
                    let completion = Completion { text, role, finish: Finish::Stop, usage: Usage::default() };
                    Event::Answered { step, completion, served: None, elapsed: Duration::ZERO }
                }
                Asked::Embedding => {
                    let numbers =
                        json.as_array().map(|numbers| numbers.iter().map(serde_json::Value::as_f64).collect());
                    let vector: Option<Vec<f64>> = numbers.flatten();
                    let vector =
                        vector.ok_or_else(|| format!("task '{task}' embeds: its mock should be a list of numbers"))?;
                    Event::Embedded { step, vector, served: None, elapsed: Duration::ZERO }
                }
                Asked::Hook => Event::HookReplied { step, reply: mock::body_of(json), elapsed: Duration::ZERO },
            },
        })
    }

    fn failed(step: StepId, failure: Failure) -> Event {
        Event::Failed { step, failure, served: None, elapsed: Duration::ZERO }
    }
}

impl Asked {
    const fn whom(&self) -> &'static str {
        match self {
            Self::Model => "a model",
            Self::Embedding => "for an embedding",
            Self::Hook => "a hook",
        }
    }
}
