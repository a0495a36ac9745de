//! Looks at the lines of a stream that is relayed as it is: whether its end mark has come, whether the backend tells of a
//! failure in it, and the tokens it counts. Cheap: a line is decoded only where it holds one of these.

use std::{borrow::Cow, collections::BTreeSet};

use memchr::{Memchr, memmem};
use serde::{Deserialize, de::IgnoredAny};

use super::{Dialect, error_body::parse_error, head::has_member, openai::is_given_up, reply::ReplyError, told_usage};
use crate::domain::chat::Usage;

/// What was seen so far.
pub struct StreamWatch {
    dialect: Dialect,
    /// Replies that the client asked for.
    wanted: usize,
    /// The member that only the few lines have which must be read.
    telling: memmem::Finder<'static>,
    /// The member by which OpenAI's chunks tell that a reply is over.
    ending: memmem::Finder<'static>,
    /// Replies that have told why they ended.
    finished: BTreeSet<u32>,
    is_complete: bool,
    has_spoken: bool,
    /// Whether the event that has begun is called an error.
    is_error_event: bool,
    failure: Option<Told>,
    usage: Usage,
    pieces: u64,
}

/// A failure that the backend told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// What it says.
    pub error: ReplyError,
    /// Whether nothing had come before it.
    pub is_first: bool,
}

/// Replies whose end is noted: the numbers of others are nonsense.
const MAX_REPLIES: usize = 128;

impl StreamWatch {
    /// Of OpenAI's server-sent events, or of Ollama's lines. `wanted`: replies that the client asked for.
    pub fn new(dialect: Dialect, wanted: usize) -> Self {
        let telling = if dialect == Dialect::Ollama { "\"done\"" } else { "\"usage\"" };
        Self {
            dialect,
            wanted,
            telling: memmem::Finder::new(telling),
            ending: memmem::Finder::new("\"finish_reason\""),
            finished: BTreeSet::new(),
            is_complete: false,
            has_spoken: false,
            is_error_event: false,
            failure: None,
            usage: Usage::default(),
            pieces: 0,
        }
    }

    /// Whether the end mark has come. What stands behind it is not looked at.
    pub const fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Whether every reply that was asked for has told why it ended: then nothing of them is missing, though the end mark is.
    pub fn is_finished(&self) -> bool {
        self.finished.len() >= self.wanted
    }

    /// Whether more has come than comments and empty lines.
    pub const fn has_spoken(&self) -> bool {
        self.has_spoken
    }

    /// The failure that the backend told of; nothing behind it is looked at.
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

    /// Looks at whole lines. Gives how many bytes of them stand before a failure: all, where there is none.
    pub fn look(&mut self, lines: &[u8]) -> usize {
        let mut start = 0;
        for end in Memchr::new(b'\n', lines).chain([lines.len()]) {
            if self.is_complete {
                break;
            }
            self.line(lines[start..end].trim_ascii());
            if self.failure.is_some() {
                return start;
            }
            start = (end + 1).min(lines.len());
        }
        lines.len()
    }

    fn line(&mut self, line: &[u8]) {
        let payload = match self.dialect {
            Dialect::Ollama => line,
            _ => self.data(line),
        };
        if payload.is_empty() {
            return;
        }
        self.pieces += 1;
        let is_first = !std::mem::replace(&mut self.has_spoken, true);
        if payload.starts_with(b"[DONE]") && self.dialect != Dialect::Ollama {
            self.is_complete = true;
        } else if !(payload.starts_with(b"{") && payload.ends_with(b"}")) {
            // No client could read it either. What stands within the brackets is not looked at.
            self.fail(ReplyError::Malformed("a line of the stream is no JSON object".to_owned()), is_first);
        } else if self.is_error_event || ((is_first || payload.starts_with(b"{\"error\"")) && is_failure(payload)) {
            self.fail(ReplyError::Explained(Box::new(parse_error(payload))), is_first);
        } else {
            if self.is_ending(payload) || !self.finished.is_empty() {
                self.read_ending(payload, is_first);
            }
            if self.is_telling(payload) {
                self.read_telling(payload);
            }
        }
    }

