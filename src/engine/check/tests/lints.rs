//! Each lint with what it must find and what it must leave in peace.

use super::*;

/// A chain in a short form: `id handler; way; way` a line. A way is `default -> b`, `equals x -> b` or `fail -> b`; what is
/// in braces is put into the task.
fn chain(lines: &[(&str, &str, &[&str], Value)]) -> Value {
    let task = |(id, handler, ways, more): &(&str, &str, &[&str], Value)| {
        let mut task = json!({"id": id, "handler": handler, "transition": {"branches": []}});
        for way in *ways {
            let (what, goto) = way.split_once(" -> ").expect("a way");
            if what == "fail" {
                task["transition"]["on_failure"] = json!(goto);
                continue;
            }
            let (operator, when) = what.split_once(' ').unwrap_or((what, ""));
            let branch = json!({"operator": operator, "when": when, "goto": goto});
            task["transition"]["branches"].as_array_mut().expect("a list").push(branch);
        }
        for (name, value) in more.as_object().expect("fields") {
            match (name.as_str(), value) {
                ("transition", Value::Object(fields)) => {
                    fields.iter().for_each(|(name, value)| task["transition"][name] = value.clone());
                }
                _ => task[name] = value.clone(),
            }
        }
        task
    };
    json!({"tasks": lines.iter().map(task).collect::<Vec<_>>()})
}

/// Code and path of all findings, sorted.
fn codes(chain: &Value) -> Vec<String> {
    let mut found: Vec<String> =
        told(chain).iter().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect();
    found.sort();
    found
}

const END: &[&str] = &["default -> end"];

fn one(handler: &str, ways: &[&str], more: Value) -> Value {
    chain(&[("a", handler, ways, more)])
}

fn keys() -> Value {
    json!({"valid_conditions": ["yes", "no"]})
}

#[test]
fn ways_through_a_chain() {
    let none = || json!({});
    for (written, expected) in [
        (chain(&[("a", "noop", END, none()), ("b", "noop", END, none())]), vec!["UNREACHABLE_TASK /tasks/1"]),
        // Only the unreachable names the other one.
        (
            chain(&[("a", "noop", END, none()), ("b", "noop", &["default -> c"], none()), ("c", "noop", END, none())]),
            vec!["UNREACHABLE_TASK /tasks/1", "UNREACHABLE_TASK /tasks/2"],
        ),
        (chain(&[("a", "raw_string", &["fail -> b", "default -> end"], none()), ("b", "noop", END, none())]), vec![]),
        (
            chain(&[
                ("a", "raw_string", END, json!({"transition": {"catch": [{"errors": ["timeout"], "goto": "b"}]}})),
                ("b", "noop", END, none()),
            ]),
            vec![],
        ),
        (
            chain(&[("a", "noop", &["default -> b"], none()), ("b", "noop", &["default -> a"], none())]),
            vec!["NO_PATH_TO_END /tasks/0/transition"],
        ),
        (one("noop", &["default -> a"], none()), vec!["NO_PATH_TO_END /tasks/0/transition"]),
        // A branch that is never taken leads nowhere.
        (
            one("noop", &["equals done -> end", "default -> a"], none()),
            vec!["DEAD_BRANCH /tasks/0/transition/branches/0/when", "NO_PATH_TO_END /tasks/0/transition"],
        ),
        // A bounded loop that goes on elsewhere when its visits are used up.
        (
            chain(&[
                (
                    "a",
                    "raw_string",
                    &["default -> b"],
                    json!({"max_visits": 3, "prompt_template": "{{if .b}}{{.a}}{{end}}",
                    "transition": {"catch": [{"errors": ["max_visits"], "goto": "c"}]}}),
                ),
                ("b", "parse_score", &["> 7 -> end", "default -> a"], none()),
                ("c", "noop", END, json!({"input_var": "a"})),
            ]),
            vec![],
        ),
        // A refinement with an exit, a retry on failure, and an error that is meant.
        (one("parse_score", &["> 7 -> end", "default -> a"], none()), vec![]),
        (one("raw_string", &["fail -> a", "default -> end"], none()), vec![]),
        (chain(&[("a", "raw_string", &["default -> b"], none()), ("b", "raise_error", &[], none())]), vec![]),
        (
            chain(&[
                ("a", "hook", &["default -> a", "fail -> b"], json!({"hook": {"name": "h"}})),
                ("b", "noop", END, none()),
            ]),
            vec!["UNBOUNDED_CYCLE /tasks/0/transition"],
        ),
        (
            chain(&[
                ("a", "hook", &["default -> a", "fail -> b"], json!({"hook": {"name": "h"}, "max_visits": 5})),
                ("b", "noop", END, none()),
            ]),
            vec![],
        ),
        // A bound that leads back into the loop.
        (
            chain(&[
                (
                    "a",
                    "hook",
                    &["default -> a", "fail -> a"],
                    json!({"hook": {"name": "h"}, "max_visits": 5,
                        "transition": {"catch": [{"errors": ["timeout"], "goto": "b"}]}}),
                ),
                ("b", "noop", END, none()),
            ]),
            vec!["UNBOUNDED_CYCLE /tasks/0/transition"],
        ),
    ] {
        assert_eq!(codes(&written), expected, "{written}");
    }
}

