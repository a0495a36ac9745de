//! An answer piece by piece, each within its time.

use std::{
    pin::{Pin, pin},
    time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt;
use reqwest::Response;
use tokio::time::{Instant, Sleep};

use super::{MAX_REPLY_BYTES, collect, content_type, cut, next_piece, silent};
use crate::providers::ProviderError;

/// The body of an answer that has begun, piece by piece. Dropping it before its end closes the connection.
pub(in crate::providers) struct Pieces {
    response: Response,
    /// For the first piece, which may come long after the headers: a model reads its whole prompt before it speaks.
    first: Option<Duration>,
    /// For the first words, however many pieces without any come before.
    words: Duration,
    idle: Patience,
}

/// How long the end of an answer is waited for whose end mark has come.
const END_PATIENCE: Duration = Duration::from_secs(1);

impl Pieces {
    /// Of an answer that has begun. Its first piece may take this long, each further one as long as `idle`.
    pub(super) const fn new(response: Response, first: Duration, idle: Duration) -> Self {
        Self { response, first: Some(first), words: first, idle: Patience::new(idle) }
    }

    /// The next piece, `None` at the end.
    pub(in crate::providers) async fn next(&mut self) -> Result<Option<Bytes>, ProviderError> {
        match self.first.take() {
            Some(limit) => next_piece(&mut self.response, limit).await,
            None => self.idle.wait(self.response.chunk()).await.ok_or_else(|| silent(self.idle.limit))?.map_err(cut),
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
        content_type(&self.response)
    }

    /// All of it.
    pub(in crate::providers) async fn whole(mut self) -> Result<Bytes, ProviderError> {
        collect(&mut self.response, self.idle.limit, MAX_REPLY_BYTES).await
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

    /// Waits for the future within the limit; `None` when it takes longer.
    async fn wait<T>(&mut self, future: impl Future<Output = T>) -> Option<T> {
        let mut future = pin!(future);
        // What is there already needs no clock.
        if let Some(ready) = future.as_mut().now_or_never() {
            return Some(ready);
        }
        let deadline = Instant::now() + self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        loop {
            tokio::select! {
                biased;
                ready = &mut future => return Some(ready),
                // The timer was set for an earlier wait: it is moved only when it has run out.
                () = timer.as_mut() => {
                    if Instant::now() >= deadline {
                        return None;
                    }
                    timer.as_mut().reset(deadline);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_timer_limits_each_of_many_waits() {
        let mut patience = Patience::new(Duration::from_secs(10));
        for _ in 0..5 {
            assert!(patience.wait(tokio::time::sleep(Duration::from_secs(9))).await.is_some());
        }
        let began = Instant::now();
        assert_eq!(patience.wait(std::future::pending::<()>()).await, None);
        assert_eq!(began.elapsed(), Duration::from_secs(10));
    }
}
