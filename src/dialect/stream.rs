//! What every streamed reply has in common: pieces of bytes become events, and events become pieces of bytes.
//!
//! A decoder is fed by the transport in `providers`, an encoder by `api::stream`. Neither ever holds a whole reply.

use super::reply::ReplyError;
use crate::domain::{chat::ReplyEvent, failure::Failure};

/// Reads a backend's stream, whatever pieces it arrives in.
pub trait ReplyDecoder: Send {
    /// Takes the next piece and adds the events that are whole now.
    ///
    /// # Errors
    /// A piece that is no such stream, or a failure that the backend reports in it. The stream is over then.
    fn push(&mut self, piece: &[u8], events: &mut Vec<ReplyEvent>) -> Result<(), ReplyError>;

    /// Whether the stream's end mark has come: then its end is not waited for long, and a failure behind it is none.
    fn is_complete(&self) -> bool {
        false
    }

    /// The bytes have ended; adds what was held back.
    ///
    /// # Errors
    /// [`ReplyError::Cut`] when the stream has no end mark: it is not known to be whole.
    fn end(&mut self, events: &mut Vec<ReplyEvent>) -> Result<(), ReplyError>;
}

/// Writes a stream as clients of one dialect read it.
pub trait ReplyEncoder: Send {
    /// Writes an event; some dialects hold some of them back.
    fn event(&mut self, event: ReplyEvent, out: &mut Vec<u8>);

    /// Writes the clean end.
    fn end(&mut self, out: &mut Vec<u8>);

    /// Writes the end of a stream that failed: an error of the dialect, so that nobody takes what came for the whole.
    fn failed(&mut self, failure: &Failure, out: &mut Vec<u8>);
}
