//! The listener of a simulated server: accepts on 127.0.0.1, serves HTTP/1 keep-alive connections, stops at once.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::sim::desk::Desk;

/// Bytes of answers that the kernel may hold for each connection.
const SEND_BUFFER: u32 = 64 << 10;
/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1024;

/// An open listener and its connections; dropping it closes them all.
pub(crate) struct Listening {
    addr: SocketAddr,
    closing: CancellationToken,
    tasks: TaskTracker,
}

impl Listening {
    /// Starts to listen; port 0 takes a free one.
    #[expect(clippy::unused_async, reason = "it needs a running runtime, which a future makes sure of")]
    pub(crate) async fn open(addr: SocketAddr, desk: Arc<Desk>) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        // Handed down to connections: what nobody reads is seen as such, and not lost in megabytes of the kernel's.
        socket.set_send_buffer_size(SEND_BUFFER)?;
        socket.bind(addr)?;
        let listener = socket.listen(BACKLOG)?;
        let listening =
            Self { addr: listener.local_addr()?, closing: CancellationToken::new(), tasks: TaskTracker::new() };
        let (closing, tasks) = (listening.closing.clone(), listening.tasks.clone());
        listening.tasks.spawn(accept(listener, desk, closing, tasks));
        Ok(listening)
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Closes the listener and every connection, requests in flight included; resolves when the port is free.
    pub(crate) async fn close(self) {
        self.closing.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.closing.cancel();
    }
}

async fn accept(listener: TcpListener, desk: Arc<Desk>, closing: CancellationToken, tasks: TaskTracker) {
    loop {
        let accepted = tokio::select! {
            () = closing.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                desk.recorder.connected();
                tasks.spawn(connection(stream, Arc::clone(&desk), closing.clone()));
            }
            // Out of file descriptors, most likely: connections that end will free some.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

async fn connection(stream: TcpStream, desk: Arc<Desk>, closing: CancellationToken) {
    // Small frames must not wait for one another; a socket that refuses the option is closed already.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let service = service_fn(|request| desk.serve(request, closing.clone()));
    let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        () = closing.cancelled() => {}
        // A connection ends in an error whenever a client hangs up or a script cuts: the record tells which.
        ended = served => drop(ended),
    }
}
