//! Walks a document as it is written: what it calls fields, what it writes twice, what has the wrong type. What is left is
//! the same document in canonical spelling, which the chain's own reader takes.

use serde_json::{Map, Value};

use super::{
    misplaced,
    shape::{Shape, kind_of},
    spelled::step,
};
use crate::{
    domain::{
        finding::{Code, Finding, Severity},
        spelling::{folded, replaces},
    },
    engine::reply,
};

/// Findings that are kept; a document full of rubbish would have one for every line.
pub const MOST_FINDINGS: usize = 1_000;

/// Bytes of a name that may be a spelling of a field. Every finding tells its path, so a longer one, of a million underscores,
/// would be told a thousand times.
pub(super) const LONGEST_NAME: usize = 128;

/// Fields of a stored chain, and of chains written for older servers, that mean nothing to the engine.
const IGNORED: [&str; 5] = ["triggers", "version", "draft", "createdat", "updatedat"];

/// What a walk found.
#[derive(Default)]
pub(super) struct Walk {
    pub(super) findings: Vec<Finding>,
    /// Findings beyond those.
    pub(super) more: usize,
    /// Canonical pointers of fields that count as absent because of their type.
    pub(super) mistyped: Vec<String>,
    /// As written.
    path: String,
    /// Canonical, entries counted as they are kept.
    canonical: String,
    /// Canonical names of the fields above, without indices.
    names: Vec<String>,
    /// The task being walked.
    task: Option<String>,
}

impl Walk {
    /// The value in canonical spelling; `None` where its type is wrong.
    pub(super) fn value(&mut self, shape: &Shape, value: &Value) -> Option<Value> {
        if !shape.accepts(value) {
            self.mistyped.push(self.canonical.clone());
            self.wrong_type(shape, value);
            return None;
        }
        Some(match (shape.chosen(value), value) {
            (Shape::Fields(_), Value::Object(object)) => Value::Object(self.fields(shape.chosen(value), object)),
            (Shape::Map(of), Value::Object(object)) => {
                let entry = |(key, value): (&String, &Value)| {
                    let value = self.at(key, key, |walk| walk.value(of, value))?;
                    Some((key.clone(), value))
                };
                Value::Object(object.iter().filter_map(entry).collect())
            }
            (Shape::List(of), Value::Array(items)) => Value::Array(self.items(of, items)),
            _ => value.clone(),
        })
    }

    fn items(&mut self, of: &Shape, items: &[Value]) -> Vec<Value> {
        let is_task = self.names.last().is_some_and(|name| name == "tasks");
        let mut kept = Vec::with_capacity(items.len());
        for (at, item) in items.iter().enumerate() {
            if is_task {
                self.task = Some(task_name(item, at));
            }
            let canonical = kept.len().to_string();
            kept.extend(self.at(&at.to_string(), &canonical, |walk| walk.value(of, item)));
        }
        if is_task {
            self.task = None;
        }
        kept
    }

    fn fields(&mut self, shape: &Shape, object: &Map<String, Value>) -> Map<String, Value> {
        let fields = shape.fields();
        let mut taken: Vec<Option<(bool, &String, &Value)>> = fields.iter().map(|_| None).collect();
        for (name, value) in object {
            let exact = fields.iter().position(|field| field.name == *name);
            let Some(at) = exact.or_else(|| {
                if name.len() > LONGEST_NAME {
                    return None;
                }
                let wanted = folded(name);
                fields.iter().position(|field| field.folded == wanted)
            }) else {
                self.unknown(name, fields.iter().map(|field| field.name.as_str()).collect::<Vec<_>>().as_slice());
                continue;
            };
            if value.is_null() {
                continue;
            }
            let is_canonical = exact.is_some();
            let counts = replaces(is_canonical, taken[at].map(|(is_canonical, ..)| is_canonical));
            let loser = if counts { taken[at].map(|(_, loser, _)| (loser, name)) } else { None };
            let loser = loser.or_else(|| (!counts).then_some(()).and_then(|()| Some((name, taken[at]?.1))));
            if let Some((loser, winner)) = loser {
                self.twice(loser, winner);
            }
            if counts {
                taken[at] = Some((is_canonical, name, value));
            }
        }
        let mut read = Map::with_capacity(fields.len());
        for (field, taken) in fields.iter().zip(taken) {
            let Some((_, name, value)) = taken else { continue };
            self.names.push(field.name.clone());
            let value = self.at(name, &field.name, |walk| walk.value(&field.shape, value));
            self.names.pop();
            if let Some(value) = value {
                read.insert(field.name.clone(), value);
            }
        }
        read
    }

    /// Goes one step down, and back.
    fn at<T>(&mut self, written: &str, canonical: &str, look: impl FnOnce(&mut Self) -> T) -> T {
        let lengths = (self.path.len(), self.canonical.len());
        for (path, name) in [(&mut self.path, written), (&mut self.canonical, canonical)] {
            path.push('/');
            path.push_str(&step(name));
        }
        let seen = look(self);
        self.path.truncate(lengths.0);
        self.canonical.truncate(lengths.1);
        seen
    }

