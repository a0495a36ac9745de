//! Attempts as visits: the record of a run holds attempts, people think in tasks that were come to.

use std::sync::Arc;

use super::StateUnit;

/// Tells which recorded attempts belong to one visit of a task. Fed with all units of a run, in order.
///
/// A failed attempt that is followed by another one of the same task was retried.
#[derive(Debug, Default)]
pub struct Visits {
    latest: Option<Arc<str>>,
    has_failed: bool,
    attempt: u32,
}

impl Visits {
    /// Which attempt of its visit this is, from 1.
    pub fn attempt(&mut self, unit: &StateUnit) -> u32 {
        let is_again = self.has_failed && self.latest.as_ref() == Some(&unit.task_id);
        self.attempt = if is_again { self.attempt.saturating_add(1) } else { 1 };
        self.latest = Some(Arc::clone(&unit.task_id));
        self.has_failed = !unit.error.error.is_empty();
        self.attempt
    }

    /// The tasks a run came to, in order.
    pub fn path(units: &[StateUnit]) -> Vec<Arc<str>> {
        let mut visits = Self::default();
        units.iter().filter(|unit| visits.attempt(unit) == 1).map(|unit| Arc::clone(&unit.task_id)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{domain::value::DataType, engine::StateError};

    fn unit(task: &str, error: &str) -> StateUnit {
        StateUnit {
            task_id: task.into(),
            task_handler: "noop",
            input_type: DataType::String,
            output_type: DataType::String,
            transition: String::new(),
            duration: Duration::ZERO,
            error: StateError { error: error.to_owned() },
            input: String::new(),
            output: String::new(),
            backend: None,
            model: None,
            input_tokens: None,
            output_tokens: None,
            queue_ms: None,
        }
    }

    #[test]
    fn attempts_after_a_failure_belong_to_the_visit_and_loops_do_not() {
        let units = [unit("a", "x"), unit("a", "x"), unit("a", ""), unit("a", ""), unit("b", "x"), unit("a", "")];
        let mut visits = Visits::default();
        assert_eq!(units.iter().map(|unit| visits.attempt(unit)).collect::<Vec<_>>(), [1, 2, 3, 1, 1, 1]);
        let path = Visits::path(&units);
        assert_eq!(path.iter().map(|task| &**task).collect::<Vec<_>>(), ["a", "a", "b", "a"]);
    }
}
