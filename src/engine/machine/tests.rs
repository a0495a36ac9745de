//! Whole runs, driven by hand.

mod bounds;
mod failing;
mod handlers;
mod json;
mod parsing;
mod property;
mod readme;
mod retrying;
mod streaming;

use serde_json::{Value as Json, json};

use super::*;
use crate::{
    domain::{
        chain::Chain,
        chat::{ChatCall, Finish},
        ids::{BackendId, PoolId, RequestId, RunId},
        message::{ChatHistory, Completion, Constraint},
        provider::ProviderKind,
        route::{Capability, RoutingStrategy},
        timing::CallTiming,
        value::DataType,
    },
    engine::{compile, state::visited, tokens},
};

const NOON: Timestamp = Timestamp::from_micros(1_754_654_400_000_000);
const TOOK: Duration = Duration::from_micros(1_500);

/// Runs a chain to its end and keeps all that it wanted.
struct Rig {
    machine: Machine,
    seen: Vec<Effect>,
}

impl Rig {
    fn of(chain: Json, input: Value) -> Self {
        Self::with(&serde_json::from_value(chain).expect("a chain"), input)
    }

    fn with(chain: &Chain, input: Value) -> Self {
        let program = Arc::new(compile(chain).expect("a valid chain"));
        let run = RunInfo { run_id: RunId::new("run-1"), request_id: RequestId::new("req-1"), started_at: NOON };
        let settings = EngineSettings {
            default_system_instruction: "only the answer".to_owned(),
            max_output_tokens: 512,
            default_step_timeout: Duration::from_secs(300),
            counts_exactly: false,
        };
        Self { machine: Machine::new(program, input, run, Arc::new(settings)), seen: Vec::new() }
    }

    /// Answers every effect that waits, until the run is over.
    fn run(mut self, mut answer: impl FnMut(&Effect) -> Event) -> (RunOutcome, Vec<Effect>) {
        let mut effects = self.machine.start(NOON);
        loop {
            let waiting = effects.iter().find(|effect| step_of(effect).is_some()).cloned();
            self.seen.append(&mut effects);
            if let Some(Effect::Finish(outcome)) = self.seen.pop_if(|effect| matches!(effect, Effect::Finish(_))) {
                assert!(waiting.is_none(), "a finished run waits for nothing");
                return (*outcome, self.seen);
            }
            if self.seen.pop_if(|effect| *effect == Effect::Yield).is_some() {
                assert!(waiting.is_none(), "a run that yields waits for nothing");
                effects = self.machine.resume(NOON);
                continue;
            }
            assert!(self.machine.resume(NOON).is_empty(), "only a run that has yielded is resumed");
            let waiting = waiting.expect("a run that is not over waits for something");
            let count = counted(&waiting);
            if count.is_some() {
                self.seen.pop_if(|effect| matches!(effect, Effect::CountTokens { .. }));
            }
            effects = self.machine.on_event(count.unwrap_or_else(|| answer(&waiting)), NOON);
        }
    }

    /// The same with the replies of a model in order.
    fn replies(self, texts: &[&str]) -> (RunOutcome, Vec<Effect>) {
        let mut texts = texts.iter();
        self.run(|effect| answered(effect, texts.next().expect("one more reply")))
    }

    /// A run that asks nobody.
    fn alone(self) -> (RunOutcome, Vec<Effect>) {
        self.run(|effect| panic!("nothing should be asked: {effect:?}"))
    }
}

fn step_of(effect: &Effect) -> Option<StepId> {
    match effect {
        Effect::AskModel { step, .. }
        | Effect::Embed { step, .. }
        | Effect::CallHook { step, .. }
        | Effect::CountTokens { step, .. }
        | Effect::Wait { step, .. } => Some(*step),
        Effect::RaiseAlert(_) | Effect::Print { .. } | Effect::Yield | Effect::Finish(_) => None,
    }
}

/// The answer to a question for tokens, as the server without a better counter gives it.
fn counted(effect: &Effect) -> Option<Event> {
    let Effect::CountTokens { step, texts, .. } = effect else { return None };
    Some(Event::Counted { step: *step, tokens: texts.iter().map(|text| tokens::count(text)).sum() })
}

fn served() -> Served {
    Served {
        backend: BackendId::new("b1"),
        pool: PoolId::new("p1"),
        model: "qwen3:4b".to_owned(),
        attempts: 1,
        timing: CallTiming { queued: Duration::from_millis(3), ..CallTiming::default() },
        is_shared: false,
        was_kept: None,
    }
}

