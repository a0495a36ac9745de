//! Work of an actor's tasks, whose end the actor always hears of: a panic becomes a value.

use std::{any::Any, panic::AssertUnwindSafe};

use futures_util::FutureExt;

/// A task panicked; the text is for the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a task panicked: {0}")]
pub(super) struct Panicked(String);

/// Runs a task's work to its end, whichever that is.
pub(super) async fn caught<T>(what: &'static str, work: impl Future<Output = T> + Send) -> Result<T, Panicked> {
    AssertUnwindSafe(work).catch_unwind().await.map_err(|payload| {
        let panicked = Panicked(words(payload.as_ref()));
        tracing::error!(task = what, error = %panicked, "a task of an actor failed");
        panicked
    })
}

fn words(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_a_value() {
        assert_eq!(caught("sum", async { 4 }).await, Ok(4));
        assert_eq!(caught("sum", async { panic!("no {}", 4) }).await, Err::<(), _>(Panicked("no 4".to_owned())));
    }
}
