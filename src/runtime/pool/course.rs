//! How far a call has come that is made for several, each of whom has a deadline of its own: what the queue foresees for it,
//! and whether it has had a slot. The pool's actor and the call write it, whoever waits for the call reads it.

use std::future::pending;

use tokio::{sync::watch, time::Instant};

/// See the module.
#[derive(Debug)]
pub(in crate::runtime) struct Course(watch::Sender<Stage>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It is not known when it will have a slot.
    Open,
    /// It waits, and as far as the grants of late tell it will have none before this time.
    NotBefore(Instant),
    /// It has had one.
    Begun,
}

impl Default for Course {
    fn default() -> Self {
        Self(watch::Sender::new(Stage::Open))
    }
}

impl Course {
    /// It has a slot. From then on its time is for the backend to say.
    pub(in crate::runtime) fn begin(&self) {
        self.0.send_replace(Stage::Begun);
    }

    /// Whether it has ever had a slot.
    pub(in crate::runtime) fn has_begun(&self) -> bool {
        *self.0.borrow() == Stage::Begun
    }

    /// It will have no slot before this time; `None`: nobody knows, or it waits no longer.
    pub(in crate::runtime) fn foresee(&self, earliest: Option<Instant>) {
        let next = earliest.map_or(Stage::Open, Stage::NotBefore);
        self.0.send_if_modified(|stage| {
            let changes = *stage != Stage::Begun && *stage != next;
            if changes {
                *stage = next;
            }
            changes
        });
    }

    /// Resolves when it is foreseen to have no slot before this deadline; never for whoever has none.
    pub(in crate::runtime) async fn rules_out(&self, deadline: Option<Instant>) {
        let Some(deadline) = deadline else { return pending().await };
        let is_out = |stage: &Stage| matches!(stage, Stage::NotBefore(earliest) if *earliest > deadline);
        // The sender is this very value.
        if self.0.subscribe().wait_for(is_out).await.is_err() {
            pending().await
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_deadline_is_ruled_out_while_the_call_waits_and_no_longer() {
        let (course, now) = (Course::default(), Instant::now());
        let after = |seconds| Some(now + Duration::from_secs(seconds));
        let is_out = |deadline| course.rules_out(deadline).now_or_never().is_some();
        assert!(!is_out(after(1)), "nothing is known");
        course.foresee(after(5));
        assert!(is_out(after(4)) && !is_out(after(5)) && !is_out(None));
        course.foresee(None);
        assert!(!is_out(after(4)), "it waits no longer");
        course.begin();
        course.foresee(after(5));
        assert!(!is_out(after(4)) && course.has_begun());
    }
}
