//! Every bound of the extensions, from both sides.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::engine::{compile, finding::Finding, validate};

fn chain_with(chain: Json, task: Json) -> Chain {
    let mut fields = json!({"id": "a", "handler": "noop", "transition": {"branches": [{"goto": "end"}]}});
    for (name, value) in task.as_object().expect("fields") {
        fields[name] = value.clone();
    }
    let mut whole = chain;
    whole["tasks"] = json!([fields]);
    serde_json::from_value(whole).expect("a chain")
}

fn found(chain: Json, task: Json) -> Vec<Finding> {
    validate(&chain_with(chain, task))
}

#[test]
fn what_lies_outside_is_an_error_at_its_place() {
    let policy = |policy: Json| json!({"retry_policy": policy});
    let transition = |fields: Json| {
        let mut transition = json!({"branches": [{}]});
        transition.as_object_mut().expect("fields").extend(fields.as_object().expect("fields").clone());
        json!({ "transition": transition })
    };
    for (task, code, path, part) in [
        (
            policy(json!({"max_attempts": 0})),
            Code::BadRange,
            "retry_policy/max_attempts",
            "is 0, it can be from 1 to 101",
        ),
        (policy(json!({"max_attempts": 102})), Code::BadRange, "retry_policy/max_attempts", "is 102"),
        (
            policy(json!({"backoff_rate": 0.5})),
            Code::BadRange,
            "retry_policy/backoff_rate",
            "is 0.5, it can be from 1 to 100",
        ),
        (policy(json!({"backoff_rate": 100.5})), Code::BadRange, "retry_policy/backoff_rate", "is 100.5"),
        (policy(json!({"jitter": -0.1})), Code::BadRange, "retry_policy/jitter", "from 0 to 1"),
        (policy(json!({"jitter": 1.5})), Code::BadRange, "retry_policy/jitter", "is 1.5"),
        (
            policy(json!({"initial_backoff": "0s"})),
            Code::BadDuration,
            "retry_policy/initial_backoff",
            "no positive duration",
        ),
        (
            policy(json!({"initial_backoff": "0"})),
            Code::BadDuration,
            "retry_policy/initial_backoff",
            "'0' is no positive",
        ),
        (
            policy(json!({"max_backoff": "soon"})),
            Code::BadDuration,
            "retry_policy/max_backoff",
            "'soon' is no positive",
        ),
        (policy(json!({"max_backoff": "61m"})), Code::BadRange, "retry_policy/max_backoff", "is 61m, the most is 1h"),
        (
            policy(json!({"retry_on": ["timeout", "slow"]})),
            Code::UnknownValue,
            "retry_policy/retry_on/1",
            "unknown error class 'slow'; the classes are rate_limit,",
        ),
        (
            transition(json!({"catch": [{"errors": ["oops"], "goto": "a"}]})),
            Code::UnknownValue,
            "transition/catch/0/errors/0",
            "'oops'",
        ),
        (
            transition(json!({"catch": [{"goto": "a"}, {"goto": "b"}]})),
            Code::UnknownGoto,
            "transition/catch/1/goto",
            "catch 2: goto names the task 'b'",
        ),
        (
            transition(json!({"catch": [{"goto": "end"}]})),
            Code::UnknownGoto,
            "transition/catch/0/goto",
            "'end' is none",
        ),
        (transition(json!({"catch": [{}]})), Code::UnknownGoto, "transition/catch/0/goto", "needs the task"),
        (
            transition(json!({"variable": "a..b"})),
            Code::UnknownValue,
            "transition/variable",
            "no path such as extract.intent",
        ),
        (json!({"max_visits": -1}), Code::BadRange, "max_visits", "is -1, it can be at least 0"),
        (json!({"handler": "parse_json", "repair_attempts": 11}), Code::BadRange, "repair_attempts", "from 0 to 10"),
        (
            json!({"handler": "parse_json", "output_schema": {"type": "text"}}),
            Code::SchemaInvalid,
            "output_schema",
            "at /type",
        ),
        (
            json!({"handler": "parse_json", "output_schema": {"$ref": "https://example.com/s"}}),
            Code::SchemaInvalid,
            "output_schema",
            "example.com",
        ),
        (
            json!({"execute_config": {"fallback_models": [""]}}),
            Code::MissingField,
            "execute_config/fallback_models/0",
            "has no name",
        ),
        (
            json!({"execute_config": {"fallback_models": ["m", {"model": "n", "provider": "acme"}]}}),
            Code::UnknownValue,
            "execute_config/fallback_models/1/provider",
            "unknown provider 'acme'",
        ),
    ] {
        let findings = found(json!({}), task.clone());
        let [one] = findings.as_slice() else { panic!("{task}: {findings:#?}") };
        assert_eq!(
            (one.severity, one.code, one.path.as_str()),
            (Severity::Error, code, format!("/tasks/0/{path}").as_str())
        );
        assert!(one.message.contains(part), "{task}: {}", one.message);
        assert!(compile(&chain_with(json!({}), task)).is_err());
    }
    for (chain, code, path) in [
        (json!({"max_steps": -1}), Code::BadRange, "max_steps"),
        (json!({"max_steps": 100_001}), Code::BadRange, "max_steps"),
        (json!({"token_budget": -1}), Code::BadRange, "token_budget"),
        (json!({"timeout": "0s"}), Code::BadDuration, "timeout"),
        (json!({"timeout": "5"}), Code::BadDuration, "timeout"),
        (json!({"input_schema": {"required": "a"}}), Code::SchemaInvalid, "input_schema"),
    ] {
        let findings = found(chain.clone(), json!({}));
        assert!(
            matches!(findings.as_slice(), [one] if one.code == code && one.path == format!("/{path}")),
            "{chain}: {findings:?}"
        );
    }
}

