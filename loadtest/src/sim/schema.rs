//! What a backend that is held to a JSON schema answers; called by `speech`.

use serde_json::{Map, Number, Value};

use crate::sim::pattern;

/// Levels below which only what is required is made: schemas may refer to themselves.
const DEEP: usize = 6;
/// Levels below which nothing is made any more.
const DEEPEST: usize = 32;
/// Entries of an array, and characters of a text, that are made at most.
const LARGEST: usize = 1_000;

/// A small value that fits the schema: the constant, the first of an enumeration, the first alternative, all properties
/// of an object, the least number, the shortest array, a text of the pattern or format. Keywords this does not know are
/// ignored, as small grammars do.
pub(crate) fn sample(schema: &Value) -> Value {
    Sampler { root: schema }.value(schema, 0)
}

/// Whether the schema names `text` as one of its few allowed values.
pub(crate) fn allows(schema: &Value, text: &str) -> bool {
    schema.get("const").is_some_and(|constant| constant == text)
        || schema.get("enum").and_then(Value::as_array).is_some_and(|values| values.iter().any(|value| value == text))
}

/// The schema of the only property, where there is just one.
pub(crate) fn only_property(schema: &Value) -> Option<(&String, &Value)> {
    let properties = schema.get("properties")?.as_object()?;
    (properties.len() == 1).then(|| properties.iter().next()).flatten()
}

struct Sampler<'a> {
    root: &'a Value,
}

impl Sampler<'_> {
    fn value(&self, schema: &Value, depth: usize) -> Value {
        if depth > DEEPEST {
            return Value::Null;
        }
        if let Some(constant) = schema.get("const") {
            return constant.clone();
        }
        if let Some(first) = schema.get("enum").and_then(|values| values.get(0)) {
            return first.clone();
        }
        if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
            return self.target(target).map_or(Value::Null, |target| self.value(target, depth + 1));
        }
        if let Some(first) = ["anyOf", "oneOf"].iter().find_map(|key| self.alternative(schema.get(key)?, depth)) {
            return self.value(first, depth + 1);
        }
        if let Some(Value::Array(all)) = schema.get("allOf") {
            return self.value(&merged(schema, all), depth + 1);
        }
        match kind(schema) {
            Some("object") => Value::Object(self.properties(schema, depth)),
            Some("array") => self.entries(schema, depth),
            Some("integer") => number(schema, true),
            Some("number") => number(schema, false),
            Some("boolean") => Value::Bool(true),
            Some("null") => Value::Null,
            _ => Value::from(text(schema)),
        }
    }

    /// What a reference within the schema leads to.
    fn target(&self, reference: &str) -> Option<&Value> {
        self.root.pointer(reference.strip_prefix('#')?)
    }

    /// The first alternative; deep inside, one that leads nowhere further.
    fn alternative<'a>(&self, all: &'a Value, depth: usize) -> Option<&'a Value> {
        let all = all.as_array()?;
        let leaf = |schema: &&Value| !matches!(kind(schema), Some("object" | "array")) && schema.get("$ref").is_none();
        let shallow = if depth > DEEP { all.iter().find(leaf) } else { None };
        shallow.or(all.first())
    }

    fn properties(&self, schema: &Value, depth: usize) -> Map<String, Value> {
        let required = schema.get("required").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let is_wanted = |name: &String| depth < DEEP || required.iter().any(|other| other == name);
        let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
        let mut made: Map<String, Value> = properties
            .filter(|(name, _)| is_wanted(name))
            .map(|(name, property)| (name.clone(), self.value(property, depth + 1)))
            .collect();
        // Required without being described: anything will do.
        for name in required.iter().filter_map(Value::as_str) {
            made.entry(name).or_insert_with(|| Value::from("text"));
        }
        made
    }

    fn entries(&self, schema: &Value, depth: usize) -> Value {
        let first = schema.get("prefixItems").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let mut made: Vec<Value> = first.iter().map(|item| self.value(item, depth + 1)).collect();
        let items = schema.get("items").filter(|items| items.is_object());
        // One entry shows more than none, where that is allowed.
        let usual = usize::from(items.is_some() && first.is_empty() && depth < DEEP);
        let least = size(schema, "minItems").unwrap_or(usual).min(LARGEST);
        let most = size(schema, "maxItems").unwrap_or(LARGEST);
        while made.len() < least.min(most) {
            made.push(items.map_or(Value::from("text"), |items| self.value(items, depth + 1)));
        }
        Value::Array(made)
    }
}

/// `type` is a word, or a list whose first word is taken; an object is known by its properties too.
fn kind(schema: &Value) -> Option<&str> {
    let stated = schema.get("type").map(|stated| stated.get(0).unwrap_or(stated)).and_then(Value::as_str);
    stated
        .or_else(|| ["properties", "required"].iter().any(|key| schema.get(key).is_some()).then_some("object"))
        .or_else(|| ["items", "prefixItems"].iter().any(|key| schema.get(key).is_some()).then_some("array"))
}

/// A schema with all parts of its `allOf` in one: properties and requirements together, other keywords of the last.
fn merged(schema: &Value, all: &[Value]) -> Value {
    let mut whole = schema.clone();
    if let Some(own) = whole.as_object_mut() {
        own.shift_remove("allOf");
        for (keyword, value) in all.iter().filter_map(Value::as_object).flatten() {
            match (own.get_mut(keyword), value) {
                (Some(Value::Object(known)), Value::Object(more)) => known.extend(more.clone()),
                (Some(Value::Array(known)), Value::Array(more)) => known.extend(more.iter().cloned()),
                _ => {
                    own.insert(keyword.clone(), value.clone());
                }
            }
        }
    }
    whole
}

