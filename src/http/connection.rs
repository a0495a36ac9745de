//! One client's connection below its requests: a tuned socket, an end that lets the last answer arrive, and an ear for the
//! end of a drain.

use std::{
    future::poll_fn,
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::Sleep,
};

use super::{parked::Activity, unwritten::Unwritten};
use crate::shutdown::{Drain, Phase};

/// Bytes the kernel may hold for a client that does not take them: beyond it the client's backend waits. Without this bound
/// it would take megabytes for each.
const UNSENT_BYTES: u32 = 128 * 1024;
/// Longest time in which a client may take nothing of what is sent.
const WRITE_STALL: Duration = Duration::from_secs(60);
/// How long, and for how many bytes, a client may go on sending what nobody reads after it has its answer. Closed at once
/// with bytes unread, a socket tells its client only that it was reset, and some never look at the answer then.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 256 * 1024;

/// Marks an answer whose request was not read to its end: the connection ends with it.
#[derive(Clone, Copy)]
pub(super) struct LeftUnread;

/// Whether a request of a connection was left unread.
#[derive(Clone, Default)]
pub(super) struct Unread(Arc<AtomicBool>);

impl Unread {
    pub(super) fn note(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A client's socket.
pub(super) struct ClientStream<S = TcpStream> {
    socket: S,
    unread: Unread,
    unwritten: Unwritten,
    activity: Activity,
    /// What was read before, and is to be read first.
    first: Bytes,
    lingering: Option<Lingering>,
}

struct Lingering {
    until: Pin<Box<Sleep>>,
    bytes: usize,
}

impl ClientStream {
    pub(super) fn new(socket: TcpStream, unread: Unread, unwritten: Unwritten, activity: Activity) -> Self {
        // A client that takes nothing for so long is gone; without this, its connection would hold its place for ever.
        let options = socket2::SockRef::from(&socket);
        let tuned = socket
            .set_nodelay(true)
            .and_then(|()| options.set_tcp_user_timeout(Some(WRITE_STALL)))
            .and_then(|()| options.set_tcp_notsent_lowat(UNSENT_BYTES));
        if let Err(error) = tuned {
            tracing::debug!(%error, "a connection keeps its defaults");
        }
        Self::untuned(socket, unread, unwritten, activity)
    }
}

impl<S> ClientStream<S> {
    pub(super) const fn untuned(socket: S, unread: Unread, unwritten: Unwritten, activity: Activity) -> Self {
        Self { socket, unread, unwritten, activity, first: Bytes::new(), lingering: None }
    }

    /// These bytes were read, and are to be read again before any others.
    pub(super) fn read_again(&mut self, first: Bytes) {
        self.first = first;
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ClientStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            let before = buffer.filled().len();
            ready!(Pin::new(&mut self.socket).poll_read(context, buffer))?;
            if buffer.filled().len() == before {
                return Poll::Ready(Ok(()));
            }
        } else {
            let taken = self.first.len().min(buffer.remaining());
            buffer.put_slice(&self.first.split_to(taken));
        }
        self.activity.read();
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ClientStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.activity.writes();
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.activity.writes();
        Pin::new(&mut self.socket).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.unwritten.all_written(context);
        ready!(Pin::new(&mut self.socket).poll_flush(context))?;
        self.activity.all_written();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { socket, unread, lingering, .. } = &mut *self;
        if lingering.is_none() {
            ready!(Pin::new(&mut *socket).poll_shutdown(context))?;
            if !unread.0.load(Ordering::Relaxed) {
                return Poll::Ready(Ok(()));
            }
        }
        let lingering =
            lingering.get_or_insert_with(|| Lingering { until: Box::pin(tokio::time::sleep(LINGER)), bytes: 0 });
        lingering.poll_over(socket, context).map(Ok)
    }
}

impl Lingering {
    /// Throws away what comes, within bounds, until the client has closed its side.
    fn poll_over(&mut self, socket: &mut (impl AsyncRead + Unpin), context: &mut Context<'_>) -> Poll<()> {
        let mut scratch = [0; 8 << 10];
        loop {
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(&mut *socket).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    self.bytes += buffer.filled().len();
                    if self.bytes > LINGER_BYTES {
                        return Poll::Ready(());
                    }
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return self.until.as_mut().poll(context),
            }
        }
    }
}

/// A connection that can be told to end once what is asked on it is answered.
pub(super) trait EndsGracefully: Future {
    /// Ends behind the answer that it is giving; at once if it gives none.
    fn end_gracefully(self: Pin<&mut Self>);
}

/// Serves a connection that is told of a drain: when new work is refused, it ends gracefully, if it is to (`ends_early`); when the
/// time for work is over it looks around, and what it serves then ends as [`Drain::unless_over`] says. `None` when it was cut.
pub(super) async fn woken<C: EndsGracefully>(drain: &Drain, ends_early: bool, connection: C) -> Option<C::Output> {
    let (mut draining, mut over, mut cut) =
        (pin!(drain.until_draining()), pin!(drain.until_over()), pin!(drain.until_cut()));
    let mut connection = pin!(connection);
    let mut is_to_end = ends_early;
    // Whom all will wake. Asking them again costs a lock that all connections share, so it is done once.
    let mut known: Option<Waker> = None;
    poll_fn(|context| {
        if !known.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            let told = [draining.as_mut().poll(context), over.as_mut().poll(context), cut.as_mut().poll(context)];
            tracing::trace!(?told, "a connection listens for the end of a drain");
            known = Some(context.waker().clone());
        }
        let phase = drain.phase();
        if phase >= Phase::Cut {
            return Poll::Ready(None);
        }
        if phase >= Phase::Draining && is_to_end {
            is_to_end = false;
            connection.as_mut().end_gracefully();
        }
        connection.as_mut().poll(context).map(Some)
    })
    .await
}