#[test]
fn what_lies_inside_is_compiled() {
    let policy = json!({"max_attempts": 101, "backoff_rate": 100, "jitter": 0, "initial_backoff": "1h", "max_backoff": "1h",
        "retry_on": ["internal", "rate_limit"]});
    let task = json!({"handler": "parse_json", "retry_policy": policy, "max_visits": 1, "repair_attempts": 10,
        "output_schema": true, "execute_config": {"fallback_models": ["m", {"model": "n", "provider": "Gemini"}]},
        "transition": {"catch": [{"goto": "a"}], "variable": "a.b-c.0", "branches": [{}]}});
    let chain =
        json!({"max_steps": 100_000, "timeout": "100h", "token_budget": 1, "input_schema": {}, "output_var": "a"});
    let chain = chain_with(chain, task);
    assert_eq!(validate(&chain), []);
    let program = compile(&chain).expect("valid");
    let bounds = Bounds { max_steps: 100_000, timeout: Some(Duration::from_secs(360_000)), tokens: Some(1) };
    assert_eq!((program.bounds, program.output_var.as_deref()), (bounds, Some("a")));
    let step = &program.steps[0];
    assert_eq!((step.retry.attempts, step.max_visits, step.catches[0].goto), (101, Some(1), 0));
    assert_eq!(step.model.fallbacks[1].provider, Some(ProviderKind::Gemini));
    assert!(matches!(step.work, Work::ParseJson { repairs: 10, schema: Some(_), .. }));
    let plain = compile(&chain_with(json!({}), json!({"retry_policy": {}}))).expect("valid");
    assert_eq!(plain.bounds, Bounds { max_steps: 1000, timeout: None, tokens: None });
    let backoff = Backoff {
        initial: Duration::from_millis(500),
        rate: 2.0,
        longest: Duration::from_secs(30),
        jitter: 1.0,
        classes: USUAL_CLASSES.to_vec(),
    };
    assert_eq!(plain.steps[0].retry, Retry { attempts: 3, backoff: Some(backoff) });
}

#[test]
fn what_has_no_effect_is_a_warning_and_the_chain_runs() {
    for (task, path) in [
        (json!({"retry_on_failure": 1, "retry_policy": {}}), "/tasks/0/retry_on_failure"),
        (json!({"retry_policy": {"retry_on": ["timeout", "cancelled"]}}), "/tasks/0/retry_policy/retry_on/1"),
    ] {
        let findings = found(json!({}), task.clone());
        let [one] = findings.as_slice() else { panic!("{findings:#?}") };
        assert_eq!((one.severity, one.code, one.path.as_str()), (Severity::Warning, Code::UnusedField, path));
        assert!(compile(&chain_with(json!({}), task)).is_ok());
    }
    let broken = chain_with(json!({}), json!({"retry_on_failure": 1, "retry_policy": {"jitter": 9}}));
    let told = compile(&broken).expect_err("invalid").findings;
    assert!(
        matches!(told.as_slice(), [one] if one.severity == Severity::Error),
        "only errors stand in the way: {told:?}"
    );
}

proptest! {
    #[test]
    fn no_numbers_or_words_make_it_panic_and_what_compiles_is_within_bounds(
        (attempts, rate, jitter) in (any::<i64>(), any::<f64>(), any::<f64>()),
        (steps, budget, visits, repairs) in (any::<i64>(), any::<i64>(), any::<i64>(), any::<i64>()),
        words in prop::collection::vec(".{0,12}|[0-9]{1,3}(ms|s|h)", 6),
    ) {
        let [initial, longest, timeout, class, goto, path] = words.as_slice() else { panic!("six") };
        let policy = json!({"max_attempts": attempts, "backoff_rate": rate, "jitter": jitter, "initial_backoff": initial,
            "max_backoff": longest, "retry_on": if class.is_empty() { json!([]) } else { json!([class]) }});
        let task = json!({"handler": "parse_json", "retry_policy": policy, "max_visits": visits, "repair_attempts": repairs,
            "transition": {"variable": path, "catch": [{"goto": goto}], "branches": [{}]}});
        let chain = chain_with(json!({"max_steps": steps, "token_budget": budget, "timeout": timeout}), task);
        if let Ok(program) = compile(&chain) {
            prop_assert!((1..=100_000).contains(&program.bounds.max_steps));
            let step = &program.steps[0];
            prop_assert!((1..=101).contains(&step.retry.attempts));
            prop_assert!(step.catches.iter().all(|catch| catch.goto < program.steps.len()));
        }
    }
}
