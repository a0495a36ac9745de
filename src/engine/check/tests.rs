//! What a check tells of documents as people write them.

mod hostile;
mod lints;

use serde_json::json;

use super::*;

/// A good task with these fields over its own.
fn task(fields: Value) -> Value {
    let mut task =
        json!({"id": "a", "handler": "noop", "transition": {"branches": [{"operator": "default", "goto": "end"}]}});
    for (name, value) in fields.as_object().expect("fields") {
        task[name] = value.clone();
    }
    task
}

fn chain_with(fields: Value) -> Value {
    json!({"tasks": [task(fields)]})
}

/// Severity, code, path and hint of all findings.
fn told(written: &Value) -> Vec<String> {
    let line = |finding: &Finding| {
        let code = serde_json::to_value(finding.code).expect("a code");
        format!("{} {} {}", code.as_str().expect("a text"), finding.path, finding.hint.as_deref().unwrap_or("-"))
    };
    check(written).findings.iter().map(line).collect()
}

#[test]
fn a_good_chain_has_no_findings_in_any_spelling_and_user_data_is_not_looked_into() {
    for fields in [
        json!({}),
        json!({"handler": "raw_string", "promptTemplate": "{{.input}}", "ExecuteConfig": {"maxTokens": 5, "Fallback_Models": ["m", {"model": "n"}]}}),
        json!({"handler": "condition_key", "valid_conditions": {"prompt_tmplate": true, "Yes_No": false}}),
        json!({"handler": "condition_key", "valid_conditions": ["a", 1, true]}),
        json!({"handler": "hook", "hook": {"name": "h", "args": {"promt": 1, "Promt": true, "x": "y"}}}),
        json!({"timeout": null, "retry_policy": null, "output_schema": null, "nothing": null}),
    ] {
        let found = told(&chain_with(fields.clone()));
        let unknown_only = found.iter().all(|line| line.contains("/nothing"));
        assert!(unknown_only, "{fields}: {found:?}");
    }
    let mut chain = chain_with(json!({}));
    for (name, value) in [
        ("triggers", json!([1])),
        ("version", json!(3)),
        ("draft", json!(true)),
        ("createdAt", json!("x")),
        ("updated_at", json!(1)),
    ] {
        chain[name] = value;
    }
    chain["input_schema"] = json!({"properties": {"tasks": {"promptTemplate": 1}}});
    assert_eq!(told(&chain), Vec::<String>::new());
    let checked = check(&chain);
    assert!(checked.is_valid() && checked.written == Written::Chain && checked.chain.tasks.len() == 1);
}

#[test]
fn unknown_fields_are_told_with_what_was_meant_or_where_they_belong() {
    for (fields, expected) in [
        (json!({"promt_template": "x"}), "UNKNOWN_FIELD /tasks/0/promt_template did you mean 'prompt_template'?"),
        (json!({"prompt": "x"}), "UNKNOWN_FIELD /tasks/0/prompt did you mean 'prompt_template'?"),
        (json!({"model": "x"}), "UNKNOWN_FIELD /tasks/0/model 'model' belongs into 'execute_config'"),
        (json!({"on_failure": "a"}), "UNKNOWN_FIELD /tasks/0/on_failure 'on_failure' belongs into 'transition'"),
        (json!({"branches": []}), "UNKNOWN_FIELD /tasks/0/branches 'branches' belongs into 'transition'"),
        (
            json!({"next": "a"}),
            "UNKNOWN_FIELD /tasks/0/next 'goto' belongs into an entry of 'branches' or an entry of 'catch'",
        ),
        (json!({"wholly_other": 1}), "UNKNOWN_FIELD /tasks/0/wholly_other -"),
        (
            json!({"execute_config": {"prompt_template": "x"}}),
            "UNKNOWN_FIELD /tasks/0/execute_config/prompt_template 'prompt_template' belongs into the task itself, beside 'handler'",
        ),
        (
            json!({"transition": {"goto": "end", "branches": [{}]}}),
            "UNKNOWN_FIELD /tasks/0/transition/goto 'goto' belongs into an entry of 'branches' or an entry of 'catch'",
        ),
        (
            json!({"transition": {"branches": [{"on_failure": "end"}]}}),
            "UNKNOWN_FIELD /tasks/0/transition/branches/0/on_failure 'on_failure' belongs into 'transition'",
        ),
        (json!({"a/b~c": 1}), "UNKNOWN_FIELD /tasks/0/a~1b~0c -"),
    ] {
        let chain = chain_with(fields);
        assert_eq!(told(&chain), [expected]);
        assert!(check(&chain).is_valid(), "a warning does not forbid to run");
    }
}

