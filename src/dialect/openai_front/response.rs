//! The response object, whole: what was asked for repeated, and what the model said as items.

use serde_json::{Map, Value as Json, json};

use super::{Stamp, reply::call_id};
use crate::domain::chat::{ChatReply, Finish, Said, ToolCall, Usage};

/// What the object tells apart from what the model said.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    /// What is new in it.
    pub stamp: Stamp,
    /// What it repeats of its request.
    pub repeated: Map<String, Json>,
}

/// Where a response is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Running,
    /// Over, for this reason.
    Ended(Option<Finish>),
    Failed,
}

/// The answer of `POST /v1/responses`.
pub fn response(reply: &ChatReply, frame: &Frame) -> Json {
    let nothing = Said::default();
    let said = reply.choices.first().unwrap_or(&nothing);
    let mut output = Vec::new();
    if !said.reasoning.is_empty() {
        output.push(reasoning_item(&frame.item_id("rs", output.len()), &said.reasoning));
    }
    if !said.text.is_empty() || said.tool_calls.is_empty() {
        let id = frame.item_id("msg", output.len());
        let logprobs = said.logprobs.as_ref().map(logprobs_of).unwrap_or_default();
        output.push(message_item(&id, "completed", vec![text_part(&said.text, &logprobs)]));
    }
    for (index, call) in (0u32..).zip(&said.tool_calls) {
        let id = frame.item_id("fc", output.len());
        let call_id = call_id(&call.id, &frame.stamp, 0, index);
        output.push(call_item(&id, "completed", &call_id, call));
    }
    frame.object(Status::Ended(said.finish), output, Some(reply.usage), Json::Null)
}

impl Frame {
    /// The id of the item at this place.
    pub(super) fn item_id(&self, kind: &str, place: usize) -> String {
        format!("{kind}_{}{place:03x}", self.stamp.id)
    }

    /// The object. `usage` is told when all is said.
    pub(super) fn object(&self, status: Status, output: Vec<Json>, usage: Option<Usage>, error: Json) -> Json {
        let (word, incomplete) = match status {
            Status::Running => ("in_progress", Json::Null),
            Status::Failed => ("failed", Json::Null),
            Status::Ended(Some(Finish::Length)) => ("incomplete", json!({"reason": "max_output_tokens"})),
            Status::Ended(Some(Finish::ContentFilter)) => ("incomplete", json!({"reason": "content_filter"})),
            Status::Ended(_) => ("completed", Json::Null),
        };
        let mut object = Map::new();
        for (name, value) in [
            ("id", json!(format!("resp_{}", self.stamp.id))),
            ("object", json!("response")),
            ("created_at", json!(self.stamp.created)),
            ("status", json!(word)),
            ("background", json!(false)),
            ("error", error),
            ("incomplete_details", incomplete),
            ("model", json!(self.stamp.model)),
            ("output", Json::Array(output)),
            ("previous_response_id", Json::Null),
            ("store", json!(false)),
            ("truncation", json!("disabled")),
            ("usage", usage.map_or(Json::Null, usage_body)),
        ] {
            object.insert(name.to_owned(), value);
        }
        object.extend(self.repeated.clone());
        Json::Object(object)
    }
}

/// Clients expect numbers: what the backend did not tell is 0.
fn usage_body(usage: Usage) -> Json {
    let (input, output) = (usage.input_tokens.unwrap_or_default(), usage.output_tokens.unwrap_or_default());
    json!({
        "input_tokens": input,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens.unwrap_or_default()},
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens.unwrap_or_default()},
        "total_tokens": input.saturating_add(output),
    })
}

/// What the model thought, in the open.
pub(super) fn reasoning_item(id: &str, text: &str) -> Json {
    json!({"id": id, "type": "reasoning", "summary": [], "content": [reasoning_part(text)]})
}

pub(super) fn reasoning_part(text: &str) -> Json {
    json!({"type": "reasoning_text", "text": text})
}

/// What the model said.
pub(super) fn message_item(id: &str, status: &str, content: Vec<Json>) -> Json {
    json!({"id": id, "type": "message", "status": status, "role": "assistant", "content": content})
}

pub(super) fn text_part(text: &str, logprobs: &[Json]) -> Json {
    json!({"type": "output_text", "annotations": [], "logprobs": logprobs, "text": text})
}

/// A call of a tool.
pub(super) fn call_item(id: &str, status: &str, call_id: &str, call: &ToolCall) -> Json {
    json!({
        "id": id, "type": "function_call", "status": status, "arguments": call.arguments, "call_id": call_id,
        "name": call.name,
    })
}

/// Those of the tokens of the answer.
pub(super) fn logprobs_of(logprobs: &Json) -> Vec<Json> {
    logprobs.get("content").and_then(Json::as_array).cloned().unwrap_or_default()
}