    /// What a line of server-sent events holds of data.
    fn data<'a>(&mut self, line: &'a [u8]) -> &'a [u8] {
        if line.is_empty() {
            self.is_error_event = false;
        } else if let Some(name) = line.strip_prefix(b"event:") {
            self.is_error_event = name.trim_ascii() == b"error";
        }
        line.strip_prefix(b"data:").unwrap_or_default().trim_ascii_start()
    }

    fn fail(&mut self, error: ReplyError, is_first: bool) {
        self.failure.get_or_insert(Told { error, is_first });
    }

    /// Whether a reply ends in a line: whether that member stands there with a reason.
    fn is_ending(&self, line: &[u8]) -> bool {
        self.dialect != Dialect::Ollama && has_value(&self.ending, line, b"\"")
    }

    /// Whether the telling member stands in a line with a value that tells something.
    fn is_telling(&self, line: &[u8]) -> bool {
        has_value(&self.telling, line, if self.dialect == Dialect::Ollama { b"true" } else { b"{" })
    }

    fn read_ending(&mut self, line: &[u8], is_first: bool) {
        let Ok(ending) = serde_json::from_slice::<Ending<'_>>(line) else { return };
        if ending.error.is_some() {
            return self.fail(ReplyError::Explained(Box::new(parse_error(line))), is_first);
        }
        for (place, choice) in (0u32..).zip(ending.choices.unwrap_or_default()) {
            let index = choice.index.unwrap_or(place);
            match choice.finish_reason.filter(|reason| !reason.is_empty()) {
                // It goes on after all.
                None => drop(self.finished.remove(&index)),
                Some(reason) if is_given_up(&reason) => self.fail(ReplyError::Cut, is_first),
                Some(_) if self.finished.len() < MAX_REPLIES => {
                    self.finished.insert(index);
                }
                Some(_) => {}
            }
        }
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

/// Whether a member stands somewhere in a line with a value that begins so.
fn has_value(member: &memmem::Finder<'_>, line: &[u8], value: &[u8]) -> bool {
    member.find_iter(line).any(|at| {
        let rest = line[at + member.needle().len()..].trim_ascii_start();
        rest.strip_prefix(b":").is_some_and(|rest| rest.trim_ascii_start().starts_with(value))
    })
}

/// Whether a payload is an error instead of a piece of a reply.
fn is_failure(payload: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Failing<'a> {
        #[serde(default)]
        error: Option<IgnoredAny>,
        #[serde(default, borrow)]
        object: Option<Cow<'a, str>>,
    }
    let failing = serde_json::from_slice::<Failing<'_>>(payload);
    failing.is_ok_and(|failing| failing.error.is_some() || failing.object.as_deref() == Some("error"))
}

/// A chunk in which a reply ends.
#[derive(Deserialize)]
struct Ending<'a> {
    #[serde(default)]
    error: Option<IgnoredAny>,
    #[serde(default, borrow)]
    choices: Option<Vec<EndingChoice<'a>>>,
}

