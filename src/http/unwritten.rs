//! How much of its answers a connection may hold for a client that does not take them.
//!
//! hyper bounds what waits to be written by the size in which it reads, which is large for the sake of long prompts. Here a
//! body gives no further piece once [`UNWRITTEN_BYTES`] of it have been handed out, until the connection has written
//! everything that it had. Owns: the count of one connection, which its socket and its bodies share; both are polled by the
//! one task of the connection.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use super::parked::Running;

/// What may wait to be written; a piece that is begun comes whole.
pub(super) const UNWRITTEN_BYTES: usize = 64 * 1024;

/// What a connection's answers have handed out since all was written last.
#[derive(Clone, Default)]
pub(super) struct Unwritten(Arc<Count>);

#[derive(Default)]
struct Count {
    handed: AtomicUsize,
    is_waited_for: AtomicBool,
}

impl Unwritten {
    /// A body whose pieces count here, of the answer to this request.
    pub(super) fn bound<B>(&self, body: B, running: Running) -> Bounded<B> {
        Bounded { body, unwritten: self.clone(), _running: running }
    }

    /// Everything has been written: hyper flushes its socket only then. It may have asked the body before and go to rest now,
    /// so a body that waits has its task woken.
    pub(super) fn all_written(&self, context: &Context<'_>) {
        self.0.handed.store(0, Ordering::Relaxed);
        if self.0.is_waited_for.load(Ordering::Relaxed) {
            self.0.is_waited_for.store(false, Ordering::Relaxed);
            context.waker().wake_by_ref();
        }
    }

    fn is_enough(&self) -> bool {
        let is_enough = self.0.handed.load(Ordering::Relaxed) >= UNWRITTEN_BYTES;
        if is_enough {
            self.0.is_waited_for.store(true, Ordering::Relaxed);
        }
        is_enough
    }
}

/// See the module.
pub(super) struct Bounded<B> {
    body: B,
    unwritten: Unwritten,
    /// Ends with the body, which hyper drops when it has all of it.
    _running: Running,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Bounded<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if self.unwritten.is_enough() {
            return Poll::Pending;
        }
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(piece) = frame.data_ref()
        {
            self.unwritten.0.handed.fetch_add(piece.len(), Ordering::Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests;
