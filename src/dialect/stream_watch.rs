//! Looks at the lines of a stream that is relayed as it is: whether its end mark has come, whether the backend tells of a
//! failure in it, and the tokens it counts. Cheap: a line is decoded only where it holds one of these.

use std::borrow::Cow;

use memchr::{Memchr, memmem};
use serde::Deserialize;

use super::{Dialect, head::has_member, told_usage};
use crate::domain::chat::Usage;

/// What was seen so far.
pub struct StreamWatch {
    dialect: Dialect,
    /// The member that only the few lines have which must be read.
    telling: memmem::Finder<'static>,
    is_complete: bool,
    has_spoken: bool,
    failure: Option<Told>,
    usage: Usage,
    pieces: u64,
}

/// A failure that the backend told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The JSON it is in.
    pub body: Vec<u8>,
    /// Whether nothing had come before it.
    pub is_first: bool,
}

impl StreamWatch {
    /// Of OpenAI's server-sent events, or of Ollama's lines.
    pub fn new(dialect: Dialect) -> Self {
        let telling = if dialect == Dialect::Ollama { "\"done\"" } else { "\"usage\"" };
        Self {
            dialect,
            telling: memmem::Finder::new(telling),
            is_complete: false,
            has_spoken: false,
            failure: None,
            usage: Usage::default(),
            pieces: 0,
        }
    }

    /// Whether the end mark has come.
    pub const fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Whether more has come than comments and empty lines.
    pub const fn has_spoken(&self) -> bool {
        self.has_spoken
    }

    /// The failure that the backend told of.
    pub const fn failure(&self) -> Option<&Told> {
        self.failure.as_ref()
    }

    /// Tokens, as far as they were told.
    pub const fn usage(&self) -> Usage {
        self.usage
    }

    /// Pieces of the reply that have come: about one a token.
    pub const fn pieces(&self) -> u64 {
        self.pieces
    }

    /// Looks at whole lines.
    pub fn look(&mut self, lines: &[u8]) {
        let mut start = 0;
        for end in Memchr::new(b'\n', lines).chain([lines.len()]) {
            self.line(lines[start..end].trim_ascii());
            start = (end + 1).min(lines.len());
        }
    }

    fn line(&mut self, line: &[u8]) {
        let payload = match self.dialect {
            Dialect::Ollama => line,
            _ => line.strip_prefix(b"data:").unwrap_or_default().trim_ascii_start(),
        };
        if payload.is_empty() {
            return;
        }
        self.pieces += 1;
        let is_first = !std::mem::replace(&mut self.has_spoken, true);
        if payload == b"[DONE]" && self.dialect != Dialect::Ollama {
            self.is_complete = true;
        } else if (is_first || payload.starts_with(b"{\"error\"")) && is_failure(payload) {
            let told = Told { body: payload.to_vec(), is_first };
            self.failure.get_or_insert(told);
        } else if self.is_telling(payload) {
            self.read_telling(payload);
        }
    }

    /// Whether the telling member stands in a line with a value that tells something.
    fn is_telling(&self, line: &[u8]) -> bool {
        let value = if self.dialect == Dialect::Ollama { &b"true"[..] } else { b"{" };
        self.telling.find_iter(line).any(|at| {
            let rest = line[at + self.telling.needle().len()..].trim_ascii_start();
            rest.strip_prefix(b":").is_some_and(|rest| rest.trim_ascii_start().starts_with(value))
        })
    }

    fn read_telling(&mut self, line: &[u8]) {
        if self.dialect != Dialect::Ollama {
            if let Some(usage) = told_usage::openai(line) {
                self.usage = usage;
            }
        } else if has_member(line, "done", b"true") {
            self.is_complete = true;
            self.usage = told_usage::ollama(line);
        }
    }
}

