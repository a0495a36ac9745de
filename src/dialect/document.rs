//! A request body as a document: JSON or YAML by its media type, with the leniency of `docs/api.md`, request bodies.

use base64::Engine as _;
use bytes::Bytes;
use serde_json::Value;

use super::source::{self, Format, Source, Unreadable};
use crate::domain::finding::{Code, Finding, Severity};

/// A decoded body.
#[derive(Debug)]
pub struct Document {
    /// What it holds, field names as sent.
    pub value: Value,
    /// The text it was read from; of a body in base64 the decoded text.
    pub source: Source,
}

impl Document {
    /// What was read differently from how it was written, for the sender.
    pub fn warnings(&self) -> impl Iterator<Item = String> {
        self.source.repairs().iter().map(ToString::to_string)
    }
}

/// Why a body cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// The media type is none that is read here.
    #[error("Content-Type '{0}' is not supported; send application/json or application/yaml")]
    UnsupportedMediaType(String),
    /// The header is broken; the text says how.
    #[error("{0}")]
    BadHeader(String),
    /// The body is broken.
    #[error("the request body {message}")]
    Malformed {
        /// In words, line and column included.
        message: String,
        /// The same as a finding.
        finding: Box<Finding>,
    },
}

impl DocumentError {
    fn malformed(message: String) -> Self {
        let finding = Finding {
            severity: Severity::Error,
            code: Code::Syntax,
            message: format!("the request body {message}"),
            path: String::new(),
            line: None,
            column: None,
            hint: None,
            task: None,
        };
        Self::Malformed { message, finding: Box::new(finding) }
    }

    fn unreadable(body: &[u8], unreadable: Unreadable) -> Self {
        let hint = collapse_hint(body);
        let message = format!("is {}{}{hint}", unreadable.message, if hint.is_empty() { "" } else { "; " });
        let mut finding = unreadable.finding;
        if !hint.is_empty() {
            finding.hint = Some(hint.to_owned());
        }
        Self::Malformed { message, finding }
    }
}

enum Media {
    Json,
    Yaml { base64: bool },
}

/// Reads `body` as its `content_type` says.
///
/// # Errors
/// An unknown media type, or a body that is not what the type promises.
pub fn read(content_type: Option<&str>, body: &Bytes) -> Result<Document, DocumentError> {
    let media = media_of(content_type)?;
    if body.trim_ascii().is_empty() {
        return Err(DocumentError::malformed("is empty; send a JSON or YAML object".to_owned()));
    }
    match media {
        Media::Json => read_json(body),
        Media::Yaml { base64: false } => read_yaml(body),
        Media::Yaml { base64: true } => {
            let packed: Vec<u8> = body.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
            let unpacked = base64::engine::general_purpose::STANDARD
                .decode(packed)
                .map_err(|error| DocumentError::malformed(format!("is not valid base64: {error}")))?;
            read_yaml(&Bytes::from(unpacked))
        }
    }
}

fn media_of(content_type: Option<&str>) -> Result<Media, DocumentError> {
    let Some(text) = content_type else { return Ok(Media::Json) };
    let media: mime::Mime =
        text.parse().map_err(|_| DocumentError::BadHeader(format!("the Content-Type header '{text}' is malformed")))?;
    let base64 = media.get_param("encoding").is_some_and(|encoding| encoding.as_str().eq_ignore_ascii_case("base64"));
    if media.subtype().as_str().is_empty() {
        return Err(DocumentError::BadHeader(format!("the Content-Type header '{text}' has no subtype")));
    }
    match (media.type_().as_str(), media.subtype().as_str(), media.suffix().map(|suffix| suffix.as_str())) {
        ("application", "json", _) | ("application", _, Some("json")) => Ok(Media::Json),
        ("application" | "text", "yaml" | "x-yaml", None) => Ok(Media::Yaml { base64 }),
        ("application", "x-yaml-base64", None) => Ok(Media::Yaml { base64: true }),
        _ => Err(DocumentError::UnsupportedMediaType(text.to_owned())),
    }
}

fn read_json(body: &Bytes) -> Result<Document, DocumentError> {
    let unreadable = match source::read(Format::Json, body.clone()) {
        Ok((value, source)) => return Ok(Document { value, source }),
        Err(unreadable) => unreadable,
    };
    // A YAML file posted under curl's habitual application/json.
    if matches!(body.trim_ascii().first(), Some(b'{' | b'[')) {
        return Err(DocumentError::unreadable(body, unreadable));
    }
    match read_yaml(body) {
        Ok(document) if document.value.is_object() => Ok(document),
        Ok(_) => {
            let message = format!("{}; it is no YAML mapping either", unreadable.message);
            Err(DocumentError::unreadable(body, Unreadable { message, ..unreadable }))
        }
        Err(as_yaml) => Err(as_yaml),
    }
}

