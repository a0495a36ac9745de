//! The JSON Schema of each constraint on a reply (`docs/workflow-spec.md`, constrained replies), for the dialects that
//! take one. Those with words of their own for a form (vLLM's choice and regex, Gemini's types) start from the same pieces.

use serde_json::{Value, json};

use crate::domain::message::Constraint;

/// Two numbers with a hyphen between them. Without alternations and classes such as `\d`, which some grammars do not
/// know, and without anchors.
pub(super) const RANGE: &str = r"-?[0-9]+(\.[0-9]+)?-(-)?[0-9]+(\.[0-9]+)?";

/// The schema that forces a reply into the constraint's form, whatever its root is.
pub(super) fn schema_of(constraint: &Constraint) -> Value {
    match constraint {
        Constraint::OneOf(texts) => json!({"type": "string", "enum": texts}),
        Constraint::Integer => json!({"type": "integer"}),
        Constraint::Number => json!({"type": "number"}),
        Constraint::Range => json!({"type": "string", "pattern": format!("^{RANGE}$")}),
        Constraint::Json => json!({"type": "object"}),
        Constraint::Schema(schema) => schema.as_ref().clone(),
    }
}
