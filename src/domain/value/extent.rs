//! How much memory values hold, for those who keep many of them.

use std::{mem::size_of, sync::Arc};

use serde_json::Value as Json;

use super::{OpenaiMessage, SearchResult, Value};
use crate::domain::message::ChatMessage;

impl Value {
    /// About how many bytes of memory it holds, shared or not. Costs a look at every part of it.
    pub fn extent(&self) -> usize {
        let parts = match self {
            Self::Bool(_) | Self::Int(_) | Self::Float(_) => 0,
            Self::String(text) => text.len(),
            Self::Vector(numbers) => size_of::<f64>() * numbers.len(),
            Self::Any(json) | Self::Json(json) | Self::OpenaiChatResponse(json) => of_json(json),
            Self::SearchResults(results) => {
                results.iter().map(|result| size_of::<SearchResult>() + result.id.len() + result.kind.len()).sum()
            }
            Self::ChatHistory(history) => history
                .messages
                .iter()
                .map(|said| size_of::<ChatMessage>() + said.id.len() + said.role.len() + said.content.len())
                .sum(),
            Self::OpenaiChat(chat) => {
                chat.messages
                    .iter()
                    .map(|said| size_of::<OpenaiMessage>() + said.role.len() + said.content.len())
                    .sum::<usize>()
                    + chat.stop.iter().map(String::len).sum::<usize>()
            }
        };
        size_of::<Self>() + parts
    }

    /// Whether both are clones of one value and so hold the same memory. Numbers and booleans hold none.
    pub fn shares_with(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any(a), Self::Any(b))
            | (Self::Json(a), Self::Json(b))
            | (Self::OpenaiChatResponse(a), Self::OpenaiChatResponse(b)) => Arc::ptr_eq(a, b),
            (Self::String(a), Self::String(b)) => Arc::ptr_eq(a, b),
            (Self::Vector(a), Self::Vector(b)) => Arc::ptr_eq(a, b),
            (Self::SearchResults(a), Self::SearchResults(b)) => Arc::ptr_eq(a, b),
            (Self::ChatHistory(a), Self::ChatHistory(b)) => Arc::ptr_eq(a, b),
            (Self::OpenaiChat(a), Self::OpenaiChat(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

fn of_json(json: &Json) -> usize {
    let parts = match json {
        Json::Null | Json::Bool(_) | Json::Number(_) => 0,
        Json::String(text) => text.len(),
        Json::Array(items) => items.iter().map(of_json).sum(),
        // Beside the value: the name, its hash and its place in the index.
        Json::Object(fields) => fields
            .iter()
            .map(|(name, value)| size_of::<String>() + 2 * size_of::<usize>() + name.len() + of_json(value))
            .sum(),
    };
    size_of::<Json>() + parts
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_extent_grows_with_what_is_held() {
        for (small, large, at_least) in [
            (Value::string("a"), Value::string("a".repeat(1001)), 1000),
            (Value::Vector([1.0].into()), Value::Vector(vec![1.0; 101].into()), 800),
            (Value::json(json!([1])), Value::json(json!(vec![1; 101])), 100 * size_of::<Json>()),
            (Value::json(json!({})), Value::json(json!({"a": "x".repeat(1000)})), 1000),
            (Value::json(json!({})), Value::json(json!({"x".repeat(1000): 1})), 1000),
        ] {
            assert!(large.extent() - small.extent() >= at_least, "{small:?}");
        }
    }

    #[test]
    fn only_clones_share() {
        let value = Value::json(json!([1]));
        assert!(value.shares_with(&value.clone()));
        assert!(!value.shares_with(&Value::json(json!([1]))));
        assert!(!Value::Int(1).shares_with(&Value::Int(1)));
    }
}