#[test]
fn a_field_written_twice_is_told_at_the_spelling_that_does_not_count() {
    for (fields, expected) in [
        (
            json!({"promptTemplate": "x", "prompt_template": "y"}),
            "DUPLICATE_FIELD /tasks/0/promptTemplate remove 'promptTemplate'",
        ),
        (
            json!({"prompt_template": "x", "promptTemplate": "y"}),
            "DUPLICATE_FIELD /tasks/0/promptTemplate remove 'promptTemplate'",
        ),
        (
            json!({"promptTemplate": "x", "PromptTemplate": "y"}),
            "DUPLICATE_FIELD /tasks/0/promptTemplate remove 'promptTemplate'",
        ),
    ] {
        assert_eq!(told(&chain_with(fields)), [expected]);
    }
    let both = json!({"promptTemplate": "x", "prompt_template": "y"});
    assert_eq!(check(&chain_with(both)).chain.tasks[0].prompt_template, "y");
    assert_eq!(told(&chain_with(json!({"promptTemplate": "x", "prompt_template": null}))), Vec::<String>::new());
}

#[test]
fn every_wrong_type_is_told_with_what_to_write_and_counts_as_absent() {
    for (fields, expected) in [
        (json!({"timeout": 5}), "WRONG_TYPE /tasks/0/timeout write it with a unit: 5s"),
        (json!({"print": 5}), "WRONG_TYPE /tasks/0/print put it in quotes: \"5\""),
        (
            json!({"prompt_template": {"{.input}": null}}),
            "WRONG_TYPE /tasks/0/prompt_template in YAML, put a value that starts with { in quotes",
        ),
        (json!({"retryOnFailure": "2"}), "WRONG_TYPE /tasks/0/retryOnFailure write it without quotes: 2"),
        (json!({"retry_on_failure": 1.5}), "WRONG_TYPE /tasks/0/retry_on_failure -"),
        (json!({"execute_config": {"max_tokens": -1}}), "WRONG_TYPE /tasks/0/execute_config/max_tokens -"),
        (
            json!({"execute_config": {"models": "m"}}),
            "WRONG_TYPE /tasks/0/execute_config/models put it in a list: [\"m\"]",
        ),
        (json!({"execute_config": "m"}), "WRONG_TYPE /tasks/0/execute_config write {model: m}"),
        (
            json!({"execute_config": {"require": "zone=on-prem"}}),
            "WRONG_TYPE /tasks/0/execute_config/require write the labels as a map: {zone: on-prem}",
        ),
        (json!({"execute_config": {"require": {"zone": ["a"]}}}), "WRONG_TYPE /tasks/0/execute_config/require/zone -"),
        (json!({"execute_config": {"require": {"zone": null}}}), "WRONG_TYPE /tasks/0/execute_config/require/zone -"),
        (json!({"execute_config": {"fallback_models": [7]}}), "WRONG_TYPE /tasks/0/execute_config/fallback_models/0 -"),
        (json!({"compose": "input"}), "WRONG_TYPE /tasks/0/compose write {with_var: input}"),
        (json!({"transition": "b"}), "WRONG_TYPE /tasks/0/transition write {branches: [{operator: default, goto: b}]}"),
        (
            json!({"transition": {"branches": {"goto": "end"}}}),
            "WRONG_TYPE /tasks/0/transition/branches put it in a list: write '- ' before its first field",
        ),
        (json!({"transition": {"branches": [3, {}]}}), "WRONG_TYPE /tasks/0/transition/branches/0 -"),
        (json!({"valid_conditions": {"a": "maybe"}}), "WRONG_TYPE /tasks/0/valid_conditions/a -"),
        (
            json!({"valid_conditions": "yes"}),
            "WRONG_TYPE /tasks/0/valid_conditions write a list of the allowed replies: [yes]",
        ),
        (json!({"handler": "hook", "hook": {"name": "h", "args": {"k": [1]}}}), "WRONG_TYPE /tasks/0/hook/args/k -"),
        (json!({"handler": 5}), "WRONG_TYPE /tasks/0/handler put it in quotes: \"5\""),
        (json!({"id": true}), "WRONG_TYPE /tasks/0/id put it in quotes: \"true\""),
    ] {
        let chain = chain_with(fields);
        assert_eq!(told(&chain), [expected]);
        assert!(!check(&chain).is_valid());
    }
    let mut chain = chain_with(json!({"timeout": 5, "print": 6}));
    chain["debug"] = json!("yes");
    let expected = [
        "WRONG_TYPE /debug write true, without quotes",
        "WRONG_TYPE /tasks/0/print put it in quotes: \"6\"",
        "WRONG_TYPE /tasks/0/timeout write it with a unit: 5s",
    ];
    assert_eq!(told(&chain), expected);
    assert_eq!(
        told(&json!({"tasks": {"a": task(json!({}))}})),
        ["WRONG_TYPE /tasks write the tasks as a list; the name of each goes into its 'id'"]
    );
    assert_eq!(told(&json!([])), ["WRONG_TYPE  -"]);
}

