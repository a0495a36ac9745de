//! A request's body in three pieces of memory, of which two are the client's own: sent one after the other, and none copied.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;

/// The pieces of a spliced body, sent one after the other with their exact length. A clone shares their memory.
#[derive(Clone)]
pub(super) struct Spliced {
    pieces: std::array::IntoIter<Bytes, 3>,
    left: u64,
}

impl Spliced {
    pub(super) fn of(pieces: [Bytes; 3]) -> Self {
        let left = pieces.iter().map(|piece| piece.len() as u64).sum();
        Self { pieces: pieces.into_iter(), left }
    }
}

/// No body.
impl Default for Spliced {
    fn default() -> Self {
        Self::of(Default::default())
    }
}

impl http_body::Body for Spliced {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        let piece = self.pieces.by_ref().find(|piece| !piece.is_empty());
        self.left -= piece.as_ref().map_or(0, |piece| piece.len() as u64);
        Poll::Ready(piece.map(|piece| Ok(http_body::Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.left)
    }
}
