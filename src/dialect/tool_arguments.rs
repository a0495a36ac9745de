//! Arguments of a tool call for backends that take an object in place of JSON text.

use serde_json::{Value, json};

/// What a model wrote, as an object. A weak one's may be none; the conversation it stands in should go on all the same, so
/// the text is kept in one field.
pub(super) fn object_of(arguments: &str) -> Value {
    match serde_json::from_str(arguments) {
        Ok(object @ Value::Object(_)) => object,
        _ if arguments.trim().is_empty() => json!({}),
        _ => json!({"arguments": arguments}),
    }
}

/// What a backend wrote, as JSON text.
pub(super) fn text_of(arguments: Value) -> String {
    match arguments {
        Value::Null => "{}".to_owned(),
        Value::String(text) => text,
        arguments => arguments.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_go_into_an_object_and_back() {
        assert_eq!(object_of("{\"city\":\"Paris\"}"), json!({"city": "Paris"}));
        assert_eq!(object_of(" "), json!({}));
        assert_eq!(object_of("{\"city\":"), json!({"arguments": "{\"city\":"}));
        assert_eq!(object_of("[1]"), json!({"arguments": "[1]"}));
        assert_eq!(text_of(json!({"city": "Paris"})), "{\"city\":\"Paris\"}");
        assert_eq!((text_of(json!(null)), text_of(json!("{}"))), ("{}".to_owned(), "{}".to_owned()));
    }
}
