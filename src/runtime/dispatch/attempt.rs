//! One call on one backend: what becomes of it is told to the backend's cell, and what comes of it holds the slot.

use std::{pin::pin, time::Duration};

use tokio::time::Instant;

use super::{
    call::Call,
    deadline::{Urgency, was_hung_up_on},
    tab::BYTES_A_TOKEN,
};
#[cfg(feature = "faults")]
use crate::domain::ids::BackendId;
use crate::{
    domain::{chat::Usage, timing::CallTiming},
    faults::fault,
    providers::{ProviderError, ProviderErrorKind},
    runtime::{
        backend::CallSample,
        lease::Lease,
        meters::{CallOutcome, EndedCall, Operation},
        pool::{Candidate, Grant},
    },
    telemetry::stages::{self, Stages},
};

/// A call that has its slot. Dropping it gives the call up; the slot is free when the backend will have noticed.
pub(super) struct Attempt {
    candidate: Candidate,
    lease: Lease,
    operation: Operation,
    began: Instant,
    has_ended: bool,
    is_counted: bool,
    /// Until a stream began.
    first_words: Option<Duration>,
    stages: Stages,
    /// Until it was answered or failed.
    took: Duration,
    watched: Option<Watched>,
}

/// What is noted of a call to a backend whose limit is to be found.
struct Watched {
    /// Calls that ran there when it began, itself included.
    in_flight: u16,
    prompt_tokens: u32,
}

impl Attempt {
    pub(super) fn begin(grant: Grant, operation: Operation) -> Self {
        let Grant { candidate, lease } = grant;
        Self {
            candidate,
            lease,
            operation,
            began: Instant::now(),
            has_ended: false,
            is_counted: false,
            first_words: None,
            stages: Stages::default(),
            took: Duration::ZERO,
            watched: None,
        }
    }

    /// Where its time went so far.
    pub(super) fn timing(&self) -> CallTiming {
        let began = self.began.into_std();
        let connect = self.stages.connect.unwrap_or_default();
        let answered = match (self.first_words, self.stages.answered_at) {
            (Some(first), _) => first,
            (None, Some(at)) => at.saturating_duration_since(began).min(self.took),
            (None, None) => self.took,
        };
        CallTiming {
            began: Some(began),
            connect,
            first_byte: answered.saturating_sub(connect),
            rest: self.took.saturating_sub(answered),
            ..CallTiming::default()
        }
    }

    pub(super) const fn candidate(&self) -> &Candidate {
        &self.candidate
    }

    /// Makes the call. A stream has succeeded when it has begun.
    pub(super) async fn make<C: Call>(mut self, call: &C, urgency: Urgency) -> (Self, Outcome<C>) {
        self.lease.begin();
        let backend = &self.candidate.backend;
        self.watched = backend.finds_limit().then(|| Watched {
            in_flight: backend.slots.counts().in_use,
            prompt_tokens: u32::try_from(call.sent_bytes() / BYTES_A_TOKEN).unwrap_or(u32::MAX),
        });
        let outcome = {
            // In one place: handed on as a value, it would be held twice.
            let asked = pin!(asked(call, &self.candidate));
            urgency.in_time(pin!(stages::watched(asked))).await
        };
        let outcome = outcome.map(|(outcome, seen)| {
            self.stages = seen;
            self.candidate.backend.meters.seen(seen);
            outcome
        });
        match &outcome {
            Some(Ok(answer)) => self.answered(C::is_stream(answer)),
            Some(Err(error)) => self.failed(error),
            None => {}
        }
        (self, outcome)
    }

    fn answered(&mut self, is_stream: bool) {
        self.has_ended = true;
        let took = self.began.elapsed();
        self.took = took;
        self.first_words = is_stream.then_some(took);
        let (backend, entry) = self.lease.entry();
        let effect = backend.access.answered(entry, took, backend.slots.counts().limit);
        backend.heed(effect);
    }

