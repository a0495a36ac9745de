//! JSON into typed values: the table of `docs/workflow-spec.md`, data types.
//!
//! Serves the input of a run and what a hook returns. Field names inside conversations are matched loosely like all
//! others of the API; JSON that is kept as data is never touched.

use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::{DataType, OpenaiChat, OpenaiMessage, SearchResult, Value, one_or_several, text::loose_text};
use crate::domain::{
    message::{ChatHistory, ChatMessage},
    spelling::folded,
    time::Timestamp,
};

/// Why JSON is not a value of the wanted type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot be read as {wanted}: {reason}")]
pub struct ConversionError {
    /// The type it should have become.
    pub wanted: DataType,
    /// What stood in the way.
    pub reason: String,
}

impl ConversionError {
    pub(super) fn new(wanted: DataType, reason: impl Into<String>) -> Self {
        Self { wanted, reason: reason.into() }
    }
}

impl Value {
    /// Reads JSON as a value of the wanted type. `received` is the time of messages that carry none.
    ///
    /// # Errors
    /// When the JSON cannot be that type.
    pub fn from_json(json: Json, wanted: DataType, received: Timestamp) -> Result<Self, ConversionError> {
        let converted = match wanted {
            DataType::Any => Ok(Self::Any(Arc::new(json))),
            DataType::Json => Ok(Self::json(json)),
            DataType::String => Ok(Self::string(into_text(json))),
            DataType::Bool => bool_of(&json).map(Self::Bool),
            DataType::Int => int_of(&json).map(Self::Int),
            DataType::Float => float_of(&json).map(Self::Float),
            DataType::Vector => vector_of(&json).map(|numbers| Self::Vector(numbers.into())),
            DataType::SearchResults => search_results_of(&json).map(|hits| Self::SearchResults(hits.into())),
            DataType::ChatHistory => history_of(&json, received).map(Self::chat_history),
            DataType::OpenaiChat => openai_chat_of(&json).map(|chat| Self::OpenaiChat(Arc::new(chat))),
            DataType::OpenaiChatResponse => match json.get("choices") {
                Some(Json::Array(_)) => Ok(Self::OpenaiChatResponse(Arc::new(json))),
                _ => Err("expected an object with the array 'choices'".to_owned()),
            },
        };
        converted.map_err(|reason| ConversionError::new(wanted, reason))
    }

    /// Reads JSON whose type nobody named: `string`, `bool`, `int`, `float`, else `json`.
    pub fn infer(json: Json) -> Self {
        match json {
            Json::String(text) => Self::string(text),
            Json::Bool(flag) => Self::Bool(flag),
            Json::Number(ref number) => match (number.as_i64(), number.as_f64()) {
                (Some(whole), _) => Self::Int(whole),
                (None, Some(float)) => Self::Float(float),
                (None, None) => Self::json(json),
            },
            other => Self::json(other),
        }
    }
}

type Read<T> = Result<T, String>;

fn into_text(json: Json) -> String {
    match json {
        Json::String(text) => text,
        Json::Object(mut fields) if matches!(fields.get("value"), Some(Json::String(_))) => {
            fields.remove("value").map_or_else(String::new, into_text)
        }
        other => loose_text(&other).into_owned(),
    }
}

fn bool_of(json: &Json) -> Read<bool> {
    match json {
        Json::Bool(flag) => Ok(*flag),
        Json::Number(number) => Ok(number.as_f64() != Some(0.0)),
        Json::String(text) => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "t" | "1" => Ok(true),
            "false" | "f" | "0" => Ok(false),
            _ => Err(format!("expected true or false, found {}", found(json))),
        },
        _ => Err(format!("expected true or false, found {}", found(json))),
    }
}

