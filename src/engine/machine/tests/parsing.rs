//! The handlers that read a number, a range or a command, and the one that makes a reply of a conversation.

use super::*;

const PARSING: [(&str, Constraint); 3] =
    [("parse_number", Constraint::Integer), ("parse_score", Constraint::Number), ("parse_range", Constraint::Range)];

#[test]
fn number_handlers_send_the_fixed_instruction_and_the_form_of_the_reply() {
    for (handler, constraint) in PARSING {
        let (_, effects) = Rig::of(one(json!({"handler": handler})), Value::string("q")).replies(&["7"]);
        let [call] = calls(&effects)[..] else { panic!("one call") };
        let said: Vec<_> = call.messages.iter().map(|m| (m.role.as_str(), m.joined_text().into_owned())).collect();
        assert_eq!(said, [("system", "only the answer".to_owned()), ("user", "q".to_owned())], "{handler}");
        assert_eq!(call.constraint, Some(constraint));
        assert!(call.single_prompt);
        assert_eq!((call.sampling.temperature, call.sampling.max_tokens), (Some(0.0), Some(512)));

        let own = json!({"handler": handler, "system_instruction": "be bold", "execute_config": {"constrain": "off"}});
        let (_, effects) = Rig::of(one(own), Value::string("q")).replies(&["7"]);
        let [call] = calls(&effects)[..] else { panic!("one call") };
        assert_eq!((call.messages[0].joined_text().as_ref(), &call.constraint), ("be bold", &None));
    }
}

#[test]
fn what_number_handlers_give_and_are_compared_by() {
    for (handler, reply, output, data_type, transition) in [
        ("parse_number", "<think>8?</think> It is 7.", json!(7), DataType::Int, "7"),
        ("parse_score", "7.5", json!(7.5), DataType::Float, "7.50"),
        ("parse_range", "\"3-5\"", json!("3-5"), DataType::String, "3-5"),
        ("parse_range", "4", json!("4-4"), DataType::String, "4-4"),
    ] {
        let (outcome, _) = Rig::of(one(json!({"handler": handler})), Value::string("q")).replies(&[reply]);
        assert_eq!(output_of(&outcome), output, "{handler}");
        let unit = &outcome.state[0];
        assert_eq!((unit.output_type, unit.transition.as_str(), unit.task_handler), (data_type, transition, handler));
    }
}

#[test]
fn a_reply_that_cannot_be_read_or_was_cut_is_tried_again_and_then_fails() {
    for (handler, _) in PARSING {
        let chain = one(json!({"handler": handler, "retry_on_failure": 1}));
        let (outcome, _) = Rig::of(chain.clone(), Value::string("q")).replies(&["many", "7"]);
        assert!(outcome.result.is_ok() && outcome.state.len() == 2, "{outcome:?}");
        let (outcome, _) = Rig::of(chain.clone(), Value::string("q")).replies(&["many", "more"]);
        assert!(error_of(&outcome).starts_with("task t: the reply 'more' holds n"), "{}", error_of(&outcome));
        assert_eq!(outcome.result.map_err(|failure| failure.failure.class), Err(FailureClass::InvalidOutput));
        let (outcome, _) = Rig::of(chain.clone(), Value::string("q")).run(|effect| cut(effect, "7"));
        assert!(error_of(&outcome).contains("cut at its bound"), "{}", error_of(&outcome));
        let (outcome, _) = Rig::of(chain, Value::string(" ")).alone();
        assert_eq!(error_of(&outcome), "task t: the prompt is empty");
    }
}

