//! `parse_json`: what is asked, what is taken, and how a reply is mended.

use super::*;

fn parses(more: Json) -> Json {
    let schema = json!({"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}});
    let mut task = json!({"handler": "parse_json", "output_schema": schema});
    for (name, value) in more.as_object().expect("fields") {
        task[name] = value.clone();
    }
    one(task)
}

#[test]
fn the_reply_is_json_of_the_schema_that_was_sent_along() {
    let (outcome, effects) = Rig::of(parses(json!({})), Value::string("q")).replies(&["```json\n{\"n\": 7}\n```"]);
    assert_eq!(outcome.result, Ok(Value::json(json!({"n": 7}))));
    assert_eq!((outcome.state[0].output_type, outcome.state[0].transition.as_str()), (DataType::Json, "ok"));
    let [call] = calls(&effects)[..] else { panic!("one call") };
    assert!(matches!(&call.constraint, Some(Constraint::Schema(schema)) if schema["required"] == json!(["n"])));
    assert_eq!((call.messages[0].joined_text().as_ref(), call.single_prompt), ("only the answer", true));
    assert_eq!(call.sampling.temperature, Some(0.0));
    let off = parses(json!({"execute_config": {"constrain": "off"}}));
    let (_, effects) = Rig::of(off, Value::string("q")).replies(&["{\"n\": 7}"]);
    assert_eq!(calls(&effects)[0].constraint, None);
    let (outcome, effects) =
        Rig::of(one(json!({"handler": "parse_json"})), Value::string("q")).replies(&["so: [1] ok"]);
    assert_eq!((output_of(&outcome), &calls(&effects)[0].constraint), (json!([1]), &None));
}

#[test]
fn of_a_scalar_its_text_is_the_transition_value() {
    for (schema, reply, output, transition) in [
        (json!({"type": "string"}), "\"a b\"", json!("a b"), "a b"),
        (json!({"type": "number"}), "7.0", json!(7.0), "7"),
        (json!({"type": "boolean"}), "it is true.", json!(true), "true"),
        (json!({"type": "array"}), "{\"value\": [1]}", json!([1]), "ok"),
        (json!({"type": "array"}), "[]", json!([]), "ok"),
        (json!({"type": ["object", "array"], "required": ["value"]}), "{\"value\": [1]}", json!({"value": [1]}), "ok"),
        (json!({"type": "object", "required": ["value"]}), "{\"value\": [1]}", json!({"value": [1]}), "ok"),
    ] {
        let chain = parses(json!({"output_schema": schema}));
        let (outcome, _) = Rig::of(chain, Value::string("q")).replies(&[reply]);
        assert_eq!((output_of(&outcome), outcome.state[0].transition.as_str()), (output, transition), "{reply}");
    }
    let numeric = parses(json!({"output_schema": {"type": "number"}, "transition": {"branches": [{"when": "7.50"}]}}));
    assert!(Rig::of(numeric, Value::string("q")).replies(&["7.5"]).0.result.is_ok());
}

#[test]
fn a_violation_goes_back_to_the_model_within_the_attempt() {
    let chain = parses(json!({"repair_attempts": 2, "retry_on_failure": 1, "timeout": "10s"}));
    let (outcome, effects) = Rig::of(chain, Value::string("q")).replies(&["{\"n\": \"x\"}", "no idea", "{\"n\": 1}"]);
    assert_eq!(output_of(&outcome), json!({"n": 1}));
    let errors: Vec<_> = outcome.state.iter().map(|unit| unit.error.error.as_str()).collect();
    let first = "the reply '{\"n\": \"x\"}' is not the JSON that is asked for: at /n: \"x\" is not of type \"integer\"";
    assert_eq!(errors, [first, "the reply 'no idea' is not the JSON that is asked for: it holds no JSON", ""]);
    assert!(outcome.state.iter().all(|unit| unit.input_tokens == Some(11)));
    let calls = calls(&effects);
    let said: Vec<_> = calls[1].messages.iter().map(|said| said.role.as_str()).collect();
    assert_eq!((said.as_slice(), calls[1].single_prompt), (&["system", "user", "assistant", "user"][..], false));
    assert_eq!(calls[1].messages[2].joined_text(), "{\"n\": \"x\"}");
    let complaint = calls[1].messages[3].joined_text();
    for part in ["- at /n: \"x\" is not of type \"integer\"", "{\"type\":\"object\",\"required\":[\"n\"]", "JSON only"]
    {
        assert!(complaint.contains(part), "{complaint}");
    }
    assert_eq!(calls[2].messages.len(), 4, "only the latest bad reply is shown");
    assert_eq!(calls[2].constraint, calls[0].constraint);
}

#[test]
fn repairs_that_do_not_help_are_a_failed_attempt() {
    let chain = parses(json!({"retry_on_failure": 1}));
    let (outcome, effects) = Rig::of(chain, Value::string("q")).run(|effect| answered(effect, "{}"));
    assert_eq!((calls(&effects).len(), outcome.state.len()), (4, 4), "two attempts with one repair each");
    let failed = outcome.result.expect_err("fails");
    assert_eq!(failed.failure.class, FailureClass::InvalidOutput);
    assert!(failed.to_string().contains("\"n\" is a required property"), "{failed}");
    let none = parses(json!({"repair_attempts": 0}));
    assert_eq!(Rig::of(none, Value::string("q")).run(|effect| answered(effect, "{}")).0.state.len(), 1);
    for silent in ["", "<think>hm</think>"] {
        assert_eq!(Rig::of(parses(json!({})), Value::string("q")).replies(&[silent]).0.state.len(), 1);
    }
    // A schema of objects is never looked for inside another object.
    let (outcome, _) =
        Rig::of(parses(json!({})), Value::string("q")).run(|effect| answered(effect, "{\"value\": {\"n\": 1}}"));
    assert!(error_of(&outcome).contains("\"n\" is a required property"), "{}", error_of(&outcome));
    let (outcome, _) = Rig::of(parses(json!({})), Value::string("q")).run(|effect| cut(effect, "{\"n\": 1}"));
    assert!(error_of(&outcome).contains("cut at its bound"), "{}", error_of(&outcome));
    assert_eq!(outcome.state.len(), 1);
}

#[test]
fn repairs_share_the_attempts_time_and_the_runs_tokens() {
    let mut machine = Rig::of(parses(json!({"timeout": "10s"})), Value::string("q")).machine;
    let first = machine.start(NOON).remove(0);
    let later = |seconds| NOON.after(Duration::from_secs(seconds));
    let second = machine.on_event(answered(&first, "{}"), later(4)).remove(0);
    assert!(matches!(&second, Effect::AskModel { timeout, .. } if *timeout == Duration::from_secs(6)), "{second:?}");

    let mut machine = Rig::of(parses(json!({"timeout": "10s"})), Value::string("q")).machine;
    let first = machine.start(NOON).remove(0);
    let end = machine.on_event(answered(&first, "{}"), later(10));
    assert!(matches!(&end[..], [Effect::Finish(end)] if error_of(end) == "task t: the attempt took longer than 10s"));

    let mut chain = parses(json!({"repair_attempts": 9}));
    chain["token_budget"] = json!(30);
    let (outcome, effects) = Rig::of(chain, Value::string("q")).run(|effect| answered(effect, "{}"));
    assert_eq!(calls(&effects).len(), 3);
    assert_eq!(outcome.result.map_err(|failed| failed.failure.class), Err(FailureClass::Budget));
}

#[test]
fn what_is_said_of_a_bad_reply_is_bounded() {
    let chain = parses(json!({"output_schema": {"items": {"type": "integer"}, "description": "x".repeat(9000)}}));
    let reply = json!(vec!["y".repeat(1000); 100]).to_string();
    let (outcome, effects) = Rig::of(chain, Value::string("q")).run(|effect| answered(effect, &reply));
    let calls = calls(&effects);
    assert!(calls[1].messages[2].joined_text().len() <= 16 * 1024 + 3);
    assert!(calls[1].messages[3].joined_text().len() < 2500, "{}", calls[1].messages[3].joined_text().len());
    assert!(outcome.state[0].error.error.len() < 2500);
}
