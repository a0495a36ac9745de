//! A request body as a document: JSON or YAML by its media type, with the leniency of `docs/api.md`, request bodies.

use base64::Engine as _;
use serde_json::Value;

use super::{
    json::{self, JsonError},
    yaml,
};

/// A decoded body.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// What it holds, field names as sent.
    pub value: Value,
    /// What was read differently from how it was written, for the sender.
    pub warnings: Vec<String>,
}

/// Why a body cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// The media type is none that is read here.
    #[error("Content-Type '{0}' is not supported; send application/json or application/yaml")]
    UnsupportedMediaType(String),
    /// The header or the body is broken; the text says where.
    #[error("{0}")]
    Malformed(String),
}

enum Format {
    Json,
    Yaml { base64: bool },
}

/// Reads `body` as its `content_type` says.
///
/// # Errors
/// An unknown media type, or a body that is not what the type promises.
pub fn read(content_type: Option<&str>, body: &[u8]) -> Result<Document, DocumentError> {
    let format = format_of(content_type)?;
    if body.trim_ascii().is_empty() {
        return Err(DocumentError::Malformed("the request body is empty; send a JSON or YAML object".to_owned()));
    }
    match format {
        Format::Json => read_json(body),
        Format::Yaml { base64: false } => read_yaml(body),
        Format::Yaml { base64: true } => {
            let packed: Vec<u8> = body.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
            let unpacked = base64::engine::general_purpose::STANDARD
                .decode(packed)
                .map_err(|error| DocumentError::Malformed(format!("the request body is not valid base64: {error}")))?;
            read_yaml(&unpacked)
        }
    }
}

fn format_of(content_type: Option<&str>) -> Result<Format, DocumentError> {
    let Some(text) = content_type else { return Ok(Format::Json) };
    let media: mime::Mime =
        text.parse().map_err(|_| DocumentError::Malformed(format!("the Content-Type header '{text}' is malformed")))?;
    let base64 = media.get_param("encoding").is_some_and(|encoding| encoding.as_str().eq_ignore_ascii_case("base64"));
    if media.subtype().as_str().is_empty() {
        return Err(DocumentError::Malformed(format!("the Content-Type header '{text}' has no subtype")));
    }
    match (media.type_().as_str(), media.subtype().as_str(), media.suffix().map(|suffix| suffix.as_str())) {
        ("application", "json", _) | ("application", _, Some("json")) => Ok(Format::Json),
        ("application" | "text", "yaml" | "x-yaml", None) => Ok(Format::Yaml { base64 }),
        ("application", "x-yaml-base64", None) => Ok(Format::Yaml { base64: true }),
        _ => Err(DocumentError::UnsupportedMediaType(text.to_owned())),
    }
}

fn read_json(body: &[u8]) -> Result<Document, DocumentError> {
    let error = match json::decode(body) {
        Ok(value) => return Ok(Document { value, warnings: Vec::new() }),
        Err(error) => error,
    };
    let malformed = |error: &dyn std::fmt::Display| {
        DocumentError::Malformed(format!("the request body is not valid JSON: {error}{}", collapse_hint(body)))
    };
    // A YAML file posted under curl's habitual application/json.
    let first = body.trim_ascii().first();
    if error == JsonError::TooDeep || matches!(first, Some(b'{' | b'[')) {
        return Err(malformed(&error));
    }
    match read_yaml(body) {
        Ok(document) if document.value.is_object() => Ok(document),
        Ok(_) => Err(malformed(&format_args!("{error}; it is no YAML mapping either"))),
        Err(as_yaml) => Err(as_yaml),
    }
}

fn read_yaml(body: &[u8]) -> Result<Document, DocumentError> {
    let text = std::str::from_utf8(body)
        .map_err(|error| DocumentError::Malformed(format!("the request body is not valid UTF-8: {error}")))?;
    let malformed = |error: &str| {
        DocumentError::Malformed(format!("the request body is not valid YAML: {error}{}", collapse_hint(body)))
    };
    let (value, warnings) = yaml::decode(text).map_err(|error| malformed(&error))?;
    if value.is_null() {
        let message = format!("the request body holds nothing but comments or null{}", collapse_hint(body));
        return Err(DocumentError::Malformed(message));
    }
    // One line that needed repair is a collapsed file, whose second key would be taken for text.
    if !warnings.is_empty() && !text.trim_end().contains('\n') {
        return Err(malformed("an unquoted value holds ': '"));
    }
    Ok(Document { value, warnings })
}

/// `curl -d @file` deletes line ends, which no parser can put back; say so where that is what happened.
fn collapse_hint(body: &[u8]) -> &'static str {
    let looks_collapsed = !body.contains(&b'\n') && (body.starts_with(b"#") || body.windows(2).any(|two| two == b": "));
    if looks_collapsed && !matches!(body.trim_ascii().first(), Some(b'{' | b'[')) {
        "; it has no line breaks: send files with curl --data-binary @file and -H 'Content-Type: application/yaml', \
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
        read(content_type, body.as_bytes()).unwrap().value
    }

    fn message(content_type: Option<&str>, body: &str) -> String {
        read(content_type, body.as_bytes()).unwrap_err().to_string()
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
        let form = read(Some("application/x-www-form-urlencoded"), b"a=1").unwrap_err();
        assert!(matches!(form, DocumentError::UnsupportedMediaType(_)));
        assert!(matches!(read(Some("json"), b"{}"), Err(DocumentError::Malformed(_))));
        assert!(matches!(read(Some("application/"), b"{}"), Err(DocumentError::Malformed(_))));
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
