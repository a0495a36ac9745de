//! Runs one golden case through the machine and compares what is seen with what the case wants.
#![cfg(test)]

use std::{sync::Arc, time::Duration};

use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use super::show;
use crate::{
    domain::{
        chain::Chain,
        chat::{Finish, Usage},
        failure::{Failure, FailureClass},
        ids::{BackendId, PoolId, RequestId, RunId},
        message::{Completion, Served},
        time::Timestamp,
        timing::CallTiming,
        value::{DataType, Value},
    },
    engine::{Effect, EngineSettings, Event, Machine, RunInfo, RunOutcome, StepId, compile, tokens},
};

pub(super) const NOON: Timestamp = Timestamp::from_micros(1_754_654_400_000_000);
pub(super) const MAX_TOKENS: u32 = 512;
pub(super) const STEP_TIMEOUT: Duration = Duration::from_secs(300);
/// Far more than any case needs: a machine that never ends fails instead of hanging.
const MOST_TURNS: usize = 10_000;

/// One case. What it wants to see, in `then`, is compared name by name with what `Seen::into_json` makes.
#[derive(Deserialize, Clone)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    name: String,
    /// Fields of the one task, on top of those of the file.
    #[serde(default)]
    task: Map<String, Json>,
    /// Fields of the chain.
    #[serde(default)]
    pub(super) chain: Map<String, Json>,
    #[serde(default = "question")]
    input: Json,
    #[serde(default = "text", rename = "inputType")]
    input_type: String,
    /// What comes back, in order.
    #[serde(default)]
    replies: Vec<Reply>,
    pub(super) then: Map<String, Json>,
}

fn question() -> Json {
    json!("q")
}

fn text() -> String {
    "string".to_owned()
}

/// What comes of an effect.
#[derive(Deserialize, Clone)]
#[serde(untagged)]
enum Reply {
    /// A model says this.
    Says(String),
    /// The same with particulars.
    Answers {
        text: String,
        #[serde(default)]
        cut: bool,
        #[serde(default)]
        role: Option<String>,
        #[serde(default)]
        model: Option<String>,
        /// What the backend counted: of the call, and of the reply.
        #[serde(default)]
        tokens: Option<(u64, u64)>,
    },
    /// An embedding.
    Embeds { vector: Vec<f64> },
    /// A hook's body.
    Hook { hook: Json },
    /// It could not be done.
    Fails {
        fails: String,
        message: String,
        #[serde(default)]
        status: Option<u16>,
        /// Seconds.
        #[serde(default)]
        retry_after: Option<u64>,
    },
}

impl Case {
    /// The case of one task, which has its handler's defaults and ends the run.
    pub(super) fn on_top_of(mut self, handler: &str, shared: &Map<String, Json>) -> Self {
        if self.chain.contains_key("tasks") {
            return self;
        }
        let mut task = json!({"id": "t", "handler": handler, "transition": {"branches": [{"goto": "end"}]}});
        for (field, value) in shared.iter().chain(&self.task) {
            task[field] = value.clone();
        }
        self.chain.insert("tasks".to_owned(), json!([task]));
        self
    }
}

/// What is not as the case wants it.
pub(super) fn play(file: &str, case: Case) -> Option<String> {
    let seen = run(&case);
    let differs = |(name, wanted): (&String, &Json)| {
        let found = seen.get(name).unwrap_or(&Json::Null);
        let same = match name.as_str() {
            "invalid" => holds_parts(found, wanted),
            "state" => includes(found, wanted),
            _ => found == wanted,
        };
        (!same).then(|| format!("  {name}\n    wanted {wanted}\n    found  {found}"))
    };
    let wants_an_end = ["output", "error", "invalid", "path"].iter().any(|name| case.then.contains_key(*name));
    let missing = (!wants_an_end).then(|| "  the case does not say how it ends".to_owned());
    let differences: Vec<String> = case.then.iter().filter_map(differs).chain(missing).collect();
    if differences.is_empty() {
        return None;
    }
    let end = seen.get("error").or_else(|| seen.get("invalid")).map_or_else(String::new, |error| format!(" ({error})"));
    Some(format!("{file}: {}{end}\n{}", case.name, differences.join("\n")))
}

/// Findings are compared by parts of their texts, each wanted part in a finding of its own.
fn holds_parts(found: &Json, wanted: &Json) -> bool {
    let texts = |json: &Json| -> Vec<String> {
        json.as_array().into_iter().flatten().filter_map(Json::as_str).map(str::to_owned).collect()
    };
    let (found, wanted) = (texts(found), texts(wanted));
    found.len() == wanted.len() && found.iter().zip(&wanted).all(|(text, part)| text.contains(part.as_str()))
}

