//! What Ollama answers, a whole reply or a line of a stream: both have the same form.

use serde::Deserialize;
use serde_json::{Value, json};

use super::WorkTimes;
use crate::{
    dialect::{call_id, error_body::parse_error, json, reply::ReplyError, tool_arguments::text_of},
    domain::chat::{ChatReply, Finish, ReplyEvent, ToolCall, Usage},
};

#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    created_at: Option<String>,
    /// Of `/api/generate`.
    #[serde(default)]
    response: Option<String>,
    /// Of `/api/generate`, beside the response.
    #[serde(default)]
    thinking: Option<String>,
    /// Of `/api/chat`.
    #[serde(default)]
    message: Option<Message>,
    #[serde(default)]
    logprobs: Option<Vec<Value>>,
    #[serde(default)]
    done: bool,
    #[serde(default)]
    done_reason: Option<String>,
    #[serde(default)]
    prompt_eval_count: Option<u64>,
    #[serde(default)]
    eval_count: Option<u64>,
    #[serde(default)]
    load_duration: Option<u64>,
    #[serde(default)]
    prompt_eval_duration: Option<u64>,
    #[serde(default)]
    eval_duration: Option<u64>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    thinking: Option<String>,
    #[serde(default)]
    tool_calls: Option<Vec<Call>>,
}

#[derive(Deserialize)]
struct Call {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    function: Option<Function>,
}

#[derive(Deserialize)]
struct Function {
    #[serde(default)]
    name: String,
    #[serde(default)]
    arguments: Value,
}

/// Reads the lines of one reply.
#[derive(Debug, Default)]
pub(super) struct LineReader {
    /// Calls of tools so far.
    calls: u32,
    /// Whether the last line has come.
    pub(super) is_done: bool,
}

impl LineReader {
    /// Adds the events of a line. A missing `done_reason` is success: old servers send none.
    pub(super) fn read(&mut self, line: &[u8], events: &mut Vec<ReplyEvent>) -> Result<(), ReplyError> {
        let whole: Line = json::decode(line)?;
        if whole.error.is_some_and(|error| !error.is_null()) {
            return Err(ReplyError::Explained(Box::new(parse_error(line))));
        }
        let (text, thinking, calls) = match whole.message {
            Some(message) => (message.content, message.thinking, message.tool_calls.unwrap_or_default()),
            None => (whole.response, whole.thinking, Vec::new()),
        };
        let some = |text: Option<String>| text.filter(|text| !text.is_empty());
        events.extend(some(thinking).map(|text| ReplyEvent::Reasoning { choice: 0, text }));
        events.extend(some(text).map(|text| ReplyEvent::Text { choice: 0, text }));
        for call in calls {
            let Some(Function { name, arguments }) = call.function else { continue };
            let index = self.calls;
            self.calls += 1;
            let made = || call_id::made(whole.created_at.as_deref(), line, 0, index);
            let id = some(call.id).unwrap_or_else(made);
            let piece = ToolCall { id, name, arguments: text_of(arguments), signature: String::new() };
            events.push(ReplyEvent::ToolCall { choice: 0, index, piece });
        }
        if let Some(logprobs) = whole.logprobs.filter(|logprobs| !logprobs.is_empty()) {
            events.push(ReplyEvent::Logprobs { choice: 0, logprobs: json!({"content": logprobs}) });
        }
        if whole.done {
            self.is_done = true;
            let reason = match whole.done_reason.as_deref() {
                Some("error") => {
                    return Err(ReplyError::Reported("the backend stopped with an error".to_owned()));
                }
                Some("length") => Finish::Length,
                _ if self.calls > 0 => Finish::ToolCalls,
                _ => Finish::Stop,
            };
            events.push(ReplyEvent::Finish { choice: 0, reason });
            let (input_tokens, output_tokens) = (whole.prompt_eval_count, whole.eval_count);
            let Line { load_duration, prompt_eval_duration, eval_duration, .. } = whole;
            let worked = WorkTimes { load_duration, prompt_eval_duration, eval_duration }.worked();
            events.push(ReplyEvent::Usage(Usage { input_tokens, output_tokens, worked, ..Usage::default() }));
        }
        Ok(())
    }
}

/// Reads the whole (not streamed) answer of `/api/generate` or `/api/chat`.
///
/// # Errors
/// An `error` member or `done_reason`, a body that says nothing, or one that is no such answer.
pub fn parse_answer(body: &[u8]) -> Result<ChatReply, ReplyError> {
    let mut events = Vec::new();
    let mut reader = LineReader::default();
    reader.read(body, &mut events)?;
    if events.is_empty() {
        return Err(ReplyError::Empty);
    }
    if !reader.is_done {
        // Without the mark it is still an answer where it says something: it came whole.
        events.push(ReplyEvent::Finish { choice: 0, reason: Finish::Stop });
    }
    Ok(ChatReply::collect(events))
}
