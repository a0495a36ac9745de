//! What each handler asks, and makes of what it is answered.

use super::*;

#[test]
fn a_cut_reply_warns_where_it_is_the_answer_and_fails_where_it_is_parsed() {
    for handler in ["raw_string", "model_execution"] {
        let (outcome, _) =
            Rig::of(one(json!({"handler": handler})), Value::string("q")).run(|effect| cut(effect, "half"));
        assert!(outcome.result.is_ok());
        assert_eq!(outcome.warnings, ["task t: the reply was cut at its bound of output tokens"]);
    }
    let chain = one(json!({"handler": "condition_key", "valid_conditions": ["half"]}));
    let (outcome, _) = Rig::of(chain, Value::string("q")).run(|effect| cut(effect, "half"));
    assert!(error_of(&outcome).contains("cut at its bound"), "{}", error_of(&outcome));
}

#[test]
fn what_a_task_says_of_its_model_goes_into_the_call_and_the_route() {
    let chain = json!({"routing_strategy": "Round-Robin", "tasks": [{"id": "t", "handler": "condition_key",
        "valid_conditions": ["a"], "system_instruction": "be brief", "transition": {"branches": [{}]},
        "execute_config": {"model": "m1", "models": ["m2", ""], "provider": "vllm", "providers": ["Ollama", "vllm"],
            "temperature": 0.7, "max_tokens": 9, "constrain": "off"}}]});
    let (_, effects) = Rig::of(chain, Value::string("q")).replies(&["a"]);
    let [Effect::AskModel { call, route, timeout, .. }] = &effects[..] else { panic!("one call") };
    assert_eq!(call.messages[0].joined_text(), "be brief");
    assert_eq!(call.constraint, None);
    assert_eq!((call.sampling.temperature, call.sampling.max_tokens), (Some(0.7), Some(9)));
    assert_eq!(route.names().collect::<Vec<_>>(), ["m1", "m2"]);
    assert_eq!(route.targets[0].providers, [ProviderKind::Vllm, ProviderKind::Ollama]);
    assert_eq!((route.capability, route.strategy), (Capability::Prompt, Some(RoutingStrategy::RoundRobin)));
    assert_eq!((route.tokens, *timeout), (None, Duration::from_secs(300)));
}

#[test]
fn a_call_over_the_token_limit_is_never_made() {
    for handler in ["raw_string", "model_execution"] {
        let mut chain = one(json!({"handler": handler, "system_instruction": "one two"}));
        chain["token_limit"] = json!(3);
        let (outcome, _) = Rig::of(chain.clone(), Value::string("three four")).alone();
        assert_eq!(error_of(&outcome), "task t: the call has 4 tokens, the chain's token_limit is 3");
        chain["token_limit"] = json!(4);
        let (outcome, effects) = Rig::of(chain, Value::string("three four")).replies(&["ok"]);
        assert!(outcome.result.is_ok());
        assert!(matches!(&effects[..], [Effect::AskModel { route, .. }] if route.tokens == Some(4)));
    }
}

#[test]
fn thoughts_are_no_part_of_an_answer() {
    let chain = one(json!({"handler": "raw_string"}));
    let (outcome, _) = Rig::of(chain, Value::string("q")).replies(&["<think>hm</think>\n\n 42 "]);
    assert_eq!(output_of(&outcome), "42");
}

#[test]
fn a_reply_without_an_answer_fails_every_task_that_asks() {
    for handler in ["raw_string", "condition_key", "model_execution"] {
        for reply in [" \n", "<think>hm</think>\n"] {
            let chain = one(json!({"handler": handler, "valid_conditions": ["a"]}));
            let (outcome, _) = Rig::of(chain, Value::string("q")).replies(&[reply]);
            assert_eq!(error_of(&outcome), "task t: the model's reply is empty", "{handler}");
        }
    }
}

#[test]
fn an_embedding_is_a_vector() {
    let (outcome, effects) = Rig::of(one(json!({"handler": "embedding"})), Value::Int(7)).run(|effect| {
        let step = step_of(effect).expect("waits");
        Event::Embedded { step, vector: vec![0.25, 1.0], served: None, elapsed: TOOK }
    });
    assert_eq!(outcome.result, Ok(Value::Vector([0.25, 1.0].into())));
    assert_eq!(outcome.state[0].transition, "ok");
    let [Effect::Embed { text, route, .. }] = &effects[..] else { panic!("one call") };
    assert_eq!((text.as_str(), route.capability), ("7", Capability::Embed));
}

