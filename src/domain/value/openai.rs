//! A request of OpenAI's chat API as a chain carries it (`docs/api.md`, OpenAI chat types).
//!
//! It is read by `convert`, used by the task that runs a chat, and written back with everything unset left out.

use serde::Serialize;
use serde_json::Value as Json;

/// One message: only who and what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OpenaiMessage {
    /// `system`, `user`, `assistant`.
    pub role: String,
    /// The text; the text parts joined where the sender gave parts.
    pub content: String,
}

/// The request.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct OpenaiChat {
    /// The wanted model, empty when none was named.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub model: String,
    /// Oldest first.
    pub messages: Vec<OpenaiMessage>,
    /// Tokens the reply may have, 0 = unset.
    #[serde(skip_serializing_if = "is_zero")]
    pub max_tokens: u32,
    /// How freely the reply is drawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Nucleus sampling bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// Texts that end the reply.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    /// Replies wanted, 0 = unset.
    #[serde(skip_serializing_if = "is_zero")]
    pub n: u32,
    /// Whether the sender wanted a stream.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub stream: bool,
    /// Penalty for what was said at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub presence_penalty: Option<f64>,
    /// Penalty for what was said often.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frequency_penalty: Option<f64>,
    /// Who asks, as the sender names them.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
}

/// The texts of a field that may hold one or an array of them; absent, none. `None` for anything else.
pub fn one_or_several(field: Option<&Json>) -> Option<Vec<String>> {
    let text = |item: &Json| item.as_str().map(str::to_owned);
    match field {
        None => Some(Vec::new()),
        Some(Json::Array(items)) => items.iter().map(text).collect(),
        Some(single) => text(single).map(|text| vec![text]),
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}
