//! Where the time of a call goes on the wire: written down by whoever makes the connection, read by whoever makes the call.
//!
//! It is the call's own, whatever task it runs in; outside a call nobody keeps it.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

/// What was seen of one call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stages {
    /// How long its connection took; `None` for a kept one, and where that cannot be seen.
    pub connect: Option<Duration>,
    /// When the head of its answer had come.
    pub answered_at: Option<Instant>,
}

tokio::task_local! {
    static CALL: Cell<Stages>;
}

/// Makes a call and says what was seen of it.
pub async fn watched<T>(call: impl Future<Output = T>) -> (T, Stages) {
    CALL.scope(Cell::default(), async {
        let outcome = call.await;
        (outcome, CALL.with(Cell::get))
    })
    .await
}

/// A connection was made for the call, which took so long.
pub fn connected(took: Duration) {
    note(|stages| stages.connect = Some(stages.connect.unwrap_or_default() + took));
}

/// The head of the answer is there.
pub fn answered() {
    note(|stages| stages.answered_at = Some(tokio::time::Instant::now().into_std()));
}

fn note(what: impl FnOnce(&mut Stages)) {
    // A probe or a download is no call.
    let _kept = CALL.try_with(|call| {
        let mut stages = call.get();
        what(&mut stages);
        call.set(stages);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_call_has_its_own_stages_and_what_happens_outside_has_none() {
        connected(Duration::from_secs(9));
        let one = watched(async {
            connected(Duration::from_millis(2));
            tokio::task::yield_now().await;
            answered();
        });
        let other = watched(async { answered() });
        let (((), one), ((), other)) = tokio::join!(one, other);
        assert_eq!((one.connect, other.connect), (Some(Duration::from_millis(2)), None));
        assert!(one.answered_at.is_some() && other.answered_at.is_some());
    }
}
