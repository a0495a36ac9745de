//! What does a chain cost beside its models?

use std::{hint::black_box, sync::Arc, time::Duration};

use criterion::{Criterion, Throughput, criterion_group};
use penstock::{
    dialect::loose,
    domain::{
        chain::Chain,
        ids::{RequestId, RunId},
        time::Timestamp,
        value::Value,
    },
    engine::{Effect, EngineSettings, Machine, RunInfo, compile},
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

criterion_group!(benches, chain);
