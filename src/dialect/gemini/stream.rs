//! A reply that arrives as server-sent events, each of them a piece in the form of a whole answer.

use super::reply::PieceReader;
use crate::{
    dialect::{reply::ReplyError, sse::Events, stream::ReplyDecoder},
    domain::chat::ReplyEvent,
};

/// Reads the stream of `:streamGenerateContent?alt=sse`. It has no end mark: it is whole when every candidate
/// has told why it ended before its body does.
#[derive(Debug, Default)]
pub struct EventDecoder {
    events: Events,
    pieces: PieceReader,
}

impl ReplyDecoder for EventDecoder {
    fn push(&mut self, piece: &[u8], events: &mut Vec<ReplyEvent>) -> Result<(), ReplyError> {
        self.events.push(piece);
        while let Some(event) = self.events.next_event().map_err(|error| ReplyError::Malformed(error.to_string()))? {
            self.pieces.read(&event.data, events)?;
        }
        Ok(())
    }

    fn end(&mut self, events: &mut Vec<ReplyEvent>) -> Result<(), ReplyError> {
        if let Some(event) = std::mem::take(&mut self.events).rest() {
            match self.pieces.read(&event.data, events) {
                // Half an event is no event; that the stream was cut is told below.
                Err(ReplyError::Malformed(_)) => {}
                other => other?,
            }
        }
        if self.pieces.end(events) { Ok(()) } else { Err(ReplyError::Cut) }
    }
}
