//! Accepts connections and serves each in a task of its own, until told to stop; then lets running requests finish.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use futures_util::FutureExt;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::Service;
use crate::config::ListenConfig;

/// Connections the kernel may hold before we accept them.
const BACKLOG: u32 = 4096;
/// Bytes of a request's headers.
const HEADER_BYTES: usize = 64 * 1024;
/// Bytes that are read at a time at most: a long prompt that comes in one piece needs not be put together. A connection
/// reads as much only once it has been sent as much.
const READ_BYTES: usize = 512 * 1024;
/// Bytes the kernel may hold for a client that does not take them: beyond it the client's backend waits. Without this bound
/// it would take megabytes for each.
const UNSENT_BYTES: u32 = 128 * 1024;
/// Longest time in which a client may take nothing of what is sent.
const WRITE_STALL: Duration = Duration::from_secs(60);
/// Rest after the process ran out of file descriptors.
const ACCEPT_REST: Duration = Duration::from_millis(50);

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

/// Serves until the service is told to stop, then waits for running requests, at most `drain`.
/// Returns how many connections had to be cut.
pub async fn serve(listener: TcpListener, service: Service, drain: Duration) -> usize {
    let connections = Connections {
        graceful: GracefulShutdown::new(),
        tasks: TaskTracker::new(),
        cut: CancellationToken::new(),
        service,
    };
    let places = Arc::new(Semaphore::new(connections.service.limits().max_connections));
    loop {
        // A place first: beyond the limit, connections wait in the kernel and not in our memory.
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place.ok(), listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            () = connections.service.stopping().cancelled() => break,
            next = next => next,
        };
        match accepted {
            Ok((stream, _)) => connections.serve(stream, place),
            Err(error) => rest_after(&error).await,
        }
    }
    // Whoever connected before the stop gets an answer, if only that the server is stopping.
    for _ in 0..BACKLOG {
        match listener.accept().now_or_never() {
            Some(Ok((stream, _))) => connections.serve(stream, None),
            Some(Err(error)) => tracing::debug!(%error, "a connection could not be accepted"),
            None => break,
        }
    }
    drop(listener);
    connections.drain(drain).await
}

/// The connections being served.
struct Connections {
    service: Service,
    graceful: GracefulShutdown,
    tasks: TaskTracker,
    /// Ends all of them at once.
    cut: CancellationToken,
}

impl Connections {
    fn serve(&self, stream: TcpStream, place: Option<OwnedSemaphorePermit>) {
        let connection = self.graceful.watch(connection(stream, self.service.clone()));
        let cut = self.cut.clone();
        self.tasks.spawn(async move {
            if let Some(Err(error)) = cut.run_until_cancelled(connection).await {
                tracing::debug!(%error, "connection ended early");
            }
            drop(place);
        });
    }

    async fn drain(self, limit: Duration) -> usize {
        self.tasks.close();
        if tokio::time::timeout(limit, self.graceful.shutdown()).await.is_ok() {
            return 0;
        }
        let left = self.tasks.len();
        self.cut.cancel();
        self.tasks.wait().await;
        left
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

fn connection(
    stream: TcpStream,
    service: Service,
) -> impl hyper_util::server::graceful::GracefulConnection<Error = hyper::Error> + Send {
    // A client that takes nothing for so long is gone; without this, its connection would hold its place for ever.
    let socket = socket2::SockRef::from(&stream);
    let tuned = stream
        .set_nodelay(true)
        .and_then(|()| socket.set_tcp_user_timeout(Some(WRITE_STALL)))
        .and_then(|()| socket.set_tcp_notsent_lowat(UNSENT_BYTES));
    if let Err(error) = tuned {
        tracing::debug!(%error, "a connection keeps its defaults");
    }
    let header_timeout = service.limits().header_timeout;
    // One count for each request instead of one for each part of the service.
    let service = Arc::new(service);
    let handler = service_fn(move |request| {
        let service = Arc::clone(&service);
        async move { Ok::<_, std::convert::Infallible>(service.answer(request).await) }
    });
    // While a handler runs, hyper listens for the client's leaving and drops the handler then. It does not where bytes that
    // the client has sent ahead are still unread: the one exception to `docs/api.md`, clients that leave.
    http1::Builder::new()
        .timer(TokioTimer::new())
        // Also the time a kept connection may be idle.
        .header_read_timeout(header_timeout)
        .max_header_size(HEADER_BYTES)
        .max_buf_size(READ_BYTES)
        .serve_connection(TokioIo::new(stream), handler)
}
