//! `POST /api/chat`, and what it has in common with `generate`.

use std::sync::Arc;

use serde_json::Value as Json;

use super::{Read, ReadError, Wish, fields::Fields, keep_alive, messages, options};
use crate::domain::{
    chat::{ChatCall, Thinking},
    message::Constraint,
};

/// How hard a model may be told to think.
const EFFORTS: [&str; 5] = ["minimal", "low", "medium", "high", "max"];
/// Likeliest tokens that may be told of each.
const MAX_TOP_LOGPROBS: u32 = 20;

pub(super) fn read(at: &Fields<'_>) -> Result<Wish<ChatCall>, ReadError> {
    let call = ChatCall { messages: messages::read(at)?, tools: messages::tools(at)?, ..common(at)? };
    Ok(match (call.messages.is_empty(), keep_alive::is_none(at)?) {
        (false, _) => Wish::Ask(call),
        (true, false) => Wish::Load,
        (true, true) => Wish::Unload,
    })
}

/// The fields of both routes.
pub(super) fn common(at: &Fields<'_>) -> Read<ChatCall> {
    Ok(ChatCall {
        sampling: options::read(at)?,
        constraint: format(at)?,
        thinking: thinking(at)?,
        logprobs: logprobs(at)?,
        ..ChatCall::default()
    })
}

fn format(at: &Fields<'_>) -> Read<Option<Constraint>> {
    match at.get("format") {
        None => Ok(None),
        Some(Json::String(text)) if text.is_empty() => Ok(None),
        Some(Json::String(text)) if text == "json" => Ok(Some(Constraint::Json)),
        Some(schema @ Json::Object(_)) => Ok(Some(Constraint::Schema(Arc::new(schema.clone())))),
        Some(_) => at.wrong("format", "\"json\" or a JSON Schema object"),
    }
}

fn thinking(at: &Fields<'_>) -> Read<Option<Thinking>> {
    match at.get("think") {
        None => Ok(None),
        Some(Json::Bool(false)) => Ok(Some(Thinking::Off)),
        Some(Json::Bool(true)) => Ok(Some(Thinking::On)),
        Some(Json::String(effort)) if EFFORTS.contains(&effort.as_str()) => Ok(Some(Thinking::Effort(effort.clone()))),
        Some(_) => at.wrong("think", &format!("true, false or one of {}", EFFORTS.join(", "))),
    }
}

fn logprobs(at: &Fields<'_>) -> Read<Option<u32>> {
    let top = at.count("top_logprobs")?;
    if top.is_some_and(|top| top > MAX_TOP_LOGPROBS) {
        return at.wrong("top_logprobs", &format!("a whole number from 0 to {MAX_TOP_LOGPROBS}"));
    }
    Ok(at.flag("logprobs")?.unwrap_or(false).then_some(top.unwrap_or(0)))
}
