//! Every line of the validation rules.

use proptest::{prelude::*, strategy::Strategy};
use serde_json::{Value as Json, json};

use super::*;

fn findings(chain: Json) -> Vec<String> {
    let chain: Chain = serde_json::from_value(chain).expect("a chain");
    validate(&chain).iter().map(ToString::to_string).collect()
}

/// A chain of one good task with these fields over its own.
fn chain_with(task: Json) -> Json {
    let mut fields = json!({"id": "a", "handler": "noop", "transition": {"branches": [{"goto": "end"}]}});
    for (name, value) in task.as_object().expect("fields") {
        fields[name] = value.clone();
    }
    json!({"tasks": [fields]})
}

#[test]
fn what_makes_a_chain_unable_to_run_is_found_and_named() {
    let branch = |branch: Json| json!({"transition": {"branches": [branch]}});
    for (task, part) in [
        (json!({"id": ""}), "task #1: the task has no id"),
        (json!({"id": "end"}), "task end: a task cannot be called 'end'"),
        (json!({"handler": ""}), "task a: the task has no handler"),
        (json!({"handler": "shout"}), "unknown handler 'shout'"),
        (json!({"handler": "condition_key"}), "needs valid_conditions"),
        (json!({"handler": "hook"}), "needs hook.name"),
        (json!({"handler": "hook", "hook": {"name": " "}}), "needs hook.name"),
        (json!({"transition": {}}), "transition.branches is empty"),
        (branch(json!({"operator": "like", "when": "x"})), "branch 1: unknown operator 'like'"),
        (branch(json!({"operator": ">", "when": "x"})), "branch 1: operator '>' needs a number"),
        (branch(json!({"operator": "in_range", "when": "5"})), "a range such as 1-5"),
        (branch(json!({"goto": "nowhere"})), "branch 1: goto names the task 'nowhere', which does not exist"),
        (json!({"transition": {"on_failure": "end", "branches": [{}]}}), "on_failure names the task 'end'"),
        (json!({"prompt_template": "{{.a"}), "prompt_template cannot be parsed"),
        (json!({"print": "{{shout .a}}"}), "print cannot be parsed: line 1: function \"shout\" is not defined"),
        (json!({"timeout": "soon"}), "timeout 'soon' is no positive duration"),
        (json!({"timeout": "0s"}), "timeout '0s' is no positive duration"),
        (json!({"timeout": "-1s"}), "timeout '-1s' is no positive duration"),
        (json!({"compose": {"with_var": "x", "strategy": "concat"}}), "unknown compose.strategy 'concat'"),
        (json!({"compose": {}}), "compose.with_var is empty"),
        (json!({"execute_config": {"provider": "acme"}}), "unknown provider 'acme'"),
        (json!({"execute_config": {"providers": ["ollama", "acme"]}}), "unknown provider 'acme'"),
        (json!({"execute_config": {"constrain": "maybe"}}), "execute_config.constrain is 'maybe'"),
        (json!({"retry_on_failure": 101}), "retry_on_failure is 101, the most is 100"),
    ] {
        let found = findings(chain_with(task.clone()));
        assert!(matches!(found.as_slice(), [one] if one.contains(part)), "{task}: {found:?}");
    }
    assert_eq!(findings(json!({})), ["the chain has no tasks"]);
    let strategy = findings(json!({"routing_strategy": "fastest", "tasks": chain_with(json!({}))["tasks"]}));
    assert!(strategy[0].starts_with("unknown routing_strategy 'fastest'"), "{strategy:?}");
    let twice = json!([chain_with(json!({}))["tasks"][0], chain_with(json!({}))["tasks"][0]]);
    assert_eq!(findings(json!({"tasks": twice})), ["task a: task 1 has the same id"]);
}

#[test]
fn what_can_run_is_not_complained_about() {
    for task in [
        json!({}),
        json!({"handler": "raise_error", "transition": {}}),
        json!({"handler": "condition_key", "valid_conditions": {"yes": false}}),
        json!({"handler": "hook", "hook": {"name": "not registered yet"}}),
        json!({"handler": "parse_number", "execute_config": {"constrain": "Auto"}}),
        json!({"handler": "parse_score", "transition": {"branches": [{"operator": ">", "when": "7.5"}, {}]}}),
        json!({"handler": "parse_range", "transition": {"branches": [{"operator": "in_range", "when": "-1-5"}, {}]}}),
        json!({"handler": "parse_transition"}),
        json!({"handler": "convert_to_openai_chat_response"}),
        json!({"retry_on_failure": 100, "timeout": "1m30s"}),
        json!({"retry_on_failure": -3}),
        json!({"input_var": "never set", "system_instruction": "be brief"}),
        json!({"transition": {"on_failure": "a", "branches": [{"goto": "a", "when": "x"}, {"goto": ""}]}}),
        json!({"execute_config": {"provider": "OpenAI", "models": ["m"], "constrain": "off", "max_tokens": 0}}),
        json!({"compose": {"with_var": "x"}}),
    ] {
        assert_eq!(findings(chain_with(task.clone())), Vec::<String>::new(), "{task}");
    }
    for strategy in RoutingStrategy::ALL {
        let chain =
            json!({"routing_strategy": strategy.as_str().to_uppercase(), "tasks": chain_with(json!({}))["tasks"]});
        assert_eq!(findings(chain), Vec::<String>::new());
    }
}

