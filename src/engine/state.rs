//! What is recorded of every attempt of a task (`docs/api.md`, StateUnit).

use std::{sync::Arc, time::Duration};

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::{failure::FailureClass, ids::BackendId, value::DataType};

/// One attempt of one task.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StateUnit {
    /// Which task.
    #[serde(rename = "taskID")]
    #[schema(value_type = String)]
    pub task_id: Arc<str>,
    /// What it does.
    pub task_handler: &'static str,
    /// Which attempt of one visit of the task, from 1; repairs of a reply count. 1 again: the run has come anew.
    pub attempt: u32,
    /// Type of what the handler got.
    pub input_type: DataType,
    /// Type of what the handler gave, before compose; `any` when the attempt failed.
    pub output_type: DataType,
    /// What branches are compared with; of a failed hook the status it answered with.
    pub transition: String,
    /// Milliseconds, fractional.
    #[serde(serialize_with = "millis")]
    #[schema(value_type = f64)]
    pub duration: Duration,
    /// Empty on success.
    pub error: StateError,
    /// The input as text, filled only when the chain has `debug: true`.
    pub input: String,
    /// The output as text, likewise.
    pub output: String,
    /// The backend that served the attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<BackendId>,
    /// The model's name on that backend.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Tokens of the prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    /// Tokens of the reply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// Milliseconds spent waiting for a slot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_ms: Option<u64>,
}

/// The error of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, ToSchema)]
pub struct StateError {
    /// Its text, empty on success.
    pub error: String,
    /// Its class, for those who count; no part of the record.
    #[serde(skip)]
    #[schema(ignore)]
    pub class: Option<FailureClass>,
}

/// The tasks a run came to, in order: one for each visit, whatever its attempts.
pub fn visited(units: &[StateUnit]) -> Vec<Arc<str>> {
    units.iter().filter(|unit| unit.attempt == 1).map(|unit| Arc::clone(&unit.task_id)).collect()
}

fn millis<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    // Whole microseconds: what is below them is noise, and 1.2000000000000002 helps nobody.
    let micros = u32::try_from(duration.as_micros()).map_or_else(|_| duration.as_secs_f64() * 1e6, f64::from);
    serializer.serialize_f64(micros.round() / 1000.0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_unit_is_written_with_the_fields_that_are_known() {
        let unit = StateUnit {
            task_id: "validate".into(),
            task_handler: "condition_key",
            attempt: 1,
            input_type: DataType::String,
            output_type: DataType::String,
            transition: "valid".to_owned(),
            duration: Duration::from_nanos(812_400_123),
            error: StateError::default(),
            input: String::new(),
            output: String::new(),
            backend: None,
            model: None,
            input_tokens: None,
            output_tokens: None,
            queue_ms: None,
        };
        let bare = json!({"taskID": "validate", "taskHandler": "condition_key", "attempt": 1, "inputType": "string",
            "outputType": "string", "transition": "valid", "duration": 812.4, "error": {"error": ""},
            "input": "", "output": ""});
        assert_eq!(serde_json::to_value(&unit).expect("serialises"), bare);
        let known = StateUnit { backend: Some(BackendId::new("b")), queue_ms: Some(3), input_tokens: Some(9), ..unit };
        let json = serde_json::to_value(&known).expect("serialises");
        assert_eq!((&json["backend"], &json["queueMs"], &json["inputTokens"]), (&json!("b"), &json!(3), &json!(9)));
        assert!(json.get("model").is_none());
    }
}
