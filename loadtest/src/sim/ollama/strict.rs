//! What Ollama refuses of a call before a model sees it, in its own words (`docs/backends.md`, Ollama).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

use crate::sim::call::{Fields, Message};

/// Levels of thinking.
const LEVELS: [&str; 4] = ["high", "medium", "low", "max"];
/// Likeliest tokens that are told at most.
const MAX_TOP_LOGPROBS: usize = 20;

/// Arguments that are no object, pictures that are no base64, levels of thinking and numbers that it does not know.
pub(crate) fn check(fields: &Fields) -> Result<(), String> {
    for message in fields.messages.iter().flatten() {
        arguments(message)?;
        for image in message.encoded_images() {
            STANDARD.decode(image).map_err(|_| "illegal base64 data at input byte 0")?;
        }
    }
    match &fields.think {
        None | Some(Value::Null | Value::Bool(_)) => {}
        Some(Value::String(level)) if LEVELS.contains(&level.as_str()) => {}
        Some(other) => {
            return Err(format!(
                "invalid think value: {other} (must be \"high\", \"medium\", \"low\", \"max\", true, or false)"
            ));
        }
    }
    match fields.top_logprobs {
        Some(others) if others > MAX_TOP_LOGPROBS => {
            Err(format!("top_logprobs must be between 0 and {MAX_TOP_LOGPROBS}"))
        }
        _ => Ok(()),
    }
}

fn arguments(message: &Message) -> Result<(), String> {
    let calls = message.tool_calls.iter().flatten();
    let wrong = calls.filter_map(|call| call.pointer("/function/arguments")).find(|arguments| !arguments.is_object());
    match wrong {
        None => Ok(()),
        Some(wrong) => {
            let kind = match wrong {
                Value::String(_) => "string",
                Value::Array(_) => "array",
                Value::Bool(_) => "bool",
                _ => "number",
            };
            Err(format!(
                "json: cannot unmarshal {kind} into Go struct field ChatRequest.messages.tool_calls.function.arguments of \
                 type api.ToolCallFunctionArguments"
            ))
        }
    }
}
