//! OpenAI's structured outputs: the `response_format` of a constrained call, and the way back from its answer.
//!
//! OpenAI takes object roots only, so any other form is asked for as the only field of an object and taken out of the
//! answer again (`unwrap`): nobody above the dialect sees the wrapping. Servers that take any root are spared the detour.

use serde_json::{Map, Value, json};

use super::server::Server;
use crate::{dialect::constraint::schema_of, domain::message::Constraint};

/// The one field of a wrapped answer.
pub(super) const FIELD: &str = "answer";

/// The `response_format` that forces the constraint's form.
pub(super) fn response_format(constraint: &Constraint, server: Server) -> Value {
    if matches!(constraint, Constraint::Json) {
        return json!({"type": "json_object"});
    }
    let schema = schema_of(constraint);
    let schema = if is_wrapped(constraint, server) { wrapped(schema) } else { schema };
    // These are always strict and know more schemas than OpenAI's strict mode.
    let strict = server.takes_any_root() || is_strict_root(&schema);
    json!({"type": "json_schema", "json_schema": {"name": "reply", "strict": strict, "schema": schema}})
}

/// Whether a form is asked for as the only field of an object.
pub(super) fn is_wrapped(constraint: &Constraint, server: Server) -> bool {
    let is_object = match constraint {
        Constraint::Json => true,
        Constraint::Schema(schema) => schema.get("type").is_some_and(|kind| kind == "object"),
        Constraint::OneOf(_) | Constraint::Integer | Constraint::Number | Constraint::Range => false,
    };
    !server.takes_any_root() && !is_object
}

/// Definitions that references name from the root; they stay at the root.
const DEFINITIONS: [&str; 2] = ["$defs", "definitions"];

/// An object with the schema as its one field; references into the schema still lead where they led.
fn wrapped(mut schema: Value) -> Value {
    redirect(&mut schema);
    let mut root = Map::new();
    if let Some(own) = schema.as_object_mut() {
        root.extend(DEFINITIONS.iter().filter_map(|name| own.shift_remove_entry(*name)));
    }
    root.extend([
        ("type".to_owned(), json!("object")),
        ("properties".to_owned(), json!({ FIELD: schema })),
        ("required".to_owned(), json!([FIELD])),
        ("additionalProperties".to_owned(), json!(false)),
    ]);
    Value::Object(root)
}

/// Keywords whose values are data and not schemas.
const DATA: [&str; 4] = ["const", "enum", "default", "examples"];

/// Leads references from the old root to its new place. Recursion is bounded by the depth of JSON that is read.
fn redirect(schema: &mut Value) {
    match schema {
        Value::Object(keywords) => {
            for (keyword, value) in keywords {
                match value {
                    Value::String(target) if keyword == "$ref" => {
                        let path = target.strip_prefix('#').filter(|path| path.is_empty() || path.starts_with('/'));
                        let is_definition =
                            |path: &str| path.split('/').nth(1).is_some_and(|first| DEFINITIONS.contains(&first));
                        if let Some(path) = path.filter(|path| !is_definition(path)) {
                            *target = format!("#/properties/{FIELD}{path}");
                        }
                    }
                    _ if DATA.contains(&keyword.as_str()) => {}
                    value => redirect(value),
                }
            }
        }
        Value::Array(schemas) => schemas.iter_mut().for_each(redirect),
        _ => {}
    }
}

/// Keywords that OpenAI's strict mode knows (its guide on structured outputs). Any other in a schema makes it refuse.
const STRICT: [&str; 25] = [
    "$schema",
    "$defs",
    "definitions",
    "$ref",
    "title",
    "description",
    "type",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "anyOf",
    "enum",
    "const",
    "pattern",
    "format",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minItems",
    "maxItems",
    "nullable",
    "$comment",
];
/// Nesting that strict mode takes.
const STRICT_DEPTH: usize = 5;

/// Whether strict mode takes a schema: an object without alternatives at the root, and everywhere only known keywords and
/// objects with all fields required and no others allowed. A schema that does not fit is sent all the same, not strict: to
/// change it would change what the author asked for.
fn is_strict_root(schema: &Value) -> bool {
    schema.get("anyOf").is_none() && is_strict(schema, STRICT_DEPTH)
}

fn is_strict(schema: &Value, depth: usize) -> bool {
    let Some(keywords) = schema.as_object() else { return false };
    let is_known = keywords.keys().all(|keyword| STRICT.contains(&keyword.as_str()));
    let Some(inner) = depth.checked_sub(usize::from(keywords.contains_key("properties"))) else { return false };
    let each = |name: &str| match keywords.get(name) {
        None => true,
        Some(Value::Object(schemas)) => schemas.values().all(|schema| is_strict(schema, inner)),
        Some(_) => false,
    };
    let alternatives = match keywords.get("anyOf") {
        None => true,
        Some(Value::Array(schemas)) => schemas.iter().all(|schema| is_strict(schema, inner)),
        Some(_) => false,
    };
    // A schema that says nothing is no form at all.
    let is_stated = ["type", "$ref", "anyOf", "enum", "const"].iter().any(|name| keywords.contains_key(*name));
    is_known
        && is_stated
        && is_closed(keywords)
        && alternatives
        && ["properties", "$defs", "definitions"].into_iter().all(each)
        && keywords.get("items").is_none_or(|items| is_strict(items, inner))
}

