//! What a test wants to happen: rules that are matched in order, and what each does to the answer.
//!
//! `desk` asks the [`Script`] once for every request; the first rule that fits and is not used up decides alone.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::sim::{call::Call, route::Routes};

/// Which requests are meant, and what happens to them. What a rule leaves open stays as the backend would do it.
///
/// Order of effects: gates, [`delay`](Rule::delay), [`hang_before_headers`](Rule::hang_before_headers), the answer, then
/// the effects on its body. These count in chunks: the pieces of text of a stream, the lines of a pull. A body that is
/// not streamed counts as two chunks, its halves.
#[derive(Debug, Clone)]
pub struct Rule {
    routes: Routes,
    model: Option<String>,
    containing: Option<String>,
    body_containing: Option<String>,
    streams: Option<bool>,
    times: Option<usize>,
    pub(crate) effect: Effect,
}

/// What a rule does.
#[derive(Debug, Clone, Default)]
pub(crate) struct Effect {
    pub(crate) delay: Option<Duration>,
    pub(crate) hang: bool,
    pub(crate) close: bool,
    pub(crate) status: Option<u16>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Option<Bytes>,
    pub(crate) frames: Option<Vec<Bytes>>,
    pub(crate) reply: Option<Vec<String>>,
    pub(crate) thinking: Option<String>,
    pub(crate) calls: Vec<(String, String)>,
    pub(crate) finish: Option<String>,
    pub(crate) no_finish: bool,
    pub(crate) chunk_delay: Option<Duration>,
    pub(crate) stall_after: Option<usize>,
    pub(crate) cut: Option<Cut>,
    pub(crate) error_after: Option<(usize, String)>,
}

impl Effect {
    /// Whether a body must be played piece by piece.
    pub(crate) fn shapes_body(&self) -> bool {
        self.chunk_delay.is_some() || self.stall_after.is_some() || self.cut.is_some()
    }
}

/// Where a body is cut.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cut {
    Chunks(usize),
    Bytes(usize),
}

impl Rule {
    /// A rule for these routes: a [`Route`](crate::sim::Route), an array of them, or a set such as [`Routes::CALLS`].
    pub fn on(routes: impl Into<Routes>) -> Self {
        Self {
            routes: routes.into(),
            model: None,
            containing: None,
            body_containing: None,
            streams: None,
            times: None,
            effect: Effect::default(),
        }
    }

    /// A rule for every request, probes included.
    pub fn always() -> Self {
        Self::on(Routes::ANY)
    }

    /// Only for this model, as the request writes it.
    pub fn model(mut self, model: impl Into<String>) -> Self {
        self.model = Some(model.into());
        self
    }

    /// Only when some message, prompt or input contains this text; with a hook: its body.
    pub fn containing(mut self, text: impl Into<String>) -> Self {
        self.containing = Some(text.into());
        self
    }

    /// Only when the body, as it is sent, contains this.
    pub fn body_containing(mut self, text: impl Into<String>) -> Self {
        self.body_containing = Some(text.into());
        self
    }

    /// Only when the request wants a stream; or only when it does not.
    pub fn streams(mut self, streams: bool) -> Self {
        self.streams = Some(streams);
        self
    }

    /// Only for the first `count` requests that fit; later ones go on to the next rule.
    pub fn times(mut self, count: usize) -> Self {
        self.times = Some(count);
        self
    }

    /// The model says this text, word by word when streamed.
    pub fn reply(self, text: impl AsRef<str>) -> Self {
        let words = crate::sim::speech::words(text.as_ref());
        self.reply_chunks(words)
    }

    /// The model says these pieces: one token each, and one chunk each when streamed.
    pub fn reply_chunks<S: Into<String>>(mut self, chunks: impl IntoIterator<Item = S>) -> Self {
        self.effect.reply = Some(chunks.into_iter().map(Into::into).collect());
        self
    }

    /// The model calls this tool with these arguments, whether or not it was offered; again for several calls. Without it,
    /// and without a scripted reply, a model to which a user speaks calls the first tool it is offered.
    pub fn tool_call(mut self, name: impl Into<String>, arguments: impl ToString) -> Self {
        self.effect.calls.push((name.into(), arguments.to_string()));
        self
    }

    /// The model thinks this before it answers, where the request lets it think.
    pub fn thinking(mut self, text: impl Into<String>) -> Self {
        self.effect.thinking = Some(text.into());
        self
    }

    /// Ends the answer with this `finish_reason` or `done_reason`.
    pub fn finish(mut self, reason: impl Into<String>) -> Self {
        self.effect.finish = Some(reason.into());
        self
    }

    /// Leaves `done_reason` out, as old servers do; for OpenAI `finish_reason` is null.
    pub fn done_reason_absent(mut self) -> Self {
        self.effect.no_finish = true;
        self
    }

