//! Values as templates see them, and the functions of ours that templates are rewritten to call.

use std::{cell::Cell, sync::Arc};

use gotmpl::{TemplateError, Value as TemplateValue};
use serde::{Serialize, Serializer};
use serde_json::Value as Json;

use super::rewrite::{BOUND, FIELD, FORMAT, SHOW, TEXT};
use crate::{domain::value::Value, engine::task_error::TaskError};

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

/// A failure as templates see it: its message wherever it is printed or compared, and fields. Nothing else that
/// templates are given is a function.
pub(crate) fn error_to_template(error: &TaskError) -> TemplateValue {
    let fields = from_json(&error.fields());
    let text = TemplateValue::String(Arc::clone(&error.message));
    TemplateValue::Function(Arc::new(
        move |names| if names.is_empty() { Ok(text.clone()) } else { inside(&fields, names) },
    ))
}

/// The message of a failure, anything else as it is.
fn as_text(value: &TemplateValue) -> gotmpl::Result<TemplateValue> {
    match value {
        TemplateValue::Function(error) => error(&[]),
        other => Ok(other.clone()),
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
pub(super) fn functions() -> [(&'static str, Function); 5] {
    [(SHOW, show), (FIELD, field), (BOUND, bound), (TEXT, text), (FORMAT, format)]
}

/// Bytes that one rendering may handle in all calls together.
const MOST_HANDLED: usize = 256 * 1024 * 1024;
/// What a call, or a piece of text, counts by itself.
const CALL: usize = 64;

thread_local! {
    /// What is left of them in the rendering under way on this thread; functions of templates have no other state.
    static LEFT: Cell<usize> = const { Cell::new(0) };
}

/// Renders under a budget of bytes: what was handled is taken from `budget`, and what is left of it bounds the work.
pub(super) fn metered<T>(budget: &mut usize, render: impl FnOnce() -> (T, u32)) -> T {
    let allowed = MOST_HANDLED.min(*budget);
    LEFT.set(allowed);
    let (result, pieces) = render();
    *budget = budget.saturating_sub(allowed - LEFT.get()).saturating_sub(CALL * pieces as usize);
    result
}

fn charge(bytes: usize) -> gotmpl::Result<()> {
    let rest = LEFT.get().checked_sub(bytes.saturating_add(CALL));
    LEFT.set(rest.ok_or_else(|| TemplateError::Exec("the templates of the run handle too much text".to_owned()))?);
    Ok(())
}

/// Charges for a value that a function is about to read.
fn charge_for(value: &TemplateValue) -> gotmpl::Result<()> {
    match value {
        TemplateValue::String(text) if text.len() > super::LARGEST_TEXT => {
            Err(TemplateError::Exec(format!("a string is longer than {} bytes", super::LARGEST_TEXT)))
        }
        other => charge(other.len().unwrap_or(0)),
    }
}

/// What is printed of a value: structures as compact JSON, all else as it is.
fn show(args: &[TemplateValue]) -> gotmpl::Result<TemplateValue> {
    match args.first() {
        Some(structure @ (TemplateValue::List(_) | TemplateValue::Map(_))) => {
            let json = serde_json::to_string(&Shown(structure)).unwrap_or_default();
            charge(json.len())?;
            Ok(TemplateValue::String(json.into()))
        }
        other => text(&[other.cloned().unwrap_or(TemplateValue::Nil)]),
    }
}

/// The first argument's field of that name, and its field, and so on: exactly that name, else ignoring case.
fn field(args: &[TemplateValue]) -> gotmpl::Result<TemplateValue> {
    let (value, names) = args.split_first().unwrap_or((&TemplateValue::Nil, &[]));
    let found = inside(value, names)?;
    charge_for(&found)?;
    Ok(found)
}

fn inside(value: &TemplateValue, names: &[TemplateValue]) -> gotmpl::Result<TemplateValue> {
    let mut value = value;
    for (at, name) in names.iter().enumerate() {
        let Some(wanted) = name.as_str() else { continue };
        value = match value {
            TemplateValue::Map(fields) => fields
                .get(wanted)
                .or_else(|| fields.iter().find(|(key, _)| same_ignoring_case(key, wanted)).map(|(_, value)| value))
                .unwrap_or(&TemplateValue::Nil),
            TemplateValue::Nil => &TemplateValue::Nil,
            TemplateValue::Function(error) => return error(&names[at..]),
            other => {
                return Err(TemplateError::Exec(format!(
                    "can't evaluate field {wanted} in type {}",
                    other.type_name()
                )));
            }
        };
    }
    Ok(value.clone())
}

fn same_ignoring_case(key: &str, name: &str) -> bool {
    key.chars().flat_map(char::to_lowercase).eq(name.chars().flat_map(char::to_lowercase))
}

/// The argument, if it may be handled.
fn bound(args: &[TemplateValue]) -> gotmpl::Result<TemplateValue> {
    let value = args.first().cloned().unwrap_or(TemplateValue::Nil);
    charge_for(&value)?;
    Ok(value)
}

/// The argument, if it may be handled; of a failure its message.
fn text(args: &[TemplateValue]) -> gotmpl::Result<TemplateValue> {
    let value = as_text(args.first().unwrap_or(&TemplateValue::Nil))?;
    charge_for(&value)?;
    Ok(value)
}

/// The argument, unless as a format it would make a long text of nothing: `%65535d%65535d…`.
fn format(args: &[TemplateValue]) -> gotmpl::Result<TemplateValue> {
    const WIDEST: usize = 64 * 1024;
    let format = text(args)?;
    let text = format.as_str().unwrap_or_default();
    let numbers = text.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty());
    let widths = numbers.map(|digits| digits.parse().unwrap_or(WIDEST));
    let stars = text.bytes().filter(|byte| *byte == b'*').count().saturating_mul(WIDEST);
    if text.contains('%') && widths.fold(stars, usize::saturating_add) > 16 * WIDEST {
        return Err(TemplateError::Exec("the widths of the format are too large".to_owned()));
    }
    Ok(format)
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
            TemplateValue::Function(_) => match as_text(self.0) {
                Ok(TemplateValue::String(text)) => serializer.serialize_str(&text),
                _ => serializer.serialize_none(),
            },
            TemplateValue::Nil => serializer.serialize_none(),
        }
    }
}
