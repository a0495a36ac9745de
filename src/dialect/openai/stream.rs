//! A reply that arrives as server-sent events, each of them a piece in the form of a whole answer.

use super::{reply::Pieces, server::Server};
use crate::{
    dialect::{
        error_body::parse_error,
        reply::ReplyError,
        sse::{Event, Events},
        stream::ReplyDecoder,
    },
    domain::chat::{ChatCall, ReplyEvent},
};

/// Reads the stream of one call.
///
/// It ends with `[DONE]`. A server that forgets it and closes the stream in good order has ended too once every reply has
/// told why it ended: nothing of the answer can be missing then. Anything else is cut.
pub struct ChatDecoder {
    events: Events,
    pieces: Pieces,
    /// Replies that were asked for.
    wanted: usize,
    /// Whether `[DONE]` has come: what follows is not looked at.
    is_done: bool,
}

impl ChatDecoder {
    /// For the answer to this call, made by `chat_body` or a text completion.
    pub fn new(call: &ChatCall, server: Server) -> Self {
        Self {
            events: Events::default(),
            pieces: Pieces::of_stream(call.constraint.as_ref(), server),
            wanted: call.choices.max(1) as usize,
            is_done: false,
        }
    }

    fn read(&mut self, event: &Event, events: &mut Vec<ReplyEvent>) -> Result<(), ReplyError> {
        match event.data.trim_ascii() {
            b"" => Ok(()),
            // No JSON begins so.
            data if data.starts_with(b"[DONE]") => {
                self.is_done = true;
                Ok(())
            }
            // What an event of this name holds is an error however it is written.
            data if &event.name[..] == b"error" => Err(ReplyError::Explained(Box::new(parse_error(data)))),
            data => self.pieces.read(data, events),
        }
    }
}

impl ReplyDecoder for ChatDecoder {
    fn push(&mut self, piece: &[u8], events: &mut Vec<ReplyEvent>) -> Result<(), ReplyError> {
        if self.is_done {
            return Ok(());
        }
        self.events.push(piece);
        while !self.is_done {
            let next = self.events.next_event().map_err(|error| ReplyError::Malformed(error.to_string()))?;
            let Some(event) = next else { return Ok(()) };
            self.read(&event, events)?;
        }
        Ok(())
    }

    fn is_complete(&self) -> bool {
        self.is_done
    }

    fn end(&mut self, events: &mut Vec<ReplyEvent>) -> Result<(), ReplyError> {
        let rest = std::mem::take(&mut self.events).rest();
        if let Some(event) = rest.filter(|_| !self.is_done) {
            match self.read(&event, events) {
                // Half an event is no event; whether the stream was cut is told below.
                Err(ReplyError::Malformed(_)) => {}
                other => other?,
            }
        }
        self.pieces.end(events);
        match self.is_done || self.pieces.finished() >= self.wanted {
            true if self.pieces.has_spoken() => Ok(()),
            true => Err(ReplyError::Empty),
            false => Err(ReplyError::Cut),
        }
    }
}
