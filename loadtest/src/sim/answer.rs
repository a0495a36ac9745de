//! An answer as a dialect makes it, before `body` plays it to the client.

use bytes::Bytes;
use serde::Serialize;

use crate::sim::pull::PullRun;

/// Status, headers and what to send.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) payload: Payload,
}

/// The body, in the form it is sent.
pub(crate) enum Payload {
    /// At once, with a `content-length`.
    Plain(Bytes),
    /// Piece by piece.
    Frames(Vec<Frame>),
    /// A pull that reports while it runs.
    Pull(Box<PullRun>),
    /// A pull that answers when it is over.
    QuietPull(Box<PullRun>),
}

/// One piece of a stream.
pub(crate) struct Frame {
    pub(crate) bytes: Bytes,
    /// Whether it counts as a chunk for the script: text does, roles and usage do not.
    pub(crate) counts: bool,
}

impl Frame {
    /// A frame that carries text or progress.
    pub(crate) fn chunk(bytes: impl Into<Bytes>) -> Self {
        Self { bytes: bytes.into(), counts: true }
    }

    /// A frame around them.
    pub(crate) fn marker(bytes: impl Into<Bytes>) -> Self {
        Self { bytes: bytes.into(), counts: false }
    }
}

impl Answer {
    pub(crate) fn new(status: u16, content_type: &'static str, payload: Payload) -> Self {
        Self { status, content_type, headers: Vec::new(), payload }
    }

    /// A JSON body.
    pub(crate) fn json(status: u16, value: &impl Serialize) -> Self {
        Self::new(status, "application/json", Payload::Plain(json_line(value)))
    }

    /// A plain text.
    pub(crate) fn text(status: u16, text: impl Into<Bytes>) -> Self {
        Self::new(status, "text/plain; charset=utf-8", Payload::Plain(text.into()))
    }

    /// Adds a header.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// JSON bytes; the values here are our own structures, for which serde cannot fail.
pub(crate) fn json_line(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).unwrap_or_default().into()
}
