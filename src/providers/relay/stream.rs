//! A stream that is relayed: whole lines as they come, and the knowledge whether it was all of them. Dropping it aborts the
//! call.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use memchr::memrchr;

use crate::{
    dialect::{
        Dialect,
        error_body::parse_error,
        stream_watch::{StreamWatch, Told},
    },
    domain::chat::Usage,
    providers::{ProviderError, ProviderErrorKind, transport::Pieces},
};

/// Bytes of a line that are held back while its end has not come. A stream that breaks off within a line must not leave the
/// client with half of it; a longer line goes out in parts all the same.
const HELD_BYTES: usize = 256 << 10;
/// Bytes that are read before the reply is committed, while only comments come.
const UNCOMMITTED_BYTES: usize = 64 << 10;

/// See the module.
pub struct RelayStream {
    /// What is still to come; `None` once it has ended or failed.
    pieces: Option<Pieces>,
    /// Read before the reply was committed.
    ready: VecDeque<Bytes>,
    /// The beginning of a line.
    held: BytesMut,
    watch: StreamWatch,
}

impl RelayStream {
    /// Waits for the first words: until then a failure is one of the call, and another backend may be tried.
    pub(super) async fn begin(pieces: Pieces, dialect: Dialect) -> Result<Self, ProviderError> {
        let mut stream = Self {
            pieces: Some(pieces),
            ready: VecDeque::new(),
            held: BytesMut::new(),
            watch: StreamWatch::new(dialect),
        };
        let mut read = 0;
        while !stream.watch.has_spoken() && read < UNCOMMITTED_BYTES {
            match stream.read().await {
                Some(Ok(lines)) => {
                    read += lines.len();
                    stream.ready.push_back(lines);
                }
                Some(Err(error)) => return Err(error),
                None => break,
            }
        }
        match stream.watch.failure() {
            Some(told) if told.is_first => Err(reported(told)),
            _ => Ok(stream),
        }
    }

    /// The next lines; `None` at the clean end. After an error there is nothing more.
    pub async fn next(&mut self) -> Option<Result<Bytes, ProviderError>> {
        match self.ready.pop_front() {
            Some(lines) => Some(Ok(lines)),
            None => self.read().await,
        }
    }

    /// Tokens, as far as the backend has told them.
    pub const fn usage(&self) -> Usage {
        self.watch.usage()
    }

    /// Pieces of the reply that have come: about one a token.
    pub const fn pieces(&self) -> u64 {
        self.watch.pieces()
    }

    async fn read(&mut self) -> Option<Result<Bytes, ProviderError>> {
        loop {
            let pieces = self.pieces.as_mut()?;
            let next = match pieces.next().await {
                Ok(Some(piece)) => match self.whole_lines(piece) {
                    Some(lines) => Some(Ok(lines)),
                    None => continue,
                },
                Ok(None) => {
                    let rest = self.held.split().freeze();
                    self.watch.look(&rest);
                    self.pieces = None;
                    match self.has_ended() {
                        true => (!rest.is_empty()).then_some(Ok(rest)),
                        false => {
                            let message = "the backend broke off in the middle of its answer";
                            Some(Err(ProviderError::new(ProviderErrorKind::Cut, message)))
                        }
                    }
                }
                Err(error) => {
                    self.pieces = None;
                    // Whoever has the end mark misses nothing.
                    (!self.has_ended()).then_some(Err(error))
                }
            };
            if self.watch.is_complete()
                && let Some(pieces) = &mut self.pieces
            {
                pieces.expect_end();
            }
            return next;
        }
    }

    /// Whether the client knows how the stream ended.
    const fn has_ended(&self) -> bool {
        self.watch.is_complete() || self.watch.failure().is_some()
    }

    /// What of the held bytes and this piece can go out.
    fn whole_lines(&mut self, mut piece: Bytes) -> Option<Bytes> {
        let Some(last) = memrchr(b'\n', &piece) else {
            self.held.extend_from_slice(&piece);
            return (self.held.len() > HELD_BYTES).then(|| self.held.split().freeze());
        };
        let rest = piece.split_off(last + 1);
        let lines = if self.held.is_empty() {
            piece
        } else {
            self.held.extend_from_slice(&piece);
            self.held.split().freeze()
        };
        self.held.extend_from_slice(&rest);
        self.watch.look(&lines);
        Some(lines)
    }
}

/// A failure that came instead of the reply, as if it had come with a status.
fn reported(told: &Told) -> ProviderError {
    ProviderError::reported(parse_error(&told.body))
}