    fn failed(&mut self, error: &ProviderError) {
        self.has_ended = true;
        if !was_hung_up_on(error.kind) {
            self.lease.end();
        }
        let took = self.began.elapsed();
        self.took = took;
        self.count(CallOutcome::Failed(error.kind), Usage::default());
        let (backend, entry) = self.lease.entry();
        let model = &self.candidate.model;
        tracing::debug!(backend = %backend.id, %model, kind = ?error.kind, %error, "call failed");
        let effect = backend.access.failed(entry, error, took);
        backend.heed(effect);
        if let Some(watched) = self.watched.take().filter(|_| is_overloaded(error)) {
            backend.handle.call_refused(watched.in_flight);
        }
        if matches!(error.kind, ProviderErrorKind::Connect | ProviderErrorKind::Cut | ProviderErrorKind::Timeout) {
            backend.handle.call_failed();
        }
    }
}

impl Attempt {
    /// Counts it, once: a stream that broke has been answered before.
    fn count(&mut self, outcome: CallOutcome, usage: Usage) {
        if std::mem::replace(&mut self.is_counted, true) {
            return;
        }
        let Candidate { backend, model, .. } = &self.candidate;
        backend.meters.ended(&EndedCall {
            kind: backend.kind(),
            model,
            operation: self.operation,
            outcome,
            took: self.began.elapsed(),
            first_words: self.first_words,
            usage,
        });
    }
}

/// The call itself.
async fn asked<C: Call>(call: &C, candidate: &Candidate) -> Result<C::Answer, ProviderError> {
    fault!("dispatch.call", candidate.backend.id);
    let answer = call.on(candidate).await?;
    fault!("dispatch.answered", candidate.backend.id);
    Ok(answer)
}

#[cfg(feature = "faults")]
impl From<crate::faults::Fault> for ProviderError {
    fn from(fault: crate::faults::Fault) -> Self {
        Self::new(ProviderErrorKind::Transient, fault)
    }
}

/// Whether a backend refused a call because it has too much to do.
fn is_overloaded(error: &ProviderError) -> bool {
    error.kind == ProviderErrorKind::RateLimited || error.status == Some(503)
}

/// What a call came to; `None` when it was given up at its deadline.
pub(super) type Outcome<C> = Option<Result<<C as Call>::Answer, ProviderError>>;

impl Drop for Attempt {
    fn drop(&mut self) {
        self.count(CallOutcome::Left, Usage::default());
        if !self.has_ended {
            self.candidate.backend.access.late(self.began.elapsed());
        }
    }
}

/// What came of a call, and the slot it is made in. Dropping it abandons the call.
pub(super) struct Held<T> {
    pub(super) answer: T,
    pub(super) call: HeldCall,
}

impl<T> Held<T> {
    /// The answer alone, for a call that is done: frees the slot.
    pub(super) fn release(mut self, usage: impl FnOnce(&T) -> Usage) -> T {
        self.call.is_read(|| usage(&self.answer));
        self.answer
    }

    /// Both apart: the slot is taken for as long as the second lives.
    pub(super) fn into_parts(self) -> (T, HeldCall) {
        (self.answer, self.call)
    }
}

/// The call behind an answer that is still being read.
pub(super) struct HeldCall(pub(super) Attempt);

impl HeldCall {
    /// Who makes it.
    #[cfg(feature = "faults")]
    pub(super) fn backend(&self) -> &BackendId {
        &self.0.candidate.backend.id
    }

    /// The answer broke.
    pub(super) fn failed(&mut self, error: &ProviderError) {
        self.0.failed(error);
    }

    /// All has been read: the slot is free as soon as it is let go.
    pub(super) fn is_read(&mut self, usage: impl FnOnce() -> Usage) {
        fault!("dispatch.read", self.0.candidate.backend.id, else |_|);
        let usage = usage();
        self.0.count(CallOutcome::Ok, usage);
        let Attempt { candidate, lease, began, watched, first_words, .. } = &mut self.0;
        lease.end();
        if let Some(Watched { in_flight, prompt_tokens }) = watched.take() {
            let (first_token, worked, total) = (*first_words, usage.worked, began.elapsed());
            candidate.backend.handle.call_ended(CallSample { in_flight, prompt_tokens, first_token, worked, total });
        }
    }

    /// All has been read; writes down what the answer cost.
    pub(super) fn ended(&mut self, usage: Usage) {
        self.is_read(|| usage);
        let Candidate { backend, model, .. } = &self.0.candidate;
        let (input, output) = (usage.input_tokens, usage.output_tokens);
        tracing::debug!(backend = %backend.id, %model, input, output, "a relayed stream ended");
    }
}