fn answered(effect: &Effect, text: &str) -> Event {
    let usage = Usage { input_tokens: Some(11), output_tokens: Some(2), ..Usage::default() };
    let completion = Completion { text: text.to_owned(), role: "assistant".to_owned(), finish: Finish::Stop, usage };
    Event::Answered { step: step_of(effect).expect("waits"), completion, served: Some(served()), elapsed: TOOK }
}

/// The same from a backend that tells no counts.
fn unmetered(effect: &Effect, text: &str) -> Event {
    match answered(effect, text) {
        Event::Answered { step, completion, served, elapsed } => {
            let completion = Completion { usage: Usage::default(), ..completion };
            Event::Answered { step, completion, served, elapsed }
        }
        other => other,
    }
}

fn cut(effect: &Effect, text: &str) -> Event {
    match answered(effect, text) {
        Event::Answered { step, completion, served, elapsed } => {
            Event::Answered { step, completion: Completion { finish: Finish::Length, ..completion }, served, elapsed }
        }
        other => other,
    }
}

fn failed(effect: &Effect, class: FailureClass, message: &str) -> Event {
    let step = step_of(effect).expect("waits");
    Event::Failed { step, failure: Failure::new(class, message), served: None, elapsed: TOOK }
}

fn hook_replied(effect: &Effect, reply: Json) -> Event {
    Event::HookReplied { step: step_of(effect).expect("waits"), reply, elapsed: TOOK }
}

fn calls(effects: &[Effect]) -> Vec<&ChatCall> {
    effects
        .iter()
        .filter_map(|effect| if let Effect::AskModel { call, .. } = effect { Some(&**call) } else { None })
        .collect()
}

fn error_of(outcome: &RunOutcome) -> String {
    outcome.result.as_ref().expect_err("the run fails").to_string()
}

fn output_of(outcome: &RunOutcome) -> Json {
    outcome.result.as_ref().expect("the run succeeds").to_json()
}

/// One task of this kind that ends the run.
fn one(task: Json) -> Json {
    let mut fields = json!({"id": "t", "transition": {"branches": [{"goto": "end"}]}});
    for (name, value) in task.as_object().expect("fields") {
        fields[name] = value.clone();
    }
    json!({"tasks": [fields]})
}

#[test]
fn a_chain_that_looks_at_the_flag_beside_the_key_still_works() {
    let chain = json!({"tasks": [
        {"id": "a", "handler": "condition_key", "valid_conditions": {"yes": true, "no": false},
         "transition": {"branches": [{"when": "true", "goto": "b"}, {"when": false, "goto": "end"}]}},
        {"id": "b", "handler": "noop", "transition": {"branches": [{"operator": "default"}]}}
    ]});
    for (reply, steps) in [("yes", 2), ("no", 1)] {
        let (outcome, _) = Rig::of(chain.clone(), Value::string("q")).replies(&[reply]);
        assert_eq!((output_of(&outcome), outcome.state.len()), (json!(reply), steps));
    }
}

#[test]
fn an_input_is_the_previous_output_or_a_variable_or_the_rendered_prompt() {
    let to = |goto: &str| json!({"branches": [{"goto": goto}]});
    let chain = json!({"debug": true, "tasks": [
        {"id": "passes", "handler": "noop", "transition": to("renders")},
        {"id": "renders", "handler": "noop", "prompt_template": "<{{.previous_output}}>", "transition": to("recalls")},
        {"id": "recalls", "handler": "noop", "input_var": "input", "transition": to("both")},
        {"id": "both", "handler": "noop", "input_var": "input", "prompt_template": "{{.renders}}{{.recalls}}",
         "transition": to("end")}
    ]});
    let (outcome, _) = Rig::of(chain, Value::Int(7)).alone();
    let steps: Vec<_> =
        outcome.state.iter().map(|unit| (unit.input_type, unit.input.as_str(), unit.output_type)).collect();
    let (int, text) = (DataType::Int, DataType::String);
    assert_eq!(steps, [(int, "7", int), (text, "<7>", text), (int, "7", int), (text, "<7>7", text)]);
    assert!(outcome.state.iter().all(|unit| unit.transition == "noop"));
    assert_eq!(outcome.result, Ok(Value::string("<7>7")));
}

