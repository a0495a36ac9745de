//! A reply that is still being made, as the bytes a client reads: events through the client's dialect, and the slot it is
//! made in held until the last of them.

use std::{fmt, panic::AssertUnwindSafe, pin::Pin};

use bytes::Bytes;
use futures_util::{FutureExt, Stream, stream};

use super::reply::{EVENT_STREAM, Reply, ReplyBody};
use crate::{
    dialect::stream::ReplyEncoder,
    domain::{
        chat::ReplyEvent,
        failure::{Failure, FailureClass, RefusalReason},
    },
    runtime::dispatch::exchange::{HeldRelay, HeldReply, RelayedReply},
    shutdown::Drain,
};

/// The media type of newline-delimited JSON.
pub const NDJSON: &str = "application/x-ndjson";

/// The body of a streamed answer. It never fails: how a broken reply ends is told in its dialect. Dropping it aborts the
/// call behind it.
pub struct ByteStream {
    /// For the header.
    pub content_type: &'static str,
    begin: Box<dyn FnOnce(Drain) -> Pieces + Send>,
}

/// Of what is there already, so much is translated at a time: for a client that does not read, it stays in memory.
const PIECE_BYTES: usize = 16 << 10;

/// What is sent, as it comes.
pub type Pieces = Pin<Box<dyn Stream<Item = Bytes> + Send>>;

impl ByteStream {
    /// `begin` gets what tells whether the time for work is over.
    pub(super) fn new<S>(content_type: &'static str, begin: impl FnOnce(Drain) -> S + Send + 'static) -> Self
    where
        S: Stream<Item = Bytes> + Send + 'static,
    {
        Self { content_type, begin: Box::new(|drain| Box::pin(begin(drain))) }
    }

    /// What is sent. A reply that outlives the time for work ends as one that broke off, and says why.
    pub fn into_pieces(self, drain: Drain) -> Pieces {
        (self.begin)(drain)
    }
}

/// Why a reply ends that outlives the time for work.
fn stopped() -> Failure {
    let message = "the server stopped before the answer was complete; it is safe to ask again";
    Failure::refused(RefusalReason::Draining, message)
}

/// Why a reply ends at a fault of ours.
fn broken() -> Failure {
    Failure::new(FailureClass::Internal, "the server met a fault of its own; see its log")
}

/// What comes next of a reply, which ends with a word whatever happens: the time for work may be over, and a panic below must
/// not look like a client's lost connection.
async fn next_in<T>(
    drain: &Drain,
    next: impl Future<Output = Option<Result<T, Failure>>>,
) -> Option<Result<T, Failure>> {
    match drain.piece(AssertUnwindSafe(next).catch_unwind()).await {
        Some(Ok(next)) => next,
        Some(Err(_)) => Some(Err(broken())),
        None => Some(Err(stopped())),
    }
}

impl fmt::Debug for ByteStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByteStream").field("content_type", &self.content_type).finish_non_exhaustive()
    }
}

/// A reply that arrives event by event, whoever makes it. Dropping it ends the making.
pub(super) trait EventSource: Send + 'static {
    /// The next event; `None` at the clean end. After a failure there is nothing more.
    fn next(&mut self) -> impl Future<Output = Option<Result<ReplyEvent, Failure>>> + Send;

    /// The next event if it is there already.
    fn next_ready(&mut self) -> Option<ReplyEvent>;
}

impl EventSource for HeldReply {
    fn next(&mut self) -> impl Future<Output = Option<Result<ReplyEvent, Failure>>> + Send {
        Self::next(self)
    }

    fn next_ready(&mut self) -> Option<ReplyEvent> {
        Self::next_ready(self)
    }
}

/// A reply of another dialect, translated event by event.
pub(super) fn translated(
    content_type: &'static str,
    reply: impl EventSource,
    encoder: impl ReplyEncoder + 'static,
) -> ByteStream {
    ByteStream::new(content_type, |drain| {
        stream::unfold(Some(Translation { reply, encoder, drain }), |translation| async move {
            let mut translation = translation?;
            let mut out = Vec::new();
            let goes_on = translation.write_next(&mut out).await;
            Some((Bytes::from(out), goes_on.then_some(translation)))
        })
    })
}

