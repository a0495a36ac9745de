//! Failures that are caught, and what is known of them afterwards.

use super::*;

fn catching(catch: Json, more: Json) -> Json {
    let end = |id: &str| {
        let text =
            "X {{.last_error}} | {{.last_error.task}} {{.last_error.class}} {{.last_error.attempts}} | {{.input}}";
        json!({"id": id, "handler": "noop", "prompt_template": text.replace('X', id), "transition": {"branches": [{}]}})
    };
    let mut task = json!({"id": "ask-it", "handler": "raw_string", "retry_on_failure": 1, "transition":
        {"on_failure": "last", "on_failure_alert": "look", "catch": catch, "branches": [{}]}});
    for (name, value) in more.as_object().expect("fields") {
        task[name] = value.clone();
    }
    json!({"tasks": [task, end("one"), end("two"), end("last")]})
}

#[test]
fn the_first_catch_of_the_class_takes_over_before_on_failure() {
    let catch = json!([{"errors": ["auth", "timeout"], "goto": "one"}, {"errors": ["timeout"], "goto": "two"}]);
    for (class, who) in [("timeout", "one"), ("auth", "one"), ("connection", "last")] {
        let class = FailureClass::parse(class).expect("a class");
        let (outcome, effects) =
            Rig::of(catching(catch.clone(), json!({})), Value::Int(7)).run(|effect| failed(effect, class, "why"));
        assert_eq!(output_of(&outcome), format!("{who} why | ask-it {} 2 | 7", class.as_str()));
        assert!(matches!(effects.last(), Some(Effect::RaiseAlert(alert)) if alert.message == "look"));
    }
    let all = catching(json!([{"goto": "two"}]), json!({}));
    let (outcome, _) = Rig::of(all, Value::Int(7)).run(|effect| failed(effect, FailureClass::Internal, "why"));
    assert!(output_of(&outcome).as_str().expect("text").starts_with("two why"));
}

#[test]
fn the_caught_task_gets_the_failed_tasks_input() {
    let chain = json!({"tasks": [
        {"id": "a", "handler": "raise_error", "prompt_template": "<{{.input}}>", "transition": {"catch": [{"goto": "b"}]}},
        {"id": "b", "handler": "noop", "transition": {"branches": [{}]}}
    ]});
    assert_eq!(output_of(&Rig::of(chain, Value::Int(3)).alone().0), "<3>");
}

#[test]
fn a_task_that_takes_over_from_itself_is_come_to_twice_and_a_retried_one_once() {
    let chain = json!({"tasks": [
        {"id": "a", "handler": "raw_string", "retry_on_failure": 1, "max_visits": 2,
            "transition": {"catch": [{"errors": ["max_visits"], "goto": "b"}], "on_failure": "a", "branches": [{}]}},
        {"id": "b", "handler": "noop", "transition": {"branches": [{}]}}
    ]});
    let (outcome, _) =
        Rig::of(chain, Value::string("x")).run(|effect| failed(effect, FailureClass::Timeout, "too slow"));
    let attempts: Vec<_> = outcome.state.iter().map(|unit| (&*unit.task_id, unit.attempt)).collect();
    assert_eq!(attempts, [("a", 1), ("a", 2), ("a", 1), ("a", 2), ("a", 1), ("b", 1)]);
    let path: Vec<String> = visited(&outcome.state).iter().map(ToString::to_string).collect();
    assert_eq!(path, ["a", "a", "a", "b"]);
}

/// Fails in `boom`, then renders a template.
fn after_failure(template: &str) -> (RunOutcome, Vec<Effect>) {
    let chain = json!({"tasks": [
        {"id": "boom", "handler": "raise_error", "prompt_template": "out of luck", "transition": {"on_failure": "then"}},
        {"id": "then", "handler": "noop", "prompt_template": template, "transition": {"branches": [{}]}}
    ]});
    Rig::of(chain, Value::Int(3)).alone()
}

