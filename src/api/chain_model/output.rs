//! What a run gives, as a model's reply.

use serde_json::Value as Json;

use crate::{
    domain::{
        chat::{ChatReply, Finish, Said, ToolCall, Usage},
        value::Value,
    },
    engine::StateUnit,
};

/// The reply that a run's output is: that of OpenAI's chat API as it stands, else one choice of text. `finish`: why the
/// reply of the model ended whose text it is, where the run tells.
pub(super) fn reply(output: &Value, state: &[StateUnit], finish: Option<Finish>) -> ChatReply {
    let mut reply = as_it_stands(output, state);
    // A chain itself never says so.
    if let (Some(Finish::Length), [only]) = (finish, reply.choices.as_mut_slice()) {
        only.finish = Some(Finish::Length);
    }
    reply
}

fn as_it_stands(output: &Value, state: &[StateUnit]) -> ChatReply {
    let text = match output {
        Value::OpenaiChatResponse(response) => return of_response(response, state),
        Value::ChatHistory(history) => history.messages.last().map_or_else(String::new, |last| last.content.clone()),
        other => other.debug_text().into_owned(),
    };
    let said = Said { text, finish: Some(Finish::Stop), ..Said::default() };
    ChatReply { choices: vec![said], usage: spent(state) }
}

/// Tokens of all calls of a run, where anybody told any.
fn spent(state: &[StateUnit]) -> Usage {
    let sum = |tokens: fn(&StateUnit) -> Option<u64>| state.iter().filter_map(tokens).reduce(u64::saturating_add);
    Usage {
        input_tokens: sum(|unit| unit.input_tokens),
        output_tokens: sum(|unit| unit.output_tokens),
        ..Usage::default()
    }
}

fn of_response(response: &Json, state: &[StateUnit]) -> ChatReply {
    let choices = response.get("choices").and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
    let mut choices: Vec<Said> = choices.iter().map(said).collect();
    if choices.is_empty() {
        choices.push(Said { finish: Some(Finish::Stop), ..Said::default() });
    }
    let count = |at: &str| response.pointer(at).and_then(Json::as_u64);
    let usage = Usage {
        input_tokens: count("/usage/prompt_tokens"),
        output_tokens: count("/usage/completion_tokens"),
        cached_tokens: count("/usage/prompt_tokens_details/cached_tokens"),
        reasoning_tokens: count("/usage/completion_tokens_details/reasoning_tokens"),
        ..Usage::default()
    };
    ChatReply { choices, usage: if usage == Usage::default() { spent(state) } else { usage } }
}

fn said(choice: &Json) -> Said {
    let text = |at: &str| choice.pointer(at).and_then(Json::as_str).unwrap_or_default().to_owned();
    let calls = choice.pointer("/message/tool_calls").and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
    Said {
        text: text("/message/content"),
        reasoning: match text("/message/reasoning_content") {
            none if none.is_empty() => text("/message/reasoning"),
            reasoning => reasoning,
        },
        tool_calls: calls.iter().map(tool_call).collect(),
        logprobs: choice.get("logprobs").filter(|logprobs| logprobs.is_object()).cloned(),
        finish: Some(match choice.get("finish_reason").and_then(Json::as_str) {
            Some("length") => Finish::Length,
            Some("tool_calls" | "function_call") => Finish::ToolCalls,
            Some("content_filter") => Finish::ContentFilter,
            _ => Finish::Stop,
        }),
    }
}

fn tool_call(call: &Json) -> ToolCall {
    let text = |at: &str| call.pointer(at).and_then(Json::as_str).unwrap_or_default().to_owned();
    ToolCall {
        id: text("/id"),
        name: text("/function/name"),
        arguments: text("/function/arguments"),
        signature: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::domain::{
        message::{ChatHistory, ChatMessage},
        time::Timestamp,
    };

    #[test]
    fn the_last_message_the_text_and_compact_json_are_replies() {
        let message = |text: &str| ChatMessage::new("assistant", text, Timestamp::ZERO);
        let history = ChatHistory { messages: vec![message("one"), message("two")], ..ChatHistory::default() };
        for (value, text) in [
            (Value::chat_history(history), "two"),
            (Value::chat_history(ChatHistory::default()), ""),
            (Value::string("a b"), "a b"),
            (Value::Int(7), "7"),
            (Value::json(json!({"b": [1, 2], "a": "x"})), r#"{"b":[1,2],"a":"x"}"#),
        ] {
            let reply = reply(&value, &[], None);
            assert_eq!((reply.choices.len(), reply.choices[0].text.as_str()), (1, text));
            assert_eq!((reply.choices[0].finish, reply.usage), (Some(Finish::Stop), Usage::default()));
        }
    }

    #[test]
    fn a_response_is_told_with_all_it_holds() {
        let call = json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}});
        let response = json!({"choices": [
                {"message": {"role": "assistant", "content": "hi", "reasoning_content": "hm"}, "finish_reason": "length"},
                {"message": {"content": null, "tool_calls": [call]}, "finish_reason": "tool_calls"}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 4}});
        let reply = reply(&Value::OpenaiChatResponse(Arc::new(response)), &[], None);
        let [first, second] = reply.choices.as_slice() else { panic!("two choices") };
        assert_eq!((first.text.as_str(), first.reasoning.as_str(), first.finish), ("hi", "hm", Some(Finish::Length)));
        assert_eq!((second.tool_calls[0].name.as_str(), second.finish), ("f", Some(Finish::ToolCalls)));
        assert_eq!((reply.usage.input_tokens, reply.usage.output_tokens), (Some(3), Some(4)));
    }

    #[test]
    fn a_text_that_was_cut_says_so() {
        let cut = reply(&Value::string("half a"), &[], Some(Finish::Length));
        assert_eq!(cut.choices[0].finish, Some(Finish::Length));
    }

    #[test]
    fn a_response_without_choices_is_an_empty_reply() {
        let reply = reply(&Value::OpenaiChatResponse(Arc::new(json!({"choices": []}))), &[], None);
        assert_eq!((reply.choices.len(), reply.choices[0].text.as_str()), (1, ""));
    }
}