#[derive(Deserialize)]
struct EndingChoice<'a> {
    #[serde(default)]
    index: Option<u32>,
    #[serde(default, borrow)]
    finish_reason: Option<Cow<'a, str>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched(dialect: Dialect, lines: &str) -> StreamWatch {
        let mut watch = StreamWatch::new(dialect, 1);
        watch.look(lines.as_bytes());
        watch
    }

    #[test]
    fn the_end_of_a_stream_of_events_is_its_mark_and_never_words_of_it() {
        for (lines, is_complete) in [
            ("data: {\"a\":1}\n\ndata: [DONE]\n\n", true),
            ("data:[DONE]\r\n\r\n", true),
            ("data: [DONE]", true),
            ("data: [DONE] bye\n\n", true),
            ("data: {\"a\":\"data: [DONE]\"}\n\n", false),
            (": [DONE]\n\n[DONE]\n", false),
        ] {
            assert_eq!(watched(Dialect::Openai, lines).is_complete(), is_complete, "{lines}");
        }
    }

    #[test]
    fn a_reply_is_finished_when_its_last_piece_says_why() {
        let finish = r#"data: {"choices":[{"delta":{},"finish_reason": "stop"}]}"#;
        let piece = r#"data: {"choices":[{"delta":{"content":"\"finish_reason\":\"stop\""},"finish_reason":null}]}"#;
        let empty = r#"data: {"choices":[{"delta":{"content":"a"},"finish_reason":""}]}"#;
        let usage = r#"data: {"choices": [ ],"usage":{"completion_tokens":1}}"#;
        for (lines, is_finished) in [
            (vec![piece], false),
            (vec![empty], false),
            (vec![usage], false),
            (vec![piece, finish], true),
            (vec![piece, finish, "", ": bye"], true),
            (vec![piece, finish, usage], true),
            (vec![finish, piece], false),
        ] {
            let watch = watched(Dialect::Openai, &(lines.join("\n\n") + "\n\n"));
            assert_eq!((watch.is_finished(), watch.is_complete()), (is_finished, false), "{lines:?}");
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

    #[test]
    fn nothing_behind_a_failure_is_looked_at_and_its_place_is_told() {
        let before = "data: {\"choices\":[]}\n\n";
        let lines = format!("{before}data: {{\"error\":{{\"message\":\"no\"}}}}\n\ndata: [DONE]\n\n");
        let mut watch = StreamWatch::new(Dialect::Openai, 1);
        assert_eq!(watch.look(lines.as_bytes()), before.len());
        assert!(!watch.is_complete() && !watch.failure().unwrap().is_first);
        let mut watch = StreamWatch::new(Dialect::Openai, 1);
        let lines = "data: [DONE]\n\ndata: {\"error\":{}}\n\n";
        assert_eq!((watch.look(lines.as_bytes()), watch.failure()), (lines.len(), None));
        let named = watched(Dialect::Openai, "event: error\ndata: {\"message\":\"no\"}\n\n");
        assert!(matches!(&named.failure().unwrap().error, ReplyError::Explained(error) if error.message == "no"));
        let later = watched(Dialect::Openai, "event: error\n\ndata: {\"message\":\"no\"}\n\n");
        assert_eq!(later.failure(), None);
    }

    #[test]
    fn a_line_that_is_no_object_is_a_failure() {
        for (dialect, line) in [
            (Dialect::Openai, "data: {\"choices\":[{\"del\n\n"),
            (Dialect::Openai, "data: pong\n\n"),
            (Dialect::Ollama, "<html>\n"),
            (Dialect::Ollama, "[DONE]\n"),
        ] {
            let watch = watched(dialect, line);
            assert!(matches!(&watch.failure().unwrap().error, ReplyError::Malformed(_)), "{line}");
        }
        assert_eq!(watched(Dialect::Openai, "data:\n\nid: 7\nretry: 5\nevent: x\n: pong\n").failure(), None);
    }

    #[test]
    fn replies_have_ended_when_each_has_told_why() {
        let ended = |wanted: usize, lines: &str| {
            let mut watch = StreamWatch::new(Dialect::Openai, wanted);
            watch.look(lines.as_bytes());
            watch.is_finished()
        };
        let over = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\" : \"stop\"}]}\n\n";
        let other = over.replace("\"index\":0", "\"index\":1");
        assert!(ended(1, over) && ended(2, &format!("{over}{other}")));
        assert!(!ended(2, over) && !ended(2, &format!("{over}{over}")));
        for going in [
            "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":null}]}\n\n",
            "data: {\"choices\":[{\"delta\":{\"content\":\"\\\"finish_reason\\\":\\\"stop\\\"\"}}]}\n\n",
            "data: {\"choices\":[{\"delta\":{\"finish_reason\":\"stop\"}}]}\n\n",
        ] {
            assert!(!ended(1, going), "{going}");
        }
        let given_up = watched(Dialect::Openai, &over.replace("stop", "abort"));
        assert_eq!(given_up.failure().map(|told| &told.error), Some(&ReplyError::Cut));
    }
}
