//! JSON Schemas that chains carry (`docs/workflow-spec.md`, schemas): compiled once, never fetched, bounded.
//!
//! Anybody who may send a chain may send a schema: patterns are matched in linear time, and references may point only
//! into the schema itself.

mod weight;

use std::{fmt, sync::Arc};

use jsonschema::{Draft, PatternOptions, ValidationError, Validator};
use serde_json::Value as Json;

use self::weight::Weight;
use crate::engine::reply;

/// Violations that are told, and characters of each.
const MOST_TOLD: usize = 5;
const LONGEST_TOLD: usize = 300;

/// A compiled schema.
pub(crate) struct Schema {
    source: Arc<Json>,
    validator: Validator,
    /// The types its root allows; empty = any, or not known without following references.
    roots: Vec<Root>,
    weight: Weight,
}

/// A type of JSON, as schemas name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Root {
    Object,
    Array,
    String,
    Number,
    Boolean,
    Null,
}

impl Root {
    /// The type of a value.
    pub(crate) const fn of(json: &Json) -> Self {
        match json {
            Json::Object(_) => Self::Object,
            Json::Array(_) => Self::Array,
            Json::String(_) => Self::String,
            Json::Number(_) => Self::Number,
            Json::Bool(_) => Self::Boolean,
            Json::Null => Self::Null,
        }
    }

    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "object" => Self::Object,
            "array" => Self::Array,
            "string" => Self::String,
            "number" | "integer" => Self::Number,
            "boolean" => Self::Boolean,
            "null" => Self::Null,
            _ => return None,
        })
    }
}

/// One way in which a value is not what the schema asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    /// JSON Pointer into the value; empty = the whole.
    pub(crate) path: String,
    /// What is wrong there.
    pub(crate) message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, message } = self;
        if path.is_empty() { f.write_str(message) } else { write!(f, "at {path}: {message}") }
    }
}

impl Schema {
    /// Compiles a schema: 2020-12, unless its `$schema` names another draft. `largest_pattern`: bytes that each compiled
    /// pattern may take.
    ///
    /// # Errors
    /// Why it is none.
    pub(crate) fn compile(source: &Json, largest_pattern: usize) -> Result<Self, String> {
        if !(source.is_object() || source.is_boolean()) {
            return Err("a JSON Schema is an object".to_owned());
        }
        let weight = Weight::of(source)?;
        let patterns = PatternOptions::regex().size_limit(largest_pattern).dfa_size_limit(largest_pattern);
        let draft = source.get("$schema").is_none().then_some(Draft::Draft202012);
        let mut options = jsonschema::options().with_pattern_options(patterns).offline();
        if let Some(draft) = draft {
            options = options.with_draft(draft);
        }
        let validator = options.build(source).map_err(|error| {
            let place = error.instance_path().to_string();
            let mut message = reply::shortened(&error.to_string(), LONGEST_TOLD);
            // The words for a pattern that cannot be compiled, whatever the cause.
            if message.ends_with("is not a \"regex\"") {
                let most = largest_pattern >> 10;
                message.push_str(&format!(
                    " that is read here: without look-around and back-references, and at most {most} KiB when compiled"
                ));
            }
            if place.is_empty() { message } else { format!("at {place}: {message}") }
        })?;
        Ok(Self { roots: roots(source), source: Arc::new(source.clone()), validator, weight })
    }

    /// As it was written.
    pub(crate) const fn source(&self) -> &Arc<Json> {
        &self.source
    }

    /// The types its root allows; empty = any.
    pub(crate) fn roots(&self) -> &[Root] {
        &self.roots
    }

    /// Whether a value is what it asks for.
    pub(crate) fn accepts(&self, json: &Json) -> bool {
        self.weight.allows(json) && self.validator.is_valid(json)
    }

    /// The first violations of a value; none for one that is accepted.
    pub(crate) fn violations(&self, json: &Json) -> Vec<Violation> {
        if !self.weight.allows(json) {
            let message = "the value is too large or nested too deeply to be checked against this schema".to_owned();
            return vec![Violation { path: String::new(), message }];
        }
        let told = |error: ValidationError<'_>| Violation {
            path: reply::shortened(error.instance_path().as_str(), LONGEST_TOLD),
            message: reply::shortened(&error.to_string(), LONGEST_TOLD),
        };
        // Collecting goes every way again and again where references go round; finding the first violation does not.
        match self.validator.validate(json) {
            Ok(()) => Vec::new(),
            Err(first) if self.weight.is_recursive => vec![told(first)],
            Err(_) => self.validator.iter_errors(json).take(MOST_TOLD).map(told).collect(),
        }
    }
}

/// How many patterns a schema has. What only looks like one counts, too.
pub(in crate::engine) fn patterns(schema: &Json) -> usize {
    match schema {
        Json::Array(items) => items.iter().map(patterns).sum(),
        Json::Object(fields) => {
            let own = |(name, value): (&String, &Json)| match (name.as_str(), value) {
                ("pattern", Json::String(_)) => 1,
                ("patternProperties", Json::Object(fields)) => fields.len(),
                _ => 0,
            };
            fields.iter().map(own).sum::<usize>() + fields.values().map(patterns).sum::<usize>()
        }
        _ => 0,
    }
}

fn roots(schema: &Json) -> Vec<Root> {
    match schema.get("type") {
        Some(Json::String(name)) => Root::named(name).into_iter().collect(),
        Some(Json::Array(names)) => names.iter().filter_map(Json::as_str).filter_map(Root::named).collect(),
        _ => Vec::new(),
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Schema").field(&self.source).finish()
    }
}

#[cfg(test)]
mod tests;
