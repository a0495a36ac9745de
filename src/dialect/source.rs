//! The text of a file or a request body, and where in it each value stands: what a finding needs to show its line.
//!
//! [`read`] gives the value at once. Places are looked for only when somebody asks, so a document without findings pays
//! nothing for them. `api` and `cli` ask.

mod json;
mod repaired;
mod tree;
mod yaml;

use std::{ops::Range, sync::OnceLock};

use bytes::Bytes;
use serde_json::Value;

use self::{
    repaired::Repairs,
    tree::{Found, Tree},
};
use super::{
    json as json_reader,
    yaml::{self as yaml_reader, Repaired, YamlError},
};
use crate::domain::finding::{Code, Finding, Severity};

/// Keys written twice that are told of one document.
const MOST_DUPLICATES: usize = 200;

/// How a text is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// JSON.
    Json,
    /// YAML.
    Yaml,
}

/// A text that was read, or could not be.
#[derive(Debug)]
pub struct Source {
    text: Bytes,
    format: Format,
    repairs: Vec<Repaired>,
    repaired: Option<String>,
    places: OnceLock<Option<Places>>,
}

#[derive(Debug)]
struct Places {
    tree: Tree,
    repairs: Repairs,
}

/// A text that is not what its format says.
#[derive(Debug)]
pub struct Unreadable {
    /// What is wrong and where; its code is `SYNTAX`, or `DUPLICATE_FIELD` for a key that stands twice in YAML.
    pub finding: Box<Finding>,
    /// The same in one line, place and hint included.
    pub message: String,
}

/// Reads a text.
///
/// # Errors
/// What makes it unreadable.
pub fn read(format: Format, text: Bytes) -> Result<(Value, Source), Unreadable> {
    let mut source = Source::of(format, text);
    match format {
        Format::Json => match json_reader::decode(&source.text) {
            Ok(value) => Ok((value, source)),
            Err(error) => Err(source.not_json(&error.to_string())),
        },
        Format::Yaml => {
            let text = std::str::from_utf8(&source.text).map_err(|error| not_utf8(&source.text, &error))?;
            let decoded = yaml_reader::decode(text).map_err(|error| not_yaml(&error))?;
            (source.repairs, source.repaired) = (decoded.repairs, decoded.repaired);
            Ok((decoded.value, source))
        }
    }
}

impl Source {
    /// A text that is not read again: for showing findings in it.
    pub const fn of(format: Format, text: Bytes) -> Self {
        Self { text, format, repairs: Vec::new(), repaired: None, places: OnceLock::new() }
    }

    /// The text; empty if it is no UTF-8.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.text).unwrap_or_default()
    }

    /// How it is written.
    pub const fn format(&self) -> Format {
        self.format
    }

    /// Bytes of the text.
    pub fn size(&self) -> usize {
        self.text.len()
    }

    /// The lines that were read differently from how they are written.
    pub fn repairs(&self) -> &[Repaired] {
        &self.repairs
    }

    /// The text again, as it was sent.
    pub fn bytes(&self) -> Bytes {
        self.text.clone()
    }

    /// What the text itself gives reason to tell: repaired lines, and keys that stand twice in JSON. They have their places.
    pub fn findings(&self) -> Vec<Finding> {
        let mut found: Vec<Finding> = self.repairs.iter().map(unquoted_colon).collect();
        if self.format == Format::Json
            && let Some(places) = self.places()
        {
            let twice = places.tree.duplicates(MOST_DUPLICATES);
            let starts: Vec<usize> = twice.iter().map(|(_, key)| key.start).collect();
            let twice = twice.into_iter().zip(positions(self.text(), &starts));
            found.extend(twice.map(|((path, _), at)| written_twice(path, at)));
        }
        found
    }

    /// Bytes of the value that a JSON Pointer names.
    pub fn value_span(&self, pointer: &str) -> Option<Range<usize>> {
        self.found(pointer).map(|found| found.value)
    }

    /// Bytes of the key that a JSON Pointer names; of an element of a list, the element.
    pub fn key_span(&self, pointer: &str) -> Option<Range<usize>> {
        self.found(pointer).map(|found| found.key.unwrap_or(found.value))
    }

    /// Bytes that a finding is about. One that has only line and column is about the rest of that line.
    pub fn span(&self, finding: &Finding) -> Option<Range<usize>> {
        let placed = || self.rest_of_line(finding);
        let named = || match is_about_key(finding.code) {
            true => self.key_span(&finding.path),
            false => self.value_span(&finding.path),
        };
        match finding.code {
            Code::Syntax | Code::UnquotedColon | Code::DuplicateField => placed().or_else(named),
            // Its place is counted once for all findings; counting again takes as long as the text is.
            _ => named().or_else(placed),
        }
    }

    /// Writes line and column on all findings that have none and whose path names a place.
    pub fn locate(&self, findings: &mut [Finding]) {
        let mut open: Vec<(usize, &mut Finding)> = findings
            .iter_mut()
            .filter(|finding| finding.line.is_none())
            .filter_map(|finding| self.span(finding).map(|span| (span.start, finding)))
            .collect();
        let starts: Vec<usize> = open.iter().map(|(start, _)| *start).collect();
        for ((_, finding), (line, column)) in open.iter_mut().zip(positions(self.text(), &starts)) {
            (finding.line, finding.column) = (Some(line), Some(column));
        }
    }

    fn found(&self, pointer: &str) -> Option<Found> {
        let places = self.places()?;
        let found = places.tree.find(pointer)?;
        let written = |span: Range<usize>| places.repairs.written(span.start)..places.repairs.written(span.end);
        Some(Found { key: found.key.map(written), value: written(found.value) })
    }

    fn places(&self) -> Option<&Places> {
        let look = || match self.format {
            Format::Json => Some(Places { tree: json::tree(self.text())?, repairs: Repairs::default() }),
            Format::Yaml => {
                let read = self.repaired.as_deref().unwrap_or_else(|| self.text());
                Some(Places { tree: yaml::tree(read)?, repairs: Repairs::between(self.text(), read) })
            }
        };
        self.places.get_or_init(look).as_ref()
    }

    fn rest_of_line(&self, finding: &Finding) -> Option<Range<usize>> {
        let (line, column) = (finding.line?.checked_sub(1)?, finding.column?.checked_sub(1)?);
        let text = self.text();
        let start: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
        let rest = text.get(start..)?.split('\n').next()?.trim_end();
        let from = rest.char_indices().nth(column).map_or(rest.len(), |(at, _)| at);
        Some(start + from..start + rest.len())
    }

    /// The text once more, with the reader that knows line and column.
    fn not_json(&self, message: &str) -> Unreadable {
        let (mut line, mut column, mut words) = (None, None, message.to_owned());
        if let Err(error) = serde_json::from_slice::<Value>(&self.text)
            && error.line() > 0
        {
            let suffix = format!(" at line {} column {}", error.line(), error.column());
            words = message.strip_suffix(&suffix).unwrap_or(message).to_owned();
            let text = String::from_utf8_lossy(&self.text);
            let in_line = text.split('\n').nth(error.line() - 1).unwrap_or_default();
            // It counts bytes, up to and with the one that is wrong.
            let before = in_line.as_bytes().get(..error.column().saturating_sub(1)).unwrap_or(in_line.as_bytes());
            (line, column) = (Some(error.line()), Some(String::from_utf8_lossy(before).chars().count() + 1));
        }
        let finding = Finding { line, column, ..syntax(format!("not valid JSON: {words}")) };
        Unreadable { finding: Box::new(finding), message: format!("not valid JSON: {message}") }
    }
}