#[test]
fn findings_of_the_compiler_point_into_the_document_as_it_is_spelled() {
    let written = json!({"input": "x", "inputType": "string", "Chain": {"tasks": [
        7,
        {"id": "first", "Handler": "rawstring", "promptTemplate": "{{input}}", "Transition": {"onFailure": "end", "Branches": [
            "x", {"goTo": "frist", "operator": "=="}
        ]}},
        {"id": "b", "handler": "noop", "timeout": "5"},
    ]}});
    let mut found = told(&written);
    found.sort();
    assert_eq!(
        found,
        [
            "BAD_DURATION /Chain/tasks/2/timeout write 5s",
            "MISSING_FIELD /Chain/tasks/2 -",
            "TEMPLATE_SYNTAX /Chain/tasks/1/promptTemplate write a variable with a dot before it: {{.input}}",
            "UNKNOWN_GOTO /Chain/tasks/1/Transition/Branches/1/goTo did you mean 'first'?",
            "UNKNOWN_GOTO /Chain/tasks/1/Transition/onFailure leave it out to end the run as failed; only a branch may go to 'end'",
            "UNKNOWN_HANDLER /Chain/tasks/1/Handler did you mean 'raw_string'?",
            "UNKNOWN_OPERATOR /Chain/tasks/1/Transition/Branches/1/operator did you mean 'equals'?",
            "WRONG_TYPE /Chain/tasks/0 -",
            "WRONG_TYPE /Chain/tasks/1/Transition/Branches/0 -",
        ]
    );
    assert_eq!(check(&written).written, Written::Request);
}

#[test]
fn a_chain_and_a_request_are_told_apart() {
    let chain = chain_with(json!({}));
    assert_eq!(check(&json!({"input": "x"})).written, Written::Request);
    assert_eq!(check(&json!({"chain": chain, "input": {"tasks": 1}, "input_type": "json"})).written, Written::Request);
    assert_eq!(check(&json!({"chain": null, "tasks": []})).written, Written::Chain);
    assert_eq!(told(&json!({"input": "x"})), ["MISSING_FIELD  add the chain to run"]);
    let bare: Vec<String> =
        check_request(&chain).findings.iter().map(|finding| format!("{:?} {:?}", finding.code, finding.hint)).collect();
    assert!(bare[0].contains("put the whole chain under 'chain'"), "{bare:?}");
    let sent = check_chain(&json!({"input": "x", "chain": chain}));
    assert!(
        sent.findings.iter().any(|finding| finding
            .hint
            .as_deref()
            .is_some_and(|hint| hint.contains("send what is under 'chain' alone"))),
        "{:?}",
        sent.findings
    );
}

#[test]
fn what_is_told_is_bounded() {
    let fields: Value = (0..3_000).map(|at| (format!("unknown_{at}"), json!(1))).collect();
    let checked = check(&chain_with(fields));
    assert_eq!((checked.findings.len(), checked.more), (MOST_FINDINGS, 2_000));
    let tasks: Vec<Value> = (0..900).map(|_| json!({"unknown": 1})).collect();
    let checked = check(&json!({"tasks": tasks}));
    assert_eq!(checked.findings.len(), MOST_FINDINGS);
    assert!(checked.findings.iter().all(|finding| finding.severity == Severity::Error), "errors come before warnings");
}

