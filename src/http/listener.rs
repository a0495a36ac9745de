//! Accepts connections and serves each in a task of its own, until told to stop; then lets running requests finish
//! (`docs/operations.md`, draining).

use std::{
    convert::Infallible,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use futures_util::FutureExt;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::task::TaskTracker;

use super::{
    Service,
    connection::{ClientStream, EndsGracefully, LeftUnread, Unread, woken},
    parked::{Activity, Parkable},
    repoll::Repolled,
    unwritten::Unwritten,
};
use crate::{config::ListenConfig, shutdown::Drain};

/// Connections the kernel may hold before we accept them.
const BACKLOG: u32 = 4096;
/// Bytes of a request's headers.
const HEADER_BYTES: usize = 64 * 1024;
/// Bytes that are read at a time at most: a long prompt that comes in one piece needs not be put together. A connection
/// reads as much only once it has been sent as much. hyper would let as much wait to be written; `unwritten` does not.
pub(super) const READ_BYTES: usize = 512 * 1024;
/// Rest after the process ran out of file descriptors.
const ACCEPT_REST: Duration = Duration::from_millis(50);
/// For the one answer of those who came while the server was stopping.
const LATE_PATIENCE: Duration = Duration::from_millis(200);

/// Opens the listening socket.
///
/// # Errors
/// When the address is taken or not ours.
pub fn bind(config: &ListenConfig) -> std::io::Result<TcpListener> {
    match config.address {
        Some(address) => bind_to(address, config.port),
        // One socket for both families; machines without IPv6 get IPv4.
        None => match bind_to(IpAddr::V6(Ipv6Addr::UNSPECIFIED), config.port) {
            Err(error) if error.kind() != std::io::ErrorKind::AddrInUse => {
                bind_to(IpAddr::V4(Ipv4Addr::UNSPECIFIED), config.port)
            }
            bound => bound,
        },
    }
}

fn bind_to(address: IpAddr, port: u16) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    if address.is_ipv6() {
        // Whatever the system's default is.
        socket2::SockRef::from(&socket).set_only_v6(false)?;
    }
    socket.bind(SocketAddr::new(address, port))?;
    socket.listen(BACKLOG)
}

/// Serves until the drain says otherwise. Then running requests finish within their time, and whoever comes meanwhile is
/// answered that the server is stopping. Every connection has ended when this returns.
pub async fn serve(listener: TcpListener, service: Service, drain: &Drain) {
    let most = service.limits().max_connections;
    let door = Door { listener, places: Arc::new(Semaphore::new(most)) };
    let connections = Connections::new(&service, drain);
    loop {
        tokio::select! {
            () = drain.draining() => break,
            (stream, place) = door.next() => connections.serve(stream, place),
        }
    }
    // Nobody waits for these: they get their one answer at once.
    let late = Connections { keep_alive: false, ..Connections::new(&service, drain) };
    let finished = connections.finish();
    tokio::pin!(finished);
    loop {
        tokio::select! {
            () = &mut finished => break,
            (stream, place) = door.next() => late.serve(stream, place),
        }
    }
    while let Some((stream, place)) = door.next().now_or_never() {
        late.serve(stream, place);
    }
    drop(door);
    late.leave().await;
}

/// Where connections come in.
struct Door {
    listener: TcpListener,
    places: Arc<Semaphore>,
}

impl Door {
    /// The next connection. A place first: beyond the limit, connections wait in the kernel and not in our memory.
    async fn next(&self) -> (TcpStream, Option<OwnedSemaphorePermit>) {
        loop {
            let place = Arc::clone(&self.places).acquire_owned().await.ok();
            match self.listener.accept().await {
                Ok((stream, _)) => return (stream, place),
                Err(error) => rest_after(&error).await,
            }
        }
    }
}

/// The connections being served.
struct Connections {
    service: Service,
    drain: Drain,
    tasks: TaskTracker,
    keep_alive: bool,
}

impl Connections {
    fn new(service: &Service, drain: &Drain) -> Self {
        Self { service: service.clone(), drain: drain.clone(), tasks: TaskTracker::new(), keep_alive: true }
    }

    fn serve(&self, stream: TcpStream, place: Option<OwnedSemaphorePermit>) {
        let (served, drain) = (self.connection(stream), self.drain.clone());
        let counted = self.service.connected();
        // One that is not kept gets its answer, however soon all ends: being told to end, it would not even read what it is asked.
        let is_kept = self.keep_alive;
        self.tasks.spawn(async move {
            let ended = Repolled::new(pin!(woken(&drain, is_kept, served))).await;
            drop((place, counted));
            match ended {
                Some(Ok(())) => {}
                Some(Err(error)) => tracing::debug!(%error, "connection ended early"),
                None if is_kept => drain.note_ended(),
                None => {}
            }
        });
    }

    fn connection(&self, stream: TcpStream) -> impl EndsGracefully<Output = hyper::Result<()>> + Send + use<> {
        let (unread, unwritten, activity) = (Unread::default(), Unwritten::default(), Activity::default());
        let stream = ClientStream::new(stream, unread.clone(), unwritten.clone(), activity.clone());
        // One count for each request instead of one for each part of the service.
        let state = Arc::new((self.service.clone(), unread, unwritten, activity.clone()));
        let handler = move |request| {
            let state = Arc::clone(&state);
            // Boxed, because hyper keeps room for it as long as the connection lives: most of what an idle one would take.
            Box::pin(async move {
                let (service, unread, unwritten, activity) = &*state;
                let running = activity.begin();
                let response = service.answer(request).await;
                if response.extensions().get::<LeftUnread>().is_some() {
                    unread.note();
                }
                Ok::<_, Infallible>(response.map(|body| unwritten.bound(body, running)))
            })
        };
        // While a handler runs, hyper listens for the client's leaving and drops the handler then. It does not where bytes that
        // the client has sent ahead are still unread: the one exception to `docs/api.md`, clients that leave.
        let mut http = http1::Builder::new();
        // The time for a head is also the time that a kept connection may be idle.
        let patience = self.service.limits().header_timeout;
        http.timer(TokioTimer::new()).header_read_timeout(patience);
        http.max_header_size(HEADER_BYTES).max_buf_size(READ_BYTES).keep_alive(self.keep_alive);
        Parkable::new(stream, activity, patience, move |stream| {
            http.serve_connection(TokioIo::new(stream), service_fn(handler.clone()))
        })
    }

    /// Waits until every running request has ended: by itself, or because the time for work is over.
    async fn finish(self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Waits a moment for those who have asked, and leaves those who have not.
    async fn leave(self) {
        self.tasks.close();
        if tokio::time::timeout(LATE_PATIENCE, self.tasks.wait()).await.is_err() {
            tracing::debug!(connections = self.tasks.len(), "connections that have asked nothing are closed");
            self.drain.cut();
            self.tasks.wait().await;
        }
    }
}

/// Without file descriptors or memory the next try fails too; anything else concerns one connection only.
async fn rest_after(error: &std::io::Error) {
    const EMFILE: i32 = 24;
    const ENFILE: i32 = 23;
    const ENOBUFS: i32 = 105;
    const ENOMEM: i32 = 12;
    if matches!(error.raw_os_error(), Some(EMFILE | ENFILE | ENOBUFS | ENOMEM)) {
        tracing::warn!(%error, "no connection can be accepted");
        tokio::time::sleep(ACCEPT_REST).await;
    } else {
        tracing::debug!(%error, "a connection could not be accepted");
    }
}