#[test]
fn branches_of_one_task() {
    let none = || json!({});
    for (written, expected) in [
        (one("raw_string", &["equals x -> end"], none()), vec!["NO_DEFAULT_BRANCH /tasks/0/transition/branches"]),
        (one("raw_string", &["contains  -> end"], none()), vec![]),
        (one("condition_key", &["equals yes -> end"], keys()), vec!["NO_DEFAULT_BRANCH /tasks/0/transition/branches"]),
        (one("condition_key", &["equals yes -> end", "equals no -> end"], keys()), vec![]),
        (one("condition_key", &["equals yes -> end", "equals no -> end", "default -> end"], keys()), vec![]),
        // The flags beside the keys, as chains wrote it before keys were compared.
        (
            one(
                "condition_key",
                &["equals true -> end", "equals false -> end"],
                json!({"valid_conditions": {"y": true, "n": false}}),
            ),
            vec![],
        ),
        (one("noop", &["equals noop -> end"], none()), vec![]),
        (one("embedding", &["equals ok -> end"], none()), vec![]),
        (one("model_execution", &["equals executed -> end"], none()), vec![]),
        (one("parse_number", &["> 5 -> end", "< 6 -> end"], none()), vec![]),
        (
            one("parse_number", &["> 5 -> end", "< 5 -> end"], none()),
            vec!["NO_DEFAULT_BRANCH /tasks/0/transition/branches"],
        ),
        (one("parse_score", &["> 5 -> end", "< 6 -> end"], none()), vec![]),
        (one("parse_score", &["> 6 -> end", "< 6 -> end", "equals 6 -> end"], none()), vec![]),
        (one("parse_score", &["in_range 0-10 -> end"], none()), vec!["NO_DEFAULT_BRANCH /tasks/0/transition/branches"]),
        (
            one("raw_string", &["equals x -> end", "equals x -> end", "default -> end"], none()),
            vec!["DEAD_BRANCH /tasks/0/transition/branches/1"],
        ),
        (
            one("raw_string", &["default -> end", "equals x -> end", "default -> end"], none()),
            vec!["DEAD_BRANCH /tasks/0/transition/branches/2"],
        ),
        (
            one("condition_key", &["equals maybe -> end", "default -> end"], keys()),
            vec!["DEAD_BRANCH /tasks/0/transition/branches/0/when"],
        ),
        (
            one("parse_score", &["> 5 -> end", "> 7 -> end", "default -> end"], none()),
            vec!["DEAD_BRANCH /tasks/0/transition/branches/1"],
        ),
        (one("parse_score", &["> 7 -> end", "> 5 -> end", "default -> end"], none()), vec![]),
        (
            one("parse_number", &["> 5 -> end", "in_range 6-9 -> end", "default -> end"], none()),
            vec!["DEAD_BRANCH /tasks/0/transition/branches/1"],
        ),
        (
            one("parse_number", &["equals high -> end", "default -> end"], none()),
            vec!["DEAD_BRANCH /tasks/0/transition/branches/0/when"],
        ),
        (
            one("parse_number", &["in_range 1.2-1.8 -> end", "default -> end"], none()),
            vec!["DEAD_BRANCH /tasks/0/transition/branches/0/when"],
        ),
        (
            one("parse_range", &["equals 5 -> end", "default -> end"], none()),
            vec!["DEAD_BRANCH /tasks/0/transition/branches/0/when"],
        ),
        (one("parse_range", &["equals 5-5 -> end", "in_range 1-9 -> end", "default -> end"], none()), vec![]),
        (
            one("parse_range", &["> 5 -> end", "default -> end"], none()),
            vec!["OPERATOR_TYPE /tasks/0/transition/branches/0/operator"],
        ),
        (
            one("noop", &["> 5 -> end", "default -> end"], none()),
            vec!["OPERATOR_TYPE /tasks/0/transition/branches/0/operator"],
        ),
        (
            one("parse_number", &["contains yes -> end", "default -> end"], none()),
            vec!["OPERATOR_TYPE /tasks/0/transition/branches/0/operator"],
        ),
        (one("raw_string", &["> 5 -> end", "default -> end"], none()), vec![]),
        (one("condition_key", &["> 5 -> end", "default -> end"], json!({"valid_conditions": ["3", "7"]})), vec![]),
        // What is no object or list is compared itself; of those, a path names a part.
        (one("parse_json", &["equals ok -> end"], json!({"output_schema": {"type": "object"}})), vec![]),
        (
            one("parse_json", &["equals buy -> end", "default -> end"], json!({"output_schema": {"type": "object"}})),
            vec!["DEAD_BRANCH /tasks/0/transition/branches/0/when"],
        ),
        (
            one("parse_json", &["> 2 -> end", "default -> end"], json!({"output_schema": {"type": "array"}})),
            vec!["OPERATOR_TYPE /tasks/0/transition/branches/0/operator"],
        ),
        (one("parse_json", &["> 2 -> end", "< 3 -> end"], json!({"output_schema": {"type": "integer"}})), vec![]),
        (
            one(
                "parse_json",
                &["equals true -> end", "equals false -> end"],
                json!({"output_schema": {"type": "boolean"}}),
            ),
            vec![],
        ),
        (
            one("parse_json", &["equals a -> end", "equals c -> end"], json!({"output_schema": {"enum": ["a", "b"]}})),
            vec!["DEAD_BRANCH /tasks/0/transition/branches/1/when", "NO_DEFAULT_BRANCH /tasks/0/transition/branches"],
        ),
        (
            one(
                "parse_json",
                &["> 2 -> end", "default -> end"],
                json!({"output_schema": {"type": ["object", "number"]}}),
            ),
            vec![],
        ),
        (one("parse_json", &["equals x -> end", "default -> end"], none()), vec![]),
        // A path may lead to anything.
        (
            one(
                "noop",
                &["equals x -> end", "> 5 -> end", "default -> end"],
                json!({"transition": {"variable": "input.kind"}}),
            ),
            vec![],
        ),
    ] {
        assert_eq!(codes(&written), expected, "{written}");
    }
}

