//! The command a text begins with, for `parse_transition` (`docs/workflow-spec.md`). Pure; no model is asked.

use crate::domain::value::Value;

/// The transition value of text without a command.
const PASS: &str = "pass";

/// The word behind a leading slash, `pass` for other text, nothing for nothing.
///
/// # Errors
/// A slash without a word, and a conversation without messages.
pub(crate) fn of(input: &Value) -> Result<String, String> {
    let text = match input {
        // As JSON it is never empty and never begins with a slash, so it need not be written.
        Value::Vector(_) | Value::SearchResults(_) | Value::Json(_) | Value::OpenaiChatResponse(_) => PASS.into(),
        Value::Any(json) if json.is_array() || json.is_object() => PASS.into(),
        other => other.prompt_text().map_err(|error| format!("the input {error}"))?,
    };
    in_text(&text)
}

fn in_text(text: &str) -> Result<String, String> {
    let text = text.trim_start();
    match text.strip_prefix('/') {
        None if text.is_empty() => Ok(String::new()),
        None => Ok(PASS.to_owned()),
        Some(command) => match command.split(char::is_whitespace).next() {
            None | Some("") => Err("a slash is followed by no word".to_owned()),
            Some(word) => Ok(word.to_owned()),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::domain::message::ChatHistory;

    #[test]
    fn a_leading_word_with_a_slash_is_the_command() {
        for (text, command) in [
            ("/help", "help"),
            ("/help me now", "help"),
            ("  /help\tme", "help"),
            ("/Help\n", "Help"),
            ("/naïve café", "naïve"),
            ("//x", "/x"),
            ("/a/b c", "a/b"),
            ("help", "pass"),
            ("see /help", "pass"),
            ("1/2", "pass"),
            ("", ""),
            (" \n", ""),
        ] {
            assert_eq!(in_text(text).as_deref(), Ok(command), "{text:?}");
        }
        for text in ["/", " / ", "/ help", "/\nhelp"] {
            assert!(in_text(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn any_value_is_looked_at_by_its_text() {
        for (value, command) in [
            (Value::Int(7), "pass"),
            (Value::Bool(true), "pass"),
            (Value::json(json!("/help")), "pass"),
            (Value::json(json!({})), "pass"),
            (Value::Vector([1.0].into()), "pass"),
            (Value::Any(Arc::new(json!("/help"))), "help"),
            (Value::Any(Arc::new(json!(["/help"]))), "pass"),
            (Value::Any(Arc::new(json!(null))), ""),
        ] {
            assert_eq!(of(&value).as_deref(), Ok(command), "{value:?}");
        }
        let refused = of(&Value::chat_history(ChatHistory::default())).expect_err("no messages");
        assert!(refused.contains("no messages"), "{refused}");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_and_a_word_is_found_again(text in any::<String>(), word in "[^\\s]{1,12}") {
            prop_assert!(in_text(&text).is_ok() || text.trim_start().starts_with('/'));
            prop_assert_eq!(in_text(&format!("/{word} {text}")), Ok(word));
        }
    }
}
