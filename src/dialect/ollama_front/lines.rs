//! A reply that arrives, as lines of JSON: pieces as they come, all calls of tools in one line, and a last line that is
//! `done`. A stream that failed ends with a line that holds an `error` and has no line that is `done`.

use std::time::Duration;

use serde::Serialize;

use super::reply::{Counters, Line, Moment, Shape, Words, called, done_reason, logprobs};
use crate::{
    dialect::stream::ReplyEncoder,
    domain::{
        chat::{ReplyCollector, ReplyEvent, Said},
        failure::Failure,
    },
};

/// Bytes of calls of tools that are collected in one reply.
const MAX_CALL_BYTES: usize = 16 << 20;

/// See the module. `C` reads the clock.
pub struct LineEncoder<C> {
    shape: Shape,
    model: String,
    waited: Duration,
    clock: C,
    /// When the first piece came.
    first: Option<Duration>,
    /// What is told at the end: calls of tools, why it ended, tokens.
    held: ReplyCollector,
    call_bytes: usize,
    is_over: bool,
}

impl<C: FnMut() -> Moment + Send> LineEncoder<C> {
    /// `waited`: for a slot.
    pub fn new(shape: Shape, model: String, waited: Duration, clock: C) -> Self {
        let held = ReplyCollector::default();
        Self { shape, model, waited, clock, first: None, held, call_bytes: 0, is_over: false }
    }

    fn say(&mut self, words: Words<'_>, out: &mut Vec<u8>) {
        let at = (self.clock)();
        self.first.get_or_insert(at.elapsed);
        write(&Line::new(self.shape, &self.model, at.now, words), out);
    }

    fn fail(&mut self, message: &str, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.is_over, true) {
            write_error(message, out);
        }
    }
}

impl<C: FnMut() -> Moment + Send> ReplyEncoder for LineEncoder<C> {
    fn event(&mut self, event: ReplyEvent, out: &mut Vec<u8>) {
        if self.is_over {
            return;
        }
        match event {
            ReplyEvent::Text { choice: 0, text } if !text.is_empty() => {
                self.say(Words { text: &text, ..Words::default() }, out);
            }
            ReplyEvent::Reasoning { choice: 0, text } if !text.is_empty() => {
                self.say(Words { thinking: &text, ..Words::default() }, out);
            }
            ReplyEvent::Logprobs { choice: 0, logprobs: told } => {
                if let Some(told) = logprobs(&told) {
                    self.say(Words { logprobs: Some(told), ..Words::default() }, out);
                }
            }
            ReplyEvent::ToolCall { choice: 0, index, piece } => {
                let at = (self.clock)();
                self.first.get_or_insert(at.elapsed);
                self.call_bytes += piece.arguments.len();
                if self.call_bytes > MAX_CALL_BYTES {
                    return self.fail("the model's calls of tools are longer than 16 MiB", out);
                }
                self.held.add(ReplyEvent::ToolCall { choice: 0, index, piece });
            }
            event @ (ReplyEvent::Finish { choice: 0, .. } | ReplyEvent::Usage(_)) => self.held.add(event),
            // There is one reply in this dialect.
            _ => {}
        }
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        if self.is_over {
            return;
        }
        let held = std::mem::take(&mut self.held).finish();
        let said = held.choices.into_iter().next().unwrap_or_default();
        let Said { tool_calls, finish, .. } = said;
        let tool_calls = match called(&tool_calls) {
            Ok(tool_calls) => tool_calls,
            Err(error) => return self.fail(&error.to_string(), out),
        };
        if !tool_calls.is_empty() {
            self.say(Words { tool_calls: &tool_calls, ..Words::default() }, out);
        }
        let at = (self.clock)();
        let counters = Counters::measured(self.waited, self.first, at.elapsed, held.usage);
        let last = Line::new(self.shape, &self.model, at.now, Words::default());
        write(&last.done(done_reason(finish), counters), out);
        self.is_over = true;
    }

    fn failed(&mut self, failure: &Failure, out: &mut Vec<u8>) {
        self.fail(&failure.message, out);
    }
}

/// The end of a stream that failed.
pub fn broken(failure: &Failure, out: &mut Vec<u8>) {
    write_error(&failure.message, out);
}

fn write_error(message: &str, out: &mut Vec<u8>) {
    #[derive(Serialize)]
    struct Broken<'a> {
        error: &'a str,
    }
    write(&Broken { error: message }, out);
}

fn write(value: &impl Serialize, out: &mut Vec<u8>) {
    let began = out.len();
    if serde_json::to_writer(&mut *out, value).is_err() {
        out.truncate(began);
        return;
    }
    out.push(b'\n');
}
