//! An answer piece by piece, each within its time.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt;
use tokio::time::{Instant, Sleep};

use super::{Answer, Gathered, MAX_REPLY_BYTES, silent, too_long};
use crate::providers::ProviderError;

/// The body of an answer that has begun, piece by piece. Dropping it before its end closes the connection.
pub(in crate::providers) struct Pieces {
    answer: Answer,
    /// For the first piece, which may come long after the headers: a model reads its whole prompt before it speaks.
    first: Option<Patience>,
    /// For the first words, however many pieces without any come before.
    words: Duration,
    idle: Patience,
    end: Deadline,
}

/// When a call must be over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    at: Instant,
    /// How long it is from the call's beginning.
    limit: Duration,
}

impl Deadline {
    /// For a call that begins now.
    pub(super) fn within(limit: Duration) -> Self {
        Self { at: Instant::now() + limit, limit }
    }

    /// Waits for the future; an error when the call must be over first. No `async fn`, which would hold it twice.
    pub(super) fn hold<T>(
        self,
        future: impl Future<Output = Result<T, ProviderError>>,
    ) -> impl Future<Output = Result<T, ProviderError>> {
        tokio::time::timeout_at(self.at, future).map(move |ended| ended.unwrap_or_else(|_| Err(too_long(self.limit))))
    }
}

/// How long the end of an answer is waited for whose end mark has come.
const END_PATIENCE: Duration = Duration::from_secs(1);

impl Pieces {
    /// Of an answer that has begun. Its first piece may take this long, each further one as long as `idle`, and all of them
    /// until `end`.
    pub(super) const fn new(answer: Answer, first: Duration, idle: Duration, end: Deadline) -> Self {
        Self { answer, first: Some(Patience::new(first)), words: first, idle: Patience::new(idle), end }
    }

    /// The next piece, `None` at the end.
    pub(in crate::providers) async fn next(&mut self) -> Result<Option<Bytes>, ProviderError> {
        let mut first = self.first.take();
        let patience = first.as_mut().unwrap_or(&mut self.idle);
        match patience.wait(self.end.at, self.answer.chunk()).await {
            Some(piece) => piece,
            None if Instant::now() >= self.end.at => Err(too_long(self.end.limit)),
            None => Err(silent(patience.limit)),
        }
    }

    /// How long the first words may take. Until then only comments, or nothing, may have come.
    pub(in crate::providers) const fn words_within(&self) -> Duration {
        self.words
    }

    /// All has been said: the end is not waited for long any more.
    pub(in crate::providers) fn expect_end(&mut self) {
        self.first = None;
        self.idle = Patience::new(END_PATIENCE);
    }

    /// The media type of the answer; empty where it names none.
    pub(in crate::providers) fn content_type(&self) -> &str {
        self.answer.content_type()
    }

    /// All of it.
    pub(in crate::providers) async fn whole(mut self) -> Result<Bytes, ProviderError> {
        let mut gathered = Gathered::up_to(MAX_REPLY_BYTES);
        while let Some(piece) = self.next().await? {
            gathered.add(piece)?;
        }
        Ok(gathered.whole.freeze())
    }
}

/// A limit on each of many waits, kept by one timer: setting a new one for each token of a reply would cost more than the
/// token.
struct Patience {
    limit: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    const fn new(limit: Duration) -> Self {
        Self { limit, timer: None }
    }

    /// Waits for the future within the limit, and no longer than `end`; `None` when it takes longer.
    async fn wait<T>(&mut self, end: Instant, future: impl Future<Output = T>) -> Option<T> {
        let now = Instant::now();
        // Pieces that are always there already never wait, and must come to an end, too.
        if now >= end {
            return None;
        }
        let deadline = (now + self.limit).min(end);
        let mut future = pin!(future);
        poll_fn(|context| {
            // What is there already needs no timer.
            if let Poll::Ready(ready) = future.as_mut().poll(context) {
                return Poll::Ready(Some(ready));
            }
            let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
            // It was set for an earlier wait: it is moved only when it has run out.
            while timer.as_mut().poll(context).is_ready() {
                if Instant::now() >= deadline {
                    return Poll::Ready(None);
                }
                timer.as_mut().reset(deadline);
            }
            Poll::Pending
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_timer_limits_each_of_many_waits() {
        let mut patience = Patience::new(Duration::from_secs(10));
        let far = Instant::now() + Duration::from_secs(1000);
        for _ in 0..5 {
            assert!(patience.wait(far, tokio::time::sleep(Duration::from_secs(9))).await.is_some());
        }
        let began = Instant::now();
        assert_eq!(patience.wait(far, std::future::pending::<()>()).await, None);
        assert_eq!(began.elapsed(), Duration::from_secs(10));
    }

    #[tokio::test(start_paused = true)]
    async fn many_short_waits_end_when_the_call_must_be_over() {
        let mut patience = Patience::new(Duration::from_secs(10));
        let (began, end) = (Instant::now(), Instant::now() + Duration::from_secs(30));
        while patience.wait(end, tokio::time::sleep(Duration::from_secs(7))).await.is_some() {}
        assert_eq!(began.elapsed(), Duration::from_secs(30));
        assert_eq!(patience.wait(end, std::future::ready(())).await, None, "what never waits ends, too");
    }
}