/// Not an object, or one whose every field is required and that allows no others.
fn is_closed(keywords: &Map<String, Value>) -> bool {
    let is_object = match keywords.get("type") {
        Some(Value::String(kind)) => kind == "object",
        Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == "object"),
        _ => keywords.contains_key("properties"),
    };
    let fields = keywords.get("properties").and_then(Value::as_object);
    let required = keywords.get("required").and_then(Value::as_array);
    let is_required =
        |field: &String| required.is_some_and(|required| required.iter().any(|name| name.as_str() == Some(field)));
    !is_object
        || (keywords.get("additionalProperties") == Some(&Value::Bool(false))
            && fields.into_iter().flatten().all(|(field, _)| is_required(field)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    /// Any JSON, with words of schemas among its keys and texts.
    fn any_json() -> impl Strategy<Value = Value> {
        let word = prop_oneof!["[a-z#/$]{0,6}", Just("#".to_owned()), Just("object".to_owned())];
        let key = proptest::sample::select(
            ["type", "$ref", "$defs", "properties", "items", "anyOf", "required", "enum", "additionalProperties", "a"]
                .as_slice(),
        );
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            word.prop_map(Value::from)
        ];
        leaf.prop_recursive(6, 40, 5, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((key.clone(), inner), 0..5)
                    .prop_map(|fields| fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_schema_becomes_a_form_and_strict_ones_are_closed_objects(mut schema in any_json(), is_object in any::<bool>()) {
            if let Some(keywords) = schema.as_object_mut().filter(|_| is_object) {
                keywords.insert("type".to_owned(), json!("object"));
            }
            for server in [Server::Openai, Server::LlamaCpp] {
                let sent = response_format(&Constraint::Schema(Arc::new(schema.clone())), server);
                if server == Server::Openai {
                    let root = &sent["json_schema"]["schema"];
                    prop_assert_eq!(&root["type"], "object");
                    if sent["json_schema"]["strict"] == true {
                        prop_assert_eq!(&root["additionalProperties"], &Value::Bool(false));
                    }
                }
            }
        }
    }

    fn schema(value: Value) -> Constraint {
        Constraint::Schema(Arc::new(value))
    }

    fn strict(value: &Value) -> bool {
        response_format(&schema(value.clone()), Server::Openai)["json_schema"]["strict"] == true
    }

    #[test]
    fn references_still_lead_where_they_led() {
        let tree = json!({"type": ["array", "null"], "items": {"$ref": "#"}, "$defs": {"a": {"$ref": "#/items"}},
            "contains": {"$ref": "#/$defs/a"}, "const": {"$ref": "#"}, "not": {"$ref": "#anchor"}});
        let sent = response_format(&schema(tree), Server::Openai);
        let expected = json!({
            "$defs": {"a": {"$ref": "#/properties/answer/items"}},
            "type": "object",
            "properties": {"answer": {"type": ["array", "null"], "items": {"$ref": "#/properties/answer"},
                "contains": {"$ref": "#/$defs/a"}, "const": {"$ref": "#"}, "not": {"$ref": "#anchor"}}},
            "required": ["answer"],
            "additionalProperties": false,
        });
        assert_eq!(sent["json_schema"]["schema"], expected);
    }

    #[test]
    fn strict_is_promised_only_for_schemas_that_strict_mode_takes() {
        let closed = json!({"type": "object", "additionalProperties": false, "required": ["a"], "properties": {
            "a": {"anyOf": [{"type": "string", "enum": ["x"]}, {"type": "null"}]}}});
        assert!(strict(&closed));
        let with = |change: &dyn Fn(&mut Value)| {
            let mut changed = closed.clone();
            change(&mut changed);
            strict(&changed)
        };
        assert!(!with(&|schema| schema["additionalProperties"] = json!(true)), "open");
        assert!(!with(&|schema| schema["required"] = json!([])), "an optional field");
        assert!(!with(&|schema| schema["properties"]["a"]["allOf"] = json!([])), "an unknown keyword");
        assert!(!with(&|schema| schema["properties"]["a"] = json!({})), "anything at all");
        assert!(!with(&|schema| schema["properties"]["a"] = json!(true)), "anything at all");
        assert!(!with(&|schema| schema["anyOf"] = json!([{"type": "object"}])), "alternatives at the root");
        assert!(!with(&|schema| schema["properties"]["a"]["anyOf"][0] = json!({"type": "object"})), "open inside");
        let deep = (0..6).fold(json!({"type": "string"}), |inner, _| {
            json!({"type": "object", "additionalProperties": false, "required": ["a"], "properties": {"a": inner}})
        });
        assert!(!strict(&deep), "too deep");
        assert!(strict(&deep["properties"]["a"]));
        assert!(strict(&json!({"type": "array", "items": {"type": "integer", "minimum": 1}})), "wrapped");
    }
}
