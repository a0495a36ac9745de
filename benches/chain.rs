//! What does a chain cost beside its models?

use std::{hint::black_box, sync::Arc, time::Duration};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group};
use penstock::{
    dialect::{
        loose,
        source::{self, Format},
    },
    domain::{
        chain::Chain,
        ids::{RequestId, RunId},
        time::Timestamp,
        value::Value,
    },
    engine::{Effect, EngineSettings, Machine, Program, RunInfo, RunOutcome, check, compile},
};
use serde_json::json;

fn three_noops() -> Chain {
    let task = |id: &str, goto: &str| {
        json!({"id": id, "handler": "noop", "prompt_template": "{{.input}} and on",
            "transition": {"branches": [{"operator": "default", "goto": goto}]}})
    };
    loose::from_value(json!({"tasks": [task("a", "b"), task("b", "c"), task("c", "end")]})).unwrap()
}

/// One task that comes to itself a thousand times, then fails with `max_steps`.
fn thousand_steps() -> Chain {
    let branch = json!({"operator": "default", "goto": "a"});
    loose::from_value(json!({"tasks": [{"id": "a", "handler": "noop", "transition": {"branches": [branch]}}]})).unwrap()
}

/// What runs have in common.
pub(crate) struct Runs {
    settings: Arc<EngineSettings>,
    info: RunInfo,
}

impl Runs {
    pub(crate) fn new() -> Self {
        let settings = EngineSettings {
            default_system_instruction: String::new(),
            max_output_tokens: 512,
            default_step_timeout: Duration::from_secs(300),
            counts_exactly: false,
        };
        let info =
            RunInfo { run_id: RunId::new("run"), request_id: RequestId::new("request"), started_at: Timestamp::ZERO };
        Self { settings: Arc::new(settings), info }
    }

    /// A run that asks nobody, from its start to its end.
    pub(crate) fn finished(&self, program: &Arc<Program>, input: Value) -> Box<RunOutcome> {
        let mut machine = Machine::new(Arc::clone(program), input, self.info.clone(), Arc::clone(&self.settings));
        let mut effects = machine.start(Timestamp::ZERO);
        while matches!(effects.last(), Some(Effect::Yield)) {
            effects = machine.resume(Timestamp::ZERO);
        }
        match effects.pop() {
            Some(Effect::Finish(outcome)) => outcome,
            _ => panic!("the run asks somebody"),
        }
    }
}

fn chain(criterion: &mut Criterion) {
    let chain = three_noops();
    criterion.bench_function("engine/compile/three_noops", |bencher| bencher.iter(|| compile(black_box(&chain))));
    let program = Arc::new(compile(&chain).unwrap());
    let runs = Runs::new();
    criterion.bench_function("engine/run/three_noops", |bencher| {
        let input = || Value::string("Is the sky blue?");
        assert_eq!(runs.finished(&program, input()).state.len(), 3);
        bencher.iter(|| runs.finished(&program, black_box(input())));
    });
    let program = Arc::new(compile(&thousand_steps()).unwrap());
    let mut group = criterion.benchmark_group("engine/run");
    group.throughput(Throughput::Elements(1000));
    group.bench_function("thousand_steps", |bencher| {
        assert_eq!(runs.finished(&program, Value::Int(7)).state.len(), 1000);
        bencher.iter(|| runs.finished(&program, black_box(Value::Int(7))));
    });
    group.finish();
}

/// A chain of many tasks as people write them: models, branches, templates, a retry; with a slip in every tenth one.
fn two_hundred_tasks() -> serde_json::Value {
    let task = |at: usize| {
        let next = if at == 199 { "end".to_owned() } else { format!("task_{}", at + 1) };
        let mut task = json!({
            "id": format!("task_{at}"), "description": "Scores what the task before wrote", "handler": "parse_score",
            "system_instruction": "You are a strict editor.",
            "promptTemplate": format!("Rate this from 0 to 10: {{{{.task_{}}}}} for {{{{.input}}}}", at.saturating_sub(1)),
            "execute_config": {"model": "qwen3", "temperature": 0.2, "maxTokens": 20},
            "timeout": "30s", "retry_policy": {"max_attempts": 3, "initial_backoff": "1s"},
            "transition": {"on_failure": "task_0", "branches": [
                {"operator": ">", "when": "7", "goto": next}, {"operator": "default", "goto": "task_0"}]},
        });
        if at.is_multiple_of(10) {
            task["promt_template"] = json!("slip");
            task["transition"]["branches"][0]["goto"] = json!("task_x");
        }
        task
    };
    json!({"id": "long", "tasks": (0..200).map(task).collect::<Vec<_>>()})
}

/// A whole check: text to findings with line and column.
fn checked(format: Format, text: &Bytes) -> usize {
    let (document, source) = source::read(format, text.clone()).unwrap();
    let mut findings = check(&document).findings;
    findings.extend(source.findings());
    source.locate(&mut findings);
    findings.len()
}

/// How long does it take to tell everything that is wrong with a long chain?
fn check_long(criterion: &mut Criterion) {
    let with_slips = two_hundred_tasks();
    let mut without = with_slips.clone();
    for (at, task) in without["tasks"].as_array_mut().unwrap().iter_mut().enumerate() {
        task.as_object_mut().unwrap().shift_remove("promt_template");
        task["transition"]["branches"][0]["goto"] =
            json!(if at == 199 { "end".to_owned() } else { format!("task_{}", at + 1) });
    }
    for (name, chain) in [("sound", &without), ("with_slips", &with_slips)] {
        let json = Bytes::from(serde_json::to_string_pretty(chain).unwrap());
        let yaml = Bytes::from(serde_saphyr::to_string(chain).unwrap());
        for (format, kind, text) in [(Format::Json, "json", json), (Format::Yaml, "yaml", yaml)] {
            criterion.bench_function(&format!("engine/check/200_tasks_{name}_{kind}"), |bencher| {
                bencher.iter(|| checked(format, black_box(&text)));
            });
        }
    }
}

/// A run of three steps with a template in each.
pub(crate) fn counted() -> Box<dyn FnMut()> {
    let (program, runs) = (Arc::new(compile(&three_noops()).unwrap()), Runs::new());
    Box::new(move || {
        black_box(runs.finished(&program, Value::string("Is the sky blue?")));
    })
}

criterion_group!(benches, chain, check_long);
