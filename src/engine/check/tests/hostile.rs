//! Chains that were made to take long: what looking at them costs is bounded, and what was left out is told.

use super::*;

/// Longer than all of them take in a build without optimisation, on a machine with much else to do.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

#[test]
fn chains_made_to_take_long_do_not_and_what_was_left_out_is_told() {
    let mut random = fastrand::Rng::with_seed(7);
    let mut pick = |prefix: &str| format!("{prefix}{}", random.usize(..1_000));
    let ways = |goto: &mut dyn FnMut() -> String, count: usize| -> Value {
        (0..count).map(|at| json!({"when": format!("w{at}"), "goto": goto()})).collect()
    };
    // Many uses of many variables on many ways.
    let uses: Vec<Value> = (0..1_000)
        .map(|at| {
            let template: String = (0..40).map(|_| format!("{{{{.{}}}}}", pick("t"))).collect();
            json!({"id": format!("t{at}"), "handler": "raw_string", "prompt_template": template,
                "transition": {"branches": ways(&mut || pick("t"), 150)}})
        })
        .collect();
    // One way, along which what is set comes to be known last of all.
    let line: Vec<Value> = (0..1_000)
        .map(|at| {
            let template: String = (0..40).map(|use_| format!("{{{{.t{}}}}}", (at * 37 + use_) % 1_000)).collect();
            let mut back =
                (0..20).map(|step| format!("t{}", if step == 0 { (at + 1) % 1_000 } else { at - at % (step + 1) }));
            json!({"id": format!("t{at}"), "handler": "raw_string", "prompt_template": template,
                "transition": {"branches": ways(&mut || back.next().unwrap_or_default(), 20)}})
        })
        .collect();
    let one = |template: String| json!({"tasks": [{"id": "t", "handler": "noop", "prompt_template": template, "transition": {"branches": [{}]}}]});
    let pattern = |at: usize| format!("^(a{{1,50}}){{1,50}}x{at}$");
    let schemas: Vec<Value> = (0..1_000)
        .map(|at| {
            let schema = json!({"type": "string", "pattern": pattern(at)});
            json!({"id": format!("t{at}"), "handler": "parse_json", "prompt_template": "x", "output_schema": schema,
                "transition": {"branches": [{}]}})
        })
        .collect();
    let fields: serde_json::Map<String, Value> =
        (0..10_000).map(|at| (format!("f{at}"), json!({"pattern": pattern(at)}))).collect();
    let wide = json!({"tasks": [{"id": "t", "handler": "parse_json", "prompt_template": "x",
        "output_schema": {"properties": fields}, "transition": {"branches": [{}]}}]});
    let began = std::time::Instant::now();
    for (chain, expected) in [
        (json!({"tasks": uses}), "ways to follow"),
        (json!({"tasks": line}), ""),
        (one((0..200_000).map(|at| format!("{{{{.x{at}}}}}")).collect()), "/tasks the templates hold too much"),
        (
            one(format!("{{{{print{}}}}}", " .x".repeat(1_000_000))),
            "/tasks/0/prompt_template the templates of the chain hold too much",
        ),
        (json!({"tasks": schemas}), "at most 32 KiB when compiled"),
        (
            wide,
            "/tasks/0/output_schema output_schema is no JSON Schema that can be used: the chain has 10000 patterns, the most is 2048",
        ),
    ] {
        let checked = check(&chain);
        let told: Vec<String> =
            checked.findings.iter().map(|found| format!("{} {}", found.path, found.message)).collect();
        assert!(told.iter().any(|line| line.contains(expected)), "{expected}: {:?}", &told[..told.len().min(3)]);
    }
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
}
