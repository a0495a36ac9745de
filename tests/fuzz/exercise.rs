//! What is done with a text that claims to be a chain, and what must hold whatever it is: it is refused or compiled, and
//! what compiles runs to one end or goes on for as long as it is answered. Nothing panics, nothing hangs.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use penstock::{
    dialect::document,
    domain::{
        chain::Chain,
        chat::{Finish, Usage},
        failure::{Failure, FailureClass},
        ids::{RequestId, RunId},
        message::Completion,
        time::Timestamp,
        value::{DataType, Value},
    },
    engine::{
        self, Effect, EngineSettings, Event, Finding, MAX_STEPS, Machine, Program, RunInfo, RunOutcome, Severity,
        StepId,
    },
};
use serde_json::{Value as Json, json};

use super::breed::Choices;

const NOON: Timestamp = Timestamp::from_micros(1_754_654_400_000_000);
/// Answers one run gets; a chain may ask for ever.
const MOST_EVENTS: usize = 200;
/// Longest time of one call of the machine: generous, for it stands for "hangs".
const PATIENCE: Duration = Duration::from_secs(30);

/// Reads the text as a request or a chain, as JSON and as YAML; checks, compiles and runs it.
pub fn chain(text: &str, choices: &mut Choices<'_>) {
    for media_type in ["application/json", "application/yaml"] {
        let Ok(read) = document::read(Some(media_type), &text.to_owned().into()) else { continue };
        let mut checked = engine::check(&read.value);
        read.source.locate(&mut checked.findings);
        for finding in &checked.findings {
            assert!(!finding.message.is_empty(), "a finding says what is wrong");
            assert!(finding.path.is_empty() || finding.path.starts_with('/'), "a finding has a pointer: {finding:?}");
            assert!(finding.line != Some(0) && finding.column != Some(0), "places are counted from 1: {finding:?}");
        }
        let is_wrong = |finding: &Finding| finding.severity == Severity::Error;
        let refused = checked.findings.iter().any(is_wrong);
        assert!(checked.is_valid() != refused || checked.more > 0, "a chain is refused for its errors: {checked:?}");
        if let Some(program) = checked.program {
            let input = read.value.get("input").cloned().unwrap_or(Json::Null);
            started(program, &checked.chain, input, choices);
        }
    }
}

/// Renders the text as a template over this input; what comes out is bounded.
pub fn template(text: &str, data: &Json, choices: &mut Choices<'_>) {
    let task = json!({"id": "a", "handler": "noop", "prompt_template": text, "print": text,
        "transition": {"branches": [{"goto": "b"}]}});
    let second = json!({"id": "b", "handler": "noop", "prompt_template": format!("{text}{{{{.a}}}}"),
        "transition": {"branches": [{"goto": "end"}]}});
    let chain: Chain = serde_json::from_value(json!({"tasks": [task, second]})).unwrap_or_default();
    if let Ok(program) = engine::compile(&chain)
        && let Some(outcome) = started(Arc::new(program), &chain, data.clone(), choices)
        && let Ok(output) = outcome.result
    {
        assert!(output.extent() < 17 * 1024 * 1024, "a rendered text is bounded");
    }
}

fn started(program: Arc<Program>, chain: &Chain, input: Json, choices: &mut Choices<'_>) -> Option<RunOutcome> {
    let wanted = DataType::ALL[choices.below(DataType::ALL.len())];
    let input = Value::from_json(input.clone(), wanted, NOON).unwrap_or_else(|_| Value::infer(input));
    let most_attempts = chain.tasks.iter().map(attempts).max().unwrap_or(1);
    let most_steps = usize::try_from(chain.max_steps).unwrap_or(0).max(MAX_STEPS as usize);
    run(program, input, most_steps * most_attempts, choices)
}

/// Entries of the record that a task's retries, models and repairs allow for one execution of it.
fn attempts(task: &penstock::domain::chain::Task) -> usize {
    let bounded = |number: i64| usize::try_from(number.clamp(0, 100)).unwrap_or(0);
    let policy = task.retry_policy.as_ref().map_or(0, |policy| bounded(policy.max_attempts.unwrap_or(3)));
    let tries = policy.max(bounded(task.retry_on_failure) + 1);
    let repairs = bounded(task.repair_attempts.unwrap_or(1)) + 1;
    tries * repairs * (1 + task.execute_config.fallback_models.len())
}

/// What a run waits for.
enum Waiting {
    For(StepId),
    Count(StepId),
    Delay(StepId),
}

