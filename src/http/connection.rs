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

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::Sleep,
};

use super::unwritten::Unwritten;
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
    lingering: Option<Lingering>,
}

struct Lingering {
    until: Pin<Box<Sleep>>,
    bytes: usize,
}

impl ClientStream {
    pub(super) fn new(socket: TcpStream, unread: Unread, unwritten: Unwritten) -> Self {
        // A client that takes nothing for so long is gone; without this, its connection would hold its place for ever.
        let options = socket2::SockRef::from(&socket);
        let tuned = socket
            .set_nodelay(true)
            .and_then(|()| options.set_tcp_user_timeout(Some(WRITE_STALL)))
            .and_then(|()| options.set_tcp_notsent_lowat(UNSENT_BYTES));
        if let Err(error) = tuned {
            tracing::debug!(%error, "a connection keeps its defaults");
        }
        Self::untuned(socket, unread, unwritten)
    }
}

impl<S> ClientStream<S> {
    pub(super) const fn untuned(socket: S, unread: Unread, unwritten: Unwritten) -> Self {
        Self { socket, unread, unwritten, lingering: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ClientStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ClientStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.unwritten.all_written(context);
        Pin::new(&mut self.socket).poll_flush(context)
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

/// Serves a connection, and has it look around when the time for work is over: what it serves then ends as
/// [`Drain::unless_over`] says. `None` when it was cut.
pub(super) async fn woken<T>(drain: &Drain, connection: impl Future<Output = T>) -> Option<T> {
    let (mut over, mut cut) = (pin!(drain.until_over()), pin!(drain.until_cut()));
    let mut connection = pin!(connection);
    // Whom both will wake. Asking them again costs a lock that all connections share, so it is done once.
    let mut known: Option<Waker> = None;
    poll_fn(|context| {
        if !known.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            let told = [over.as_mut().poll(context), cut.as_mut().poll(context)];
            tracing::trace!(?told, "a connection listens for the end of a drain");
            known = Some(context.waker().clone());
        }
        if drain.phase() >= Phase::Cut {
            return Poll::Ready(None);
        }
        connection.as_mut().poll(context).map(Some)
    })
    .await
}
