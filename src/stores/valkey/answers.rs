//! Answers that may be given again, each under a key that says nothing of the question.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use fred::{interfaces::KeysInterface, types::Expiration};
use tokio::sync::mpsc;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use super::client::ValkeyClient;
use crate::stores::shared::AnswerCache;

/// Answers that may wait to be sent; who has more of them can do without.
const WAITING_ANSWERS: usize = 64;

/// See the module.
pub(super) struct ValkeyAnswers {
    client: ValkeyClient,
    answers: mpsc::Sender<Kept>,
    _stop: DropGuard,
}

struct Kept {
    key: String,
    answer: Bytes,
    time: Duration,
}

impl ValkeyAnswers {
    pub(super) fn new(client: ValkeyClient) -> Self {
        let (answers, waiting) = mpsc::channel(WAITING_ANSWERS);
        let stop = CancellationToken::new();
        TaskTracker::new().spawn(stop.clone().run_until_cancelled_owned(keep(client.clone(), waiting)));
        Self { client, answers, _stop: stop.drop_guard() }
    }

    fn key(&self, key: &[u8; 32]) -> String {
        let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        self.client.key(format_args!("answer:{hex}"))
    }
}

async fn keep(client: ValkeyClient, mut waiting: mpsc::Receiver<Kept>) {
    while let Some(Kept { key, answer, time }) = waiting.recv().await {
        let time = Expiration::PX(i64::try_from(time.as_millis()).unwrap_or(i64::MAX));
        let _kept: Option<()> = client.ask(client.client().set(key, answer, Some(time), None, false)).await;
    }
}

#[async_trait]
impl AnswerCache for ValkeyAnswers {
    async fn get(&self, key: &[u8; 32]) -> Option<Bytes> {
        self.client.ask(self.client.client().get::<Option<Bytes>, _>(self.key(key))).await?
    }

    fn put(&self, key: [u8; 32], answer: Bytes, time: Duration) {
        // What finds no place is made again.
        drop(self.answers.try_send(Kept { key: self.key(&key), answer, time }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stores::valkey::tests::{answering, soon};

    #[tokio::test]
    async fn an_answer_is_there_for_all_until_its_time_is_over() {
        let Some((one, other)) = answering().await else { return };
        let (one, other) = (ValkeyAnswers::new(one), ValkeyAnswers::new(other));
        assert_eq!(other.get(&[1; 32]).await, None);
        one.put([1; 32], Bytes::from_static(b"\x00an answer"), Duration::from_millis(400));
        assert_eq!(soon(async || other.get(&[1; 32]).await).await, &b"\x00an answer"[..]);
        assert_eq!(other.get(&[2; 32]).await, None);
        soon(async || other.get(&[1; 32]).await.is_none().then_some(())).await;
    }
}