/// Whether a payload is an error instead of a piece of a reply.
fn is_failure(payload: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Failing<'a> {
        #[serde(default)]
        error: Option<serde::de::IgnoredAny>,
        #[serde(default, borrow)]
        object: Option<Cow<'a, str>>,
    }
    let failing = serde_json::from_slice::<Failing<'_>>(payload);
    failing.is_ok_and(|failing| failing.error.is_some() || failing.object.as_deref() == Some("error"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched(dialect: Dialect, lines: &str) -> StreamWatch {
        let mut watch = StreamWatch::new(dialect);
        watch.look(lines.as_bytes());
        watch
    }

    #[test]
    fn the_end_of_a_stream_of_events_is_its_mark_and_never_words_of_it() {
        for (lines, is_complete) in [
            ("data: {\"a\":1}\n\ndata: [DONE]\n\n", true),
            ("data:[DONE]\r\n\r\n", true),
            ("data: [DONE]", true),
            ("data: {\"a\":\"data: [DONE]\"}\n\n", false),
            (": [DONE]\n\n[DONE]\n", false),
        ] {
            assert_eq!(watched(Dialect::Openai, lines).is_complete(), is_complete, "{lines}");
        }
    }

    #[test]
    fn the_end_of_lines_is_done_at_the_top_and_never_in_a_text_or_an_argument() {
        for (lines, is_complete) in [
            ("{\"response\":\"a\",\"done\":false}\n{\"response\":\"\",\"done\":true}\n", true),
            ("{\"response\": \"\", \"done\" : true}", true),
            ("{\"response\":\"\\\"done\\\":true\",\"done\":false}\n", false),
            ("{\"message\":{\"tool_calls\":[{\"function\":{\"arguments\":{\"done\":true}}}]},\"done\":false}\n", false),
            ("data: [DONE]\n", false),
        ] {
            assert_eq!(watched(Dialect::Ollama, lines).is_complete(), is_complete, "{lines}");
        }
    }

    #[test]
    fn a_done_inside_an_argument_does_not_hide_the_one_at_the_top() {
        let line = r#"{"message":{"tool_calls":[{"function":{"arguments":{"done":false}}}]},"done":true}"#;
        assert!(watched(Dialect::Ollama, line).is_complete());
    }

    #[test]
    fn tokens_are_taken_where_they_are_told() {
        let openai = watched(
            Dialect::Openai,
            "data: {\"choices\":[{\"delta\":{\"content\":\"\\\"usage\\\":{}\"}}],\"usage\":null}\n\n\
             data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3,\
             \"prompt_tokens_details\":{\"cached_tokens\":2}}}\n\n",
        );
        let usage = openai.usage();
        assert_eq!((usage.input_tokens, usage.output_tokens, usage.cached_tokens), (Some(7), Some(3), Some(2)));
        let usage = watched(Dialect::Ollama, "{\"done\":true,\"prompt_eval_count\":5,\"eval_count\":1}\n").usage();
        assert_eq!((usage.input_tokens, usage.output_tokens), (Some(5), Some(1)));
    }

    #[test]
    fn a_failure_is_known_as_the_first_word_and_in_the_middle() {
        let first = watched(Dialect::Openai, ": wait\n\nevent: error\ndata: {\"error\": {\"message\":\"no\"}}\n\n");
        assert!(first.failure().unwrap().is_first);
        let old = watched(Dialect::Openai, "data: {\"object\":\"error\",\"message\":\"no\"}\n\n");
        assert!(old.failure().unwrap().is_first);
        let later = watched(Dialect::Ollama, "{\"response\":\"a\",\"done\":false}\n{\"error\":\"no\"}\n");
        assert!(!later.failure().unwrap().is_first);
        for harmless in ["data: {\"error\":null,\"choices\":[]}\n\n", ": error\n\n", "event: error\n"] {
            assert_eq!(watched(Dialect::Openai, harmless).failure(), None, "{harmless}");
        }
        assert!(!watched(Dialect::Openai, ": only a comment\n\n").has_spoken());
    }
}