fn read_yaml(body: &Bytes) -> Result<Document, DocumentError> {
    let read = source::read(Format::Yaml, body.clone());
    let (value, source) = read.map_err(|unreadable| DocumentError::unreadable(body, unreadable))?;
    let collapsed = collapse_hint(body);
    let glue = if collapsed.is_empty() { "" } else { "; " };
    if value.is_null() {
        let message = format!("holds nothing but comments or null{glue}{collapsed}");
        return Err(DocumentError::malformed(message));
    }
    // One line that needed repair is a collapsed file, whose second key would be taken for text.
    if !source.repairs().is_empty() && !source.text().trim_end().contains('\n') {
        let message = format!("is not valid YAML: an unquoted value holds ': '{glue}{collapsed}");
        return Err(DocumentError::malformed(message));
    }
    Ok(Document { value, source })
}

/// `curl -d @file` deletes line ends, which no parser can put back; say so where that is what happened.
fn collapse_hint(body: &[u8]) -> &'static str {
    let looks_collapsed = !body.contains(&b'\n') && (body.starts_with(b"#") || body.windows(2).any(|two| two == b": "));
    if looks_collapsed && !matches!(body.trim_ascii().first(), Some(b'{' | b'[')) {
        "it has no line breaks: send files with curl --data-binary @file and -H 'Content-Type: application/yaml', \
         because -d @file deletes line breaks"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn value(content_type: Option<&str>, body: &str) -> Value {
        read(content_type, &Bytes::copy_from_slice(body.as_bytes())).unwrap().value
    }

    fn message(content_type: Option<&str>, body: &str) -> String {
        read(content_type, &Bytes::copy_from_slice(body.as_bytes())).unwrap_err().to_string()
    }

    #[test]
    fn json_and_its_relatives_and_no_type_at_all_are_json() {
        for content_type in
            [None, Some("application/json; charset=utf-8"), Some("APPLICATION/JSON"), Some("application/a+json")]
        {
            assert_eq!(value(content_type, "{\"a\":1}"), json!({"a": 1}), "{content_type:?}");
        }
    }

    #[test]
    fn yaml_is_read_under_its_four_names_in_base64_and_under_json() {
        for content_type in ["application/yaml", "text/yaml", "application/x-yaml", "text/x-yaml", "application/json"] {
            assert_eq!(value(Some(content_type), "a: 1\nb: [x]\n"), json!({"a": 1, "b": ["x"]}), "{content_type}");
        }
        for content_type in ["application/x-yaml-base64", "application/yaml; encoding=base64"] {
            assert_eq!(value(Some(content_type), "YTogMQo=\n"), json!({"a": 1}), "{content_type}");
        }
    }

    #[test]
    fn other_types_are_unsupported_and_broken_ones_malformed() {
        let form = read(Some("application/x-www-form-urlencoded"), &Bytes::from_static(b"a=1")).unwrap_err();
        assert!(matches!(form, DocumentError::UnsupportedMediaType(_)));
        assert!(matches!(read(Some("json"), &Bytes::from_static(b"{}")), Err(DocumentError::BadHeader(_))));
        assert!(matches!(read(Some("application/"), &Bytes::from_static(b"{}")), Err(DocumentError::BadHeader(_))));
    }

    #[test]
    fn empty_bodies_bad_base64_and_bare_words_are_malformed() {
        assert!(message(None, " \n").contains("empty"));
        assert!(message(Some("application/x-yaml-base64"), "%%").contains("base64"));
        assert!(message(None, "hello").contains("no YAML mapping"));
        assert!(message(None, "{\"a\":").contains("line 1 column"));
    }

    #[test]
    fn a_collapsed_yaml_file_gets_told_about_data_binary() {
        assert!(message(Some("application/json"), "input: hi  chain:    id: x   tasks:").contains("--data-binary"));
        assert!(message(Some("application/yaml"), "# a chain input: hi chain: id: x").contains("--data-binary"));
        assert!(message(Some("application/json"), "# a chain input: hi chain: id: x").contains("--data-binary"));
        assert!(!message(Some("application/json"), "{\"a\": ").contains("--data-binary"));
    }
}
