//! What a handler answers, before it is HTTP.

use serde::Serialize;
use tokio::sync::mpsc;

use super::{docs_page::WebFile, events::Happenings, live::LiveRun, stream::ByteStream};
use crate::{
    domain::{download::DownloadEvent, ids::RunId, message::Served},
    error::{Error, ErrorCode},
    runtime::dispatch::exchange::RelayedBody,
};

/// The media type of a stream of events.
pub const EVENT_STREAM: &str = "text/event-stream";

/// A successful answer.
#[derive(Debug)]
pub struct Reply {
    /// True: 201, else 200.
    pub created: bool,
    /// What is sent.
    pub body: ReplyBody,
    /// Who answered, where a backend did.
    pub served: Option<Served>,
    /// The chain's run that it is the answer of.
    pub run: Option<RunId>,
    /// What the caller should know beside the answer.
    pub warnings: Vec<String>,
}

/// The body of an answer.
#[derive(Debug)]
pub enum ReplyBody {
    /// Nothing.
    Empty,
    /// Encoded JSON.
    Json(Vec<u8>),
    /// Text of this type.
    Text(&'static str, String),
    /// A file for a browser.
    File(WebFile),
    /// Live events until the client leaves.
    Events(mpsc::Receiver<DownloadEvent>),
    /// What happens in the server.
    Happenings(Happenings),
    /// The steps of a run, and its end.
    Run(LiveRun),
    /// A reply that is still being made.
    Stream(ByteStream),
    /// A backend's answer as it is.
    Relayed(RelayedBody),
}

impl Reply {
    /// 200 with a JSON body.
    ///
    /// # Errors
    /// A value that cannot be encoded, which is a fault of ours.
    pub fn json(value: &impl Serialize) -> Result<Self, Error> {
        let mut body = serde_json::to_vec(value)
            .map_err(|error| Error::new(ErrorCode::Internal, "the answer could not be encoded").with_detail(error))?;
        // For those who read it in a terminal.
        body.push(b'\n');
        Ok(Self::encoded_json(body))
    }

    /// 200 with a body that is JSON already.
    pub fn encoded_json(body: Vec<u8>) -> Self {
        Self { body: ReplyBody::Json(body), ..Self::empty() }
    }

    /// 201 with a JSON body.
    ///
    /// # Errors
    /// As [`Reply::json`].
    pub fn created(value: &impl Serialize) -> Result<Self, Error> {
        Ok(Self { created: true, ..Self::json(value)? })
    }

    /// 200 with a text of this type.
    pub fn text(content_type: &'static str, text: String) -> Self {
        Self { body: ReplyBody::Text(content_type, text), ..Self::empty() }
    }

    /// 200 with a file for a browser.
    pub fn file(file: WebFile) -> Self {
        Self { body: ReplyBody::File(file), ..Self::empty() }
    }

    /// 200 without a body.
    pub fn empty() -> Self {
        Self { created: false, body: ReplyBody::Empty, served: None, run: None, warnings: Vec::new() }
    }

    /// 200 with a stream of events.
    pub fn events(events: mpsc::Receiver<DownloadEvent>) -> Self {
        Self { body: ReplyBody::Events(events), ..Self::empty() }
    }

    /// 200 with what happens in the server.
    pub fn happenings(happenings: Happenings) -> Self {
        Self { body: ReplyBody::Happenings(happenings), ..Self::empty() }
    }

    /// 200 with the steps of a run; how it ends is told in the stream.
    pub fn live(run: LiveRun) -> Self {
        Self { body: ReplyBody::Run(run), ..Self::empty() }
    }

    /// 200 with a reply that is still being made.
    pub fn stream(stream: ByteStream) -> Self {
        Self { body: ReplyBody::Stream(stream), ..Self::empty() }
    }

    /// Names who answered.
    #[must_use]
    pub fn served_by(mut self, served: Option<Served>) -> Self {
        self.served = served;
        self
    }

    /// Names the run that it is the answer of.
    #[must_use]
    pub fn of_run(mut self, run: RunId) -> Self {
        self.run = Some(run);
        self
    }

    /// Adds warnings.
    #[must_use]
    pub fn warning(mut self, warnings: impl IntoIterator<Item = String>) -> Self {
        self.warnings.extend(warnings);
        self
    }
}
