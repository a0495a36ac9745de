//! The forms an answer can be held to: OpenAI's `response_format`, vLLM's `structured_outputs`, and what each server
//! refuses of them.

use serde_json::{Map, Value};

use crate::sim::{answer::Answer, call::Fields, openai::flavour::Flavour, speech::Form};

/// What the request demands of the answer's form.
pub(crate) fn form(fields: &Fields, flavour: Flavour) -> Result<Form<'_>, Answer> {
    read(fields, flavour).map_err(|words| flavour.refused(400, "invalid_request_error", &words))
}

fn read(fields: &Fields, flavour: Flavour) -> Result<Form<'_>, String> {
    match (&fields.structured_outputs, &fields.response_format) {
        (Some(structured), None) if flavour == Flavour::Vllm => return structured_outputs(structured),
        (Some(_), Some(_)) if flavour == Flavour::Vllm => return Err("use only one kind of structured outputs".into()),
        // OpenAI knows all its arguments; the others look away from what they do not know.
        (Some(_), _) if flavour == Flavour::OpenAi => {
            return Err("Unrecognized request argument supplied: structured_outputs".to_owned());
        }
        _ => {}
    }
    let Some(format) = &fields.response_format else { return Ok(Form::Free) };
    match format.get("type").and_then(Value::as_str) {
        Some("text") => Ok(Form::Free),
        Some("json_object") => Ok(Form::Json),
        Some("json_schema") => {
            let wanted =
                format.get("json_schema").and_then(Value::as_object).ok_or("'json_schema' must be an object")?;
            let schema = wanted.get("schema").ok_or("'json_schema.schema' is required")?;
            if flavour == Flavour::OpenAi {
                accepted_by_openai(wanted, schema)?;
            }
            Ok(Form::Schema(schema))
        }
        _ => Err("'response_format.type' must be text, json_object or json_schema".to_owned()),
    }
}

/// vLLM: an object with exactly one form in it.
fn structured_outputs(wanted: &Value) -> Result<Form<'_>, String> {
    let forms = wanted.as_object().filter(|forms| forms.len() == 1).ok_or("exactly one structured output is needed")?;
    let (name, form) = forms.iter().next().ok_or("exactly one structured output is needed")?;
    match (name.as_str(), form) {
        ("choice", Value::Array(texts)) if !texts.is_empty() && texts.iter().all(Value::is_string) => {
            Ok(Form::Choice(texts))
        }
        ("regex", Value::String(pattern)) => Ok(Form::Pattern(pattern)),
        ("json", schema @ Value::Object(_)) => Ok(Form::Schema(schema)),
        _ => Err(format!("'structured_outputs.{name}' is not usable")),
    }
}

fn accepted_by_openai(wanted: &Map<String, Value>, schema: &Value) -> Result<(), String> {
    let name = wanted.get("name").and_then(Value::as_str).unwrap_or_default();
    let is_name = (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if !is_name {
        return Err("'json_schema.name' must be 1 to 64 letters, digits, _ or -".to_owned());
    }
    if schema.get("type").and_then(Value::as_str) != Some("object") {
        return Err(format!(
            "Invalid schema for response_format '{name}': schema must be a JSON Schema of 'type: \"object\"'"
        ));
    }
    match wanted.get("strict") {
        Some(Value::Bool(true)) => strict(schema, "()"),
        _ => Ok(()),
    }
}

/// OpenAI's strict mode: every object closed, every field required.
fn strict(schema: &Value, place: &str) -> Result<(), String> {
    if let Some(fields) = schema.get("properties").and_then(Value::as_object) {
        let refused = |words: &str| Err(format!("Invalid schema: In context={place}, {words}"));
        if schema.get("additionalProperties") != Some(&Value::Bool(false)) {
            return refused("'additionalProperties' is required to be supplied and to be false.");
        }
        let required = schema.get("required").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        if fields.keys().any(|field| !required.iter().any(|name| name == field)) {
            return refused(
                "'required' is required to be supplied and to be an array including every key in properties.",
            );
        }
        fields.iter().try_for_each(|(name, field)| strict(field, &format!("{place}.{name}")))?;
    }
    let inner = schema.get("items").into_iter();
    let alternatives = schema.get("anyOf").and_then(Value::as_array).into_iter().flatten();
    let named = schema.get("$defs").and_then(Value::as_object).into_iter().flat_map(Map::values);
    inner.chain(alternatives).chain(named).try_for_each(|schema| strict(schema, place))
}
