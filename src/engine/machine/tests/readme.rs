//! The chain of the README.

use super::*;

/// Read from text, for the order of the allowed replies is lost in a JSON value.
fn readme_chain() -> Chain {
    let text = r#"{"id": "sky-color-verification", "tasks": [
        {"id": "validate", "handler": "condition_key", "valid_conditions": {"valid": true, "invalid": true},
         "prompt_template": "Is this a valid question? {{.input}}\nRespond exactly with either \"valid\" or \"invalid\"\n",
         "transition": {"branches": [{"when": "valid", "goto": "answer"}, {"when": "invalid", "goto": "reject"}]}},
        {"id": "answer", "handler": "raw_string", "prompt_template": "Answer this question: {{.input}}",
         "transition": {"branches": [{"operator": "default", "goto": "end"}]}},
        {"id": "reject", "handler": "raw_string", "prompt_template": "This is not a valid question: {{.input}}",
         "transition": {"branches": [{"operator": "default", "goto": "end"}]}}
    ]}"#;
    serde_json::from_str(text).expect("a chain")
}

#[test]
fn the_readmes_chain_answers_a_valid_question() {
    let rig = Rig::with(&readme_chain(), Value::string("Is the sky blue?"));
    let (outcome, effects) = rig.replies(&["Valid.", " Yes, mostly.\n"]);
    assert_eq!(outcome.result, Ok(Value::string("Yes, mostly.")));
    let unit = |id: &str, handler: &str, transition: &str| {
        json!({"taskID": id, "taskHandler": handler, "attempt": 1, "inputType": "string", "outputType": "string",
            "transition": transition, "duration": 1.5, "error": {"error": ""}, "input": "", "output": "",
            "backend": "b1", "model": "qwen3:4b", "inputTokens": 11, "outputTokens": 2, "queueMs": 3})
    };
    let expected = json!([unit("validate", "condition_key", "valid"), unit("answer", "raw_string", "Yes, mostly.")]);
    assert_eq!(serde_json::to_value(&outcome.state).expect("serialises"), expected);
    assert_eq!((outcome.warnings.len(), outcome.served), (0, Some(served())));

    let [first, second] = calls(&effects)[..] else { panic!("two calls") };
    let said: Vec<_> =
        first.messages.iter().map(|message| (message.role.as_str(), message.joined_text().into_owned())).collect();
    let prompt = "Is this a valid question? Is the sky blue?\nRespond exactly with either \"valid\" or \"invalid\"\n";
    assert_eq!(said, [("system", "only the answer".to_owned()), ("user", prompt.to_owned())]);
    assert_eq!(first.constraint, Some(Constraint::OneOf(vec!["valid".to_owned(), "invalid".to_owned()])));
    assert_eq!((first.sampling.temperature, first.sampling.max_tokens), (Some(0.0), Some(512)));
    assert!(first.single_prompt);
    assert_eq!(second.messages.len(), 1, "an answer is not parsed, so nothing is said about its form");
    assert_eq!(second.messages[0].joined_text(), "Answer this question: Is the sky blue?");
    assert_eq!(second.constraint, None);
}

#[test]
fn the_readmes_chain_rejects_an_invalid_question() {
    let (outcome, _) = Rig::with(&readme_chain(), Value::string("Blue?")).replies(&["\"invalid\"", "No."]);
    let ids: Vec<_> = outcome.state.iter().map(|unit| &*unit.task_id).collect();
    assert_eq!(ids, ["validate", "reject"]);
    assert_eq!(output_of(&outcome), "No.");
}

#[test]
fn the_readmes_chain_fails_on_any_other_answer() {
    let (outcome, _) = Rig::with(&readme_chain(), Value::string("?")).replies(&["perhaps"]);
    let text = "task validate: the reply 'perhaps' is none of the allowed: valid, invalid";
    assert_eq!(error_of(&outcome), text);
    let [unit] = &outcome.state[..] else { panic!("one unit") };
    assert_eq!(unit.error.error, "the reply 'perhaps' is none of the allowed: valid, invalid");
    assert_eq!((unit.output_type, unit.transition.as_str()), (DataType::Any, ""));
}
