//! A stream of server-sent events, read as they come.

use reqwest::{RequestBuilder, Response};
use serde_json::Value;

use super::soon;

/// See the module.
pub struct EventStream {
    response: Response,
    unread: String,
}

/// One event; what it does not have is empty.
#[derive(Debug, Clone)]
pub struct StreamEvent {
    pub id: String,
    pub name: String,
    pub data: Value,
}

impl EventStream {
    /// What a request is answered with, whose headers are those of such a stream.
    pub async fn of(request: RequestBuilder) -> Self {
        let response = soon("the headers of the stream", request.send()).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["x-accel-buffering"], "no");
        Self { response, unread: String::new() }
    }

    /// The next event; `None` at the end of the stream. Comments are no events.
    pub async fn next(&mut self) -> Option<StreamEvent> {
        loop {
            if let Some((event, rest)) = self.unread.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.unread = rest;
                if event.starts_with(':') {
                    continue;
                }
                let field =
                    |name| event.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned();
                let data = serde_json::from_str(&field("data: ")).unwrap_or_else(|error| panic!("{error}: {event}"));
                return Some(StreamEvent { id: field("id: "), name: field("event: "), data });
            }
            let chunk = soon("an event", self.response.chunk()).await.unwrap()?;
            self.unread.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }
}