#[test]
fn a_hook_is_sent_the_input_and_its_reply_is_the_output() {
    let task = json!({"handler": "hook", "hook": {"name": "stock", "args": {"limit": 3}}, "transition":
        {"branches": [{"when": "found", "goto": "end"}]}});
    let (outcome, effects) = Rig::of(one(task), Value::json(json!({"sku": 1})))
        .run(|e| hook_replied(e, json!({"output": "5", "dataType": "int", "transition": "found"})));
    assert_eq!(outcome.result, Ok(Value::Int(5)));
    assert_eq!((outcome.state[0].output_type, outcome.state[0].transition.as_str()), (DataType::Int, "found"));
    let [Effect::CallHook { hook, .. }] = &effects[..] else { panic!("one hook call") };
    assert_eq!((hook.name(), hook.request_id.as_str(), hook.started_at), ("stock", "req-1", NOON));
}

#[test]
fn a_failed_hook_shows_its_status_as_transition() {
    let task = json!({"handler": "hook", "hook": {"name": "stock"}, "retry_on_failure": 1});
    let (outcome, _) = Rig::of(one(task), Value::Int(1)).run(|effect| {
        let failure = Failure::new(FailureClass::HookError, "hook stock answered 503: sold out").with_status(503);
        Event::Failed { step: step_of(effect).expect("waits"), failure, served: None, elapsed: TOOK }
    });
    assert_eq!(outcome.state.iter().map(|unit| unit.transition.as_str()).collect::<Vec<_>>(), ["503", "503"]);
    assert_eq!(error_of(&outcome), "task t: hook stock answered 503: sold out");
}

#[test]
fn large_transition_values_and_errors_do_not_fill_the_record() {
    let branch = json!({"operator": "default", "goto": "t"});
    let chain = json!({"tasks": [{"id": "t", "handler": "hook", "hook": {"name": "h"}, "transition":
        {"branches": [branch]}}]});
    let large = "ä".repeat(1024 * 1024);
    let (outcome, _) =
        Rig::of(chain, Value::Int(1)).run(|e| hook_replied(e, json!({"output": 1, "transition": large})));
    let recorded: usize = outcome.state.iter().map(|unit| unit.transition.len()).sum();
    assert!(recorded < 17 * 1024 * 1024, "{recorded}");
    assert_eq!(outcome.state[0].transition, large);
    assert!(outcome.state[999].transition.ends_with('…'));

    let fails = json!({"tasks": [{"id": "t", "handler": "raise_error", "retry_on_failure": 20,
        "prompt_template": "{{printf \"%4000s\" .input}}", "transition": {"on_failure": "t"}}]});
    let (outcome, _) = Rig::of(fails, Value::string("x")).alone();
    let recorded: usize = outcome.state.iter().map(|unit| unit.error.error.len()).sum();
    assert_eq!(outcome.state.len(), 21_000);
    assert!(recorded < 32 * 1024 * 1024, "{recorded}");
}

#[test]
fn the_texts_of_an_alert_are_bounded() {
    let (id, message) = ("i".repeat(10_000), "m".repeat(10_000));
    let chain = json!({"tasks": [{"id": id, "handler": "raw_string", "transition":
        {"branches": [{"goto": "end", "alert_on_match": message}]}}]});
    let (_, effects) = Rig::of(chain, Value::string("q")).replies(&["ä".repeat(10_000).as_str()]);
    let Some(Effect::RaiseAlert(alert)) = effects.last() else { panic!("an alert") };
    let texts = [&alert.message, &alert.metadata["task_id"], &alert.metadata["eval"]];
    assert!(texts.iter().all(|text| text.len() <= 4096 + '…'.len_utf8() && text.ends_with('…')));
}

fn history(messages: &[(&str, &str)], model: &str) -> Value {
    let messages = messages.iter().map(|(role, text)| ChatMessage::new(*role, *text, Timestamp::ZERO)).collect();
    Value::chat_history(ChatHistory { messages, model: model.to_owned(), input_tokens: 999, output_tokens: 999 })
}

