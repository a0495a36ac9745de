//! A reply that arrives piece by piece: the transport's bytes through the dialect's decoder. Dropping it aborts the call.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{ProviderError, transport::Pieces};
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
        Self { source: Some(Source { pieces, piece: Bytes::new(), decoder }), ready: VecDeque::new(), failure: None }
    }

    /// A whole reply as its events.
    pub(super) fn of(reply: ChatReply) -> Self {
        let ready = reply.into_events().collect();
        Self { source: None, ready, failure: None }
    }

    /// Waits for the first event: until then a failure is one of the call, and another backend may be tried.
    ///
    /// # Errors
    /// The backend failed before it had said anything.
    pub async fn begin(&mut self) -> Result<(), ProviderError> {
        self.fill().await;
        match self.failure.take() {
            Some(failure) if self.ready.is_empty() => Err(failure),
            later => {
                self.failure = later;
                Ok(())
            }
        }
    }

    /// The next event; `None` at the clean end. After an error there is nothing more.
    pub async fn next(&mut self) -> Option<Result<ReplyEvent, ProviderError>> {
        self.fill().await;
        match self.ready.pop_front() {
            Some(event) => Some(Ok(event)),
            None => self.failure.take().map(Err),
        }
    }

    /// The next event if it is there already.
    pub fn next_ready(&mut self) -> Option<ReplyEvent> {
        self.ready.pop_front()
    }

    /// Waits until something is ready, or nothing will be any more.
    async fn fill(&mut self) {
        while self.ready.is_empty() {
            let Some(source) = &mut self.source else { return };
            let mut events = Vec::new();
            if source.decoder.is_complete() {
                source.pieces.expect_end();
            }
            let outcome = match source.next().await {
                Ok(Some(piece)) => source.decoder.push(&piece, &mut events).map_err(ProviderError::from).map(|()| true),
                Ok(None) => source.decoder.end(&mut events).map_err(ProviderError::from).map(|()| false),
                // Whoever has the end mark misses nothing.
                Err(_) if source.decoder.is_complete() => {
                    source.decoder.end(&mut events).map_err(ProviderError::from).map(|()| false)
                }
                Err(error) => Err(error),
            };
            self.ready.extend(events);
            if !matches!(outcome, Ok(true)) {
                self.source = None;
                self.failure = outcome.err();
            }
        }
    }
}