#[test]
fn previous_output_is_undefined_in_the_first_task() {
    let chain = one(json!({"handler": "noop", "prompt_template": "{{.previous_output}}"}));
    assert_eq!(output_of(&Rig::of(chain, Value::Int(1)).alone().0), "<no value>");
    let chain = one(json!({"handler": "noop", "input_var": "previous_output"}));
    let (outcome, _) = Rig::of(chain, Value::Int(1)).alone();
    assert_eq!(error_of(&outcome), "task t: input_var names the variable 'previous_output', which is not set");
}

#[test]
fn a_failed_attempt_is_retried_as_often_as_allowed_and_each_is_recorded() {
    let chain = one(json!({"handler": "raw_string", "retry_on_failure": 2, "timeout": "1500ms"}));
    let mut asked = Vec::new();
    let (outcome, effects) = Rig::of(chain.clone(), Value::string("q")).run(|effect| {
        asked.push(step_of(effect));
        if asked.len() < 3 { failed(effect, FailureClass::Connection, "refused") } else { answered(effect, "a") }
    });
    assert_eq!(output_of(&outcome), "a");
    let errors: Vec<_> = outcome.state.iter().map(|unit| unit.error.error.as_str()).collect();
    assert_eq!(errors, ["refused", "refused", ""]);
    asked.dedup();
    assert_eq!(asked.len(), 3, "each attempt has an id of its own");
    assert!(effects.iter().all(|e| matches!(e, Effect::AskModel { timeout, .. } if timeout.as_millis() == 1500)));

    let (outcome, effects) = Rig::of(chain, Value::string("q")).run(|e| failed(e, FailureClass::Timeout, "too slow"));
    assert_eq!((effects.len(), outcome.state.len()), (3, 3));
    assert_eq!(error_of(&outcome), "task t: too slow");
}

#[test]
fn a_cancelled_run_ends_without_another_attempt() {
    let chain = json!({"tasks": [{"id": "t", "handler": "raw_string", "retry_on_failure": 5, "transition":
        {"on_failure": "t", "branches": [{}]}}]});
    let (outcome, effects) = Rig::of(chain, Value::string("q")).run(|e| failed(e, FailureClass::Cancelled, "stopped"));
    assert_eq!((effects.len(), error_of(&outcome).as_str()), (1, "task t: stopped"));
}

#[test]
fn events_of_attempts_that_are_over_are_ignored() {
    let mut rig = Rig::of(one(json!({"handler": "raw_string", "retry_on_failure": 1})), Value::string("q"));
    let first = rig.machine.start(NOON).remove(0);
    assert!(rig.machine.start(NOON).is_empty(), "a run starts once");
    let second = rig.machine.on_event(failed(&first, FailureClass::Timeout, "slow"), NOON).remove(0);
    assert!(rig.machine.on_event(answered(&first, "late"), NOON).is_empty());
    let last = rig.machine.on_event(answered(&second, "in time"), NOON);
    assert!(matches!(&last[..], [Effect::Finish(outcome)] if output_of(outcome) == "in time"));
    assert!(rig.machine.on_event(answered(&second, "again"), NOON).is_empty());
}