#[test]
fn variables_that_are_read() {
    let none = || json!({});
    let after_a = |more: Value| chain(&[("a", "raw_string", &["default -> b"], none()), ("b", "noop", END, more)]);
    // b is reached from a, and from c that failed.
    let two_ways = |more: Value| {
        chain(&[
            ("a", "condition_key", &["equals yes -> b", "default -> c"], keys()),
            ("c", "raw_string", &["default -> b", "fail -> b"], none()),
            ("b", "noop", END, more),
        ])
    };
    for (written, expected) in [
        (
            after_a(json!({"prompt_template": "{{.input}} {{.a}} {{.previous_output}} {{index . \"a\"}} {{.A}}"})),
            vec![],
        ),
        (after_a(json!({"prompt_template": "{{.nobody}}"})), vec!["UNKNOWN_VARIABLE /tasks/1/prompt_template"]),
        (after_a(json!({"print": "{{.b}} {{range .a}}{{.free}}{{end}}"})), vec![]),
        (after_a(json!({"prompt_template": "{{.b}}"})), vec!["VARIABLE_MAYBE_UNSET /tasks/1/prompt_template"]),
        (after_a(json!({"input_var": "b"})), vec!["VARIABLE_MAYBE_UNSET /tasks/1/input_var"]),
        (after_a(json!({"input_var": "nobody"})), vec!["UNKNOWN_VARIABLE /tasks/1/input_var"]),
        (after_a(json!({"input_var": "a_composed"})), vec!["UNKNOWN_VARIABLE /tasks/1/input_var"]),
        // Only templates find names in any case.
        (after_a(json!({"input_var": "A"})), vec!["UNKNOWN_VARIABLE /tasks/1/input_var"]),
        (
            after_a(json!({"compose": {"with_var": "A"}})),
            vec!["TYPE_MISMATCH /tasks/1/compose", "UNKNOWN_VARIABLE /tasks/1/compose/with_var"],
        ),
        (after_a(json!({"transition": {"variable": "A.kind"}})), vec!["UNKNOWN_VARIABLE /tasks/1/transition/variable"]),
        // Of two names that differ in nothing else, each is its own.
        (
            chain(&[
                ("X", "raw_string", &["default -> b"], none()),
                ("b", "noop", &["default -> x"], json!({"prompt_template": "{{.X}}"})),
                ("x", "noop", END, none()),
            ]),
            vec![],
        ),
        (
            after_a(json!({"prompt_template": "{{if .last_error}}{{.last_error}}{{end}}{{if .a_error}}x{{end}}"})),
            vec![],
        ),
        (after_a(json!({"prompt_template": "{{.last_error}}"})), vec!["VARIABLE_MAYBE_UNSET /tasks/1/prompt_template"]),
        (after_a(json!({"transition": {"variable": "a.kind"}})), vec![]),
        (after_a(json!({"transition": {"variable": "b"}})), vec![]),
        (
            after_a(json!({"transition": {"variable": "nobody.kind"}})),
            vec!["UNKNOWN_VARIABLE /tasks/1/transition/variable"],
        ),
        (two_ways(json!({"prompt_template": "{{.a}}"})), vec![]),
        (two_ways(json!({"prompt_template": "{{.c}}"})), vec!["VARIABLE_MAYBE_UNSET /tasks/2/prompt_template"]),
        (two_ways(json!({"prompt_template": "{{if .c}}{{.c}}{{end}}"})), vec![]),
        (two_ways(json!({"prompt_template": "{{or .c .a}}"})), vec![]),
        (
            one("noop", END, json!({"prompt_template": "{{.previous_output}}"})),
            vec!["VARIABLE_MAYBE_UNSET /tasks/0/prompt_template"],
        ),
        (
            chain(&[
                ("a", "raw_string", &["fail -> b", "default -> end"], none()),
                ("b", "noop", END, json!({"prompt_template": "{{.last_error}} {{.a_error}}"})),
            ]),
            vec![],
        ),
    ] {
        assert_eq!(codes(&written), expected, "{written}");
    }
    let mut result = two_ways(none());
    for (name, expected) in [
        ("a", vec![]),
        ("b", vec![]),
        ("c", vec!["VARIABLE_MAYBE_UNSET /output_var"]),
        ("d", vec!["UNKNOWN_VARIABLE /output_var"]),
        ("A", vec!["UNKNOWN_VARIABLE /output_var"]),
    ] {
        result["output_var"] = json!(name);
        assert_eq!(codes(&result), expected, "{name}");
    }
}

