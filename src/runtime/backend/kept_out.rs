//! What the actor does while calls are kept out of its backend: it writes it down, and lets those who wait look again at the
//! right time.

use std::sync::atomic::Ordering;

use super::{BackendMsg, BackendState, TaskName, report};
use crate::runtime::feed::Happening;

impl BackendState {
    /// Calls are kept out: those who wait for the backend may have to do without it, and look again when that ends.
    pub(super) fn on_calls_kept_out(&mut self) {
        // Cleared before looking, so that what happens from here on sends a message of its own.
        self.cell.told_kept_out.swap(false, Ordering::AcqRel);
        let breaker = self.cell.breaker();
        if breaker.opened != self.openings_told {
            self.openings_told = breaker.opened;
            let backend = &self.goal.backend;
            tracing::warn!(backend = %backend.id, name = %backend.name, opened = breaker.opened, "breaker is open");
        }
        self.tell_breaker();
        self.look_again();
    }

    fn tell_breaker(&mut self) {
        let state = self.cell.breaker().state;
        if std::mem::replace(&mut self.breaker_told, state) != state {
            self.tell(|backend| Happening::Breaker { backend, state });
        }
    }

    /// Lets those who wait look, and again as long as only some calls are let in.
    fn look_again(&mut self) {
        self.cell.turns.wake();
        self.look_number += 1;
        let Some(rest) = self.cell.access.next_look() else { return };
        let timer = TaskName { generation: self.generation, number: self.look_number };
        let (handle, stop) = (self.handle().clone(), self.stop.clone());
        self.deps.tasks.spawn(async move {
            let work = async {
                tokio::time::sleep(rest).await;
                report(&handle, BackendMsg::LookDue { timer }).await;
            };
            stop.run_until_cancelled(work).await;
        });
    }

    pub(super) fn on_look_due(&mut self, timer: TaskName) {
        if timer == (TaskName { generation: self.generation, number: self.look_number }) {
            self.tell_breaker();
            self.look_again();
        }
    }
}
