//! A connection that says nothing keeps its socket and little else.
//!
//! hyper holds buffers and a place for the answer as long as a connection lives, some 20 KB, and most kept connections say
//! nothing most of the time. One that was silent for [`PARK_AFTER`] is taken from hyper ([`http1::Connection::into_parts`]) and
//! listened to here; its next byte gives it to hyper again. Owns: the connection, in either form. `listener` makes one for each
//! socket.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use hyper::{
    body::{Body, Incoming},
    server::conn::http1,
    service::HttpService,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};

use super::connection::{ClientStream, EndsGracefully};

/// Silence after which a connection is parked: long enough that a busy client's never is, and its timer costs one wake-up in
/// this time and not one a request.
pub(super) const PARK_AFTER: Duration = Duration::from_secs(1);
/// Bytes that are read of what ends the silence; hyper reads the rest.
const FIRST_BYTES: usize = 512;

/// What happens on a connection. Its socket, its requests and its answers write it, [`Parkable`] reads it; all of them are polled by
/// the one task of the connection.
#[derive(Clone, Default)]
pub(super) struct Activity(Arc<Seen>);

#[derive(Default)]
struct Seen {
    /// Requests that have begun, ever.
    begun: AtomicU64,
    /// Requests that have not ended: their answers are not handed out.
    running: AtomicUsize,
    /// Something was written, and not flushed.
    is_unwritten: AtomicBool,
    /// Something was read that no request has begun with yet: the beginning of the next one's head, perhaps.
    is_unread: AtomicBool,
}

/// A request that runs, until dropped.
pub(super) struct Running(Activity);

impl Activity {
    /// A request has begun: its head is read.
    pub(super) fn begin(&self) -> Running {
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        self.0.running.fetch_add(1, Ordering::Relaxed);
        Running(self.clone())
    }

    /// Bytes have come from the client.
    pub(super) fn read(&self) {
        self.0.is_unread.store(true, Ordering::Relaxed);
    }

    /// Bytes go to the client.
    pub(super) fn writes(&self) {
        self.0.is_unwritten.store(true, Ordering::Relaxed);
    }

    /// All of them have gone.
    pub(super) fn all_written(&self) {
        self.0.is_unwritten.store(false, Ordering::Relaxed);
    }

    fn begun(&self) -> u64 {
        self.0.begun.load(Ordering::Relaxed)
    }

    fn is_silent(&self) -> bool {
        let Seen { running, is_unwritten, is_unread, .. } = &*self.0;
        running.load(Ordering::Relaxed) == 0
            && !is_unwritten.load(Ordering::Relaxed)
            && !is_unread.load(Ordering::Relaxed)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.0.running.fetch_sub(1, Ordering::Relaxed);
        // What was read was its body. Should a next head have come with it, that is found when the connection is parked.
        self.0.0.is_unread.store(false, Ordering::Relaxed);
    }
}

/// A connection that is parked while it says nothing.
pub(super) struct Parkable<S, H: HttpService<Incoming>, F> {
    state: State<S, H>,
    /// Gives a socket to hyper.
    serve: F,
    activity: Activity,
    /// Longest silence, after which it ends.
    patience: Duration,
}

type Served<S, H> = http1::Connection<TokioIo<ClientStream<S>>, H>;

enum State<S, H: HttpService<Incoming>> {
    /// hyper has it.
    Serving {
        connection: Box<Served<S, H>>,
        look: Option<Look>,
    },
    /// It says nothing; it ends when the time is over.
    Parked {
        stream: Box<ClientStream<S>>,
        over: Pin<Box<Sleep>>,
    },
    Ended,
}

/// The next look at a connection that hyper has.
struct Look {
    at: Pin<Box<Sleep>>,
    /// Requests that had begun at the last one.
    begun: u64,
}

