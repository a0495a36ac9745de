//! What branches look at instead of a task's own transition value: a dot path into the variables
//! (`docs/workflow-spec.md`, transitions). Pure.

use std::borrow::Cow;

use serde_json::Value as Json;

use crate::{domain::value::Value, engine::transition::Evaluation};

/// A path such as `extract.items.0.name`: a variable, then fields and places in lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Path {
    /// The whole as it is written; the id of a task may hold a dot.
    whole: String,
    variable: String,
    segments: Vec<String>,
}

impl Path {
    /// Reads a path; `None` when a part of it is empty.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let whole = text.trim();
        let mut parts = whole.split('.').map(str::to_owned);
        let variable = parts.next()?;
        let segments: Vec<String> = parts.collect();
        let is_whole = !variable.is_empty() && segments.iter().all(|segment| !segment.is_empty());
        is_whole.then(|| Self { whole: whole.to_owned(), variable, segments })
    }

    /// The variable to look at, and the path inside it; `is_set` tells which variables there are.
    pub(crate) fn split(&self, is_set: impl FnOnce(&str) -> bool) -> (&str, &[String]) {
        if is_set(&self.whole) { (&self.whole, &[]) } else { (&self.variable, &self.segments) }
    }
}

/// What branches compare of a value: its text, for numbers as a number. What is not there is the empty text.
pub(crate) fn evaluate(value: Option<&Value>, segments: &[String]) -> Evaluation {
    let Some(value) = value else { return Evaluation::text(String::new()) };
    if segments.is_empty() {
        let is_text = match value {
            Value::Int(_) | Value::Float(_) => false,
            Value::Any(json) | Value::Json(json) => !json.is_number(),
            _ => true,
        };
        let text = match value {
            // As JSON a string would stand in quotes.
            Value::Json(json) => Value::Any(json.clone()).debug_text().into_owned(),
            other => other.debug_text().into_owned(),
        };
        return Evaluation { is_text, ..Evaluation::of(text) };
    }
    let json = match value {
        Value::Any(json) | Value::Json(json) | Value::OpenaiChatResponse(json) => Cow::Borrowed(&**json),
        Value::String(_) | Value::Bool(_) | Value::Int(_) | Value::Float(_) => return Evaluation::text(String::new()),
        structure => Cow::Owned(structure.to_json()),
    };
    match segments.iter().try_fold(&*json, |inner, segment| inside(inner, segment)) {
        Some(found) => evaluate(Some(&Value::Any(found.clone().into())), &[]),
        None => Evaluation::text(String::new()),
    }
}

/// A field, by its exact name or ignoring case as in templates, or a place in a list.
fn inside<'a>(json: &'a Json, segment: &str) -> Option<&'a Json> {
    match json {
        Json::Object(fields) => fields.get(segment).or_else(|| {
            let folded = segment.to_lowercase();
            fields.iter().find(|(name, _)| name.to_lowercase() == folded).map(|(_, value)| value)
        }),
        Json::Array(items) => items.get(segment.parse::<usize>().ok()?),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(path: &str, value: &Value) -> (String, bool) {
        let path = Path::parse(path).expect("a path");
        let (variable, segments) = path.split(|_| false);
        let found = evaluate((variable == "v").then_some(value), segments);
        (found.text, found.is_text)
    }

    #[test]
    fn a_path_finds_fields_and_places_and_what_is_not_there_is_the_empty_text() {
        let value = Value::json(json!({"intent": "buy", "n": 7.5, "big": 1e6, "yes": true, "none": null,
            "items": [{"Name-1": "x"}, [2]], "inner": {"a": 1}}));
        for (path, text, is_text) in [
            ("v.intent", "buy", true),
            ("v.Intent", "buy", true),
            ("v.n", "7.5", false),
            ("v.big", "1000000", false),
            ("v.yes", "true", true),
            ("v.none", "", true),
            ("v.items.0.Name-1", "x", true),
            ("v.items.1.0", "2", false),
            ("v.inner", "{\"a\":1}", true),
            ("v.items.7", "", true),
            ("v.items.-1", "", true),
            ("v.intent.deeper", "", true),
            ("v.missing", "", true),
            ("w", "", true),
        ] {
            assert_eq!(of(path, &value), (text.to_owned(), is_text), "{path}");
        }
        for (value, text, is_text) in [
            (Value::Int(-3), "-3", false),
            (Value::string("007"), "007", true),
            (Value::json(json!("plain")), "plain", true),
            (Value::json(json!(2)), "2", false),
            (Value::Vector([0.5].into()), "[0.5]", true),
        ] {
            assert_eq!(of("v", &value), (text.to_owned(), is_text), "{value:?}");
        }
        assert_eq!(of("v.0", &Value::Vector([0.5].into())), ("0.5".to_owned(), false));
        assert_eq!(of("v.length", &Value::string("x")), (String::new(), true));
    }

    #[test]
    fn a_variable_whose_name_holds_dots_is_found_by_its_whole_name() {
        let path = Path::parse(" a.b.c ").expect("a path");
        assert_eq!(path.split(|name| name == "a.b.c"), ("a.b.c", &[][..]));
        assert_eq!(path.split(|_| false), ("a", &["b".to_owned(), "c".to_owned()][..]));
        for broken in ["", " ", ".a", "a.", "a..b", "."] {
            assert_eq!(Path::parse(broken), None, "{broken:?}");
        }
    }
}