fn run(program: Arc<Program>, input: Value, most_records: usize, choices: &mut Choices<'_>) -> Option<RunOutcome> {
    let run = RunInfo { run_id: RunId::new("run"), request_id: RequestId::new("request"), started_at: NOON };
    let settings = EngineSettings {
        default_system_instruction: "only the answer".to_owned(),
        max_output_tokens: 512,
        default_step_timeout: Duration::from_secs(300),
        counts_exactly: choices.byte().is_multiple_of(4),
    };
    let mut machine = Machine::new(program, input, run, Arc::new(settings));
    let mut effects = timed(|| machine.start(NOON));
    let mut events = 0;
    loop {
        let mut next = None;
        let last = effects.len().saturating_sub(1);
        for (at, effect) in effects.drain(..).enumerate() {
            match effect {
                Effect::Finish(outcome) => {
                    assert!(at == last && next.is_none(), "the end is the last effect and waits for nothing");
                    held(&outcome, most_records);
                    return Some(*outcome);
                }
                Effect::Yield => {
                    assert!(at == last && next.is_none(), "a run that yields waits for nothing");
                    next = Some(None);
                }
                Effect::AskModel { step, .. } | Effect::Embed { step, .. } | Effect::CallHook { step, .. } => {
                    assert!(next.is_none(), "a run waits for one thing at a time");
                    next = Some(Some(Waiting::For(step)));
                }
                Effect::CountTokens { step, .. } => next = Some(Some(Waiting::Count(step))),
                Effect::Wait { step, least, most } => {
                    assert!(least <= most, "a delay has bounds");
                    next = Some(Some(Waiting::Delay(step)));
                }
                Effect::RaiseAlert(_) | Effect::Print { .. } => {}
            }
        }
        let Some(waits) = next else { panic!("a run that is not over waits for something") };
        effects = match waits {
            None => timed(|| machine.resume(NOON)),
            Some(_) if events >= MOST_EVENTS => return None,
            Some(waiting) => {
                events += 1;
                let event = match waiting {
                    Waiting::For(step) => answer(step, choices),
                    Waiting::Count(step) => Event::Counted { step, tokens: u64::from(choices.byte()) },
                    Waiting::Delay(step) => Event::Waited { step },
                };
                timed(|| machine.on_event(event, NOON))
            }
        };
    }
}

fn timed(work: impl FnOnce() -> Vec<Effect>) -> Vec<Effect> {
    let began = Instant::now();
    let effects = work();
    assert!(began.elapsed() < PATIENCE, "one turn took {:?}", began.elapsed());
    effects
}

/// What is true of every end.
fn held(outcome: &RunOutcome, most_records: usize) {
    assert!(outcome.state.len() <= most_records, "steps and attempts are bounded");
    if let Err(failure) = &outcome.result {
        let text = failure.to_string();
        assert!(!text.is_empty());
        assert!(!text.contains("has no such task"), "a compiled chain knows all its targets");
    }
}

const TEXTS: &[&str] = &[
    "a",
    "valid",
    "7",
    "-7.5",
    "3-5",
    "\"3 to 5\"",
    "",
    " \n",
    "<think>x</think>",
    "<think>x</think> 9",
    "billing.",
    "{\"a\": 1}",
    "```json\n{\"number\": \"1\", \"currency\": \"EUR\"}\n```",
    "[1, 2",
    "Here: {\"a\": {\"b\": [1]}} that is all",
    "/buy",
    "/",
    "é\u{202e}\u{0}",
    "99999999999999999999",
    "NaN",
    "{{.input}}",
    "null",
    "true",
];

fn answer(step: StepId, choices: &mut Choices<'_>) -> Event {
    let elapsed = Duration::from_millis(u64::from(choices.byte()));
    match choices.byte() % 8 {
        0 => {
            let class = FailureClass::ALL[choices.below(FailureClass::ALL.len())];
            let mut failure = Failure::new(class, choices.one(TEXTS));
            failure.retry_after =
                choices.byte().is_multiple_of(4).then(|| Duration::from_secs(u64::from(choices.byte())));
            Event::Failed { step, failure, served: None, elapsed }
        }
        1 => Event::HookReplied { step, reply: super::breed::data(choices, 3), elapsed },
        2 => {
            let data_type = DataType::ALL[choices.below(DataType::ALL.len())];
            let reply = json!({"output": super::breed::data(choices, 3), "dataType": data_type.as_str(),
                "transition": choices.one(TEXTS)});
            Event::HookReplied { step, reply, elapsed }
        }
        3 => Event::Embedded { step, vector: vec![0.5; choices.below(8)], served: None, elapsed },
        kind => {
            let finish = if choices.byte() % 8 == 7 { Finish::Length } else { Finish::Stop };
            let tokens = Some(u64::from(choices.byte()));
            let usage = Usage { input_tokens: tokens, output_tokens: tokens.filter(|_| kind != 4), ..Usage::default() };
            let text = choices.one(TEXTS).to_owned();
            let completion = Completion { text, role: "assistant".to_owned(), finish, usage };
            Event::Answered { step, completion, served: None, elapsed }
        }
    }
}
