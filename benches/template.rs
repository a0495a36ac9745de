//! What does a task's template cost? Each case is a run of one task that does nothing else, `none` one without a template:
//! what the others take beyond it is theirs.

use std::{hint::black_box, sync::Arc};

use criterion::{Criterion, criterion_group};
use penstock::{dialect::loose, domain::value::Value, engine::compile};
use serde_json::json;

use crate::chain::Runs;

fn rendering(criterion: &mut Criterion) {
    let items: Vec<_> = (0..100).map(|at| json!({"name": format!("item {at}"), "score": at})).collect();
    let small = Value::Any(Arc::new(json!({"question": "Is the sky blue?"})));
    let large = Value::Any(Arc::new(json!({"question": "Is the sky blue?", "items": items})));
    let runs = Runs::new();
    let mut group = criterion.benchmark_group("template/render");
    let field = "Be brief: {{.input.question}}";
    for (case, input, template) in [
        ("none", &small, None),
        ("text", &small, Some("Be brief.")),
        ("field", &small, Some(field)),
        (
            "branch",
            &small,
            Some("{{if eq .input.question \"\"}}Nothing.{{else}}{{printf \"%s\" .input.question}}{{end}}"),
        ),
        // The input becomes what templates see, all of it, whatever a template names.
        ("field_beside_100_items", &large, Some(field)),
        ("loop_over_100_items", &large, Some("{{range .input.items}}- {{.name}}: {{.score}}\n{{end}}")),
    ] {
        let mut task = json!({"id": "a", "handler": "noop",
            "transition": {"branches": [{"operator": "default", "goto": "end"}]}});
        if let Some(template) = template {
            task["prompt_template"] = json!(template);
        }
        let chain = loose::from_value(json!({"tasks": [task]})).unwrap();
        let program = Arc::new(compile(&chain).unwrap());
        group.bench_function(case, |bencher| bencher.iter(|| runs.finished(&program, black_box(input.clone()))));
    }
    group.finish();
}

criterion_group!(benches, rendering);