#[test]
fn every_handler_but_raise_error_needs_branches() {
    for handler in Handler::ALL {
        let found = findings(chain_with(json!({"handler": handler.as_str(), "valid_conditions": ["x"],
            "hook": {"name": "h"}, "transition": {}})));
        let missing = found.iter().any(|finding| finding.contains("transition.branches is empty"));
        assert_eq!(missing, handler != Handler::RaiseError, "{}: {found:?}", handler.as_str());
    }
}

#[test]
fn all_findings_are_told_at_once() {
    let found = findings(json!({"routing_strategy": "x", "tasks": [
        {"id": "a", "handler": "nope", "timeout": "x", "transition": {"branches": [{"goto": "b"}, {"goto": "c"}]}},
        {"id": "b", "handler": "condition_key"}
    ]}));
    assert_eq!(found.len(), 6, "{found:#?}");
    let invalid = compile(&serde_json::from_value(json!({"tasks": [{}]})).expect("a chain")).expect_err("invalid");
    let text = invalid.to_string();
    assert!(
        text.starts_with("invalid chain: task #1: the task has no id; task #1: the task has no handler;"),
        "{text}"
    );
}

/// Chains built of pieces that are nearly right, so that many get past the first checks.
fn nearly_a_chain() -> impl Strategy<Value = Json> {
    let id = prop::sample::select(vec!["a", "b", "c", "end", "", "é"]);
    let operator = prop::sample::select(vec!["", "equals", "default", ">", "in_range", "startsWith", "?"]);
    let when = prop::sample::select(vec!["", "1", "1-2", "x", "true"]);
    let branch = (id.clone(), operator, when)
        .prop_map(|(goto, operator, when)| json!({"goto": goto, "operator": operator, "when": when}));
    let handler =
        prop::sample::select(Handler::ALL.map(Handler::as_str).into_iter().chain(["", "other"]).collect::<Vec<_>>());
    let template = prop::sample::select(vec!["", "{{.input}}", "{{.a", "{{if .x}}", "x", "{{end}}"]);
    let text = prop_oneof![Just(String::new()), Just("10s".to_owned()), ".{0,8}"];
    let task = (id.clone(), handler, template, text, prop::collection::vec(branch, 0..4), id, any::<i64>());
    let task = task.prop_map(|(id, handler, template, timeout, branches, on_failure, retries)| {
        json!({"id": id, "handler": handler, "prompt_template": template, "timeout": timeout, "retry_on_failure": retries,
            "valid_conditions": ["x"], "hook": {"name": "h"}, "transition": {"on_failure": on_failure, "branches": branches}})
    });
    prop::collection::vec(task, 0..5).prop_map(|tasks| json!({"tasks": tasks}))
}

fn any_json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        ".{0,8}".prop_map(Json::from)
    ];
    leaf.prop_recursive(5, 64, 6, |inner| {
        let names =
            ["tasks", "id", "handler", "transition", "branches", "goto", "when", "valid_conditions", "hook", "args"];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Json::from),
            prop::collection::btree_map(prop::sample::select(names.to_vec()), inner, 0..6)
                .prop_map(|fields| fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Json>()),
        ]
    })
}

proptest! {
    #[test]
    fn no_json_makes_the_validator_panic(json in any_json()) {
        if let Ok(chain) = serde_json::from_value::<Chain>(json) {
            let _ = validate(&chain);
        }
    }

    #[test]
    fn every_target_of_a_valid_chain_is_one_of_its_tasks(json in nearly_a_chain()) {
        let chain: Chain = serde_json::from_value(json).expect("a chain");
        if let Ok(program) = compile(&chain) {
            prop_assert_eq!(program.steps.len(), chain.tasks.len());
            for (step, task) in program.steps.iter().zip(&chain.tasks) {
                prop_assert_eq!(&*step.id, &task.id);
                let named = task.transition.branches.iter().zip(&step.branches);
                for (written, compiled) in named {
                    match compiled.goto {
                        Some(place) => prop_assert_eq!(&chain.tasks[place].id, &written.goto),
                        None => prop_assert!(matches!(written.goto.as_str(), "" | "end")),
                    }
                }
                prop_assert!(step.on_failure.is_none_or(|place| place < program.steps.len()));
            }
        }
    }
}

#[test]
fn a_chain_too_long_to_be_looked_through_is_refused_by_its_length() {
    let tasks = |count: usize| Chain {
        tasks: vec![Task { handler: "none".to_owned(), ..Task::default() }; count],
        ..Chain::default()
    };
    let findings = validate(&tasks(MAX_TASKS + 1));
    assert_eq!(findings.len(), 1);
    assert!(findings[0].message.contains("1001 tasks, the most is 1000"), "{}", findings[0].message);
    // What is kept of the findings is bounded, too: here are four of each task.
    assert_eq!(validate(&tasks(MAX_TASKS)).len(), 1_000);
}
