//! Plays an answer's body to the connection, with the pauses, stalls, cuts and errors its rule wants.
//!
//! The body owns the request's ticket: hyper drops the body when the client hangs up, and that is what the record sees.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::stream::{BoxStream, unfold};
use hyper::body::{Body, Frame as HttpFrame, SizeHint};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::sim::{
    answer::Frame,
    pull::PullRun,
    record::{Outcome, Ticket},
    script::{Armed, Cut},
};

/// The script wants the connection closed here.
#[derive(Debug)]
pub(crate) struct CutShort;

impl fmt::Display for CutShort {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the script closes the connection here")
    }
}

impl std::error::Error for CutShort {}

/// A body on its way.
pub(crate) struct SimBody {
    content: Content,
    status: u16,
    ticket: Ticket,
}

enum Content {
    Plain(Bytes),
    /// `left` is what `content-length` still promises, where there is one.
    Stream {
        frames: BoxStream<'static, Result<Bytes, CutShort>>,
        left: Option<u64>,
    },
}

impl SimBody {
    /// A body that goes out at once.
    pub(crate) fn plain(bytes: Bytes, status: u16, mut ticket: Ticket) -> Self {
        if bytes.is_empty() {
            // hyper never polls an empty body, so its end is now.
            ticket.end(Outcome::Answered { status });
        }
        Self { content: Content::Plain(bytes), status, ticket }
    }

    /// A body in pieces; `length` is what `content-length` promises, chunked encoding without it.
    pub(crate) fn played(player: Player, length: Option<u64>, status: u16, ticket: Ticket) -> Self {
        let frames = unfold(player, |mut player| async move { Some((player.next().await?, player)) });
        Self { content: Content::Stream { frames: Box::pin(frames), left: length }, status, ticket }
    }
}

impl Body for SimBody {
    type Data = Bytes;
    type Error = CutShort;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<HttpFrame<Bytes>, CutShort>>> {
        let Self { content, status, ticket } = &mut *self;
        let status = *status;
        match content {
            Content::Plain(bytes) => {
                let bytes = std::mem::take(bytes);
                ticket.took(bytes.len());
                ticket.end(Outcome::Answered { status });
                Poll::Ready((!bytes.is_empty()).then(|| Ok(HttpFrame::data(bytes))))
            }
            Content::Stream { frames, left } => {
                let next = ready!(frames.as_mut().poll_next(context));
                if let (Some(left), Some(Ok(bytes))) = (left.as_mut(), &next) {
                    *left = left.saturating_sub(bytes.len() as u64);
                }
                if let Some(Ok(bytes)) = &next {
                    ticket.took(bytes.len());
                }
                match &next {
                    Some(Err(CutShort)) => ticket.end(Outcome::Broken),
                    // With its length reached, hyper drops the body without asking for more.
                    Some(Ok(_)) if *left != Some(0) => {}
                    Some(Ok(_)) | None => ticket.end(Outcome::Answered { status }),
                }
                Poll::Ready(next.map(|frame| frame.map(HttpFrame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.content, Content::Plain(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Plain(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::Stream { left, .. } => left.map(SizeHint::with_exact).unwrap_or_default(),
        }
    }
}

/// Where the pieces come from.
pub(crate) enum Source {
    Frames(std::vec::IntoIter<Frame>),
    Pull(Box<PullRun>),
}

impl Source {
    /// A plain body in two halves, so that the script can act in its middle.
    pub(crate) fn halves(mut bytes: Bytes) -> Self {
        let first = bytes.split_to(bytes.len() / 2);
        Self::Frames(vec![Frame::chunk(first), Frame::chunk(bytes)].into_iter())
    }

    async fn next(&mut self) -> Option<Frame> {
        match self {
            Self::Frames(frames) => frames.next(),
            Self::Pull(run) => run.next().await,
        }
    }
}

/// Hands out the pieces in the script's time.
pub(crate) struct Player {
    source: Source,
    armed: Option<Arc<Armed>>,
    /// After so many chunks: this error, then the end.
    error: Option<(usize, Bytes)>,
    chunk_delay: Option<Duration>,
    stall_after: Option<usize>,
    cut: Option<Cut>,
    /// Whether every piece is written on its own.
    separate: bool,
    /// Tells when the next chunk is due, where an engine makes them.
    words: Option<UnboundedReceiver<()>>,
    chunks: usize,
    bytes: usize,
    over: bool,
}

impl Player {
    /// Plays the source under a rule; `error` is the dialect's error frame, where the rule wants one.
    pub(crate) fn new(source: Source, armed: Option<Arc<Armed>>, error: Option<(usize, Bytes)>) -> Self {
        let effect = armed.as_deref().map(Armed::effect);
        Self {
            chunk_delay: effect.and_then(|effect| effect.chunk_delay),
            stall_after: effect.and_then(|effect| effect.stall_after),
            cut: effect.and_then(|effect| effect.cut),
            separate: effect.is_some_and(|effect| effect.frames.is_some()),
            source,
            armed,
            error,
            words: None,
            chunks: 0,
            bytes: 0,
            over: false,
        }
    }

    /// Lets each chunk wait for its word.
    pub(crate) fn in_step_with(mut self, words: Option<UnboundedReceiver<()>>) -> Self {
        self.words = words;
        self
    }

    async fn next(&mut self) -> Option<Result<Bytes, CutShort>> {
        if self.over {
            return None;
        }
        if self.stall_after.take_if(|chunks| self.chunks >= *chunks).is_some()
            && let Some(armed) = &self.armed
        {
            armed.released().await;
        }
        if self.cut_is_due() {
            // Stepping aside once lets hyper write what it has; an error would make it throw that away.
            tokio::task::yield_now().await;
            self.over = true;
            return Some(Err(CutShort));
        }
        if let Some((_, frame)) = self.error.take_if(|(chunks, _)| self.chunks >= *chunks) {
            self.over = true;
            return Some(Ok(frame));
        }
        let frame = self.source.next().await?;
        self.pace(&frame).await;
        Some(Ok(self.shortened(frame)))
    }

    fn cut_is_due(&self) -> bool {
        match self.cut {
            Some(Cut::Chunks(chunks)) => self.chunks >= chunks,
            Some(Cut::Bytes(bytes)) => self.bytes >= bytes,
            None => false,
        }
    }

    async fn pace(&mut self, frame: &Frame) {
        if let Some(words) = self.words.as_mut().filter(|_| frame.counts) {
            // Nothing comes when the engine has ended, and with it everything.
            words.recv().await;
        }
        match self.chunk_delay {
            Some(delay) if frame.counts => tokio::time::sleep(delay).await,
            _ if self.separate => tokio::task::yield_now().await,
            _ => {}
        }
    }

    /// Counts the frame, and ends it where a cut by bytes falls into it.
    fn shortened(&mut self, frame: Frame) -> Bytes {
        let mut bytes = frame.bytes;
        if let Some(Cut::Bytes(limit)) = self.cut {
            bytes.truncate(limit - self.bytes);
        }
        self.chunks += usize::from(frame.counts);
        self.bytes += bytes.len();
        bytes
    }
}