fn int_of(json: &Json) -> Read<i64> {
    let whole = match json {
        Json::Number(number) if number.is_f64() => number.as_f64().and_then(truncated),
        Json::Number(number) => number.as_i64(),
        Json::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    whole.ok_or_else(|| format!("expected a whole number of 64 bits, found {}", found(json)))
}

/// Toward zero; `None` outside 64 bits.
fn truncated(float: f64) -> Option<i64> {
    const BOUND: f64 = 9_223_372_036_854_775_808.0;
    #[expect(clippy::cast_possible_truncation, reason = "dropping the fraction is the rule, the bounds are checked")]
    (-BOUND..BOUND).contains(&float).then_some(float as i64)
}

fn float_of(json: &Json) -> Read<f64> {
    let number = match json {
        Json::Number(number) => number.as_f64(),
        Json::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    // Rust reads "inf" and "nan" as numbers; JSON has neither.
    number.filter(|float| float.is_finite()).ok_or_else(|| format!("expected a number, found {}", found(json)))
}

fn vector_of(json: &Json) -> Read<Vec<f64>> {
    let Json::Array(items) = json else { return Err(format!("expected an array of numbers, found {}", found(json))) };
    let number = |(at, item): (usize, &Json)| item.as_f64().ok_or_else(|| format!("item {at} is {}", found(item)));
    items.iter().enumerate().map(number).collect()
}

fn search_results_of(json: &Json) -> Read<Vec<SearchResult>> {
    let Json::Array(items) = json else { return Err(format!("expected an array, found {}", found(json))) };
    items
        .iter()
        .map(|item| {
            let fields = Fields::of(item, "search result")?;
            Ok(SearchResult {
                id: fields.text("id")?,
                kind: fields.text("type")?,
                distance: fields.number("distance")?.unwrap_or(0.0),
            })
        })
        .collect()
}

fn history_of(json: &Json, received: Timestamp) -> Read<ChatHistory> {
    let fields = Fields::of(json, "conversation")?;
    let messages = fields.messages(|message| {
        let timestamp = match message.text("timestamp")?.as_str() {
            "" => received,
            text => text.parse().map_err(|error| format!("timestamp: {error}"))?,
        };
        let (id, role, content) = (message.text("id")?, message.required_text("role")?, message.text("content")?);
        Ok(ChatMessage { id, role, content, timestamp })
    })?;
    Ok(ChatHistory {
        messages,
        model: fields.text("model")?,
        input_tokens: fields.whole("inputTokens")?,
        output_tokens: fields.whole("outputTokens")?,
    })
}

fn openai_chat_of(json: &Json) -> Read<OpenaiChat> {
    let fields = Fields::of(json, "chat request")?;
    Ok(OpenaiChat {
        model: fields.text("model")?,
        messages: fields.messages(|message| {
            Ok(OpenaiMessage { role: message.required_text("role")?, content: message.content()? })
        })?,
        max_tokens: fields.count("max_tokens")?,
        temperature: fields.number("temperature")?,
        top_p: fields.number("top_p")?,
        stop: fields.texts("stop")?,
        n: fields.count("n")?,
        stream: match fields.get("stream") {
            None => false,
            Some(Json::Bool(flag)) => *flag,
            Some(other) => return Err(format!("'stream' must be true or false, not {}", found(other))),
        },
        presence_penalty: fields.number("presence_penalty")?,
        frequency_penalty: fields.number("frequency_penalty")?,
        user: fields.text("user")?,
    })
}

/// An object read field by field: names matched loosely, null as absent, absent scalars as their zero.
struct Fields<'a>(&'a Map<String, Json>);

impl<'a> Fields<'a> {
    fn of(json: &'a Json, what: &str) -> Read<Self> {
        json.as_object().map(Self).ok_or_else(|| format!("a {what} must be an object, not {}", found(json)))
    }

    fn get(&self, name: &str) -> Option<&'a Json> {
        let loose = || {
            let wanted = folded(name);
            self.0.iter().filter(|(key, _)| folded(key) == wanted).map(|(_, value)| value).next_back()
        };
        self.0.get(name).or_else(loose).filter(|value| !value.is_null())
    }

    fn text(&self, name: &str) -> Read<String> {
        match self.get(name) {
            None => Ok(String::new()),
            Some(Json::String(text)) => Ok(text.clone()),
            Some(other) => Err(format!("'{name}' must be a string, not {}", found(other))),
        }
    }

    fn required_text(&self, name: &str) -> Read<String> {
        let text = self.text(name)?;
        if text.is_empty() { Err(format!("a message has no '{name}'")) } else { Ok(text) }
    }

    fn number(&self, name: &str) -> Read<Option<f64>> {
        match self.get(name) {
            None => Ok(None),
            Some(Json::Number(number)) => Ok(number.as_f64()),
            Some(other) => Err(format!("'{name}' must be a number, not {}", found(other))),
        }
    }

    fn whole(&self, name: &str) -> Read<i64> {
        let Some(value) = self.get(name) else { return Ok(0) };
        value.as_i64().ok_or_else(|| format!("'{name}' must be a whole number, not {}", found(value)))
    }

    fn count(&self, name: &str) -> Read<u32> {
        u32::try_from(self.whole(name)?).map_err(|_| format!("'{name}' is out of range"))
    }

    fn texts(&self, name: &str) -> Read<Vec<String>> {
        one_or_several(self.get(name)).ok_or_else(|| format!("'{name}' must be a string or an array of strings"))
    }

    /// The text of `content`, or its text parts joined.
    fn content(&self) -> Read<String> {
        let Some(Json::Array(parts)) = self.get("content") else { return self.text("content") };
        Ok(parts.iter().filter_map(|part| part.get("text").and_then(Json::as_str)).collect())
    }

    fn messages<T>(&self, read: impl Fn(&Fields<'a>) -> Read<T>) -> Read<Vec<T>> {
        let Some(Json::Array(items)) = self.get("messages") else {
            return Err("expected an object with the array 'messages'".to_owned());
        };
        items.iter().map(|item| read(&Fields::of(item, "message")?)).collect()
    }
}

/// What was found instead, for a message: never more than a short piece of the sender's data.
fn found(json: &Json) -> String {
    match json {
        Json::Null => "nothing".to_owned(),
        Json::Bool(flag) => flag.to_string(),
        Json::Number(number) => number.to_string(),
        Json::String(text) if text.chars().count() <= 40 => format!("'{text}'"),
        Json::String(_) => "a long string".to_owned(),
        Json::Array(_) => "an array".to_owned(),
        Json::Object(_) => "an object".to_owned(),
    }
}

#[cfg(test)]
mod tests;
