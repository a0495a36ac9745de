//! Server-sent events: one `data:` line an event, a comment when nothing happens, a last event when the server stops.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use hyper::body::{Body, Frame};
use serde::Serialize;
use serde_json::json;
use tokio::{
    sync::mpsc,
    time::{Interval, MissedTickBehavior},
};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::{
    respond::{self, ErrorShape},
    service::stopping,
};
use crate::{
    api::events::Happenings,
    domain::{download::DownloadEvent, time::Timestamp},
    error::Error,
    runtime::feed::{Happening, Seen},
    shutdown::Drain,
};

/// Silence after which a comment shows that the stream is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The body of an event stream.
pub(super) struct EventBody {
    /// Encoded, each with its empty line.
    events: Pin<Box<dyn Stream<Item = Bytes> + Send>>,
    /// Its first tick is at once, so that the client sees the headers before any event.
    keep_alive: Interval,
    stopping: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl EventBody {
    /// A stream that ends with its events, or, and says so, when the server refuses new work.
    pub(super) fn new(events: impl Stream<Item = Bytes> + Send + 'static, drain: Option<&Drain>) -> Self {
        let mut keep_alive = tokio::time::interval(KEEP_ALIVE);
        keep_alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stopping = drain.map(|drain| Box::pin(drain.until_draining()));
        Self { events: Box::pin(events), keep_alive, stopping }
    }

    /// The steps of all downloads.
    pub(super) fn downloads(mut events: mpsc::Receiver<DownloadEvent>, drain: &Drain) -> Self {
        let events = stream::poll_fn(move |context| events.poll_recv(context));
        let encoded = |event| encode(None, &serde_json::to_string(&event).unwrap_or_default());
        Self::new(events.map(encoded), Some(drain))
    }

    /// What happens in the server. Each has an id, behind which a client goes on that was cut off.
    pub(super) fn happenings(happenings: Happenings, drain: &Drain) -> Self {
        let encoded = |seen| match seen {
            Seen::Event(id, event) => {
                let told = Told { at: event.at, what: &event.what };
                let data = serde_json::to_string(&told).unwrap_or_default();
                Bytes::from(format!("id: {id}\nevent: {}\ndata: {data}\n\n", event.what.name()))
            }
            Seen::Missed => encode(Some("missed"), "{}"),
        };
        Self::new(happenings.into_stream().map(encoded), Some(drain))
    }
}

/// An event as it is written.
#[derive(Serialize)]
struct Told<'a> {
    at: Timestamp,
    #[serde(flatten)]
    what: &'a Happening,
}

impl Body for EventBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.events.poll_next_unpin(context) {
            Poll::Ready(Some(event)) => {
                self.keep_alive.reset();
                return Poll::Ready(Some(Ok(Frame::data(event))));
            }
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Pending => {}
        }
        if self.stopping.as_mut().is_some_and(|stopping| stopping.as_mut().poll(context).is_ready()) {
            // Said once; the stream is over behind it.
            self.stopping = None;
            self.events = Box::pin(stream::empty());
            return Poll::Ready(Some(Ok(Frame::data(failure(&stopping())))));
        }
        self.keep_alive.poll_tick(context).map(|_| Some(Ok(Frame::data(Bytes::from_static(b": keep-alive\n\n")))))
    }
}

/// One event, of a name or of none. `data`: without line breaks, as compact JSON is.
pub(super) fn encode(name: Option<&str>, data: &str) -> Bytes {
    match name {
        Some(name) => Bytes::from(format!("event: {name}\ndata: {data}\n\n")),
        None => Bytes::from(format!("data: {data}\n\n")),
    }
}

/// The event of an error, with what would be status and body of an answer.
pub(super) fn failure(error: &Error) -> Bytes {
    let status = respond::status(error.code()).as_u16();
    let told = json!({"status": status, "body": respond::error_body(error, ErrorShape::Text)});
    encode(Some("error"), &told.to_string())
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::shutdown::DrainTimes;

    #[tokio::test(start_paused = true)]
    async fn comments_fill_the_silence_and_a_stop_ends_the_stream_with_a_notice() {
        let (sender, receiver) = mpsc::channel(4);
        let (drain, stop) = (Drain::default(), CancellationToken::new());
        let mut body = EventBody::downloads(receiver, &drain);
        let started = tokio::time::Instant::now();
        for seconds in [0, 15, 30] {
            let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!((&frame[..], started.elapsed().as_secs()), (&b": keep-alive\n\n"[..], seconds));
        }
        let event = DownloadEvent {
            status: "success".to_owned(),
            digest: String::new(),
            total: 0,
            completed: 0,
            model: "m".to_owned(),
            base_url: "http://b".to_owned(),
        };
        sender.send(event).await.unwrap();
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(&frame[..], b"data: {\"status\":\"success\",\"model\":\"m\",\"baseUrl\":\"http://b\"}\n\n");
        stop.cancel();
        let times =
            DrainTimes { settle: Duration::ZERO, deadline: Duration::from_secs(9), notice: Duration::from_secs(1) };
        tokio::select! {
            biased;
            never = drain.conduct(stop, times) => never,
            end = body.frame() => {
                let notice = end.unwrap().unwrap().into_data().unwrap();
                let notice = std::str::from_utf8(&notice).unwrap();
                assert!(notice.starts_with("event: error\ndata: {") && notice.ends_with("}\n\n"), "{notice}");
                assert!(notice.contains("the server is stopping") && notice.contains("503"), "{notice}");
            }
        }
        assert!(body.frame().await.is_none());
    }
}
