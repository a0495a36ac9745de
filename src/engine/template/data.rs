//! Values as templates see them, and the functions of ours that templates are rewritten to call.

use std::sync::Arc;

use gotmpl::{TemplateError, Value as TemplateValue};
use serde::{Serialize, Serializer};
use serde_json::Value as Json;

use super::rewrite::{BOUND, FIELD, SHOW};
use crate::domain::value::Value;

/// A value as templates see it: strings are shared, structures converted once by the caller.
pub(crate) fn to_template(value: &Value) -> TemplateValue {
    match value {
        Value::String(text) => TemplateValue::String(Arc::clone(text)),
        Value::Bool(flag) => TemplateValue::Bool(*flag),
        Value::Int(number) => TemplateValue::Int(*number),
        Value::Float(number) => TemplateValue::Float(*number),
        Value::Any(json) | Value::Json(json) | Value::OpenaiChatResponse(json) => from_json(json),
        other => gotmpl::to_value(other).unwrap_or(TemplateValue::Nil),
    }
}

fn from_json(json: &Json) -> TemplateValue {
    match json {
        Json::Null => TemplateValue::Nil,
        Json::Bool(flag) => TemplateValue::Bool(*flag),
        Json::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(whole), ..) => TemplateValue::Int(whole),
            (None, Some(whole), _) => TemplateValue::Uint(whole),
            (None, None, float) => float.map_or(TemplateValue::Nil, TemplateValue::Float),
        },
        Json::String(text) => TemplateValue::String(text.as_str().into()),
        Json::Array(items) => TemplateValue::List(items.iter().map(from_json).collect()),
        Json::Object(fields) => TemplateValue::Map(Arc::new(
            fields.iter().map(|(name, value)| (Arc::from(name.as_str()), from_json(value))).collect(),
        )),
    }
}

type Function = fn(&[TemplateValue]) -> gotmpl::Result<TemplateValue>;

/// The functions that `rewrite` puts into templates.
pub(super) fn functions() -> [(&'static str, Function); 3] {
    [(SHOW, show), (FIELD, field), (BOUND, bound)]
}

/// What is printed of a value: structures as compact JSON, all else as it is.
fn show(args: &[TemplateValue]) -> gotmpl::Result<TemplateValue> {
    Ok(match args.first() {
        Some(structure @ (TemplateValue::List(_) | TemplateValue::Map(_))) => {
            let json = serde_json::to_string(&Shown(structure)).unwrap_or_default();
            TemplateValue::String(json.into())
        }
        Some(other) => other.clone(),
        None => TemplateValue::Nil,
    })
}

/// The first argument's field of that name, and its field, and so on: exactly that name, else ignoring case.
fn field(args: &[TemplateValue]) -> gotmpl::Result<TemplateValue> {
    let mut names = args.iter();
    let mut value = names.next().unwrap_or(&TemplateValue::Nil);
    for name in names.filter_map(TemplateValue::as_str) {
        value = match value {
            TemplateValue::Map(fields) => fields
                .get(name)
                .or_else(|| fields.iter().find(|(key, _)| same_ignoring_case(key, name)).map(|(_, value)| value))
                .unwrap_or(&TemplateValue::Nil),
            TemplateValue::Nil => &TemplateValue::Nil,
            other => {
                return Err(TemplateError::Exec(format!("can't evaluate field {name} in type {}", other.type_name())));
            }
        };
    }
    Ok(value.clone())
}

fn same_ignoring_case(key: &str, name: &str) -> bool {
    key.chars().flat_map(char::to_lowercase).eq(name.chars().flat_map(char::to_lowercase))
}

/// The argument, unless it is a string too long to keep.
fn bound(args: &[TemplateValue]) -> gotmpl::Result<TemplateValue> {
    match args.first() {
        Some(TemplateValue::String(text)) if text.len() > super::LARGEST_TEXT => {
            Err(TemplateError::Exec(format!("a string is longer than {} bytes", super::LARGEST_TEXT)))
        }
        Some(other) => Ok(other.clone()),
        None => Ok(TemplateValue::Nil),
    }
}

struct Shown<'a>(&'a TemplateValue);

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            TemplateValue::Bool(flag) => serializer.serialize_bool(*flag),
            TemplateValue::Int(number) => serializer.serialize_i64(*number),
            TemplateValue::Uint(number) => serializer.serialize_u64(*number),
            TemplateValue::Float(number) => serializer.serialize_f64(*number),
            TemplateValue::String(text) => serializer.serialize_str(text),
            TemplateValue::List(items) => serializer.collect_seq(items.iter().map(Shown)),
            TemplateValue::Map(fields) => {
                serializer.collect_map(fields.iter().map(|(name, value)| (&**name, Shown(value))))
            }
            TemplateValue::Nil | TemplateValue::Function(_) => serializer.serialize_none(),
        }
    }
}
