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
    dialect::{
        loose,
        source::{self, Format, Source},
    },
    domain::{
        chain::Chain,
        finding::{Code, Finding, Severity},
        spelling::folded,
    },
};

/// The largest request body, unless a server is told otherwise; a larger file could not be sent to one.
const MAX_BYTES: u64 = 10 * 1024 * 1024;

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

    /// Where the chain stands in the document: nowhere, at its root, or in the field of a request.
    pub(super) fn chain_pointer(&self) -> Option<String> {
        let fields = self.document.as_ref().ok()?.as_object()?;
        let named = |wanted: &str| fields.keys().find(|name| folded(name) == wanted);
        match (named("chain"), named("tasks")) {
            (Some(name), None) => Some(format!("/{}", name.replace('~', "~0").replace('/', "~1"))),
            (_, Some(_)) => Some(String::new()),
            (None, None) => None,
        }
    }

    /// The chain in the file.
    ///
    /// # Errors
    /// A file that is no YAML or JSON, or holds no chain.
    pub(super) fn chain(&self) -> Result<Chain, Box<Finding>> {
        let document = self.document.as_ref().map_err(Clone::clone)?;
        let chain = self.chain_pointer().and_then(|pointer| document.pointer(&pointer));
        let chain = chain.ok_or_else(|| {
            let message = "there is no chain: neither 'tasks' nor, as in a request, 'chain'";
            Box::new(problem(Code::MissingField, String::new(), message.to_owned()))
        })?;
        loose::from_value(chain.clone())
            .map_err(|error| Box::new(problem(Code::WrongType, String::new(), error.to_string())))
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