#[test]
fn on_failure_inherits_the_failed_tasks_input_and_sees_the_error() {
    let chain = json!({"debug": true, "tasks": [
        {"id": "before", "handler": "noop", "transition": {"branches": [{"goto": "breaks"}]}},
        {"id": "breaks", "handler": "raise_error", "prompt_template": "broken by {{.input}}",
         "transition": {"on_failure": "mends", "on_failure_alert": "look here"}},
        {"id": "mends", "handler": "noop", "transition": {"branches": [{"goto": "tells"}]}},
        {"id": "tells", "handler": "noop", "prompt_template": "{{.mends}}|{{.last_error}}|{{.previous_output}}|{{.breaks}}",
         "transition": {"branches": [{}]}}
    ]});
    let (outcome, effects) = Rig::of(chain, Value::Int(3)).alone();
    assert_eq!(outcome.state[2].input, "broken by 3");
    assert_eq!(output_of(&outcome), "broken by 3|broken by 3|broken by 3|<no value>");
    let [Effect::RaiseAlert(alert)] = &effects[..] else { panic!("one alert") };
    assert_eq!((alert.message.as_str(), alert.request_id.as_str(), alert.timestamp), ("look here", "req-1", NOON));
    let metadata = [("error", "broken by 3"), ("task_id", "breaks")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    assert_eq!(alert.metadata, metadata.into());
}

#[test]
fn a_task_that_cannot_get_its_input_fails_once_and_goes_to_on_failure() {
    for task in [json!({"input_var": "absent"}), json!({"prompt_template": "{{index .input 5}}"})] {
        let mut chain = one(task);
        let fields = &mut chain["tasks"][0];
        (fields["handler"], fields["retry_on_failure"]) = (json!("noop"), json!(3));
        fields["transition"]["on_failure"] = json!("next");
        chain["tasks"]
            .as_array_mut()
            .expect("tasks")
            .push(one(json!({"id": "next", "handler": "noop"}))["tasks"][0].clone());
        let (outcome, _) = Rig::of(chain, Value::json(json!([1]))).alone();
        assert_eq!((outcome.state.len(), output_of(&outcome)), (2, json!([1])), "{:?}", outcome.state);
        assert_ne!(outcome.state[0].error.error, "");
    }
}

#[test]
fn an_empty_prompt_is_a_failure_for_everyone_who_needs_one() {
    for handler in ["raw_string", "embedding", "raise_error", "model_execution"] {
        let (outcome, _) = Rig::of(one(json!({"handler": handler})), Value::string(" \n")).alone();
        assert_eq!(error_of(&outcome), "task t: the prompt is empty", "{handler}");
    }
}

#[test]
fn a_value_that_no_branch_matches_ends_the_run() {
    let chain = json!({"tasks": [{"id": "t", "handler": "noop", "transition":
        {"on_failure": "t", "branches": [{"when": "other", "goto": "t"}]}}]});
    let (outcome, _) = Rig::of(chain, Value::Int(1)).alone();
    assert_eq!(error_of(&outcome), "task t: no branch matches 'noop'");
    assert_eq!(outcome.state.len(), 1);
}

#[test]
fn a_matched_branch_raises_its_alert_and_a_print_that_fails_harms_nothing() {
    let chain = json!({"tasks": [{"id": "t", "handler": "noop", "print": "was {{.t}}", "transition":
        {"branches": [{"goto": "u", "alert_on_match": "passed"}]}},
        {"id": "u", "handler": "noop", "print": "{{index .input 1}}", "transition": {"branches": [{}]}}]});
    let (outcome, effects) = Rig::of(chain, Value::Int(1)).alone();
    assert_eq!(outcome.result, Ok(Value::Int(1)));
    let [Effect::Print { task, text }, Effect::RaiseAlert(alert), Effect::Print { text: Err(_), .. }] = &effects[..]
    else {
        panic!("print, alert, failed print: {effects:?}")
    };
    assert_eq!((&**task, text.as_deref()), ("t", Ok("was 1")));
    assert_eq!(alert.metadata.get("eval").map(String::as_str), Some("noop"));
}

#[test]
fn a_run_can_move_between_threads() {
    fn is_send<T: Send + 'static>() {}
    is_send::<Machine>();
    is_send::<Effect>();
    is_send::<Event>();
}

#[test]
fn a_composed_output_replaces_the_tasks_own_everywhere_but_in_the_record() {
    let chain = json!({"debug": true, "tasks": [
        {"id": "ask", "handler": "hook", "hook": {"name": "h"}, "compose": {"with_var": "input", "strategy": "override"},
         "transition": {"branches": [{"goto": "see"}]}},
        {"id": "see", "handler": "noop", "transition": {"branches": [{}]},
         "prompt_template": "{{.previous_output}} {{.ask}} {{.ask_composed}}"}
    ]});
    let rig = Rig::of(chain, Value::json(json!({"b": 0})));
    let (outcome, _) = rig.run(|effect| hook_replied(effect, json!({"output": {"a": 1, "b": 2}, "transition": "ok"})));
    assert_eq!(outcome.state[0].output, r#"{"a":1,"b":2}"#);
    assert_eq!(output_of(&outcome), r#"{"a":1,"b":0} {"a":1,"b":0} {"a":1,"b":0}"#);
}

#[test]
fn a_compose_that_cannot_work_fails_the_task_without_a_retry() {
    for (with_var, text) in [
        ("input", "task t: compose: override needs two objects, not string and string"),
        ("absent", "task t: compose: the variable 'absent' is not set"),
    ] {
        let chain = one(json!({"handler": "noop", "retry_on_failure": 4, "compose": {"with_var": with_var}}));
        let (outcome, _) = Rig::of(chain, Value::string("a")).alone();
        assert_eq!((error_of(&outcome).as_str(), outcome.state.len()), (text, 1));
        assert!(text.ends_with(&outcome.state[0].error.error));
    }
}
