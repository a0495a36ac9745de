//! Questions to actors: every one has a deadline, and every way to get no answer becomes one error.

use std::time::Duration;

use ractor::Message;
use tokio::sync::oneshot;

use super::mailbox::{Address, Envelope, Lane, SendError};

/// Where a handler puts its answer. Closed when the asker has gone: then the work need not be done.
pub(super) type Reply<T> = oneshot::Sender<T>;

/// Answers; an asker that has gone meanwhile does not matter.
pub(super) fn answer<T>(reply: Reply<T>, value: T) {
    if reply.send(value).is_err() {
        tracing::trace!("an answer found nobody");
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The question was not delivered.
    #[error(transparent)]
    NotSent(#[from] SendError),
    /// The actor stopped before it answered.
    #[error("the actor stopped before it answered")]
    NoAnswer,
    /// The deadline passed.
    #[error("the actor did not answer in time")]
    Timeout,
}

/// How long anybody waits for an actor that only has to look at its own state.
pub(super) const CONTROL_DEADLINE: Duration = Duration::from_secs(5);

/// Asks and waits for the answer until the deadline.
pub(super) async fn ask<M, T>(
    address: &Address<M>,
    deadline: Duration,
    question: impl FnOnce(Reply<T>) -> M + Send,
) -> Result<T, AskError>
where
    M: Send + 'static,
    Envelope<M>: Message,
    T: Send,
{
    let (reply, answer) = oneshot::channel();
    let exchange = async {
        address.send(Lane::Control, question(reply)).await?;
        answer.await.map_err(|_| AskError::NoAnswer)
    };
    tokio::time::timeout(deadline, exchange).await.unwrap_or(Err(AskError::Timeout))
}
