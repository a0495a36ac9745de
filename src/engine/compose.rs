//! Joining a task's output with an earlier one (`docs/workflow-spec.md`, compose). Pure; neither side is changed.

use std::sync::Arc;

use serde_json::Value as Json;

use crate::domain::{
    message::{ChatHistory, ChatMessage},
    time::Timestamp,
    value::{OpenaiChat, OpenaiMessage, Value},
};

/// Largest conversation a merge may make: a loop that merges one with itself doubles it each time.
const MOST_MESSAGES: usize = 100_000;
const MOST_BYTES: usize = 64 * 1024 * 1024;

/// How two values become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strategy {
    /// Decided by the types of both.
    ByType,
    /// The variable's fields over the output's.
    Override,
    /// The variable's messages before the output's.
    MergeChatHistories,
    /// The string as the first, a system message.
    AppendStringToChatHistory,
}

impl Strategy {
    /// Reads a name; `None` for an unknown one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text.trim() {
            "" => Some(Self::ByType),
            "override" => Some(Self::Override),
            "merge_chat_histories" => Some(Self::MergeChatHistories),
            "append_string_to_chat_history" => Some(Self::AppendStringToChatHistory),
            _ => None,
        }
    }
}

/// `output` joined with the variable `with`. `now` is the time of messages this makes.
///
/// # Errors
/// A text, when the two values are not what the strategy needs.
pub(crate) fn compose(strategy: Strategy, output: &Value, with: &Value, now: Timestamp) -> Result<Value, String> {
    let both_talk = is_conversation(output) && is_conversation(with);
    match strategy {
        Strategy::MergeChatHistories => merge(output, with),
        Strategy::ByType if both_talk => merge(output, with),
        Strategy::ByType | Strategy::Override => overlay(output, with),
        Strategy::AppendStringToChatHistory => append(output, with, now),
    }
}

fn is_conversation(value: &Value) -> bool {
    matches!(value, Value::ChatHistory(_) | Value::OpenaiChat(_))
}

fn unfit(strategy: &str, needs: &str, output: &Value, with: &Value) -> String {
    format!("{strategy} needs {needs}, not {} and {}", output.data_type(), with.data_type())
}

fn overlay(output: &Value, with: &Value) -> Result<Value, String> {
    match (output.to_json(), with.to_json()) {
        (mut under @ Json::Object(_), over @ Json::Object(_)) => {
            lay_over(&mut under, over);
            Ok(Value::json(under))
        }
        _ => Err(unfit("override", "two objects", output, with)),
    }
}

fn lay_over(under: &mut Json, over: Json) {
    match (under, over) {
        (Json::Object(under), Json::Object(over)) => {
            for (key, value) in over {
                match under.get_mut(&key) {
                    Some(below) => lay_over(below, value),
                    None => {
                        under.insert(key, value);
                    }
                }
            }
        }
        (under, over) => *under = over,
    }
}

fn merge(output: &Value, with: &Value) -> Result<Value, String> {
    let (one, other) = (extent(output), extent(with));
    if one.0 + other.0 > MOST_MESSAGES || one.1 + other.1 > MOST_BYTES {
        return Err(format!(
            "the merged conversation would have more than {MOST_MESSAGES} messages or {MOST_BYTES} bytes"
        ));
    }
    if let (Value::ChatHistory(output), Value::ChatHistory(with)) = (output, with) {
        return Ok(Value::chat_history(ChatHistory {
            messages: with.messages.iter().chain(&output.messages).cloned().collect(),
            model: common_model(&output.model, &with.model),
            input_tokens: output.input_tokens.saturating_add(with.input_tokens),
            output_tokens: output.output_tokens.saturating_add(with.output_tokens),
        }));
    }
    let (Some(first), Some(last)) = (openai_messages(with), openai_messages(output)) else {
        return Err(unfit("merge_chat_histories", "two conversations", output, with));
    };
    // With a request on either side the result stays one, so that its settings are kept; the output's come first.
    let settings = [output, with].into_iter().find_map(|value| match value {
        Value::OpenaiChat(chat) => Some(OpenaiChat { messages: Vec::new(), ..(**chat).clone() }),
        _ => None,
    });
    Ok(Value::OpenaiChat(Arc::new(OpenaiChat {
        messages: first.into_iter().chain(last).collect(),
        model: common_model(model_of(output), model_of(with)),
        ..settings.unwrap_or_default()
    })))
}

fn append(output: &Value, with: &Value, now: Timestamp) -> Result<Value, String> {
    match (output, with) {
        (Value::String(text), Value::ChatHistory(history)) | (Value::ChatHistory(history), Value::String(text)) => {
            let system = ChatMessage::new("system", &**text, now);
            Ok(Value::chat_history(ChatHistory {
                messages: std::iter::once(system).chain(history.messages.iter().cloned()).collect(),
                model: history.model.clone(),
                ..ChatHistory::default()
            }))
        }
        _ => Err(unfit("append_string_to_chat_history", "a string and a chat_history", output, with)),
    }
}

fn common_model(one: &str, other: &str) -> String {
    if one == other { one.to_owned() } else { String::new() }
}

fn model_of(value: &Value) -> &str {
    match value {
        Value::ChatHistory(history) => &history.model,
        Value::OpenaiChat(chat) => &chat.model,
        _ => "",
    }
}

/// Messages of a conversation and the bytes they hold.
fn extent(value: &Value) -> (usize, usize) {
    match value {
        Value::ChatHistory(history) => {
            (history.messages.len(), history.messages.iter().map(|message| message.content.len()).sum())
        }
        Value::OpenaiChat(chat) => {
            (chat.messages.len(), chat.messages.iter().map(|message| message.content.len()).sum())
        }
        _ => (0, 0),
    }
}