fn size(schema: &Value, keyword: &str) -> Option<usize> {
    usize::try_from(schema.get(keyword)?.as_u64()?).ok()
}

/// The number nearest to zero that the bounds allow.
fn number(schema: &Value, is_whole: bool) -> Value {
    let bound = |keyword: &str| schema.get(keyword).and_then(Value::as_f64);
    let step = bound("multipleOf").filter(|step| *step > 0.0).unwrap_or(if is_whole { 1.0 } else { 0.5 });
    let least = bound("minimum").into_iter().chain(bound("exclusiveMinimum")).reduce(f64::max);
    let most = bound("maximum").into_iter().chain(bound("exclusiveMaximum")).reduce(f64::min);
    let start = match (least, most) {
        (Some(least), _) if least > 0.0 => (least / step).ceil() * step,
        (_, Some(most)) if most < 0.0 => (most / step).floor() * step,
        _ => 0.0,
    };
    let moved = match () {
        () if Some(start) == bound("exclusiveMinimum") => start + step,
        () if Some(start) == bound("exclusiveMaximum") => start - step,
        () => start,
    };
    #[expect(clippy::cast_possible_truncation, reason = "it has no fraction and fits")]
    let whole = (moved.fract() == 0.0 && moved.abs() < 9e15).then_some(moved as i64);
    whole.map_or_else(|| Number::from_f64(moved).map_or(Value::Null, Value::Number), Value::from)
}

fn text(schema: &Value) -> String {
    if let Some(text) = schema.get("pattern").and_then(Value::as_str).and_then(pattern::sample) {
        return text;
    }
    let usual = match schema.get("format").and_then(Value::as_str) {
        Some("date-time") => "2026-01-02T03:04:05Z",
        Some("date") => "2026-01-02",
        Some("time") => "03:04:05Z",
        Some("duration") => "PT1S",
        Some("email") => "user@example.com",
        Some("hostname") => "example.com",
        Some("ipv4") => "192.0.2.1",
        Some("ipv6") => "2001:db8::1",
        Some("uuid") => "00000000-0000-4000-8000-000000000000",
        Some("uri" | "uri-reference" | "iri") => "https://example.com/",
        _ => "text",
    };
    let least = size(schema, "minLength").unwrap_or(0).min(LARGEST);
    let most = size(schema, "maxLength").unwrap_or(usize::MAX);
    let padding = std::iter::repeat_n('x', least.saturating_sub(usual.chars().count()));
    usual.chars().chain(padding).take(most).collect()
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
    fn keeps_the_bounds_of_numbers_texts_and_arrays() {
        for (schema, value) in [
            (json!({"type": "integer", "exclusiveMinimum": 3}), json!(4)),
            (json!({"type": "integer", "maximum": -2}), json!(-2)),
            (json!({"type": "integer", "minimum": 1, "multipleOf": 5}), json!(5)),
            (json!({"type": "number", "minimum": -1, "maximum": 1}), json!(0)),
            (json!({"type": "number", "exclusiveMinimum": 0, "maximum": 1}), json!(0.5)),
            (json!({"type": "string", "minLength": 6}), json!("textxx")),
            (json!({"type": "string", "maxLength": 2}), json!("te")),
            (json!({"type": "string", "pattern": "^[A-Z]{2}$"}), json!("AA")),
            (json!({"type": "string", "format": "date"}), json!("2026-01-02")),
            (json!({"type": "array", "items": {"type": "null"}, "minItems": 2}), json!([null, null])),
            (json!({"type": "array", "items": {"type": "null"}, "maxItems": 0}), json!([])),
            (json!({"type": "array", "prefixItems": [{"const": 1}], "minItems": 2}), json!([1, "text"])),
            (json!({"type": ["null", "string"]}), json!(null)),
        ] {
            assert_eq!(sample(&schema), value, "{schema}");
        }
    }

    #[test]
    fn follows_references_also_in_circles() {
        let tree = json!({"$ref": "#/$defs/node", "$defs": {"node": {"type": "object", "required": ["name"], "properties": {
            "name": {"type": "string"}, "children": {"type": "array", "items": {"$ref": "#/$defs/node"}}}}}});
        let made = sample(&tree);
        assert_eq!((&made["name"], &made["children"][0]["name"]), (&json!("text"), &json!("text")));
        let endless = json!({"type": "object", "required": ["a"], "properties": {"a": {"$ref": "#"}}});
        assert!(sample(&endless)["a"]["a"].is_object());
        let both = json!({"allOf": [{"properties": {"a": {"const": 1}}}, {"properties": {"b": {"const": 2}}, "required": ["c"]}]});
        assert_eq!(sample(&both), json!({"a": 1, "b": 2, "c": "text"}));
    }

    #[test]
    fn knows_what_an_enumeration_allows() {
        assert!(allows(&json!({"enum": ["yes", "no"]}), "no"));
        assert!(allows(&json!({"const": "no"}), "no"));
        assert!(!allows(&json!({"type": "string"}), "no"));
    }
}