#[test]
fn an_error_prints_and_compares_as_its_message_and_has_fields() {
    for (template, text) in [
        ("{{.last_error}}", "out of luck"),
        ("{{.last_error.message}} {{.last_error.Class}}", "out of luck invalid_input"),
        ("{{.boom_error}} {{.boom_error.task}} {{.boom_error.attempts}}", "out of luck boom 1"),
        (r#"{{(index . "boom_error").task}}"#, "boom"),
        ("{{with .last_error}}{{.}} {{.class}}{{end}}", "out of luck invalid_input"),
        ("{{$e := .last_error}}{{$e}}/{{$e.task}}", "out of luck/boom"),
        (r#"{{printf "%q %s %v" .last_error .last_error .last_error.attempts}}"#, r#""out of luck" out of luck 1"#),
        ("{{print .last_error}}{{.last_error | html | len}}", "out of luck11"),
        ("{{len .last_error}} {{.last_error | len}} {{slice .last_error 0 3}}", "11 11 out"),
        (
            r#"{{eq .last_error "out of luck"}} {{ne .last_error "x"}} {{eq .last_error.class "auth"}}"#,
            "true true false",
        ),
        (r#"{{if .last_error}}y{{end}}{{if eq "out of luck" .last_error}}z{{end}}"#, "yz"),
        ("{{.last_error.none}} {{.other_error}} {{.other_error.task}}", "<no value> <no value> <no value>"),
        (r#"{{index . "last_error"}}"#, "out of luck"),
        (
            "{{range $name, $value := .}}{{$name}}={{$value}};{{end}}",
            "boom_error=out of luck;input=3;last_error=out of luck;",
        ),
        ("{{.}}", r#"{"boom_error":"out of luck","input":3,"last_error":"out of luck"}"#),
    ] {
        let (outcome, _) = after_failure(template);
        assert_eq!(outcome.result, Ok(Value::string(text)), "{template}");
    }
}

#[test]
fn an_error_is_text_as_an_input_and_a_task_of_its_name_wins() {
    let chain = json!({"tasks": [
        {"id": "boom", "handler": "raise_error", "prompt_template": "bad", "transition": {"on_failure": "x_error"}},
        {"id": "x_error", "handler": "noop", "input_var": "last_error", "transition": {"branches": [{"goto": "x"}]}},
        {"id": "x", "handler": "raise_error", "prompt_template": "worse", "transition": {"on_failure": "last_error"}},
        {"id": "last_error", "handler": "noop", "prompt_template": "mine", "transition": {"branches": [{"goto": "end"}]}}
    ]});
    let (outcome, _) = Rig::of(chain.clone(), Value::Int(3)).alone();
    assert_eq!(error_of(&outcome), "task x_error: input_var names the variable 'last_error', which is not set");
    let mut chain = chain;
    chain["tasks"][1]["input_var"] = json!("boom_error");
    chain["tasks"][3]["prompt_template"] = json!("{{.x_error}} {{.last_error}}");
    assert_eq!(output_of(&Rig::of(chain, Value::Int(3)).alone().0), "bad <no value>");
}

#[test]
fn branches_look_at_the_variable_that_the_transition_names() {
    let chain = |variable: &str, when: Json| {
        json!({"tasks": [
            {"id": "boom", "handler": "raise_error", "prompt_template": "bad", "transition": {"on_failure": "look"}},
            {"id": "look", "handler": "noop", "input_var": "input", "transition": {"variable": variable, "branches": [
                {"when": when, "goto": "hit"}, {"operator": "default", "goto": "end"}]}},
            {"id": "hit", "handler": "noop", "prompt_template": "hit", "transition": {"branches": [{}]}}
        ]})
    };
    let input = json!({"intent": "buy", "n": 7.5, "zip": "007", "list": [{"k-1": true}]});
    for (variable, when, hits) in [
        ("input.intent", json!("buy"), true),
        ("look.intent", json!("buy"), true),
        ("input.n", json!("7.50"), true),
        ("input.zip", json!("7"), false),
        ("input.zip", json!("007"), true),
        ("input.list.0.k-1", json!(true), true),
        ("last_error.class", json!("invalid_input"), true),
        ("boom_error.attempts", json!(1), true),
        ("last_error", json!("bad"), true),
        ("input.none.deeper", json!("x"), false),
    ] {
        let (outcome, _) = Rig::of(chain(variable, when.clone()), Value::json(input.clone())).alone();
        assert_eq!(output_of(&outcome) == "hit", hits, "{variable} {when}");
    }
    let mut unset = chain("nobody.set.this", json!("x"));
    unset["tasks"][1]["transition"]["branches"] = json!([{"operator": "equals", "when": "", "goto": "hit"}]);
    let (outcome, _) = Rig::of(unset, Value::json(input)).alone();
    assert_eq!((output_of(&outcome), outcome.state[1].transition.as_str()), (json!("hit"), ""));
}