    fn find(
        &mut self,
        severity: Severity,
        code: Code,
        path: String,
        message: &str,
        hint: impl FnOnce(&Self) -> Option<String>,
    ) {
        if self.findings.len() >= MOST_FINDINGS {
            self.more += 1;
            return;
        }
        let (message, hint) = (message.to_owned(), hint(self));
        let task = self.task.clone();
        self.findings.push(Finding { severity, code, message, path, line: None, column: None, hint, task });
    }

    fn unknown(&mut self, name: &str, known: &[&str]) {
        if self.names.last().is_none_or(|name| name == "chain") && IGNORED.contains(&folded(name).as_str()) {
            return;
        }
        let place = self.names.last().filter(|name| *name != "chain");
        let place = match place.map(String::as_str) {
            None => "a chain".to_owned(),
            Some("tasks") => "a task".to_owned(),
            Some(list @ ("branches" | "catch" | "fallback_models")) => format!("an entry of '{list}'"),
            Some(object) => format!("'{object}'"),
        };
        let message = format!("{place} has no field '{}'; it is ignored", reply::excerpt(name));
        let path = format!("{}/{}", self.path, step(name));
        self.find(Severity::Warning, Code::UnknownField, path, &message, |walk| {
            let names: Vec<String> = walk.names.iter().filter(|name| *name != "chain").cloned().collect();
            misplaced::hint(name, &names, known)
        });
    }

    fn twice(&mut self, loser: &str, winner: &str) {
        let message = format!("'{loser}' and '{winner}' are two spellings of one field; '{winner}' counts");
        let path = format!("{}/{}", self.path, step(loser));
        self.find(Severity::Warning, Code::DuplicateField, path, &message, |_| Some(format!("remove '{loser}'")));
    }

    fn wrong_type(&mut self, shape: &Shape, value: &Value) {
        let field = self.canonical.rsplit('/').next().unwrap_or_default();
        let is_entry = field.parse::<usize>().is_ok();
        let what = match (field, is_entry) {
            ("", _) => "the document".to_owned(),
            (_, true) => format!("an entry of '{}'", self.names.last().map_or("", String::as_str)),
            (field, false) => format!("'{}'", reply::excerpt(field)),
        };
        let shown = match value {
            Value::String(text) => format!("the text '{}'", reply::excerpt(text)),
            Value::Number(number) => format!("the number {number}"),
            Value::Bool(flag) => flag.to_string(),
            other => kind_of(other).to_owned(),
        };
        let message = format!("{what} must be {}; it is {shown}", shape.described());
        let name = if is_entry { String::new() } else { field.to_owned() };
        self.find(Severity::Error, Code::WrongType, self.path.clone(), &message, |_| repair(&name, shape, value));
    }
}

/// What to write instead of a value of the wrong type.
fn repair(field: &str, shape: &Shape, value: &Value) -> Option<String> {
    match (shape, value) {
        (Shape::Text, Value::Number(number)) if matches!(field, "timeout" | "initial_backoff" | "max_backoff") => {
            Some(format!("write it with a unit: {number}s"))
        }
        (Shape::Text, Value::Number(_) | Value::Bool(_)) => Some(format!("put it in quotes: \"{value}\"")),
        (Shape::Text, Value::Object(_)) => Some("in YAML, put a value that starts with { in quotes".to_owned()),
        (Shape::Whole(..) | Shape::Number, Value::String(text)) if text.trim().parse::<f64>().is_ok() => {
            Some(format!("write it without quotes: {}", text.trim()))
        }
        (Shape::Flag, Value::String(text)) => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Some("write true, without quotes".to_owned()),
            "false" | "no" | "off" | "0" => Some("write false, without quotes".to_owned()),
            _ => None,
        },
        (Shape::Flag, Value::Number(_)) => Some("write true or false".to_owned()),
        (Shape::List(_), Value::Object(_)) if field == "tasks" => {
            Some("write the tasks as a list; the name of each goes into its 'id'".to_owned())
        }
        (Shape::List(of), value) if of.accepts(value) => match value {
            Value::Object(_) => Some("put it in a list: write '- ' before its first field".to_owned()),
            value => Some(format!("put it in a list: [{}]", reply::excerpt(&value.to_string()))),
        },
        (Shape::OneOf(_), Value::String(text)) if field == "valid_conditions" => {
            Some(format!("write a list of the allowed replies: [{}]", reply::excerpt(text)))
        }
        (Shape::Map(_), _) if field == "require" => Some("write the labels as a map: {zone: on-prem}".to_owned()),
        (Shape::Fields(_), Value::String(text)) => {
            let text = reply::excerpt(text);
            match field {
                "hook" => Some(format!("write {{name: {text}}}")),
                "compose" => Some(format!("write {{with_var: {text}}}")),
                "execute_config" => Some(format!("write {{model: {text}}}")),
                "transition" => Some(format!("write {{branches: [{{operator: default, goto: {text}}}]}}")),
                "branches" | "" => None,
                _ => None,
            }
        }
        _ => None,
    }
}

/// A task in messages: its id, else its number.
fn task_name(task: &Value, at: usize) -> String {
    let id = task.as_object().and_then(|task| {
        task.iter().find(|(name, _)| folded(name) == "id").and_then(|(_, id)| id.as_str()).filter(|id| !id.is_empty())
    });
    id.map_or_else(|| format!("#{}", at + 1), reply::excerpt)
}