    /// Answers with this status; the body is the dialect's error unless [`Rule::body`] gives one.
    pub fn status(mut self, status: u16) -> Self {
        self.effect.status = Some(status);
        self
    }

    /// Answers with exactly these bytes, broken JSON for example; status 200 unless [`Rule::status`] gives one.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.effect.body = Some(body.into());
        self
    }

    /// Streams exactly these bytes, each piece written on its own, framing and content type of the dialect's streams.
    pub fn raw_frames<B: Into<Bytes>>(mut self, frames: impl IntoIterator<Item = B>) -> Self {
        self.effect.frames = Some(frames.into_iter().map(Into::into).collect());
        self
    }

    /// Adds a header to the answer, in place of one of that name. A header HTTP does not allow gives a 500 that says so.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.effect.headers.push((name.into(), value.into()));
        self
    }

    /// Waits before the status line.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.effect.delay = Some(delay);
        self
    }

    /// Waits before each chunk of a stream, the first included.
    pub fn chunk_delay(mut self, delay: Duration) -> Self {
        self.effect.chunk_delay = Some(delay);
        self
    }

    /// Sends nothing until [`Scripted::release`], then answers.
    pub fn hang_before_headers(mut self) -> Self {
        self.effect.hang = true;
        self
    }

    /// Sends this many chunks, then nothing until [`Scripted::release`], then the rest.
    pub fn stall_after(mut self, chunks: usize) -> Self {
        self.effect.stall_after = Some(chunks);
        self
    }

    /// Reads the request, then closes the connection without a word.
    pub fn close_before_headers(mut self) -> Self {
        self.effect.close = true;
        self
    }

    /// Closes the connection after this many chunks; a body that is not streamed ends before its `content-length`.
    pub fn cut_after(mut self, chunks: usize) -> Self {
        self.effect.cut = Some(Cut::Chunks(chunks));
        self
    }

    /// Closes the connection after this many bytes of the body, in the middle of a chunk if need be.
    pub fn cut_after_bytes(mut self, bytes: usize) -> Self {
        self.effect.cut = Some(Cut::Bytes(bytes));
        self
    }

    /// Ends a stream or a pull with the dialect's error line after this many chunks; an answer that is not streamed is a 500.
    pub fn error_after(mut self, chunks: usize, message: impl Into<String>) -> Self {
        self.effect.error_after = Some((chunks, message.into()));
        self
    }

    fn fits(&self, call: &Call) -> bool {
        self.routes.contains(call.route)
            && self.model.as_deref().is_none_or(|model| call.model() == Some(model))
            && self.containing.as_deref().is_none_or(|text| call.says(text))
            && self.body_containing.as_deref().is_none_or(|text| String::from_utf8_lossy(&call.body).contains(text))
            && self.streams.is_none_or(|wanted| call.streams() == wanted)
    }
}

/// A test's view of a rule that was added. Dropping it changes nothing.
#[derive(Debug, Clone)]
pub struct Scripted(Arc<Armed>);

impl Scripted {
    /// How many requests it decided.
    pub fn hits(&self) -> usize {
        *self.0.hits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets every answer that hangs or stalls under this rule go on, now and later.
    pub fn release(&self) {
        self.0.released.cancel();
    }
}

/// A rule in force.
#[derive(Debug)]
pub(crate) struct Armed {
    rule: Rule,
    hits: Mutex<usize>,
    released: CancellationToken,
}

impl Armed {
    pub(crate) fn new(rule: Rule) -> Arc<Self> {
        Arc::new(Self { rule, hits: Mutex::new(0), released: CancellationToken::new() })
    }

    pub(crate) fn effect(&self) -> &Effect {
        &self.rule.effect
    }

    /// Waits until the test releases the rule.
    pub(crate) async fn released(&self) {
        self.released.cancelled().await;
    }

    /// Counts a request that fits, unless the rule is used up.
    fn claim(&self, call: &Call) -> bool {
        if !self.rule.fits(call) {
            return false;
        }
        let mut hits = self.hits.lock().unwrap_or_else(PoisonError::into_inner);
        let free = self.rule.times.is_none_or(|times| *hits < times);
        *hits += usize::from(free);
        free
    }
}

/// The rules of one server, in the order they were added.
#[derive(Default)]
pub(crate) struct Script(Mutex<Vec<Arc<Armed>>>);

impl Script {
    pub(crate) fn add(&self, rule: Rule) -> Scripted {
        let armed = Armed::new(rule);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&armed));
        Scripted(armed)
    }

    pub(crate) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The rule that decides this request, if any.
    pub(crate) fn decide(&self, call: &Call) -> Option<Arc<Armed>> {
        let rules = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rules.iter().find(|armed| armed.claim(call)).cloned()
    }
}