/// The answer of a backend that speaks the client's dialect, as it is. `failed` writes how a stream of this dialect and
/// `content_type` ends that broke off; a whole answer has its own type.
pub(super) fn relayed(
    content_type: &'static str,
    reply: RelayedReply,
    failed: impl FnOnce(&Failure, &mut Vec<u8>) + Send + 'static,
) -> Reply {
    match reply {
        RelayedReply::Whole(body) => Reply { body: ReplyBody::Relayed(body), ..Reply::empty() },
        RelayedReply::Stream(relay) => Reply::stream(ByteStream::new(content_type, move |drain| {
            let begun = Some(Relay { relay, failed, is_within_event: false, drain });
            stream::unfold(begun, move |relay| async move { relay?.next(content_type).await })
        })),
    }
}

struct Relay<F> {
    relay: HeldRelay,
    failed: F,
    /// Whether the last lines have not ended with the blank one that ends an event.
    is_within_event: bool,
    drain: Drain,
}

impl<F: FnOnce(&Failure, &mut Vec<u8>)> Relay<F> {
    async fn next(mut self, content_type: &'static str) -> Option<(Bytes, Option<Self>)> {
        match next_in(&self.drain, self.relay.next()).await? {
            Ok(lines) => {
                self.is_within_event = !lines.ends_with(b"\n\n") && !lines.ends_with(b"\n\r\n");
                Some((lines, Some(self)))
            }
            Err(failure) => {
                let mut out = Vec::new();
                if self.is_within_event && content_type == EVENT_STREAM {
                    out.push(b'\n');
                }
                (self.failed)(&failure, &mut out);
                Some((Bytes::from(out), None))
            }
        }
    }
}

struct Translation<S, E> {
    reply: S,
    encoder: E,
    drain: Drain,
}

impl<S: EventSource, E: ReplyEncoder> Translation<S, E> {
    /// Writes what there is, at least something and not much more than a piece; false at the end.
    async fn write_next(&mut self, out: &mut Vec<u8>) -> bool {
        while out.is_empty() {
            match next_in(&self.drain, self.reply.next()).await {
                Some(Ok(event)) => {
                    self.encoder.event(event, out);
                    while out.len() < PIECE_BYTES
                        && let Some(event) = self.reply.next_ready()
                    {
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

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;

    use super::*;

    const TEXT_BYTES: usize = 1000;
    const EVENTS: usize = 100;

    /// Everything is there already.
    struct Ready(usize);

    impl EventSource for Ready {
        async fn next(&mut self) -> Option<Result<ReplyEvent, Failure>> {
            self.next_ready().map(Ok)
        }

        fn next_ready(&mut self) -> Option<ReplyEvent> {
            self.0 = self.0.checked_sub(1)?;
            Some(ReplyEvent::Text { choice: 0, text: "a".repeat(TEXT_BYTES) })
        }
    }

    struct Plain;

    impl ReplyEncoder for Plain {
        fn event(&mut self, event: ReplyEvent, out: &mut Vec<u8>) {
            if let ReplyEvent::Text { text, .. } = event {
                out.extend(text.bytes());
            }
        }

        fn end(&mut self, out: &mut Vec<u8>) {
            out.push(b'.');
        }

        fn failed(&mut self, _: &Failure, _: &mut Vec<u8>) {}
    }

    #[tokio::test]
    async fn of_what_is_there_already_a_piece_is_translated_at_a_time() {
        let pieces = translated(NDJSON, Ready(EVENTS), Plain).into_pieces(Drain::default());
        let sizes: Vec<usize> = pieces.map(|piece| piece.len()).collect().await;
        assert!(sizes.len() < EVENTS / 2 && sizes.iter().all(|size| *size < PIECE_BYTES + TEXT_BYTES), "{sizes:?}");
        assert_eq!(sizes.iter().sum::<usize>(), EVENTS * TEXT_BYTES + 1);
    }
}
