//! Answers under load: each kind is made once, by the dialect, and sent again and again with another last word.
//!
//! So an answer is what the server would give in every field, and costs no more than its bytes. The last word of an answer is
//! the last word of the prompt: a client that puts a number there sees whether it got its own answer.

use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use memchr::memmem;

use crate::sim::{
    answer::{Answer, Frame, Payload},
    speech,
};

/// Stands for the last word in the answers that are kept.
const BLANK: &str = "~00000000";
/// What other words are.
const WORD: &str = "word";
/// Fields besides the prompt are looked for so near the ends of a body.
const ENDS: usize = 2048;

/// What answers differ in, besides their last word.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Kind {
    path: String,
    streams: Option<bool>,
    has_usage: bool,
}

/// An answer with a blank.
struct Tape {
    status: u16,
    content_type: &'static str,
    headers: Vec<(&'static str, String)>,
    pieces: Vec<Piece>,
    is_stream: bool,
}

/// A piece of an answer; the blank is between its two parts.
struct Piece {
    before: Bytes,
    after: Option<Bytes>,
    counts: bool,
}

/// The answers of one server that were made.
#[derive(Default)]
pub(crate) struct Tapes(RwLock<Vec<(Kind, Arc<Tape>)>>);

/// The words of an answer, a blank in place of the last one.
pub(crate) fn blank_reply(words: usize) -> Vec<String> {
    let mut reply = [WORD, " "].concat().repeat(words.saturating_sub(1));
    reply.push_str(BLANK);
    speech::words(&reply)
}

/// The number that a prompt ends in: `~` and eight digits; the last of them in the body.
pub(crate) fn number(body: &[u8]) -> Option<&[u8]> {
    let at = memchr::memrchr(b'~', body)?;
    let number = body.get(at..at + BLANK.len())?;
    number[1..].iter().all(u8::is_ascii_digit).then_some(number)
}

impl Tapes {
    /// The answer to this request, if one of its kind was made before.
    pub(crate) fn answer(&self, path: &str, body: &[u8]) -> Option<Answer> {
        let number = number(body)?;
        let kind = kind(path, body);
        let tapes = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let tape = tapes.iter().find(|(own, _)| *own == kind).map(|(_, tape)| Arc::clone(tape))?;
        drop(tapes);
        Some(tape.with(number))
    }

    /// Keeps an answer to this request in which [`blank_reply`] is said, and gives the request's own.
    pub(crate) fn keep(&self, path: &str, body: &[u8], answer: Answer) -> Answer {
        let Some(number) = number(body) else { return answer };
        let (frames, is_stream) = match answer.payload {
            Payload::Plain(bytes) => (vec![Frame::chunk(bytes)], false),
            Payload::Frames(frames) => (frames, true),
            payload => return Answer { payload, ..answer },
        };
        let pieces = frames.into_iter().map(Piece::of).collect();
        let Answer { status, content_type, headers, .. } = answer;
        let tape = Arc::new(Tape { status, content_type, headers, pieces, is_stream });
        if status == 200 {
            let mut tapes = self.0.write().unwrap_or_else(PoisonError::into_inner);
            tapes.push((kind(path, body), Arc::clone(&tape)));
        }
        tape.with(number)
    }
}

impl Piece {
    fn of(frame: Frame) -> Self {
        let Frame { bytes, counts } = frame;
        match memmem::find(&bytes, BLANK.as_bytes()) {
            None => Self { before: bytes, after: None, counts },
            Some(at) => Self { before: bytes.slice(..at), after: Some(bytes.slice(at + BLANK.len()..)), counts },
        }
    }
}

impl Tape {
    fn with(&self, number: &[u8]) -> Answer {
        let frame = |piece: &Piece| {
            let bytes = match &piece.after {
                None => piece.before.clone(),
                Some(after) => [&piece.before, number, after].concat().into(),
            };
            Frame { bytes, counts: piece.counts }
        };
        let mut frames: Vec<Frame> = self.pieces.iter().map(frame).collect();
        let payload = match (self.is_stream, frames.pop()) {
            (false, Some(whole)) => Payload::Plain(whole.bytes),
            (_, last) => Payload::Frames(frames.into_iter().chain(last).collect()),
        };
        Answer { headers: self.headers.clone(), ..Answer::new(self.status, self.content_type, payload) }
    }
}

fn kind(path: &str, body: &[u8]) -> Kind {
    let ends = [&body[..body.len().min(ENDS)], &body[body.len().saturating_sub(ENDS)..]];
    let says = |text: &str| ends.iter().any(|end| memmem::find(end, text.as_bytes()).is_some());
    let streams = match (says("\"stream\":true"), says("\"stream\":false")) {
        (true, _) => Some(true),
        (false, true) => Some(false),
        (false, false) => None,
    };
    Kind { path: path.to_owned(), streams, has_usage: says("\"include_usage\":true") }
}
