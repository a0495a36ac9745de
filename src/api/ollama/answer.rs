//! What came of a call, as the client reads it.

use std::time::{Duration, Instant};

use super::{OllamaRoute, call::Outcome};
use crate::{
    api::{
        Reply, ReplyBody,
        stream::{self, NDJSON},
    },
    dialect::{
        ollama_front::{
            lines::{self, LineEncoder},
            reply::{self, Moment, Shape},
        },
        stream::ReplyEncoder,
    },
    domain::{chat::ChatReply, embedding::Embedded, message::Served, time::Timestamp},
    error::{Error, ErrorCode},
    runtime::dispatch::exchange::Answer,
};

/// Tells how much time has passed since a request came.
#[derive(Clone, Copy)]
pub(super) struct Clock {
    start: Instant,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self { start: Instant::now() }
    }

    fn read(self) -> Moment {
        Moment { now: Timestamp::now(), elapsed: self.start.elapsed() }
    }
}

/// Writes the answers to one call.
pub(super) struct Writer {
    pub(super) route: OllamaRoute,
    /// The model's name as the client wrote it.
    pub(super) model: String,
    pub(super) clock: Clock,
    /// How long it waited for a slot.
    pub(super) waited: Duration,
}

impl Writer {
    /// How long a call waited that was served so.
    pub(super) fn waited(served: Option<&Served>) -> Duration {
        Duration::from_millis(served.map_or(0, Served::queue_ms))
    }

    pub(super) fn outcome(self, outcome: Outcome) -> Result<Reply, Error> {
        match outcome {
            Outcome::Loaded { unloads } => Ok(self.loaded(unloads)),
            Outcome::Answered(answer) => match *answer {
                Answer::Whole(reply) => self.whole(&reply),
                Answer::Pieces(held) => Ok(Reply::stream(stream::translated(NDJSON, held, self.encoder()))),
                Answer::Embedded(embedded) => Ok(self.embedded(&embedded)),
                Answer::Relayed(relayed) => Ok(stream::relayed(NDJSON, relayed, lines::broken)),
            },
        }
    }

    /// Of vectors there is no stream, so the form of a chat is never used for them.
    fn shape(&self) -> Shape {
        self.route.shape().unwrap_or(Shape::Chat)
    }

    /// Writes a reply while it arrives.
    pub(super) fn encoder(self) -> impl ReplyEncoder + use<> {
        let (shape, clock) = (self.shape(), self.clock);
        LineEncoder::new(shape, self.model, self.waited, move || clock.read())
    }

    pub(super) fn whole(&self, reply: &ChatReply) -> Result<Reply, Error> {
        let written = reply::whole(self.shape(), &self.model, reply, self.waited, self.clock.read());
        written.map(json).map_err(|error| Error::new(ErrorCode::UpstreamFailed, error.to_string()))
    }

    fn embedded(&self, embedded: &Embedded) -> Reply {
        if self.route == OllamaRoute::Embeddings {
            return json(reply::old_embedded(embedded.vectors.first().map_or(&[], Vec::as_slice)));
        }
        json(reply::embedded(&self.model, embedded, self.waited, self.clock.read()))
    }

    pub(super) fn loaded(&self, unloads: bool) -> Reply {
        match self.route.shape() {
            Some(shape) => json(reply::loaded(shape, &self.model, unloads, self.clock.read().now)),
            None => self.embedded(&Embedded::default()),
        }
    }
}

fn json(mut body: Vec<u8>) -> Reply {
    // For those who read it in a terminal.
    body.push(b'\n');
    Reply { body: ReplyBody::Json(body), ..Reply::empty() }
}
