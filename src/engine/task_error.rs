//! What a run remembers of a failure: the variables `last_error` and `<id>_error` (`docs/workflow-spec.md`, variables).

use std::sync::Arc;

use serde_json::{Value as Json, json};

use crate::domain::failure::FailureClass;

/// One failure of a task. As text it is its message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TaskError {
    /// The task that failed.
    pub(crate) task: Arc<str>,
    /// What kind of failure.
    pub(crate) class: FailureClass,
    /// What happened, cut to what a variable may hold of it.
    pub(crate) message: Arc<str>,
    /// Attempts the task had made, on all its models.
    pub(crate) attempts: u32,
}

impl TaskError {
    /// Its fields by name, for templates and paths.
    pub(crate) fn fields(&self) -> Json {
        json!({"task": &*self.task, "class": self.class.as_str(), "message": &*self.message, "attempts": self.attempts})
    }
}