#[test]
fn many_keys_and_branches_do_not_take_long() {
    let keys: Vec<String> = (0..100_000).map(|at| format!("k{at}")).collect();
    codes(&one("condition_key", END, json!({"valid_conditions": keys})));
    let branches: Vec<String> = (0..10_000).map(|at| format!("equals w{at} -> end")).collect();
    let branches: Vec<&str> = branches.iter().map(String::as_str).collect();
    codes(&one("raw_string", &branches, json!({})));
    let few = json!({"valid_conditions": keys[..2000]});
    codes(&one("condition_key", &branches, few));
}

#[test]
fn ways_out_of_a_failure() {
    let catching = |catch: Value, more: Value| {
        let mut transition = json!({"catch": catch});
        more.as_object().expect("fields").iter().for_each(|(name, value)| transition[name] = value.clone());
        chain(&[("a", "raw_string", END, json!({"transition": transition})), ("b", "noop", END, json!({}))])
    };
    let of = |errors: &[&str]| json!({"errors": errors, "goto": "b"});
    for (written, expected) in [
        (catching(json!([of(&["timeout", "auth"]), of(&["timeout", "budget"]), of(&[])]), json!({})), vec![]),
        (catching(json!([of(&["timeout"])]), json!({"on_failure": "b"})), vec![]),
        (
            catching(json!([of(&["timeout", "auth"]), of(&["auth"])]), json!({})),
            vec!["DEAD_BRANCH /tasks/0/transition/catch/1"],
        ),
        (
            catching(json!([of(&[]), of(&["auth"])]), json!({"on_failure": "b"})),
            vec!["DEAD_BRANCH /tasks/0/transition/catch/1", "UNUSED_FIELD /tasks/0/transition/on_failure"],
        ),
        (
            catching(json!([of(&["max_steps", "max_visits", "cancelled"])]), json!({})),
            vec![
                "UNUSED_FIELD /tasks/0/transition/catch/0/errors/0",
                "UNUSED_FIELD /tasks/0/transition/catch/0/errors/2",
            ],
        ),
    ] {
        assert_eq!(codes(&written), expected, "{written}");
    }
}

