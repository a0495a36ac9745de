//! The body of an answer, the place that its request has among those in flight, and the count that follows it: held until the
//! last byte is handed to the connection or the client has gone, as the slot of a backend is.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use super::{admission::Place, meters::Followed, respond::Outgoing};

/// See the module.
pub(super) struct Placed {
    body: Outgoing,
    _place: Option<Place>,
    _followed: Box<Followed>,
}

impl Placed {
    pub(super) const fn new(body: Outgoing, place: Option<Place>, followed: Box<Followed>) -> Self {
        Self { body, _place: place, _followed: followed }
    }
}

impl Body for Placed {
    type Data = Bytes;
    type Error = <Outgoing as Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