#[test]
fn model_execution_adds_the_reply_and_counts_the_tokens_where_the_backend_does_not() {
    let chain = json!({"tasks": [
        {"id": "t", "handler": "model_execution", "system_instruction": "be kind", "transition": {"branches": [{"goto": "u"}]}},
        {"id": "u", "handler": "noop", "input_var": "input", "transition": {"branches": [{}]}}
    ]});
    let input = history(&[("user", "hello world")], "");
    let (outcome, effects) = Rig::of(chain.clone(), input.clone()).replies(&["hi"]);
    assert_eq!(outcome.result, Ok(input), "the input's variable is untouched");
    assert_eq!(outcome.state[0].transition, "executed");
    let [call] = calls(&effects)[..] else { panic!("one call") };
    assert!(!call.single_prompt);
    assert_eq!((call.sampling.temperature, call.sampling.max_tokens), (None, Some(512)));

    let mut alone = chain;
    alone["tasks"][0]["transition"] = json!({"branches": [{}]});
    let input = history(&[("system", "be kind"), ("user", "hello world")], "qwen3:4b");
    let (outcome, _) = Rig::of(alone.clone(), input.clone()).run(|effect| unmetered(effect, "hi"));
    let Ok(Value::ChatHistory(told)) = outcome.result else { panic!("a conversation") };
    let said: Vec<_> = told.messages.iter().map(|m| (m.role.as_str(), m.content.as_str())).collect();
    assert_eq!(said, [("system", "be kind"), ("user", "hello world"), ("assistant", "hi")]);
    assert_eq!(told.messages[2].timestamp, NOON);
    assert_eq!((told.input_tokens, told.output_tokens, told.model.as_str()), (4, 1, "qwen3:4b"));
    let (outcome, _) = Rig::of(alone, input).replies(&["hi"]);
    let Ok(Value::ChatHistory(told)) = outcome.result else { panic!("a conversation") };
    assert_eq!((told.input_tokens, told.output_tokens), (11, 2), "the backend's own counts");
}

#[test]
fn model_execution_takes_the_wishes_of_a_request_unless_the_chain_has_its_own() {
    let request = json!({"model": "gpt", "temperature": 0.9, "top_p": 0.5, "max_tokens": 7, "stop": "END",
        "messages": [{"role": "user", "content": "hi"}]});
    let input = Value::from_json(request, DataType::OpenaiChat, NOON).expect("a request");
    let (outcome, effects) = Rig::of(one(json!({"handler": "model_execution"})), input.clone()).replies(&["yo"]);
    assert_eq!(outcome.result.map(|value| value.data_type()), Ok(DataType::ChatHistory));
    let [Effect::AskModel { call, route, .. }] = &effects[..] else { panic!("one call") };
    let sampling = &call.sampling;
    assert_eq!((sampling.temperature, sampling.top_p, sampling.max_tokens), (Some(0.9), Some(0.5), Some(7)));
    assert_eq!((sampling.stop.as_slice(), route.names().next()), (&["END".to_owned()][..], Some("gpt")));
    assert_eq!(route.capability, Capability::Chat);

    let own =
        json!({"handler": "model_execution", "execute_config": {"model": "m", "temperature": 0, "max_tokens": 3}});
    let (_, effects) = Rig::of(one(own), input).replies(&["yo"]);
    let [Effect::AskModel { call, route, .. }] = &effects[..] else { panic!("one call") };
    assert_eq!((call.sampling.temperature, call.sampling.max_tokens), (Some(0.0), Some(3)));
    assert_eq!(route.names().collect::<Vec<_>>(), ["m"]);
}

#[test]
fn model_execution_needs_a_conversation() {
    for (input, part) in [
        (Value::Int(1), "needs a chat_history, openai_chat or string, not int"),
        (history(&[], ""), "the conversation has no messages"),
    ] {
        let (outcome, _) = Rig::of(one(json!({"handler": "model_execution"})), input).alone();
        assert!(error_of(&outcome).contains(part), "{}", error_of(&outcome));
    }
    let (outcome, _) = Rig::of(one(json!({"handler": "model_execution"})), Value::string("hi")).replies(&["yo"]);
    assert_eq!(output_of(&outcome)["messages"][0]["role"], "user");
}
