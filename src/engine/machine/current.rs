//! What a run is doing right now, for those who watch it.

use std::sync::Arc;

use super::Machine;

/// The attempt a run waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CurrentAttempt {
    /// The task.
    pub task: Arc<str>,
    /// What it does.
    pub handler: &'static str,
    /// Which attempt of this visit it is or will be, from 1; repairs of a reply count.
    pub attempt: u32,
}

impl Machine {
    /// The attempt whose effect is out, or the next one of a task between two attempts; `None` before the start and after
    /// the end.
    pub fn current(&self) -> Option<CurrentAttempt> {
        let visit = self.visit.as_ref()?;
        let step = self.program.steps.get(visit.place)?;
        Some(CurrentAttempt {
            task: Arc::clone(&step.id),
            handler: step.handler.as_str(),
            attempt: visit.recorded.saturating_add(1),
        })
    }
}
