//! The typed values that chains pass from task to task (`docs/workflow-spec.md`, data types).
//!
//! A value never changes and is cheap to clone: whatever can be big sits behind an `Arc`, so that variables, histories
//! and the recorded steps of a run share it. Used by the engine, by `api` for the input and output of a run.

mod convert;
mod extent;
mod openai;
mod text;

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Serialize, Serializer};
use serde_json::Value as Json;
use utoipa::ToSchema;

pub use convert::ConversionError;
pub use openai::{OpenaiChat, OpenaiMessage, one_or_several};
pub use text::number_text;

use crate::domain::message::ChatHistory;

/// The name of a value's type, as `inputType`, `outputType` and a hook's `dataType` spell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum DataType {
    /// Whatever JSON it is.
    Any,
    /// Text.
    String,
    /// True or false.
    Bool,
    /// A whole number of 64 bits.
    Int,
    /// A number.
    Float,
    /// An embedding.
    Vector,
    /// Hits of a vector search.
    SearchResults,
    /// Any JSON, used as data.
    Json,
    /// A conversation.
    ChatHistory,
    /// A request of OpenAI's chat API.
    OpenaiChat,
    /// A reply of OpenAI's chat API.
    OpenaiChatResponse,
}

impl DataType {
    /// Every type, in the order they are documented.
    pub const ALL: [Self; 11] = [
        Self::Any,
        Self::String,
        Self::Bool,
        Self::Int,
        Self::Float,
        Self::Vector,
        Self::SearchResults,
        Self::Json,
        Self::ChatHistory,
        Self::OpenaiChat,
        Self::OpenaiChatResponse,
    ];

    /// The canonical name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::String => "string",
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Float => "float",
            Self::Vector => "vector",
            Self::SearchResults => "search_results",
            Self::Json => "json",
            Self::ChatHistory => "chat_history",
            Self::OpenaiChat => "openai_chat",
            Self::OpenaiChatResponse => "openai_chat_response",
        }
    }
}

/// A text that names no data type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown data type '{0}'; the types are any, string, bool, int, float, vector, search_results, json, chat_history, openai_chat and openai_chat_response"
)]
pub struct UnknownDataType(pub String);

impl FromStr for DataType {
    type Err = UnknownDataType;

    /// Reads a name in any case.
    fn from_str(text: &str) -> Result<Self, UnknownDataType> {
        Self::ALL
            .into_iter()
            .find(|data_type| data_type.as_str().eq_ignore_ascii_case(text.trim()))
            .ok_or_else(|| UnknownDataType(text.to_owned()))
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for DataType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// One hit of a vector search (`docs/api.md`, SearchResult).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SearchResult {
    /// What was found.
    pub id: String,
    /// What kind of thing that is.
    #[serde(rename = "type")]
    pub kind: String,
    /// How far it is from what was asked.
    pub distance: f64,
}

/// A typed value. Its serialised form is its natural JSON.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `any`: JSON that nobody gave a type.
    Any(Arc<Json>),
    /// `string`.
    String(Arc<str>),
    /// `bool`.
    Bool(bool),
    /// `int`.
    Int(i64),
    /// `float`, always finite.
    Float(f64),
    /// `vector`.
    Vector(Arc<[f64]>),
    /// `search_results`.
    SearchResults(Arc<[SearchResult]>),
    /// `json`.
    Json(Arc<Json>),
    /// `chat_history`.
    ChatHistory(Arc<ChatHistory>),
    /// `openai_chat`.
    OpenaiChat(Arc<OpenaiChat>),
    /// `openai_chat_response`: an object that was checked to have `choices`.
    OpenaiChatResponse(Arc<Json>),
}

impl Value {
    /// A text.
    pub fn string(text: impl Into<Arc<str>>) -> Self {
        Self::String(text.into())
    }

    /// JSON as data.
    pub fn json(json: Json) -> Self {
        Self::Json(Arc::new(json))
    }

    /// A conversation.
    pub fn chat_history(history: ChatHistory) -> Self {
        Self::ChatHistory(Arc::new(history))
    }

    /// The type it has.
    pub const fn data_type(&self) -> DataType {
        match self {
            Self::Any(_) => DataType::Any,
            Self::String(_) => DataType::String,
            Self::Bool(_) => DataType::Bool,
            Self::Int(_) => DataType::Int,
            Self::Float(_) => DataType::Float,
            Self::Vector(_) => DataType::Vector,
            Self::SearchResults(_) => DataType::SearchResults,
            Self::Json(_) => DataType::Json,
            Self::ChatHistory(_) => DataType::ChatHistory,
            Self::OpenaiChat(_) => DataType::OpenaiChat,
            Self::OpenaiChatResponse(_) => DataType::OpenaiChatResponse,
        }
    }

    /// Its natural JSON. Serialising the value itself gives the same without a copy.
    pub fn to_json(&self) -> Json {
        match self {
            Self::Any(json) | Self::Json(json) | Self::OpenaiChatResponse(json) => (**json).clone(),
            other => serde_json::to_value(other).unwrap_or(Json::Null),
        }
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Any(json) | Self::Json(json) | Self::OpenaiChatResponse(json) => json.serialize(serializer),
            Self::String(text) => serializer.serialize_str(text),
            Self::Bool(flag) => serializer.serialize_bool(*flag),
            Self::Int(number) => serializer.serialize_i64(*number),
            Self::Float(number) => serializer.serialize_f64(*number),
            Self::Vector(numbers) => numbers.serialize(serializer),
            Self::SearchResults(results) => results.serialize(serializer),
            Self::ChatHistory(history) => history.serialize(serializer),
            Self::OpenaiChat(chat) => chat.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_name_is_read_in_any_case_and_written_in_one() {
        for data_type in DataType::ALL {
            assert_eq!(data_type.as_str().parse(), Ok(data_type));
            assert_eq!(data_type.to_string().to_uppercase().parse(), Ok(data_type));
        }
        let refused = "text".parse::<DataType>().expect_err("no such type");
        assert!(refused.to_string().contains("'text'"), "{refused}");
    }

    #[test]
    fn serialising_a_value_gives_its_natural_json() {
        let history = ChatHistory { model: "m".to_owned(), ..ChatHistory::default() };
        for (value, json) in [
            (Value::string("a"), serde_json::json!("a")),
            (Value::Int(4), serde_json::json!(4)),
            (Value::Float(0.5), serde_json::json!(0.5)),
            (Value::Vector([1.0, 2.5].into()), serde_json::json!([1.0, 2.5])),
            (
                Value::chat_history(history),
                serde_json::json!({"messages": [], "model": "m", "inputTokens": 0, "outputTokens": 0}),
            ),
        ] {
            assert_eq!(value.to_json(), json);
            assert_eq!(serde_json::to_value(&value).expect("serialises"), json);
        }
    }

    #[test]
    fn a_clone_shares_what_it_holds() {
        let value = Value::json(serde_json::json!({"a": [1, 2, 3]}));
        let (Value::Json(one), Value::Json(other)) = (&value, value.clone()) else { panic!("json stays json") };
        assert!(Arc::ptr_eq(one, &other));
    }
}