impl<S, H, F> Parkable<S, H, F>
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: HttpService<Incoming>,
    H::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    H::ResBody: Body + 'static,
    <H::ResBody as Body>::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    F: Fn(ClientStream<S>) -> Served<S, H>,
{
    /// Serves this socket; `activity` is what its bodies and requests tell of themselves.
    pub(super) fn new(stream: ClientStream<S>, activity: Activity, patience: Duration, serve: F) -> Self {
        let state = State::Serving { connection: Box::new(serve(stream)), look: None };
        Self { state, serve, activity, patience }
    }

    /// Whether the connection that hyper has was silent since the last look; looks again later.
    fn is_to_be_parked(look: &mut Option<Look>, activity: &Activity, context: &mut Context<'_>) -> bool {
        let now = || Look { at: Box::pin(tokio::time::sleep(PARK_AFTER)), begun: activity.begun() };
        let look = look.get_or_insert_with(now);
        while look.at.as_mut().poll(context).is_ready() {
            let begun = activity.begun();
            if begun > 0 && begun == look.begun && activity.is_silent() {
                return true;
            }
            look.begun = begun;
            look.at.as_mut().reset(Instant::now() + PARK_AFTER);
        }
        false
    }
}

impl<S, H, F> Future for Parkable<S, H, F>
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: HttpService<Incoming> + Unpin,
    H::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    H::ResBody: Body + 'static,
    <H::ResBody as Body>::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    F: Fn(ClientStream<S>) -> Served<S, H> + Unpin,
    Served<S, H>: Future<Output = hyper::Result<()>> + Unpin,
{
    type Output = hyper::Result<()>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        let this = self.get_mut();
        loop {
            match &mut this.state {
                State::Serving { connection, look } => {
                    if let Poll::Ready(ended) = Pin::new(&mut **connection).poll(context) {
                        this.state = State::Ended;
                        return Poll::Ready(ended);
                    }
                    if !Self::is_to_be_parked(look, &this.activity, context) {
                        return Poll::Pending;
                    }
                }
                State::Parked { stream, over } => {
                    let mut first = [0; FIRST_BYTES];
                    let mut first = ReadBuf::new(&mut first);
                    let read = Pin::new(&mut **stream).poll_read(context, &mut first);
                    if read.is_pending() {
                        ready!(over.as_mut().poll(context));
                    }
                    if !matches!(read, Poll::Ready(Ok(()))) || first.filled().is_empty() {
                        // The client has gone, or has said nothing for too long.
                        this.state = State::Ended;
                        return Poll::Ready(Ok(()));
                    }
                    let State::Parked { mut stream, .. } = std::mem::replace(&mut this.state, State::Ended) else {
                        continue;
                    };
                    stream.read_again(Bytes::copy_from_slice(first.filled()));
                    this.state = State::Serving { connection: Box::new((this.serve)(*stream)), look: None };
                    continue;
                }
                State::Ended => return Poll::Ready(Ok(())),
            }
            if let State::Serving { connection, .. } = std::mem::replace(&mut this.state, State::Ended) {
                let parts = connection.into_parts();
                let mut stream = Box::new(parts.io.into_inner());
                if parts.read_buf.is_empty() {
                    let over = Box::pin(tokio::time::sleep(this.patience.saturating_sub(PARK_AFTER)));
                    this.state = State::Parked { stream, over };
                } else {
                    // The beginning of a head came with the request before: hyper waits for the rest of it.
                    stream.read_again(parts.read_buf);
                    this.state = State::Serving { connection: Box::new((this.serve)(*stream)), look: None };
                }
            }
        }
    }
}

impl<S, H, F> EndsGracefully for Parkable<S, H, F>
where
    Self: Future<Output = hyper::Result<()>>,
    S: AsyncRead + AsyncWrite + Unpin,
    H: HttpService<Incoming> + Unpin,
    F: Unpin,
    H::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    H::ResBody: Body + 'static,
    <H::ResBody as Body>::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    Served<S, H>: Unpin,
{
    fn end_gracefully(self: Pin<&mut Self>) {
        let this = self.get_mut();
        match &mut this.state {
            State::Serving { connection, .. } => Pin::new(&mut **connection).graceful_shutdown(),
            State::Parked { .. } => this.state = State::Ended,
            State::Ended => {}
        }
    }
}

#[cfg(test)]
mod tests;
