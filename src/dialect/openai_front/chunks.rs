//! A chat reply as `chat.completion.chunk` events: for each choice first who speaks, then the pieces as they come, then why
//! it ended; then the tokens where they are wanted; then `[DONE]`.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value as Json;

use super::{
    Stamp,
    reply::{UsageBody, call_id, extra_content, finish_reason},
    sse,
};
use crate::{
    dialect::stream::ReplyEncoder,
    domain::{
        chat::{Finish, ReplyEvent, ToolCall, Usage},
        failure::Failure,
    },
};

/// What a failure is to a client of this API: its object `error`. The words are `api`'s, as in a whole answer.
pub type ErrorWords = fn(&Failure) -> Json;

/// Writes the chunks of a chat.
pub struct ChatChunks {
    id: String,
    stamp: Stamp,
    include_usage: bool,
    error_words: ErrorWords,
    choices: BTreeMap<u32, Progress>,
    usage: Usage,
}

/// How far one choice is.
#[derive(Default)]
struct Progress {
    /// Calls that have begun.
    calls: BTreeSet<u32>,
    is_finished: bool,
}

#[derive(Serialize)]
struct Chunk<'a> {
    id: &'a str,
    object: &'static str,
    created: i64,
    model: &'a str,
    choices: &'a [Choice<'a>],
    /// Inside out: left out, null, or there.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<UsageBody>>,
}

#[derive(Serialize, Default)]
struct Choice<'a> {
    index: u32,
    delta: Delta<'a>,
    logprobs: Option<&'a Json>,
    finish_reason: Option<&'static str>,
}

#[derive(Serialize, Default)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<Option<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<[CallPiece<'a>; 1]>,
}

#[derive(Serialize)]
struct CallPiece<'a> {
    index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", rename = "type")]
    kind: Option<&'static str>,
    function: FunctionPiece<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extra_content: Option<Json>,
}

#[derive(Serialize)]
struct FunctionPiece<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    arguments: &'a str,
}

impl ChatChunks {
    /// `include_usage`: with a last chunk that tells the tokens, and `null` for them in the others.
    pub fn new(stamp: Stamp, include_usage: bool, error_words: ErrorWords) -> Self {
        let id = format!("chatcmpl-{}", stamp.id);
        Self { id, stamp, include_usage, error_words, choices: BTreeMap::new(), usage: Usage::default() }
    }

    fn write(&self, choices: &[Choice<'_>], usage: Option<UsageBody>, out: &mut Vec<u8>) {
        let chunk = Chunk {
            id: &self.id,
            object: "chat.completion.chunk",
            created: self.stamp.created,
            model: &self.stamp.model,
            choices,
            usage: self.include_usage.then_some(usage),
        };
        sse::write(&chunk, out);
    }

    /// Says who speaks, before the first piece of a choice. One that begins with a call says nothing yet.
    fn begin(&mut self, index: u32, begins_with_call: bool, out: &mut Vec<u8>) {
        if self.choices.contains_key(&index) {
            return;
        }
        self.choices.insert(index, Progress::default());
        let content = Some(if begins_with_call { None } else { Some("") });
        let delta = Delta { role: Some("assistant"), content, ..Delta::default() };
        self.write(&[Choice { index, delta, ..Choice::default() }], None, out);
    }

    fn piece(&self, index: u32, delta: Delta<'_>, out: &mut Vec<u8>) {
        self.write(&[Choice { index, delta, ..Choice::default() }], None, out);
    }

    fn call(&mut self, choice: u32, index: u32, piece: &ToolCall, out: &mut Vec<u8>) {
        let is_first = self.choices.entry(choice).or_default().calls.insert(index);
        let written = CallPiece {
            index,
            id: is_first.then(|| call_id(&piece.id, &self.stamp, choice, index)),
            kind: is_first.then_some("function"),
            function: FunctionPiece { name: is_first.then_some(&piece.name), arguments: &piece.arguments },
            extra_content: extra_content(&piece.signature),
        };
        self.piece(choice, Delta { tool_calls: Some([written]), ..Delta::default() }, out);
    }

    fn finish(&mut self, index: u32, finish: Option<Finish>, out: &mut Vec<u8>) {
        let progress = self.choices.entry(index).or_default();
        if progress.is_finished {
            return;
        }
        progress.is_finished = true;
        let reason = finish_reason(finish, !progress.calls.is_empty());
        self.write(&[Choice { index, finish_reason: Some(reason), ..Choice::default() }], None, out);
    }
}

impl ReplyEncoder for ChatChunks {
    fn event(&mut self, event: ReplyEvent, out: &mut Vec<u8>) {
        match event {
            ReplyEvent::Text { choice, text } => {
                self.begin(choice, false, out);
                self.piece(choice, Delta { content: Some(Some(&text)), ..Delta::default() }, out);
            }
            ReplyEvent::Reasoning { choice, text } => {
                self.begin(choice, false, out);
                self.piece(choice, Delta { reasoning_content: Some(&text), ..Delta::default() }, out);
            }
            ReplyEvent::ToolCall { choice, index, piece } => {
                self.begin(choice, true, out);
                self.call(choice, index, &piece, out);
            }
            ReplyEvent::Logprobs { choice, logprobs } => {
                self.begin(choice, false, out);
                let told = Choice { index: choice, logprobs: Some(&logprobs), ..Choice::default() };
                self.write(&[told], None, out);
            }
            ReplyEvent::Finish { choice, reason } => {
                self.begin(choice, false, out);
                self.finish(choice, Some(reason), out);
            }
            ReplyEvent::Usage(usage) => self.usage = usage,
        }
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        if self.choices.is_empty() {
            self.begin(0, false, out);
        }
        let unfinished: Vec<u32> =
            self.choices.iter().filter(|(_, progress)| !progress.is_finished).map(|(choice, _)| *choice).collect();
        for choice in unfinished {
            self.finish(choice, None, out);
        }
        if self.include_usage {
            self.write(&[], Some(self.usage.into()), out);
        }
        out.extend_from_slice(sse::DONE);
    }

    fn failed(&mut self, failure: &Failure, out: &mut Vec<u8>) {
        write_error(failure, self.error_words, out);
    }
}

/// How a stream ends that failed: an error, and no `[DONE]`.
pub fn write_error(failure: &Failure, error_words: ErrorWords, out: &mut Vec<u8>) {
    sse::write(&serde_json::json!({"error": error_words(failure)}), out);
}
