//! A reply that arrives piece by piece: the transport's bytes through the dialect's decoder. Dropping it aborts the call.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{
    ProviderError,
    discreet::Discretion,
    relay::{UNCOMMITTED_BYTES, speechless},
    transport::Pieces,
};
use crate::{
    dialect::stream::ReplyDecoder,
    domain::chat::{ChatReply, ReplyEvent},
};

/// The events of one reply, in order.
pub struct ReplyStream {
    /// What is still to come; `None` once it has ended or failed.
    source: Option<Source>,
    ready: VecDeque<ReplyEvent>,
    /// A failure behind the events that are ready.
    failure: Option<ProviderError>,
    /// What no failure may show.
    discretion: Option<Discretion>,
}

struct Source {
    pieces: Pieces,
    /// What has come and is not decoded yet.
    piece: Bytes,
    decoder: Box<dyn ReplyDecoder>,
}

/// Bytes that are decoded at once. A fast backend's pieces are large, and their events many times larger: those of a slow
/// reader would fill the memory.
const DECODED_BYTES: usize = 8 << 10;

impl Source {
    /// The next bytes to decode; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, ProviderError> {
        if self.piece.is_empty() {
            match self.pieces.next().await? {
                Some(piece) => self.piece = piece,
                None => return Ok(None),
            }
        }
        Ok(Some(self.piece.split_to(self.piece.len().min(DECODED_BYTES))))
    }
}

impl ReplyStream {
    pub(super) fn new(pieces: Pieces, decoder: Box<dyn ReplyDecoder>) -> Self {
        let source = Some(Source { pieces, piece: Bytes::new(), decoder });
        Self { source, ready: VecDeque::new(), failure: None, discretion: None }
    }

    /// A whole reply as its events.
    pub(super) fn of(reply: ChatReply) -> Self {
        let ready = reply.into_events().collect();
        Self { source: None, ready, failure: None, discretion: None }
    }

    /// From here on no failure shows this.
    pub(super) fn be_discreet(&mut self, discretion: Discretion) {
        self.discretion = Some(discretion);
    }

    /// Waits for the first event: until then a failure is one of the call, and another backend may be tried. No longer than
    /// the first byte may take, and for no more than 64 KiB without an event: then the answer counts as begun.
    ///
    /// # Errors
    /// The backend failed before it had said anything.
    pub async fn begin(&mut self) -> Result<(), ProviderError> {
        let Some(limit) = self.source.as_ref().map(|source| source.pieces.words_within()) else { return Ok(()) };
        let filled = tokio::time::timeout(limit, self.fill(UNCOMMITTED_BYTES)).await;
        let said_nothing = filled.map_err(|_| speechless(limit))?;
        match self.failure.take() {
            Some(failure) if self.ready.is_empty() && said_nothing => Err(failure.before_the_first_word()),
            Some(failure) if self.ready.is_empty() => Err(failure),
            later => {
                self.failure = later;
                Ok(())
            }
        }
    }

    /// The next event; `None` at the clean end. After an error there is nothing more.
    pub async fn next(&mut self) -> Option<Result<ReplyEvent, ProviderError>> {
        self.fill(usize::MAX).await;
        match self.ready.pop_front() {
            Some(event) => Some(Ok(event)),
            None => self.failure.take().map(Err),
        }
    }

    /// The next event if it is there already.
    pub fn next_ready(&mut self) -> Option<ReplyEvent> {
        self.ready.pop_front()
    }

    /// Waits until something is ready, or nothing will be any more, or so many bytes have come that hold nothing. True when
    /// the connection broke, or ended without a byte; false where what came made no sense.
    async fn fill(&mut self, most: usize) -> bool {
        let (mut read, mut has_broken) = (0, false);
        while self.ready.is_empty() && read < most {
            let Some(source) = &mut self.source else { break };
            let mut events = Vec::new();
            if source.decoder.is_complete() {
                source.pieces.expect_end();
            }
            let outcome = match source.next().await {
                Ok(Some(piece)) => {
                    read += piece.len();
                    source.decoder.push(&piece, &mut events).map_err(ProviderError::from).map(|()| true)
                }
                Ok(None) => source.decoder.end(&mut events).map_err(ProviderError::from).map(|()| false),
                // Whoever has the end mark misses nothing.
                Err(_) if source.decoder.is_complete() => {
                    source.decoder.end(&mut events).map_err(ProviderError::from).map(|()| false)
                }
                Err(error) => {
                    has_broken = true;
                    Err(error)
                }
            };
            self.ready.extend(events);
            if !matches!(outcome, Ok(true)) {
                self.source = None;
                self.failure = outcome.err().map(|error| Discretion::keep(self.discretion.as_ref(), error));
            }
        }
        has_broken || read == 0
    }
}
