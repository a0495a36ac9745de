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
    engine::{Effect, EngineSettings, Machine, RunInfo, check, compile},
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

fn chain(criterion: &mut Criterion) {
    let chain = three_noops();
    criterion.bench_function("engine/compile/three_noops", |bencher| bencher.iter(|| compile(black_box(&chain))));
    let program = Arc::new(compile(&chain).unwrap());
    let settings = Arc::new(EngineSettings {
        default_system_instruction: String::new(),
        max_output_tokens: 512,
        default_step_timeout: Duration::from_secs(300),
        counts_exactly: false,
    });
    let info =
        RunInfo { run_id: RunId::new("run"), request_id: RequestId::new("request"), started_at: Timestamp::ZERO };
    criterion.bench_function("engine/run/three_noops", |bencher| {
        bencher.iter(|| {
            let input = Value::string("Is the sky blue?");
            let mut machine = Machine::new(Arc::clone(&program), input, info.clone(), Arc::clone(&settings));
            machine.start(Timestamp::ZERO)
        });
    });
    let program = Arc::new(compile(&thousand_steps()).unwrap());
    let mut group = criterion.benchmark_group("engine/run");
    group.throughput(Throughput::Elements(1000));
    group.bench_function("thousand_steps", |bencher| {
        bencher.iter(|| {
            let mut machine = Machine::new(Arc::clone(&program), Value::Int(7), info.clone(), Arc::clone(&settings));
            let mut effects = machine.start(Timestamp::ZERO);
            while matches!(effects.last(), Some(Effect::Yield)) {
                effects = machine.resume(Timestamp::ZERO);
            }
            assert!(matches!(effects.last(), Some(Effect::Finish(outcome)) if outcome.state.len() == 1000));
        });
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

criterion_group!(benches, chain, check_long);
