//! A stream that is relayed: whole lines as they come, and the knowledge whether it was all of them. Dropping it aborts the
//! call.

use std::{collections::VecDeque, time::Duration};

use bytes::{Bytes, BytesMut};
use memchr::memrchr;
use serde::de::IgnoredAny;

use crate::{
    dialect::{Dialect, stream_watch::StreamWatch},
    domain::chat::Usage,
    providers::{ProviderError, ProviderErrorKind, discreet::Discretion, transport::Pieces},
};

/// Bytes of a line that are held back while its end has not come: a stream that breaks off within a line must not leave the
/// client with half of it. As long as in streams that are translated; Ollama's last line repeats a whole context as numbers.
const MAX_LINE_BYTES: usize = 16 << 20;
/// Bytes that are read before the reply is committed, while only comments come.
pub(in crate::providers) const UNCOMMITTED_BYTES: usize = 64 << 10;
/// The end mark of OpenAI's streams, behind whatever came before it.
const END_MARK: &[u8] = b"\ndata: [DONE]\n\n";

/// Whether a last line without its line end is all of an event: what is cut off must not go out as if it were.
fn is_whole_event(line: &[u8]) -> bool {
    let data = line.strip_prefix(b"data:").map(<[u8]>::trim_ascii);
    data.is_some_and(|data| serde_json::from_slice::<IgnoredAny>(data).is_ok())
}

/// See the module.
pub struct RelayStream {
    /// What is still to come; `None` once it has ended or failed.
    pieces: Option<Pieces>,
    /// Read before the reply was committed.
    ready: VecDeque<Bytes>,
    /// A failure behind the lines that went out last.
    failure: Option<ProviderError>,
    /// The beginning of a line.
    held: BytesMut,
    watch: StreamWatch,
    /// The connection broke, where an end would have been an end.
    has_broken: bool,
    /// What no failure may show.
    discretion: Option<Discretion>,
}

type Next = Option<Result<Bytes, ProviderError>>;

impl RelayStream {
    /// Waits for the first words: until then a failure is one of the call, and another backend may be tried. No longer than
    /// the first byte may take, and for no more than [`UNCOMMITTED_BYTES`]: then what has come is passed on. `wanted`:
    /// replies that the client asked for.
    pub(super) async fn begin(pieces: Pieces, dialect: Dialect, wanted: usize) -> Result<Self, ProviderError> {
        let limit = pieces.words_within();
        let begun = tokio::time::timeout(limit, Self::first_words(pieces, dialect, wanted)).await;
        begun.unwrap_or_else(|_| Err(speechless(limit)))
    }

    async fn first_words(pieces: Pieces, dialect: Dialect, wanted: usize) -> Result<Self, ProviderError> {
        let mut stream = Self {
            pieces: Some(pieces),
            ready: VecDeque::new(),
            failure: None,
            held: BytesMut::new(),
            watch: StreamWatch::new(dialect, wanted),
            has_broken: false,
            discretion: None,
        };
        let mut read = 0;
        while !stream.watch.has_spoken() && read < UNCOMMITTED_BYTES {
            match stream.read().await {
                Some(Ok(lines)) => {
                    read += lines.len();
                    stream.ready.push_back(lines);
                }
                // What came and made no sense is no matter of the connection.
                Some(Err(error)) if stream.has_broken || read == 0 => return Err(error.before_the_first_word()),
                Some(Err(error)) => return Err(error),
                None => break,
            }
        }
        let is_first = stream.watch.failure().is_some_and(|told| told.is_first);
        match stream.failure.take_if(|_| is_first) {
            Some(failure) => Err(failure),
            None => Ok(stream),
        }
    }

    /// The next lines; `None` at the clean end. After an error there is nothing more.
    pub async fn next(&mut self) -> Next {
        match self.ready.pop_front() {
            Some(lines) => Some(Ok(lines)),
            None => {
                let next = self.read().await?;
                Some(next.map_err(|error| Discretion::keep(self.discretion.as_ref(), error)))
            }
        }
    }

    /// From here on no failure shows this.
    pub(in crate::providers) fn be_discreet(&mut self, discretion: Discretion) {
        self.discretion = Some(discretion);
    }

    /// Tokens, as far as the backend has told them.
    pub const fn usage(&self) -> Usage {
        self.watch.usage()
    }

    /// Pieces of the reply that have come: about one a token.
    pub const fn pieces(&self) -> u64 {
        self.watch.pieces()
    }

    async fn read(&mut self) -> Next {
        if let Some(failure) = self.failure.take() {
            return Some(Err(failure));
        }
        loop {
            let pieces = self.pieces.as_mut()?;
            let next = match pieces.next().await {
                Ok(Some(piece)) => match self.whole_lines(piece) {
                    Some(lines) => self.looked_at(lines),
                    None if self.held.len() <= MAX_LINE_BYTES => continue,
                    None => self.failed(ProviderError::new(
                        ProviderErrorKind::Reply,
                        format!("a line of the stream is longer than {MAX_LINE_BYTES} bytes"),
                    )),
                },
                Ok(None) => self.last(),
                // Whoever has the end mark misses nothing.
                Err(_) if self.watch.is_complete() => {
                    self.pieces = None;
                    None
                }
                Err(error) => {
                    self.has_broken = true;
                    self.failed(error)
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

    /// What can go out of whole lines: all that stands before a failure.
    fn looked_at(&mut self, mut lines: Bytes) -> Next {
        lines.truncate(self.watch.look(&lines));
        if let Some(told) = self.watch.failure() {
            let failure = ProviderError::from(told.error.clone());
            if lines.is_empty() {
                return self.failed(failure);
            }
            // Nothing behind it counts.
            self.pieces = None;
            self.failure = Some(failure);
        }
        Some(Ok(lines))
    }

    /// The bytes have ended.
    fn last(&mut self) -> Next {
        self.pieces = None;
        let rest = self.held.split().freeze();
        let is_blank = rest.trim_ascii().is_empty();
        match self.looked_at(rest) {
            Some(Ok(rest)) if self.watch.is_complete() => (!rest.is_empty()).then_some(Ok(rest)),
            // It is whole all the same, and the client waits for the mark.
            Some(Ok(_)) if is_blank && self.watch.is_finished() => Some(Ok(Bytes::from_static(END_MARK))),
            Some(Ok(rest)) if is_whole_event(&rest) && self.watch.is_finished() => {
                Some(Ok([&rest, &b"\n"[..], END_MARK].concat().into()))
            }
            Some(Err(told)) if told.kind != ProviderErrorKind::Reply => Some(Err(told)),
            // A line that is no object is one of which the end is missing.
            _ => {
                let message = "the backend broke off in the middle of its answer";
                self.failed(ProviderError::new(ProviderErrorKind::Cut, message))
            }
        }
    }

    fn failed(&mut self, error: ProviderError) -> Next {
        self.pieces = None;
        Some(Err(error))
    }

    /// What of the held bytes and this piece can go out.
    fn whole_lines(&mut self, mut piece: Bytes) -> Option<Bytes> {
        let Some(last) = memrchr(b'\n', &piece) else {
            self.held.extend_from_slice(&piece);
            return None;
        };
        let rest = piece.split_off(last + 1);
        let lines = if self.held.is_empty() {
            piece
        } else {
            self.held.extend_from_slice(&piece);
            self.held.split().freeze()
        };
        self.held.extend_from_slice(&rest);
        Some(lines)
    }
}

/// Something has come, but no word.
pub(in crate::providers) fn speechless(limit: Duration) -> ProviderError {
    ProviderError::new(ProviderErrorKind::Timeout, format!("the backend said nothing within {limit:?}"))
}