/// Documents of pieces that are nearly right, in wild spellings.
fn nearly_a_chain() -> impl proptest::strategy::Strategy<Value = Value> {
    use proptest::prelude::*;
    let name = prop::sample::select(vec![
        "tasks",
        "id",
        "handler",
        "transition",
        "branches",
        "goto",
        "when",
        "operator",
        "valid_conditions",
        "hook",
        "args",
        "chain",
        "input",
        "promptTemplate",
        "prompt_template",
        "onFailure",
        "compose",
        "with_var",
        "catch",
        "errors",
        "timeout",
        "a/b~",
        "",
        "execute_config",
        "models",
        "fallback_models",
        "retry_policy",
        "max_visits",
        "variable",
        "input_var",
        "output_var",
    ]);
    let text = prop::sample::select(vec![
        "a",
        "b",
        "end",
        "noop",
        "raw_string",
        "parse_score",
        "hook",
        "raise_error",
        "default",
        ">",
        "{{.a}}",
        "{{",
        "5",
        "",
    ]);
    let leaf = prop_oneof![
        4 => text.prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::from),
        1 => Just(Value::Null),
    ];
    let value = leaf.prop_recursive(6, 80, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(name.clone(), inner, 0..8)
                .prop_map(|fields| fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Value>()),
        ]
    });
    (prop::collection::vec(value.clone(), 0..4), value, any::<bool>()).prop_map(|(tasks, other, wrapped)| match wrapped
    {
        true => json!({"tasks": tasks}),
        false => other,
    })
}

/// Chains that are read whole, so that all lints run.
fn a_readable_chain() -> impl proptest::strategy::Strategy<Value = Value> {
    use proptest::prelude::*;
    let id = || prop::sample::select(vec!["a", "b", "c", "d", "end"]);
    let template = prop::sample::select(vec!["", "{{.a}}", "{{if .b}}{{.c}}{{end}}", "{{index . \"d\"}}"]);
    let operator = prop::sample::select(vec!["default", "equals", ">", "in_range", "contains"]);
    let branch = (operator, prop::sample::select(vec!["1-2", "1", "noop", ""]), id())
        .prop_map(|(operator, when, goto)| json!({"operator": operator, "when": when, "goto": goto}));
    let handler = prop::sample::select(
        crate::engine::handler::Handler::ALL.map(crate::engine::handler::Handler::as_str).to_vec(),
    );
    let task = (handler, template, prop::collection::vec(branch, 1..4), id(), id(), any::<bool>());
    let task = task.prop_map(|(handler, template, branches, on_failure, var, composes)| {
        let on_failure = if on_failure == "end" { "" } else { on_failure };
        let compose = if composes { json!({"with_var": var}) } else { Value::Null };
        json!({"handler": handler, "prompt_template": template, "input_var": if composes { "" } else { var }, "compose": compose,
            "valid_conditions": ["1", "noop"], "hook": {"name": "h"}, "transition": {"on_failure": on_failure, "branches": branches}})
    });
    prop::collection::vec(task, 4).prop_map(|mut tasks| {
        for (task, id) in tasks.iter_mut().zip(["a", "b", "c", "d"]) {
            task["id"] = json!(id);
        }
        json!({"tasks": tasks, "output_var": "b"})
    })
}

proptest::proptest! {
    #[test]
    fn every_path_leads_into_the_document_whatever_it_holds(written in nearly_a_chain()) {
        let checked = check(&written);
        for finding in &checked.findings {
            proptest::prop_assert!(written.pointer(&finding.path).is_some(), "{} of {:?} in {}", finding.path, finding.code, written);
        }
        let has_error = checked.findings.iter().any(|finding| finding.severity == Severity::Error);
        proptest::prop_assert_eq!(checked.is_valid(), !has_error);
    }

    #[test]
    fn every_lint_of_a_readable_chain_leads_into_it(written in a_readable_chain()) {
        for finding in &check(&written).findings {
            proptest::prop_assert!(written.pointer(&finding.path).is_some(), "{} of {:?} in {}", finding.path, finding.code, written);
        }
    }
}

#[test]
fn a_name_with_a_million_underscores_is_no_spelling_and_told_only_once() {
    let spelled = |underscores: usize| {
        let fields: serde_json::Map<String, Value> = (0..50).map(|at| (format!("f{at}"), json!(1))).collect();
        let checked = check_chain(&json!({"id": "a", format!("{}tasks", "_".repeat(underscores)): [fields]}));
        checked.findings.iter().map(|finding| finding.path.len()).sum::<usize>()
    };
    assert!(spelled(1_000_000) < 1_100_000, "{}", spelled(1_000_000));
    assert!(spelled(100) > 50 * 100);
}
