//! Bytes on a connection, for what no HTTP client would send.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use super::soon;

/// One connection, written to by hand.
pub struct RawClient(TcpStream);

impl RawClient {
    pub async fn connect(addr: SocketAddr) -> Self {
        Self(TcpStream::connect(addr).await.unwrap())
    }

    /// A client that takes little of what it does not read.
    pub async fn connect_slow(addr: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(8 << 10).unwrap();
        Self(soon("a connection", socket.connect(addr)).await.unwrap())
    }

    /// Sends bytes; a server that has hung up already is seen by what can be read.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let sent = soon("sending", self.0.write_all(bytes.as_ref())).await;
        drop(sent);
    }

    /// Sends bytes and fails when the server does not take them all, as most clients do.
    pub async fn send_whole(&mut self, bytes: impl AsRef<[u8]>) {
        soon("sending", self.0.write_all(bytes.as_ref())).await.unwrap();
    }

    /// Says that nothing more will come, and goes on listening.
    pub async fn end(&mut self) {
        self.0.shutdown().await.unwrap();
    }

    /// Posts JSON and keeps the connection.
    pub async fn post(&mut self, path: &str, body: &str) {
        let length = body.len();
        let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n");
        self.send_whole(format!("{head}content-length: {length}\r\n\r\n{body}")).await;
    }

    /// The same with a body whose length is not told before, in two pieces.
    pub async fn post_in_chunks(&mut self, path: &str, body: &str) {
        let (one, two) = body.split_at(body.len() / 2);
        let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n");
        let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
        let (one, two) = (chunk(one), chunk(two));
        self.send_whole(format!("{head}transfer-encoding: chunked\r\n\r\n{one}{two}0\r\n\r\n")).await;
    }

    /// What the server says, until this text is part of it.
    pub async fn until(&mut self, text: &str) -> String {
        let mut all = Vec::new();
        let read = async {
            while !String::from_utf8_lossy(&all).contains(text) {
                assert_ne!(self.0.read_buf(&mut all).await.unwrap(), 0, "{}", String::from_utf8_lossy(&all));
            }
        };
        soon("the server's words", read).await;
        String::from_utf8_lossy(&all).into_owned()
    }

    /// Everything the server says until it hangs up; fails when it resets the connection.
    pub async fn rest(&mut self) -> String {
        let mut all = Vec::new();
        soon("the server's last word", self.0.read_to_end(&mut all)).await.unwrap();
        String::from_utf8_lossy(&all).into_owned()
    }
}

/// Sends a whole request, whose head asks for the connection to be closed, and reads everything that comes back.
pub async fn exchange(addr: SocketAddr, request: impl AsRef<[u8]>) -> String {
    let mut client = RawClient::connect(addr).await;
    client.send(request).await;
    client.rest().await
}