fn openai_messages(value: &Value) -> Option<Vec<OpenaiMessage>> {
    match value {
        Value::OpenaiChat(chat) => Some(chat.messages.clone()),
        Value::ChatHistory(history) => {
            let plain =
                |message: &ChatMessage| OpenaiMessage { role: message.role.clone(), content: message.content.clone() };
            Some(history.messages.iter().map(plain).collect())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOON: Timestamp = Timestamp::from_micros(1_754_654_400_000_000);

    fn history(model: &str, contents: &[&str], tokens: i64) -> Value {
        let messages = contents.iter().map(|text| ChatMessage::new("user", *text, Timestamp::ZERO)).collect();
        Value::chat_history(ChatHistory { messages, model: model.to_owned(), input_tokens: tokens, output_tokens: 1 })
    }

    fn request(model: &str, contents: &[&str]) -> Value {
        let message = |text: &&str| OpenaiMessage { role: "user".to_owned(), content: (*text).to_owned() };
        let messages = contents.iter().map(message).collect();
        Value::OpenaiChat(Arc::new(OpenaiChat {
            messages,
            model: model.to_owned(),
            temperature: Some(0.5),
            ..OpenaiChat::default()
        }))
    }

    fn joined(strategy: &str, output: &Value, with: &Value) -> Result<Value, String> {
        compose(Strategy::parse(strategy).expect("known"), output, with, NOON)
    }

    fn contents(value: &Value) -> Vec<(String, String)> {
        openai_messages(value).expect("a conversation").into_iter().map(|m| (m.role, m.content)).collect()
    }

    #[test]
    fn override_lays_the_variable_over_the_output_key_by_key() {
        let output = Value::json(json!({"a": 1, "b": {"x": 1, "y": 2}, "c": [1, 2], "keep": true}));
        let with = Value::Any(Arc::new(json!({"a": 0, "b": {"x": null, "z": ""}, "c": false, "new": {}})));
        let composed = json!({"a": 0, "b": {"x": null, "y": 2, "z": ""}, "c": false, "keep": true, "new": {}});
        for strategy in ["override", ""] {
            assert_eq!(joined(strategy, &output, &with), Ok(Value::json(composed.clone())));
        }
        assert_eq!(output.to_json()["a"], 1, "the output's variable stays");
        let refused = joined("override", &output, &Value::string("a")).expect_err("no object");
        assert_eq!(refused, "override needs two objects, not json and string");
    }

    #[test]
    fn merged_conversations_put_the_variables_messages_first_and_add_the_counts() {
        let (output, with) = (history("m", &["new"], 2), history("m", &["old", "older"], 3));
        for strategy in ["merge_chat_histories", ""] {
            let Ok(Value::ChatHistory(merged)) = joined(strategy, &output, &with) else { panic!("merges") };
            let texts: Vec<_> = merged.messages.iter().map(|message| message.content.as_str()).collect();
            assert_eq!(texts, ["old", "older", "new"]);
            assert_eq!((merged.model.as_str(), merged.input_tokens, merged.output_tokens), ("m", 5, 2));
        }
        let Ok(Value::ChatHistory(merged)) = joined("", &output, &history("n", &[], 0)) else { panic!("merges") };
        assert_eq!(merged.model, "");
        assert!(joined("merge_chat_histories", &output, &Value::json(json!({}))).is_err());
    }

    #[test]
    fn a_merge_with_a_request_stays_a_request_with_its_settings() {
        let (chat, chain) = (request("m", &["asked"]), history("m", &["said"], 1));
        for (output, with, order) in [(&chat, &chain, ["said", "asked"]), (&chain, &chat, ["asked", "said"])] {
            let Ok(Value::OpenaiChat(merged)) = joined("", output, with) else { panic!("merges") };
            let texts: Vec<_> = merged.messages.iter().map(|message| message.content.as_str()).collect();
            assert_eq!(texts, order);
            assert_eq!((merged.model.as_str(), merged.temperature), ("m", Some(0.5)));
        }
    }

    #[test]
    fn an_appended_string_becomes_the_first_message_from_either_side() {
        let (text, talk) = (Value::string("be brief"), history("m", &["hi"], 7));
        for (output, with) in [(&text, &talk), (&talk, &text)] {
            let composed = joined("append_string_to_chat_history", output, with).expect("composes");
            let pairs = [("system", "be brief"), ("user", "hi")].map(|(r, c)| (r.to_owned(), c.to_owned()));
            assert_eq!(contents(&composed), pairs);
            let Value::ChatHistory(history) = composed else { panic!("a conversation") };
            assert_eq!((history.model.as_str(), history.input_tokens, history.output_tokens), ("m", 0, 0));
            assert_eq!(history.messages[0].timestamp, NOON);
        }
        assert!(joined("append_string_to_chat_history", &text, &text).is_err());
    }

    #[test]
    fn a_conversation_cannot_be_doubled_without_end() {
        let mut grown = history("m", &["a", "b"], 1);
        let refused = (0..40).find_map(|_| match joined("", &grown, &grown) {
            Ok(merged) => {
                grown = merged;
                None
            }
            Err(refused) => Some(refused),
        });
        assert!(refused.is_some_and(|text| text.contains("more than 100000 messages")));
    }

    #[test]
    fn other_strategies_are_unknown() {
        assert_eq!(Strategy::parse("concat"), None);
    }
}
