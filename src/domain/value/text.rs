//! Values as text: what a model is asked, and what a recorded step shows.

use std::borrow::Cow;

use serde_json::Value as Json;

use super::{ConversionError, DataType, Value};

impl Value {
    /// The text a model is asked when this value is a task's input (`docs/workflow-spec.md`, prompt text).
    ///
    /// # Errors
    /// A conversation without messages has none.
    pub fn prompt_text(&self) -> Result<Cow<'_, str>, ConversionError> {
        let last = match self {
            Self::ChatHistory(history) => history.messages.last().map(|message| &message.content),
            Self::OpenaiChat(chat) => chat.messages.last().map(|message| &message.content),
            other => return Ok(other.debug_text()),
        };
        match last {
            Some(content) => Ok(Cow::Borrowed(content)),
            None => Err(ConversionError::new(DataType::String, format!("the {} has no messages", self.data_type()))),
        }
    }

    /// What a recorded step shows of it: strings as they are, numbers and booleans as text, all else compact JSON.
    pub fn debug_text(&self) -> Cow<'_, str> {
        match self {
            Self::String(text) => Cow::Borrowed(text),
            Self::Bool(flag) => Cow::Borrowed(bool_text(*flag)),
            Self::Int(number) => Cow::Owned(number.to_string()),
            Self::Float(number) => Cow::Owned(number_text(*number)),
            Self::Any(json) => loose_text(json),
            other => Cow::Owned(compact(other)),
        }
    }
}

/// JSON that nobody gave a type, as text by what it really is; null is nothing.
pub(super) fn loose_text(json: &Json) -> Cow<'_, str> {
    match json {
        Json::Null => Cow::Borrowed(""),
        Json::Bool(flag) => Cow::Borrowed(bool_text(*flag)),
        Json::Number(number) => Cow::Owned(match number.as_f64() {
            Some(float) if number.is_f64() => number_text(float),
            _ => number.to_string(),
        }),
        Json::String(text) => Cow::Borrowed(text),
        Json::Array(_) | Json::Object(_) => Cow::Owned(compact(json)),
    }
}

/// A number as plain decimal text: the shortest that reads back the same, never with an exponent, `7` for 7.0.
pub fn number_text(number: f64) -> String {
    // `-0` would be the only whole number that prints otherwise than its integer.
    if number == 0.0 { "0".to_owned() } else { number.to_string() }
}

const fn bool_text(flag: bool) -> &'static str {
    if flag { "true" } else { "false" }
}

fn compact(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
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

    fn history(contents: &[&str]) -> Value {
        let messages = contents.iter().map(|text| ChatMessage::new("user", *text, Timestamp::ZERO)).collect();
        Value::chat_history(ChatHistory { messages, ..ChatHistory::default() })
    }

    #[test]
    fn prompt_text_is_the_value_itself_the_last_message_or_compact_json() {
        for (value, text) in [
            (Value::string("a b"), "a b"),
            (Value::Int(-4), "-4"),
            (Value::Float(0.5), "0.5"),
            (Value::Float(1_000_000.0), "1000000"),
            (Value::Float(1e21), "1000000000000000000000"),
            (Value::Float(-0.0), "0"),
            (Value::Bool(true), "true"),
            (Value::Vector([0.25, 1.0].into()), "[0.25,1.0]"),
            (Value::json(json!({"b": 1, "a": "x"})), r#"{"b":1,"a":"x"}"#),
            (Value::json(json!("x")), r#""x""#),
            (Value::Any(Arc::new(json!("x"))), "x"),
            (Value::Any(Arc::new(json!(null))), ""),
            (Value::Any(Arc::new(json!(2.0))), "2"),
            (Value::Any(Arc::new(json!([1]))), "[1]"),
            (history(&["one", "two"]), "two"),
        ] {
            assert_eq!(value.prompt_text().expect("has a text"), text, "{value:?}");
        }
    }

    #[test]
    fn a_conversation_without_messages_has_no_prompt_text() {
        let refused = history(&[]).prompt_text().expect_err("nothing to ask");
        assert!(refused.to_string().contains("no messages"), "{refused}");
    }

    #[test]
    fn a_recorded_step_shows_a_conversation_whole() {
        assert!(history(&["one"]).debug_text().starts_with(r#"{"messages":[{"#));
    }
}