/// Whether such a finding is shown at the key rather than at the value.
const fn is_about_key(code: Code) -> bool {
    matches!(code, Code::UnknownField | Code::DuplicateField | Code::UnusedField)
}

fn syntax(message: String) -> Finding {
    let path = String::new();
    Finding {
        severity: Severity::Error,
        code: Code::Syntax,
        message,
        path,
        line: None,
        column: None,
        hint: None,
        task: None,
    }
}

fn not_utf8(text: &[u8], error: &std::str::Utf8Error) -> Unreadable {
    let message = format!("not valid UTF-8: {error}");
    let good = std::str::from_utf8(&text[..error.valid_up_to()]).unwrap_or_default();
    let (line, column) = positions(good, &[good.len()]).into_iter().next().unwrap_or((1, 1));
    let finding = Finding { line: Some(line), column: Some(column), ..syntax(message.clone()) };
    Unreadable { finding: Box::new(finding), message }
}

fn not_yaml(error: &YamlError) -> Unreadable {
    let known = |number: usize| (number > 0).then_some(number);
    let (code, message) = match error.is_duplicate {
        true => (Code::DuplicateField, error.message.clone()),
        false => (Code::Syntax, format!("not valid YAML: {}", error.message)),
    };
    let (line, column) = (known(error.line), known(error.column));
    let finding = Finding { code, line, column, hint: error.hint.map(str::to_owned), ..syntax(message) };
    Unreadable { finding: Box::new(finding), message: format!("not valid YAML: {error}") }
}

fn unquoted_colon(repaired: &Repaired) -> Finding {
    let Repaired { line, column, quoted } = repaired;
    Finding {
        severity: Severity::Warning,
        code: Code::UnquotedColon,
        line: Some(*line),
        column: Some(*column),
        hint: Some(format!("write it as {quoted}")),
        ..syntax("an unquoted value holds ': ' and was read as text".to_owned())
    }
}

fn written_twice(path: String, (line, column): (usize, usize)) -> Finding {
    Finding {
        severity: Severity::Warning,
        code: Code::DuplicateField,
        path,
        line: Some(line),
        column: Some(column),
        hint: Some("keep one of the two".to_owned()),
        ..syntax("the key is written twice in one object; the last one counts".to_owned())
    }
}

/// Line and column, both from 1, of bytes of the text; one pass over it for all.
fn positions(text: &str, offsets: &[usize]) -> Vec<(usize, usize)> {
    let mut order: Vec<usize> = (0..offsets.len()).collect();
    order.sort_by_key(|at| offsets[*at]);
    let mut found = vec![(1, 1); offsets.len()];
    // A mark of the encoding is no character.
    let mut done = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let (mut line, mut column) = (1, 1);
    for at in order {
        let upto = offsets[at].clamp(done, text.len());
        let between = text.get(done..upto).unwrap_or_default();
        match between.rfind('\n') {
            None => column += between.chars().count(),
            Some(last) => {
                line += between.matches('\n').count();
                column = 1 + between[last + 1..].chars().count();
            }
        }
        found[at] = (line, column);
        done = upto;
    }
    found
}

#[cfg(test)]
mod tests;
