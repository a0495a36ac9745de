//! Accepts connections and serves each in a task of its own, until told to stop; then lets running requests finish.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::Semaphore,
};
use tokio_util::task::TaskTracker;

use super::Service;
use crate::config::ListenConfig;

/// Connections the kernel may hold before we accept them.
const BACKLOG: u32 = 4096;
/// Bytes a connection buffers; the bound on its headers.
const CONNECTION_BUFFER: usize = 64 * 1024;
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
    socket.bind(SocketAddr::new(address, port))?;
    socket.listen(BACKLOG)
}

/// Serves until the service is told to stop, then waits for running requests, at most `drain`.
/// Returns how many connections had to be cut.
pub async fn serve(listener: TcpListener, service: Service, drain: Duration) -> usize {
    let (graceful, connections) = (GracefulShutdown::new(), TaskTracker::new());
    let places = Arc::new(Semaphore::new(service.limits().max_connections));
    loop {
        // A place first: beyond the limit, connections wait in the kernel and not in our memory.
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            () = service.stopping().cancelled() => break,
            next = next => next,
        };
        match accepted {
            Ok((stream, _)) => {
                let connection = graceful.watch(connection(stream, service.clone()));
                connections.spawn(async move {
                    if let Err(error) = connection.await {
                        tracing::debug!(%error, "connection ended early");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_REST).await;
            }
        }
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(drain, graceful.shutdown()).await.is_err() {
        return connections.len();
    }
    0
}

fn connection(
    stream: TcpStream,
    service: Service,
) -> impl hyper_util::server::graceful::GracefulConnection<Error = hyper::Error> + Send {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection keeps its delay");
    }
    let header_timeout = service.limits().header_timeout;
    let handler = service_fn(move |request| {
        let service = service.clone();
        async move { Ok::<_, std::convert::Infallible>(service.answer(request).await) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        // Also the time a kept connection may be idle.
        .header_read_timeout(header_timeout)
        .max_buf_size(CONNECTION_BUFFER)
        .serve_connection(TokioIo::new(stream), handler)
}
