//! `GET /events`: what happens in the server, live (`docs/api.md`, live events).

use std::{fmt, pin::Pin};

use futures_util::Stream;

use super::{Api, Reply};
use crate::runtime::feed::Seen;

/// What a watcher is told, in order.
pub struct Happenings(Pin<Box<dyn Stream<Item = Seen> + Send>>);

impl Happenings {
    /// The events.
    pub fn into_stream(self) -> impl Stream<Item = Seen> + Send + Unpin {
        self.0
    }
}

impl fmt::Debug for Happenings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Happenings")
    }
}

/// Everything from now on, behind what is kept of the events after the one of this id.
pub fn follow(api: &Api, after: Option<&str>) -> Reply {
    Reply::happenings(Happenings(Box::pin(api.runtime.feed.follow(after))))
}
