//! A reply that is still being made, as the bytes a client reads: events through the client's dialect, and the slot it is
//! made in held until the last of them.

use std::{fmt, pin::Pin};

use bytes::Bytes;
use futures_util::{Stream, stream};

use crate::{dialect::stream::ReplyEncoder, runtime::dispatch::exchange::HeldReply};

/// The media type of newline-delimited JSON.
pub const NDJSON: &str = "application/x-ndjson";

/// The body of a streamed answer. It never fails: how a broken reply ends is told in its dialect. Dropping it aborts the
/// call behind it.
pub struct ByteStream {
    /// For the header.
    pub content_type: &'static str,
    /// What is sent, as it comes.
    pub pieces: Pin<Box<dyn Stream<Item = Bytes> + Send>>,
}

impl fmt::Debug for ByteStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByteStream").field("content_type", &self.content_type).finish_non_exhaustive()
    }
}

/// A reply of another dialect, translated event by event.
pub(super) fn translated(
    content_type: &'static str,
    reply: HeldReply,
    encoder: impl ReplyEncoder + 'static,
) -> ByteStream {
    let begun = Some(Translation { reply, encoder });
    let pieces = stream::unfold(begun, |translation| async move {
        let mut translation = translation?;
        let mut out = Vec::new();
        let goes_on = translation.write_next(&mut out).await;
        Some((Bytes::from(out), goes_on.then_some(translation)))
    });
    ByteStream { content_type, pieces: Box::pin(pieces) }
}

struct Translation<E> {
    reply: HeldReply,
    encoder: E,
}

impl<E: ReplyEncoder> Translation<E> {
    /// Writes what there is, at least something; false at the end.
    async fn write_next(&mut self, out: &mut Vec<u8>) -> bool {
        while out.is_empty() {
            match self.reply.next().await {
                Some(Ok(event)) => {
                    self.encoder.event(event, out);
                    while let Some(event) = self.reply.next_ready() {
                        self.encoder.event(event, out);
                    }
                }
                None => {
                    self.encoder.end(out);
                    return false;
                }
                Some(Err(failure)) => {
                    self.encoder.failed(&failure, out);
                    return false;
                }
            }
        }
        true
    }
}
