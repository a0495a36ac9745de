//! Server-sent events: one `data:` line an event, a comment when nothing happens, an end when the server stops.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hyper::body::{Body, Frame};
use tokio::{
    sync::mpsc,
    time::{Interval, MissedTickBehavior},
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::runtime::events::DownloadEvent;

/// Silence after which a comment shows that the stream is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The body of an event stream.
pub(super) struct EventBody {
    events: mpsc::Receiver<DownloadEvent>,
    /// Its first tick is at once, so that the client sees the headers before any event.
    keep_alive: Interval,
    stopping: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl EventBody {
    pub(super) fn new(events: mpsc::Receiver<DownloadEvent>, stopping: CancellationToken) -> Self {
        let mut keep_alive = tokio::time::interval(KEEP_ALIVE);
        keep_alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { events, keep_alive, stopping: Box::pin(stopping.cancelled_owned()) }
    }
}

impl Body for EventBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.events.poll_recv(context) {
            Poll::Ready(Some(event)) => {
                self.keep_alive.reset();
                return Poll::Ready(Some(Ok(Frame::data(encode(&event)))));
            }
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Pending => {}
        }
        if self.stopping.as_mut().poll(context).is_ready() {
            return Poll::Ready(None);
        }
        self.keep_alive.poll_tick(context).map(|_| Some(Ok(Frame::data(Bytes::from_static(b": keep-alive\n\n")))))
    }
}

fn encode(event: &DownloadEvent) -> Bytes {
    let json = serde_json::to_string(event).unwrap_or_default();
    Bytes::from(format!("data: {json}\n\n"))
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn comments_fill_the_silence_and_a_stop_ends_the_stream() {
        let (sender, receiver) = mpsc::channel(4);
        let stopping = CancellationToken::new();
        let mut body = EventBody::new(receiver, stopping.clone());
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
        stopping.cancel();
        assert!(body.frame().await.is_none());
    }
}
