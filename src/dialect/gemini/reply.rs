//! What Gemini answers, a whole reply or an event of a stream: both have the same form.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use super::logprobs::in_openais_form;
use crate::{
    dialect::{call_id, error_body::parse_error, json, lenient, reply::ReplyError, tool_arguments::text_of},
    domain::chat::{ChatReply, Finish, ReplyEvent, ToolCall, Usage},
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    #[serde(default)]
    candidates: Option<Vec<Candidate>>,
    #[serde(default)]
    prompt_feedback: Option<PromptFeedback>,
    #[serde(default, deserialize_with = "lenient::member")]
    usage_metadata: Option<UsageMetadata>,
    #[serde(default)]
    response_id: Option<String>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate {
    /// Left out by some versions where it is 0.
    #[serde(default)]
    index: Option<u32>,
    #[serde(default)]
    content: Option<Content>,
    #[serde(default)]
    finish_reason: Option<String>,
    #[serde(default)]
    logprobs_result: Option<Value>,
}

#[derive(Deserialize)]
struct Content {
    #[serde(default)]
    parts: Option<Vec<PartReply>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PartReply {
    #[serde(default)]
    text: Option<String>,
    /// A thought, which is not for the user.
    #[serde(default)]
    thought: Option<bool>,
    #[serde(default)]
    function_call: Option<FunctionCall>,
    #[serde(default)]
    thought_signature: Option<String>,
}

#[derive(Deserialize)]
struct FunctionCall {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    name: String,
    #[serde(default)]
    args: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PromptFeedback {
    #[serde(default)]
    block_reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UsageMetadata {
    #[serde(default)]
    prompt_token_count: Option<u64>,
    #[serde(default)]
    candidates_token_count: Option<u64>,
    #[serde(default)]
    thoughts_token_count: Option<u64>,
    #[serde(default)]
    cached_content_token_count: Option<u64>,
}

impl From<UsageMetadata> for Usage {
    fn from(told: UsageMetadata) -> Self {
        let (said, thought) = (told.candidates_token_count, told.thoughts_token_count);
        Self {
            input_tokens: told.prompt_token_count,
            // Thoughts are made, and paid for, like the answer.
            output_tokens: said.or(thought).map(|_| said.unwrap_or(0).saturating_add(thought.unwrap_or(0))),
            cached_tokens: told.cached_content_token_count,
            reasoning_tokens: thought,
            worked: None,
        }
    }
}

/// Reads the pieces of one reply.
#[derive(Debug, Default)]
pub(super) struct PieceReader {
    candidates: BTreeMap<u32, CandidateState>,
}

/// What tells a reply from others.
struct Reply<'a> {
    id: Option<String>,
    piece: &'a [u8],
}

#[derive(Debug, Default)]
struct CandidateState {
    /// Calls of tools so far.
    calls: u32,
    /// Whether it has said anything, thoughts aside.
    has_spoken: bool,
    /// Why it ended. Told at the end only: some versions of the service tell it with every piece.
    finish: Option<Finish>,
}

impl PieceReader {
    /// Adds the events of a piece.
    pub(super) fn read(&mut self, piece: &[u8], events: &mut Vec<ReplyEvent>) -> Result<(), ReplyError> {
        let body: Body = json::decode(piece)?;
        if body.error.is_some_and(|error| !error.is_null()) {
            return Err(ReplyError::Explained(Box::new(parse_error(piece))));
        }
        let reply = Reply { id: body.response_id, piece };
        let candidates = body.candidates.unwrap_or_default();
        let is_blocked = body.prompt_feedback.is_some_and(|feedback| feedback.block_reason.is_some());
        if candidates.is_empty() && is_blocked {
            self.candidates.entry(0).or_default().finish = Some(Finish::ContentFilter);
        }
        for candidate in candidates {
            self.candidate(candidate, &reply, events)?;
        }
        // On every event; the last one counts.
        events.extend(body.usage_metadata.map(|usage| ReplyEvent::Usage(usage.into())));
        Ok(())
    }

    fn candidate(
        &mut self,
        candidate: Candidate,
        reply: &Reply<'_>,
        events: &mut Vec<ReplyEvent>,
    ) -> Result<(), ReplyError> {
        let choice = candidate.index.unwrap_or(0);
        let state = self.candidates.entry(choice).or_default();
        let parts = candidate.content.and_then(|content| content.parts).unwrap_or_default();
        for part in parts {
            if let Some(text) = part.text.filter(|text| !text.is_empty()) {
                let is_thought = part.thought == Some(true);
                state.has_spoken |= !is_thought;
                events.push(match is_thought {
                    true => ReplyEvent::Reasoning { choice, text },
                    false => ReplyEvent::Text { choice, text },
                });
            }
            if let Some(call) = part.function_call {
                let index = state.calls;
                state.calls += 1;
                state.has_spoken = true;
                let made = || call_id::made(reply.id.as_deref(), reply.piece, choice, index);
                let id = call.id.filter(|id| !id.is_empty()).unwrap_or_else(made);
                let signature = part.thought_signature.unwrap_or_default();
                let piece = ToolCall { id, name: call.name, arguments: text_of(call.args), signature };
                events.push(ReplyEvent::ToolCall { choice, index, piece });
            }
        }
        if let Some(logprobs) = candidate.logprobs_result.as_ref().and_then(in_openais_form) {
            events.push(ReplyEvent::Logprobs { choice, logprobs: json!({"content": logprobs}) });
        }
        if let Some(reason) = candidate.finish_reason {
            state.finish = Some(finish(&reason, state.has_spoken)?);
        }
        Ok(())
    }

    /// There are no more pieces: adds why each candidate ended, and tells whether all did.
    pub(super) fn end(&self, events: &mut Vec<ReplyEvent>) -> bool {
        for (&choice, state) in &self.candidates {
            let reason = match state.finish {
                Some(Finish::Stop) if state.calls > 0 => Finish::ToolCalls,
                Some(reason) => reason,
                None => continue,
            };
            events.push(ReplyEvent::Finish { choice, reason });
        }
        !self.candidates.is_empty() && self.candidates.values().all(|state| state.finish.is_some())
    }
}

/// Why a reply ended, or that there is none. A reason that nobody knows yet is no reason to lose what was said before it.
fn finish(reason: &str, has_spoken: bool) -> Result<Finish, ReplyError> {
    match reason {
        "STOP" | "FINISH_REASON_UNSPECIFIED" => Ok(Finish::Stop),
        "MAX_TOKENS" => Ok(Finish::Length),
        "SAFETY" | "RECITATION" | "BLOCKLIST" | "PROHIBITED_CONTENT" | "SPII" | "LANGUAGE" => Ok(Finish::ContentFilter),
        reason if reason.starts_with("IMAGE_") => Ok(Finish::ContentFilter),
        "MALFORMED_FUNCTION_CALL" | "UNEXPECTED_TOOL_CALL" | "TOO_MANY_TOOL_CALLS" => Err(stopped(reason)),
        reason if !has_spoken => Err(stopped(reason)),
        _ => Ok(Finish::Stop),
    }
}

fn stopped(reason: &str) -> ReplyError {
    let reason: String = reason.chars().take(40).collect();
    ReplyError::Reported(format!("the model stopped without an answer ({reason})"))
}

/// Reads the answer of `:generateContent`.
///
/// # Errors
/// An answer without candidates that is no blocked prompt, or a body that is no such answer.
pub fn parse_generate(body: &[u8]) -> Result<ChatReply, ReplyError> {
    let mut events = Vec::new();
    let mut reader = PieceReader::default();
    reader.read(body, &mut events)?;
    reader.end(&mut events);
    let reply = ChatReply::collect(events);
    if reply.choices.is_empty() { Err(ReplyError::Empty) } else { Ok(reply) }
}

/// Reads the answer of `:streamGenerateContent` from a server that looks away from `alt=sse`: the pieces as one array.
///
/// # Errors
/// A reply that does not say why it ended, and all that [`parse_generate`] has.
pub fn parse_pieces(body: &[u8]) -> Result<ChatReply, ReplyError> {
    let Ok(pieces) = json::decode::<Vec<Box<RawValue>>>(body) else { return parse_generate(body) };
    let mut events = Vec::new();
    let mut reader = PieceReader::default();
    pieces.iter().try_for_each(|piece| reader.read(piece.get().as_bytes(), &mut events))?;
    if reader.end(&mut events) { Ok(ChatReply::collect(events)) } else { Err(ReplyError::Cut) }
}
