//! What must be known of a client's request to send its own bytes on: the model it names, whether it wants a stream, where
//! its words begin. Everything else is skipped at the speed of memory, never decoded; the backend judges it.
//!
//! What two readers could read differently is refused here, because we route by what we read: a field that stands twice,
//! or one in another case, which some servers (Ollama among them) take for the same field and others do not.

mod skip;

use std::ops::Range;

use bytes::Bytes;

pub(super) use self::skip::{Members, string_end};
pub use self::skip::{SkipError, opening};

/// Raw bytes of a model's name: `pool/<pool>/<model>`, each character escaped, and as much again.
const MAX_MODEL_BYTES: usize = 16 << 10;

/// What stands at the top of a request's body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The model asked for; `None` without the field, and where it is `null`.
    pub model: Option<String>,
    /// Whether a stream is wanted; `None` leaves it to the dialect.
    pub stream: Option<bool>,
    /// `stream_options.include_usage`.
    pub include_usage: Option<bool>,
    /// How many replies are wanted (`n`); `None` leaves it at one.
    pub replies: Option<Replies>,
    /// Where `messages` stands, else `prompt`, else `input`.
    pub words: Option<Range<usize>>,
    place: ModelPlace,
    /// Behind a byte order mark.
    start: usize,
}

/// A number of replies, as far as it can be read. What is no such number is the backend's to refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replies {
    /// So many.
    Known(u32),
    /// It is no whole number.
    Unknown,
}

/// Where another model's name goes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ModelPlace {
    at: Range<usize>,
    /// What stands around it, where the body has no field for it.
    before: &'static str,
    after: &'static str,
}

/// Why a body is not sent on. The words are for the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// Not JSON.
    #[error("the request body: {0}")]
    Malformed(#[from] SkipError),
    /// JSON of another kind.
    #[error("the request body must be a JSON object")]
    NoObject,
    /// A field of another type.
    #[error("'{field}' must be {wanted}")]
    Type {
        /// Which.
        field: &'static str,
        /// What it must be.
        wanted: &'static str,
    },
    /// A field that stands twice: which of them counts differs from reader to reader.
    #[error("'{0}' stands twice in the request body; send it once")]
    Twice(&'static str),
    /// A field in another case, which some readers take and others do not.
    #[error("'{written}' must be written '{field}'")]
    Spelling {
        /// Which.
        field: &'static str,
        /// As the client wrote it.
        written: String,
    },
    /// A name beyond any model's.
    #[error("the name in 'model' is too long")]
    LongModel,
}

/// The fields that are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Model,
    Stream,
    StreamOptions,
    Messages,
    Prompt,
    Input,
    Replies,
}

impl Field {
    const ALL: [Self; 7] =
        [Self::Model, Self::Stream, Self::StreamOptions, Self::Messages, Self::Prompt, Self::Input, Self::Replies];
    const COUNT: usize = Self::ALL.len();

    const fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Stream => "stream",
            Self::StreamOptions => "stream_options",
            Self::Messages => "messages",
            Self::Prompt => "prompt",
            Self::Input => "input",
            Self::Replies => "n",
        }
    }
}

/// Reads the head of a body.
///
/// # Errors
/// See [`HeadError`]; the request is the client's fault then.
pub fn scan(body: &[u8]) -> Result<Head, HeadError> {
    // Some editors and libraries write one; no backend wants it.
    let start = if body.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
    let mut members = Members::of_document(body, start)?.ok_or(HeadError::NoObject)?;
    let inside = members.at();
    let mut seen: [Option<Range<usize>>; Field::COUNT] = Default::default();
    let mut is_empty = true;
    while let Some((key, value)) = members.next()? {
        is_empty = false;
        let Some(field) = field_of(&body[key])? else { continue };
        if seen[field as usize].replace(value).is_some() {
            return Err(HeadError::Twice(field.name()));
        }
    }
    members.end_of_document()?;
    let mut take = |field: Field| seen[field as usize].take();
    let place = match take(Field::Model) {
        Some(at) => ModelPlace { at, before: "", after: "" },
        None => ModelPlace { at: inside..inside, before: "\"model\":", after: if is_empty { "" } else { "," } },
    };
    let include_usage = match take(Field::StreamOptions) {
        Some(at) => include_usage(&body[at])?,
        None => None,
    };
    Ok(Head {
        model: model(&body[place.at.clone()])?,
        stream: take(Field::Stream).map_or(Ok(None), |at| boolean("stream", &body[at]))?,
        include_usage,
        replies: take(Field::Replies).and_then(|at| replies(&body[at])),
        words: take(Field::Messages).or_else(|| take(Field::Prompt)).or_else(|| take(Field::Input)),
        place,
        start,
    })
}