/// Objects may hold more than is wanted; lists are as long as wanted.
fn includes(found: &Json, wanted: &Json) -> bool {
    match (found, wanted) {
        (Json::Array(found), Json::Array(wanted)) => {
            found.len() == wanted.len() && found.iter().zip(wanted).all(|(found, wanted)| includes(found, wanted))
        }
        (Json::Object(found), Json::Object(wanted)) => {
            wanted.iter().all(|(name, wanted)| found.get(name).is_some_and(|found| includes(found, wanted)))
        }
        _ => found == wanted,
    }
}

fn run(case: &Case) -> Map<String, Json> {
    let chain: Chain = crate::dialect::loose::from_value(Json::Object(case.chain.clone()))
        .unwrap_or_else(|error| panic!("{}: {error}", case.name));
    let program = match compile(&chain) {
        Ok(program) => Arc::new(program),
        Err(invalid) => {
            let texts: Vec<_> = invalid.findings.iter().map(ToString::to_string).collect();
            return [("invalid".to_owned(), json!(texts))].into_iter().collect();
        }
    };
    let data_type: DataType = case.input_type.parse().expect("a data type");
    let input = Value::from_json(case.input.clone(), data_type, NOON).expect("an input of its type");
    let run = RunInfo { run_id: RunId::new("run-1"), request_id: RequestId::new("req-1"), started_at: NOON };
    let settings = EngineSettings {
        default_system_instruction: "only the answer".to_owned(),
        max_output_tokens: MAX_TOKENS,
        default_step_timeout: STEP_TIMEOUT,
        counts_exactly: false,
    };
    let mut machine = Machine::new(program, input, run, Arc::new(settings));
    let mut replies = case.replies.iter();
    let mut seen = show::Seen::default();
    let mut now = NOON;
    let mut effects = machine.start(now);
    for _ in 0..MOST_TURNS {
        let mut next = None;
        for effect in effects.drain(..) {
            seen.note(&effect);
            match effect {
                Effect::Finish(outcome) => return ended(case, replies.len(), seen, *outcome),
                Effect::Yield => next = Some(machine.resume(now)),
                Effect::CountTokens { step, texts, .. } => {
                    let tokens = texts.iter().map(|text| tokens::count(text)).sum();
                    next = Some(machine.on_event(Event::Counted { step, tokens }, now));
                }
                Effect::Wait { step, most, .. } => {
                    now = now.after(most);
                    next = Some(machine.on_event(Event::Waited { step }, now));
                }
                Effect::AskModel { step, .. } | Effect::Embed { step, .. } | Effect::CallHook { step, .. } => {
                    let reply = replies.next();
                    let reply = reply.unwrap_or_else(|| panic!("{}: more is asked than is answered", case.name));
                    next = Some(machine.on_event(reply.as_event(step), now));
                }
                Effect::RaiseAlert(_) | Effect::Print { .. } => {}
            }
        }
        effects = next.unwrap_or_else(|| panic!("{}: the run waits for nothing", case.name));
    }
    panic!("{}: the run never ends", case.name)
}

fn ended(case: &Case, unused: usize, seen: show::Seen, outcome: RunOutcome) -> Map<String, Json> {
    let json = seen.into_json(outcome);
    assert!(unused == 0, "{}: {unused} replies were never asked for; seen: {}", case.name, Json::Object(json));
    json
}

impl Reply {
    fn as_event(&self, step: StepId) -> Event {
        let elapsed = Duration::from_micros(1_500);
        match self {
            Self::Says(text) => answered(step, text, Finish::Stop, None, None, None),
            Self::Answers { text, cut, role, model, tokens } => {
                let finish = if *cut { Finish::Length } else { Finish::Stop };
                answered(step, text, finish, role.as_deref(), model.as_deref(), *tokens)
            }
            Self::Embeds { vector } => Event::Embedded { step, vector: vector.clone(), served: None, elapsed },
            Self::Hook { hook } => Event::HookReplied { step, reply: hook.clone(), elapsed },
            Self::Fails { fails, message, status, retry_after } => {
                let class = FailureClass::parse(fails).expect("a class of failures");
                let retry_after = retry_after.map(Duration::from_secs);
                let failure = Failure { status: *status, retry_after, ..Failure::new(class, message.clone()) };
                Event::Failed { step, failure, served: None, elapsed }
            }
        }
    }
}

fn answered(
    step: StepId,
    text: &str,
    finish: Finish,
    role: Option<&str>,
    model: Option<&str>,
    tokens: Option<(u64, u64)>,
) -> Event {
    let usage = Usage {
        input_tokens: tokens.map(|tokens| tokens.0),
        output_tokens: tokens.map(|tokens| tokens.1),
        ..Usage::default()
    };
    let role = role.unwrap_or("assistant").to_owned();
    let completion = Completion { text: text.to_owned(), role, finish, usage };
    let served = Served {
        backend: BackendId::new("b1"),
        pool: PoolId::new("p1"),
        model: model.unwrap_or("qwen3:4b").to_owned(),
        attempts: 1,
        timing: CallTiming::default(),
        is_shared: false,
        was_kept: None,
    };
    Event::Answered { step, completion, served: Some(served), elapsed: Duration::from_micros(1_500) }
}
