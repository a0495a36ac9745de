//! One connection: a request goes out and its answer comes in while whoever waits for it polls. It closes when it is
//! dropped.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    task::{Context, Waker},
};

use hyper::{
    Request, Response,
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::unconstrained};

use crate::providers::transport::spliced::Spliced;

/// Bytes that are read at a time at most. Whoever reads a stream slowly keeps as many in memory.
const READ_BYTES: usize = 64 << 10;
/// Bytes that an answer's headers may have.
const HEADER_BYTES: usize = 64 << 10;

/// See the module.
pub(super) struct Connection {
    sender: SendRequest<Spliced>,
    /// `None` once it has ended.
    http: Option<Box<http1::Connection<TokioIo<TcpStream>, Spliced>>>,
    /// Whether it has ended in the middle of an answer's head. What comes before the head (status 1xx) is no answer.
    is_cut: bool,
}

/// Why a request has no answer.
pub(super) enum ExchangeError {
    /// The connection ended before anything of an answer had come.
    Unheard,
    /// The connection ended in the middle of an answer's head, or what came is no HTTP.
    Broken,
}

impl Connection {
    pub(super) async fn over(stream: TokioIo<TcpStream>) -> hyper::Result<Self> {
        let (sender, http) =
            http1::Builder::new().max_buf_size(READ_BYTES).max_header_size(HEADER_BYTES).handshake(stream).await?;
        Ok(Self { sender, http: Some(Box::new(http)), is_cut: false })
    }

    /// Reads and writes what can be read and written. Everything else that one of this connection's futures waits for
    /// happens here, so that only this needs to wake the task.
    pub(super) fn drive(&mut self, context: &mut Context<'_>) {
        if let Some(ended) = self.http.take_if(|http| Pin::new(http).poll(context).is_ready()) {
            self.is_cut = !ended.into_parts().read_buf.is_empty();
        }
    }

    /// Whether it can take a request; what has happened on it since the last one is looked at first.
    pub(super) fn is_ready(&mut self, context: &mut Context<'_>) -> bool {
        self.drive(context);
        self.http.is_some() && self.sender.is_ready()
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn exchange(&mut self, request: Request<Spliced>) -> Result<Response<Incoming>, ExchangeError> {
        // Without a limit of its own on polls: it would ask the waker for another, which is nobody's.
        let mut answer = pin!(unconstrained(self.sender.try_send_request(request)));
        let answer = poll_fn(|context| {
            self.drive(context);
            answer.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        });
        answer.await.map_err(|error| match self.is_cut || error.error().is_parse() {
            true => ExchangeError::Broken,
            false => ExchangeError::Unheard,
        })
    }
}
