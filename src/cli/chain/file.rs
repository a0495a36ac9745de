//! The file a chain is in: read whole, within a bound, as YAML or JSON; a chain alone, or a request of `POST /tasks`
//! with its input.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use serde::Deserialize;
use serde_json::Value as Json;

use crate::{
    dialect::{document, loose},
    domain::chain::Chain,
};

/// The largest request body, unless a server is told otherwise; a larger file could not be sent to one.
const MAX_BYTES: u64 = 10 * 1024 * 1024;

/// A file as it is written.
pub(super) struct ChainFile {
    /// What it is called in messages.
    pub(super) name: String,
    /// What it holds.
    pub(super) text: String,
    /// Whether it is JSON by its name; everything else is read as YAML, which JSON is, too.
    is_json: bool,
}

/// What a request says beside its chain.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Given {
    /// The chain's input.
    pub(super) input: Option<Json>,
    /// The type of it.
    pub(super) input_type: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Parts {
    /// A request has this field, a chain has not.
    chain: Option<Json>,
    tasks: Option<Json>,
}

impl ChainFile {
    /// Reads a file, or standard input for `-`.
    ///
    /// # Errors
    /// A file that is not there, too large, or no text.
    pub(super) fn read(path: &str) -> Result<Self, String> {
        let mut bytes = Vec::new();
        let (name, read) = if path == "-" {
            ("standard input", read_bounded(io::stdin().lock(), &mut bytes))
        } else {
            (path, File::open(path).and_then(|file| read_bounded(file, &mut bytes)))
        };
        read.map_err(|error| format!("{name} cannot be read: {error}"))?;
        let text = String::from_utf8(bytes).map_err(|error| format!("{name} is not UTF-8: {}", error.utf8_error()))?;
        let is_json = Path::new(path).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
        Ok(Self { name: name.to_owned(), text, is_json })
    }

    /// What the file says as a document, fields as written.
    ///
    /// # Errors
    /// A file that is no YAML or JSON.
    pub(super) fn document(&self) -> Result<Json, String> {
        let read = document::read(Some(self.media_type()), &bytes::Bytes::copy_from_slice(self.text.as_bytes()));
        let read =
            read.map_err(|error| format!("{}: {}", self.name, error.to_string().replace("the request body", "it")))?;
        Ok(read.value)
    }

    /// The chain in the file, and what stands beside it.
    ///
    /// # Errors
    /// A file that is no YAML or JSON, or holds no chain.
    pub(super) fn chain(&self) -> Result<(Chain, Given), String> {
        let document = self.document()?;
        let misread = |error: loose::LooseError| format!("{}: {error}", self.name);
        let parts: Parts = loose::from_value(document.clone()).map_err(misread)?;
        match parts {
            Parts { chain: Some(chain), .. } => {
                let given = loose::from_value(document).map_err(misread)?;
                Ok((loose::from_value(chain).map_err(misread)?, given))
            }
            Parts { tasks: Some(_), .. } => Ok((loose::from_value(document).map_err(misread)?, Given::default())),
            Parts { .. } => {
                Err(format!("{} holds no chain: it has neither 'tasks' nor, as a request would, 'chain'", self.name))
            }
        }
    }

    fn media_type(&self) -> &'static str {
        if self.is_json { "application/json" } else { "application/yaml" }
    }
}

fn read_bounded(source: impl Read, bytes: &mut Vec<u8>) -> io::Result<()> {
    source.take(MAX_BYTES + 1).read_to_end(bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io::Error::other(format!("it has more than {MAX_BYTES} bytes")));
    }
    Ok(())
}