/// Which of the fields a key is, quotes included.
fn field_of(token: &[u8]) -> Result<Option<Field>, HeadError> {
    let raw = &token[1..token.len() - 1];
    let is_plain = raw.iter().all(|byte| byte.is_ascii() && *byte != b'\\');
    // Each character of a name takes at most six bytes, as an escape.
    if raw.len() > Field::StreamOptions.name().len() * if is_plain { 1 } else { 6 } {
        return Ok(None);
    }
    if is_plain {
        let named = |field: &Field| raw.eq_ignore_ascii_case(field.name().as_bytes());
        return Field::ALL.into_iter().find(named).map_or(Ok(None), |field| exactly(field, raw));
    }
    let Ok(key) = serde_json::from_slice::<String>(token) else { return Ok(None) };
    let folded: String = key.chars().map(folded).collect();
    match Field::ALL.into_iter().find(|field| field.name() == folded) {
        Some(field) => exactly(field, key.as_bytes()),
        None => Ok(None),
    }
}

fn exactly(field: Field, written: &[u8]) -> Result<Option<Field>, HeadError> {
    if written == field.name().as_bytes() {
        return Ok(Some(field));
    }
    Err(HeadError::Spelling { field: field.name(), written: String::from_utf8_lossy(written).into_owned() })
}

/// As readers fold that take fields in any case: the long s and the Kelvin sign are letters to them.
fn folded(character: char) -> char {
    match character {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    }
}

/// The value of `model`; nothing where it has no place yet.
fn model(value: &[u8]) -> Result<Option<String>, HeadError> {
    match value {
        b"" | b"null" => Ok(None),
        [b'"', ..] if value.len() > MAX_MODEL_BYTES => Err(HeadError::LongModel),
        [b'"', ..] => match serde_json::from_slice(value) {
            Ok(name) => Ok(Some(name)),
            Err(_) => Err(HeadError::Type { field: "model", wanted: "a text of valid characters and escapes" }),
        },
        _ => Err(HeadError::Type { field: "model", wanted: "a text" }),
    }
}

fn boolean(field: &'static str, value: &[u8]) -> Result<Option<bool>, HeadError> {
    match value {
        b"null" => Ok(None),
        b"true" => Ok(Some(true)),
        b"false" => Ok(Some(false)),
        _ => Err(HeadError::Type { field, wanted: "true or false" }),
    }
}

fn replies(value: &[u8]) -> Option<Replies> {
    let number = || serde_json::from_slice(value).map_or(Replies::Unknown, Replies::Known);
    (value != b"null").then(number)
}

/// `include_usage` of the stream options. Options of another type are the backend's to refuse.
fn include_usage(options: &[u8]) -> Result<Option<bool>, HeadError> {
    let Some(mut members) = Members::of_document(options, 0)? else { return Ok(None) };
    let mut found = None;
    while let Some((key, value)) = members.next()? {
        if is_key(&options[key], "include_usage") && found.replace(value).is_some() {
            return Err(HeadError::Twice("include_usage"));
        }
    }
    found.map_or(Ok(None), |at| boolean("include_usage", &options[at]))
}

/// Whether a key, quotes included, is this name, however it is escaped.
fn is_key(token: &[u8], name: &str) -> bool {
    token[1..token.len() - 1] == *name.as_bytes()
        || (token.len() <= name.len() * 6 + 2
            && token.contains(&b'\\')
            && serde_json::from_slice::<String>(token).is_ok_and(|key| key == name))
}

impl Head {
    /// The body with another model's name, in three pieces: what stands before the name and behind it is the client's own
    /// memory, not a copy.
    pub fn splice(&self, body: &Bytes, model: &str) -> [Bytes; 3] {
        let ModelPlace { at, before, after } = &self.place;
        if self.model.as_deref() == Some(model) {
            return [body.slice(self.start..), Bytes::new(), Bytes::new()];
        }
        let name = serde_json::Value::from(model);
        let middle = Bytes::from(format!("{before}{name}{after}"));
        [body.slice(self.start..at.start), middle, body.slice(at.end..)]
    }

    /// What the client's words begin with, raw: alike for all turns of a conversation, different for others.
    pub fn opening<'a>(&self, body: &'a [u8]) -> &'a [u8] {
        self.words.clone().and_then(|at| body.get(at)).map_or(&[], opening)
    }
}

/// Whether a line of JSON has this field with this very value at its top.
pub fn has_member(line: &[u8], name: &str, value: &[u8]) -> bool {
    let Ok(Some(mut members)) = Members::of_document(line, 0) else { return false };
    while let Ok(Some((key, at))) = members.next() {
        if line[at] == *value && is_key(&line[key], name) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests;
