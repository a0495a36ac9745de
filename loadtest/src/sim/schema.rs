//! What a backend that is held to a JSON schema answers; called by `speech`.

use serde_json::{Map, Value};

/// The smallest value that fits the schema: the constant, the first of an enumeration, the first alternative, all
/// properties of an object. Keywords this does not know are ignored, as small grammars do.
pub(crate) fn sample(schema: &Value) -> Value {
    if let Some(constant) = schema.get("const") {
        return constant.clone();
    }
    if let Some(first) = schema.get("enum").and_then(|values| values.get(0)) {
        return first.clone();
    }
    if let Some(first) = ["anyOf", "oneOf", "allOf"].iter().find_map(|key| schema.get(key)?.get(0)) {
        return sample(first);
    }
    match kind(schema) {
        Some("object") => Value::Object(sample_properties(schema)),
        Some("array") => {
            schema.get("items").map_or(Value::Array(Vec::new()), |items| Value::Array(vec![sample(items)]))
        }
        Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or_else(|| Value::from(0)),
        Some("boolean") => Value::Bool(true),
        Some("null") => Value::Null,
        _ => Value::from("text"),
    }
}

/// Whether the schema names `text` as one of its few allowed values.
pub(crate) fn allows(schema: &Value, text: &str) -> bool {
    schema.get("const").is_some_and(|constant| constant == text)
        || schema.get("enum").and_then(Value::as_array).is_some_and(|values| values.iter().any(|value| value == text))
}

/// `type` is a word, or a list whose first word is taken; an object is known by its properties too.
fn kind(schema: &Value) -> Option<&str> {
    let stated = schema.get("type").map(|stated| stated.get(0).unwrap_or(stated)).and_then(Value::as_str);
    stated.or_else(|| schema.get("properties").map(|_| "object"))
}

fn sample_properties(schema: &Value) -> Map<String, Value> {
    let properties = schema.get("properties").and_then(Value::as_object);
    properties.into_iter().flatten().map(|(name, property)| (name.clone(), sample(property))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn takes_the_first_that_fits() {
        assert_eq!(sample(&json!({"type": "string", "enum": ["yes", "no"]})), json!("yes"));
        assert_eq!(sample(&json!({"anyOf": [{"const": 7}, {"type": "null"}]})), json!(7));
        let schema = json!({"type": "object", "properties": {
            "ok": {"type": "boolean"}, "score": {"type": "integer", "minimum": 1}, "tags": {"type": "array", "items": {"type": "string"}},
        }});
        assert_eq!(sample(&schema), json!({"ok": true, "score": 1, "tags": ["text"]}));
    }

    #[test]
    fn knows_what_an_enumeration_allows() {
        assert!(allows(&json!({"enum": ["yes", "no"]}), "no"));
        assert!(allows(&json!({"const": "no"}), "no"));
        assert!(!allows(&json!({"type": "string"}), "no"));
    }
}