#[test]
fn types_that_meet() {
    let none = || json!({});
    let then = |handler: &str, more: Value, next: &str, with: Value| {
        chain(&[("a", handler, &["default -> b"], more), ("b", next, END, with)])
    };
    for (written, expected) in [
        (then("raw_string", none(), "convert_to_openai_chat_response", none()), vec!["TYPE_MISMATCH /tasks/1/handler"]),
        (then("model_execution", none(), "convert_to_openai_chat_response", none()), vec![]),
        (then("hook", json!({"hook": {"name": "h"}}), "convert_to_openai_chat_response", none()), vec![]),
        (then("parse_number", none(), "model_execution", none()), vec!["TYPE_MISMATCH /tasks/1/handler"]),
        (then("embedding", none(), "model_execution", none()), vec!["TYPE_MISMATCH /tasks/1/handler"]),
        (then("embedding", none(), "model_execution", json!({"prompt_template": "{{.a}}"})), vec![]),
        (then("raw_string", none(), "model_execution", none()), vec![]),
        (then("embedding", none(), "model_execution", json!({"input_var": "input"})), vec![]),
        (
            then("embedding", none(), "model_execution", json!({"input_var": "a"})),
            vec!["TYPE_MISMATCH /tasks/1/input_var"],
        ),
        (one("convert_to_openai_chat_response", END, none()), vec![]),
        (
            then("raw_string", none(), "raw_string", json!({"compose": {"with_var": "a", "strategy": "override"}})),
            vec!["TYPE_MISMATCH /tasks/1/compose"],
        ),
        (
            then("parse_json", none(), "parse_json", json!({"compose": {"with_var": "a", "strategy": "override"}})),
            vec![],
        ),
        (
            then(
                "model_execution",
                none(),
                "raw_string",
                json!({"compose": {"with_var": "a", "strategy": "append_string_to_chat_history"}}),
            ),
            vec![],
        ),
        (
            then(
                "raw_string",
                none(),
                "raw_string",
                json!({"compose": {"with_var": "a", "strategy": "append_string_to_chat_history"}}),
            ),
            vec!["TYPE_MISMATCH /tasks/1/compose"],
        ),
        (then("model_execution", none(), "model_execution", json!({"compose": {"with_var": "a"}})), vec![]),
        (
            then(
                "raw_string",
                none(),
                "model_execution",
                json!({"compose": {"with_var": "a", "strategy": "merge_chat_histories"}}),
            ),
            vec!["TYPE_MISMATCH /tasks/1/compose"],
        ),
        (
            then("raw_string", none(), "raw_string", json!({"compose": {"with_var": "input"}})),
            vec!["TYPE_MISMATCH /tasks/1/compose"],
        ),
    ] {
        assert_eq!(codes(&written), expected, "{written}");
    }
}

