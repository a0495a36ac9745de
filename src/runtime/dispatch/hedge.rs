//! A second attempt on another backend for a call whose first one is late (`docs/operations.md`, hedging): the first answer
//! counts, and the other call is given up with its slot. Up to the first byte of an answer only: what comes after it is no
//! matter of this file.

use std::{pin::Pin, time::Duration};

use futures_util::future::{Either, select};

use super::{
    attempt::{Attempt, Outcome},
    call::Call,
    deadline::Urgency,
};

/// Makes a call, and after this time a second one if `second` has it a slot. Of two failures the later one is told.
pub(super) async fn hedged<C: Call>(
    call: &C,
    first: Attempt,
    urgency: Urgency,
    after: Duration,
    second: impl FnOnce() -> Option<Attempt>,
) -> (Attempt, Outcome<C>) {
    let mut first = Box::pin(first.make(call, urgency));
    if let Ok(ended) = tokio::time::timeout(after, first.as_mut()).await {
        return ended;
    }
    let Some(second) = second() else { return first.await };
    race(first, Box::pin(second.make(call, urgency))).await
}

/// The first success, else the last failure; what was given up at the deadline is over for both.
async fn race<A, T, E, F: Future<Output = (A, Option<Result<T, E>>)>>(
    first: Pin<Box<F>>,
    second: Pin<Box<F>>,
) -> (A, Option<Result<T, E>>) {
    match select(first, second).await {
        Either::Left((ended, other)) | Either::Right((ended, other)) => {
            if !matches!(ended.1, Some(Err(_))) {
                return ended;
            }
            // Frees the slot of the one that failed before the other is waited for.
            drop(ended);
            other.await
        }
    }
}
