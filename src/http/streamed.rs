//! The body of a streamed reply: pieces as they come. hyper asks for the next one only when the client has taken the last,
//! so a slow client slows its backend; it drops the body when the client leaves, which aborts the call.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::Stream;
use hyper::body::{Body, Frame};

use crate::{api::stream::ByteStream, shutdown::Drain};

/// See the module.
pub(super) struct StreamedBody {
    pieces: Pin<Box<dyn Stream<Item = Bytes> + Send>>,
}

impl StreamedBody {
    pub(super) fn new(stream: ByteStream, drain: Drain) -> Self {
        Self { pieces: stream.into_pieces(drain) }
    }
}

impl Body for StreamedBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.pieces.as_mut().poll_next(context).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}
