//! A reply to a prompt as `text_completion` events: the pieces as they come, why it ended; then the tokens where they are
//! wanted; then `[DONE]`.

use std::collections::{BTreeMap, btree_map::Entry};

use serde::Serialize;

use super::{
    Stamp,
    chunks::{ErrorWords, write_error},
    reply::{UsageBody, text_finish_reason},
    sse,
};
use crate::{
    dialect::stream::ReplyEncoder,
    domain::{
        chat::{Finish, ReplyEvent, Usage},
        failure::Failure,
    },
};

/// Writes the chunks of a text completion. What a model thinks, and tools it calls, have no place in it.
pub struct TextChunks {
    id: String,
    stamp: Stamp,
    include_usage: bool,
    error_words: ErrorWords,
    /// What each choice begins with.
    echo: String,
    /// Choices that have begun, and whether they are over.
    choices: BTreeMap<u32, bool>,
    usage: Usage,
}

#[derive(Serialize)]
struct Chunk<'a> {
    id: &'a str,
    object: &'static str,
    created: i64,
    model: &'a str,
    choices: &'a [Choice<'a>],
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<UsageBody>>,
}

#[derive(Serialize)]
struct Choice<'a> {
    index: u32,
    text: &'a str,
    logprobs: Option<()>,
    finish_reason: Option<&'static str>,
}

impl TextChunks {
    /// `include_usage`: with a last chunk that tells the tokens, and `null` for them in the others. `echo`: what each choice
    /// begins with.
    pub fn new(stamp: Stamp, include_usage: bool, error_words: ErrorWords, echo: String) -> Self {
        let id = format!("cmpl-{}", stamp.id);
        Self { id, stamp, include_usage, error_words, echo, choices: BTreeMap::new(), usage: Usage::default() }
    }

    fn write(&self, choices: &[Choice<'_>], usage: Option<UsageBody>, out: &mut Vec<u8>) {
        let chunk = Chunk {
            id: &self.id,
            object: "text_completion",
            created: self.stamp.created,
            model: &self.stamp.model,
            choices,
            usage: self.include_usage.then_some(usage),
        };
        sse::write(&chunk, out);
    }

    fn piece(&self, index: u32, text: &str, out: &mut Vec<u8>) {
        self.write(&[Choice { index, text, logprobs: None, finish_reason: None }], None, out);
    }

    fn begin(&mut self, index: u32, out: &mut Vec<u8>) {
        if let Entry::Vacant(place) = self.choices.entry(index) {
            place.insert(false);
            if !self.echo.is_empty() {
                self.piece(index, &self.echo, out);
            }
        }
    }

    fn finish(&mut self, index: u32, finish: Option<Finish>, out: &mut Vec<u8>) {
        if self.choices.insert(index, true) != Some(true) {
            let finish_reason = Some(text_finish_reason(finish));
            self.write(&[Choice { index, text: "", logprobs: None, finish_reason }], None, out);
        }
    }
}

impl ReplyEncoder for TextChunks {
    fn event(&mut self, event: ReplyEvent, out: &mut Vec<u8>) {
        match event {
            ReplyEvent::Text { choice, text } => {
                self.begin(choice, out);
                self.piece(choice, &text, out);
            }
            ReplyEvent::Finish { choice, reason } => {
                self.begin(choice, out);
                self.finish(choice, Some(reason), out);
            }
            ReplyEvent::Usage(usage) => self.usage = usage,
            ReplyEvent::Reasoning { .. } | ReplyEvent::ToolCall { .. } | ReplyEvent::Logprobs { .. } => {}
        }
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        self.begin(0, out);
        let unfinished: Vec<u32> = self.choices.iter().filter(|(_, is_over)| !**is_over).map(|(at, _)| *at).collect();
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