#[test]
fn branches_compare_numbers_and_ranges() {
    for (handler, operator, when, reply, taken) in [
        ("parse_number", "equals", "7.0", "7", true),
        ("parse_number", "equals", "7", "8", false),
        ("parse_number", "in_range", "-3--1", "-2", true),
        ("parse_score", "equals", "7.5", "7.50", true),
        ("parse_score", "", "7", "7", true),
        ("parse_score", ">", "7", "7.5", true),
        ("parse_score", "gt", "7.5", "7.5", false),
        ("parse_score", "starts_with", "7.5", "7.5", true),
        ("parse_range", "in_range", "1-5", "2 to 4", true),
        ("parse_range", "in_range", "1-5", "4 to 6", false),
        ("parse_range", "equals", "2-4", "2 – 4", true),
    ] {
        let chain = json!({"tasks": [{"id": "t", "handler": handler, "transition":
            {"branches": [{"operator": operator, "when": when, "goto": "hit"}, {"operator": "default"}]}},
            {"id": "hit", "handler": "noop", "transition": {"branches": [{}]}}]});
        let (outcome, _) = Rig::of(chain, Value::string("q")).replies(&[reply]);
        assert_eq!(outcome.state.len() == 2, taken, "{handler} {operator} {when} on {reply}");
    }
}

#[test]
fn parse_transition_asks_nobody_and_passes_its_input_on() {
    let request = json!({"messages": [{"role": "user", "content": "/buy milk"}]});
    let request = Value::from_json(request, DataType::OpenaiChat, NOON).expect("a request");
    for (input, word) in [
        (Value::string("/help me"), "help"),
        (Value::string("help"), "pass"),
        (Value::string(""), ""),
        (Value::Int(7), "pass"),
        (Value::json(json!({"a": "/b"})), "pass"),
        (request, "buy"),
    ] {
        let task = json!({"handler": "parse_transition", "system_instruction": "/other"});
        let (outcome, effects) = Rig::of(one(task), input.clone()).alone();
        assert_eq!((&outcome.result, outcome.state[0].transition.as_str()), (&Ok(input), word));
        assert!(effects.is_empty());
    }
    for input in ["/", " / now"] {
        let (outcome, _) = Rig::of(one(json!({"handler": "parse_transition"})), Value::string(input)).alone();
        assert_eq!(error_of(&outcome), "task t: a slash is followed by no word");
    }
}

#[test]
fn a_conversation_becomes_a_response_with_an_id_of_its_own_each_time() {
    let convert = json!({"handler": "convert_to_openai_chat_response"});
    let messages = vec![ChatMessage::new("user", "hi", NOON), ChatMessage::new("assistant", "yo", NOON)];
    let history = ChatHistory { messages, model: "qwen3:4b".to_owned(), input_tokens: 11, output_tokens: 2 };
    let input = Value::chat_history(history);
    let (outcome, _) = Rig::of(one(convert.clone()), input.clone()).alone();
    assert_eq!(
        output_of(&outcome),
        json!({"id": "chatcmpl-run-1-1", "object": "chat.completion", "created": 1_754_654_400, "model": "qwen3:4b",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "yo"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 11, "completion_tokens": 2, "total_tokens": 13}})
    );
    let unit = &outcome.state[0];
    assert_eq!((unit.output_type, unit.transition.as_str()), (DataType::OpenaiChatResponse, "converted"));

    let mut twice = one(convert.clone());
    twice["tasks"][0]["transition"] = json!({"branches": [{"goto": "u"}]});
    twice["tasks"].as_array_mut().expect("tasks").push(json!({"id": "u", "handler": convert["handler"],
        "input_var": "input", "execute_config": {"model": "gpt", "models": ["other"]}, "transition": {"branches": [{}]}}));
    let (outcome, _) = Rig::of(twice, input).alone();
    let second = output_of(&outcome);
    assert_eq!((&second["id"], &second["model"]), (&json!("chatcmpl-run-1-2"), &json!("gpt")));

    let (outcome, _) = Rig::of(one(convert.clone()), Value::chat_history(ChatHistory::default())).alone();
    assert_eq!(output_of(&outcome)["choices"], json!([]));
    let (outcome, _) = Rig::of(one(convert), Value::string("hi")).alone();
    assert_eq!(error_of(&outcome), "task t: convert_to_openai_chat_response needs a chat_history, not string");
}
