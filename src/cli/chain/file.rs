//! The file a chain is in: read whole, within a bound, as YAML or JSON; a chain alone, or a request of `POST /tasks`
//! with its input.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use bytes::Bytes;
use serde_json::Value as Json;

use crate::{
    dialect::source::{self, Format, Source},
    domain::{
        chain::Chain,
        finding::{Code, Finding, Severity},
    },
    engine::{self, Checked, Written},
};

/// The largest request body, unless a server is told otherwise; a larger file could not be sent to one.
pub(super) const MAX_BYTES: u64 = 10 * 1024 * 1024;

/// A file as it is written, and what it says.
pub(super) struct TextFile {
    /// What it is called in messages.
    pub(super) name: String,
    /// Its text, with the places of what stands in it.
    pub(super) source: Source,
    /// The document; or why there is none.
    pub(super) document: Result<Json, Box<Finding>>,
}

impl TextFile {
    /// Reads a file, or standard input for `-`.
    ///
    /// # Errors
    /// A file that is not there, or too large.
    pub(super) fn read(path: &str) -> Result<Self, String> {
        let mut bytes = Vec::new();
        let (name, read) = if path == "-" {
            ("standard input", read_bounded(io::stdin().lock(), &mut bytes))
        } else {
            (path, File::open(path).and_then(|file| read_bounded(file, &mut bytes)))
        };
        read.map_err(|error| format!("{name} cannot be read: {error}"))?;
        let is_json = match Path::new(path).extension() {
            Some(extension) => extension.eq_ignore_ascii_case("json"),
            None => bytes.trim_ascii_start().first() == Some(&b'{'),
        };
        let (format, text) = (if is_json { Format::Json } else { Format::Yaml }, Bytes::from(bytes));
        let (document, source) = match source::read(format, text.clone()) {
            Ok((document, source)) => (Ok(document), source),
            Err(unreadable) => (Err(unreadable.finding), Source::of(format, text)),
        };
        Ok(Self { name: name.to_owned(), source, document })
    }

    /// The chain in the file, with all there is to say about it and about the file, in the order of the lines.
    pub(super) fn checked(&self) -> Checked {
        let mut checked = match &self.document {
            Ok(document) => engine::check(document),
            Err(finding) => Checked {
                written: Written::Chain,
                chain: Chain::default(),
                program: None,
                findings: vec![(**finding).clone()],
                more: 0,
            },
        };
        if self.document.is_ok() {
            checked.findings.extend(self.source.findings());
        }
        self.source.locate(&mut checked.findings);
        checked
            .findings
            .sort_by_key(|finding| (finding.line.is_none(), finding.line, finding.column, finding.severity));
        checked
    }
}

/// An error in a file.
pub(super) fn problem(code: Code, path: String, message: String) -> Finding {
    Finding { severity: Severity::Error, code, message, path, line: None, column: None, hint: None, task: None }
}

fn read_bounded(source: impl Read, bytes: &mut Vec<u8>) -> io::Result<()> {
    source.take(MAX_BYTES + 1).read_to_end(bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io::Error::other(format!("it has more than {MAX_BYTES} bytes")));
    }
    Ok(())
}