#[test]
fn fields_without_effect() {
    for (handler, more, field) in [
        ("raw_string", keys(), "valid_conditions"),
        ("raw_string", json!({"output_schema": {"type": "object"}}), "output_schema"),
        ("raw_string", json!({"repair_attempts": 2}), "repair_attempts"),
        ("noop", json!({"hook": {"name": "h"}}), "hook"),
        ("embedding", json!({"system_instruction": "x"}), "system_instruction"),
        ("noop", json!({"execute_config": {"model": "m"}}), "execute_config"),
        ("raw_string", json!({"input_var": "input", "prompt_template": "x"}), "input_var"),
        ("raise_error", json!({"transition": {"branches": [{}]}}), "transition/branches"),
        ("raise_error", json!({"compose": {"with_var": "input"}}), "compose"),
    ] {
        let ways: &[&str] = if handler == "raise_error" { &[] } else { END };
        assert_eq!(codes(&one(handler, ways, more)), [format!("UNUSED_FIELD /tasks/0/{field}")]);
    }
    for (handler, more) in [
        (
            "condition_key",
            json!({"valid_conditions": ["a"], "system_instruction": "x", "execute_config": {"model": "m"}}),
        ),
        ("parse_json", json!({"output_schema": {"type": "object"}, "repair_attempts": 2})),
        ("embedding", json!({"execute_config": {"model": "m"}})),
        ("convert_to_openai_chat_response", json!({"execute_config": {"model": "m"}})),
        ("model_execution", json!({"system_instruction": "x"})),
    ] {
        assert_eq!(codes(&one(handler, END, more)), Vec::<String>::new());
    }
}

#[test]
fn a_slip_in_a_way_is_not_told_as_faults_of_other_tasks() {
    let written = chain(&[
        ("a", "noop", &["default -> bb"], json!({})),
        ("b", "noop", END, json!({"prompt_template": "{{.a}}"})),
    ]);
    assert_eq!(codes(&written), ["UNKNOWN_GOTO /tasks/0/transition/branches/0/goto"]);
}

#[test]
fn branches_are_compared_only_as_far_as_it_takes_little_time() {
    let keys = |count: usize| (0..count).map(|at| format!("w{at}")).collect::<Vec<_>>();
    let many = |count: usize| {
        let branches = |goto: &str| -> Vec<Value> {
            let others = (0..count).map(|_| json!({"when": "other", "goto": "end"}));
            others.chain([json!({"goto": goto})]).collect()
        };
        let task = |id: &str, goto: &str| {
            json!({"id": id, "handler": "condition_key", "prompt_template": "x", "valid_conditions": keys(count),
                "transition": {"branches": branches(goto)}})
        };
        codes(&json!({"tasks": [task("a", "b"), task("b", "end")]}))
    };
    assert!(!many(100).is_empty(), "a hundred keys are looked at");
    assert_eq!(many(3_000), ["CHECK_INCOMPLETE /tasks"]);
}

#[test]
fn the_same_chain_gets_the_same_hint_each_time() {
    let tasks: Vec<Value> = (0..700)
        .map(|at| {
            let goto = if at == 699 { "end".to_owned() } else { format!("task_{}", at + 1) };
            json!({"id": format!("task_{at}"), "handler": "noop", "prompt_template": "{{.task_x}}",
                "transition": {"branches": [{"goto": goto}]}})
        })
        .collect();
    let chain = json!({"tasks": &tasks});
    let first = told(&chain);
    assert!((0..3).all(|_| told(&chain) == first), "{first:?}");
}
