//! What each error is over HTTP and to clients of OpenAI's API: the one table (`docs/api.md`, errors). Ollama's clients
//! read the text of an error and its status, and nothing else; by its first words, where Ollama has words of its own for it.

use std::borrow::Cow;

use serde_json::{Value as Json, json};

use super::{Error, ErrorCode};
use crate::domain::failure::RefusalReason;

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meaning {
    /// The HTTP status.
    pub status: u16,
    /// OpenAI's `type`.
    pub openai_type: &'static str,
    /// OpenAI's `code`: by which errors of one type are told apart. The reason of a refusal goes before it; where there is
    /// none, the backend's own word has the place.
    pub openai_code: Option<&'static str>,
    /// What the official libraries are told where they would decide wrongly: they repeat 408, 409, 429 and every 5xx.
    pub should_retry: Option<bool>,
    /// Ollama's words for it, with which its text begins there.
    pub ollama_words: Option<&'static str>,
}

/// What Ollama says when as many wait as may.
const OLLAMA_IS_BUSY: &str = "server busy, please try again.  maximum pending requests exceeded";

const INVALID: &str = "invalid_request_error";
const SERVER: &str = "server_error";

impl ErrorCode {
    /// Every code.
    pub const ALL: [Self; 21] = [
        Self::InvalidRequest,
        Self::Unauthorized,
        Self::Forbidden,
        Self::Immutable,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::Conflict,
        Self::Cancelled,
        Self::BodyTooLarge,
        Self::UnsupportedMediaType,
        Self::Unprocessable,
        Self::TooManyRows,
        Self::RequestTimeout,
        Self::ExecutionFailed,
        Self::ModelNotFound,
        Self::ContextTooLong,
        Self::RateLimited,
        Self::UpstreamFailed,
        Self::UpstreamTimeout,
        Self::Internal,
        Self::Unavailable,
    ];

    /// Its row.
    pub const fn meaning(self) -> Meaning {
        let never = Some(false);
        match self {
            Self::InvalidRequest => row(400, INVALID, None),
            Self::ContextTooLong => Meaning {
                ollama_words: Some("the input length exceeds the context length"),
                ..row(400, INVALID, Some("context_length_exceeded"))
            },
            Self::Unauthorized => row(401, "authentication_error", Some("invalid_api_key")),
            Self::Forbidden => row(403, "permission_error", Some("insufficient_scope")),
            Self::Immutable => row(403, "permission_error", None),
            Self::NotFound => row(404, INVALID, Some("not_found")),
            Self::ModelNotFound => row(404, INVALID, Some("model_not_found")),
            Self::MethodNotAllowed => row(405, INVALID, Some("method_not_allowed")),
            Self::RequestTimeout => row(408, INVALID, Some("request_timeout")),
            // What is taken stays taken.
            Self::Conflict => Meaning { should_retry: never, ..row(409, INVALID, Some("conflict")) },
            // Whoever cancelled it does not want it made again.
            Self::Cancelled => Meaning { should_retry: never, ..row(409, INVALID, Some("cancelled")) },
            Self::BodyTooLarge => row(413, INVALID, Some("request_too_large")),
            Self::UnsupportedMediaType => row(415, INVALID, Some("unsupported_media_type")),
            Self::Unprocessable => row(422, INVALID, None),
            // No place comes free by waiting.
            Self::TooManyRows => Meaning { should_retry: never, ..row(429, "rate_limit_error", Some("too_many_rows")) },
            Self::RateLimited => row(429, "rate_limit_error", Some("rate_limit_exceeded")),
            // What a run has done it would do again.
            Self::ExecutionFailed => Meaning { should_retry: never, ..row(500, SERVER, Some("execution_failed")) },
            Self::Internal => Meaning { should_retry: never, ..row(500, SERVER, Some("internal_error")) },
            Self::UpstreamFailed => row(502, SERVER, Some("upstream_failed")),
            Self::Unavailable => row(503, SERVER, Some("unavailable")),
            Self::UpstreamTimeout => row(504, SERVER, Some("upstream_timeout")),
        }
    }
}

const fn row(status: u16, openai_type: &'static str, openai_code: Option<&'static str>) -> Meaning {
    Meaning { status, openai_type, openai_code, should_retry: None, ollama_words: None }
}

impl Error {
    /// The object `error` of OpenAI's API, whose client libraries show the message of no other.
    pub fn openai_object(&self) -> Json {
        let meaning = self.code().meaning();
        let code = self.reason().map(RefusalReason::as_str).or(meaning.openai_code).or(self.upstream_code());
        json!({"message": self.message(), "type": meaning.openai_type, "param": self.param(), "code": code})
    }

    /// The text of Ollama's API. Programs look for the words with which it begins.
    pub fn ollama_text(&self) -> Cow<'_, str> {
        let words = match self.reason() {
            Some(RefusalReason::QueueFull) => Some(OLLAMA_IS_BUSY),
            _ => self.code().meaning().ollama_words,
        };
        match words.filter(|words| !self.message().contains(words)) {
            None => Cow::Borrowed(self.message()),
            Some(words) => Cow::Owned(format!("{words}: {}", self.message())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Status, type, code, and whether to try again.
    type Row = (ErrorCode, u16, &'static str, Option<&'static str>, Option<bool>);

    /// The table as it is documented, in the order of the statuses.
    const ROWS: [Row; 21] = [
        (ErrorCode::InvalidRequest, 400, "invalid_request_error", None, None),
        (ErrorCode::ContextTooLong, 400, "invalid_request_error", Some("context_length_exceeded"), None),
        (ErrorCode::Unauthorized, 401, "authentication_error", Some("invalid_api_key"), None),
        (ErrorCode::Forbidden, 403, "permission_error", Some("insufficient_scope"), None),
        (ErrorCode::Immutable, 403, "permission_error", None, None),
        (ErrorCode::NotFound, 404, "invalid_request_error", Some("not_found"), None),
        (ErrorCode::ModelNotFound, 404, "invalid_request_error", Some("model_not_found"), None),
        (ErrorCode::MethodNotAllowed, 405, "invalid_request_error", Some("method_not_allowed"), None),
        (ErrorCode::RequestTimeout, 408, "invalid_request_error", Some("request_timeout"), None),
        (ErrorCode::Conflict, 409, "invalid_request_error", Some("conflict"), Some(false)),
        (ErrorCode::Cancelled, 409, "invalid_request_error", Some("cancelled"), Some(false)),
        (ErrorCode::BodyTooLarge, 413, "invalid_request_error", Some("request_too_large"), None),
        (ErrorCode::UnsupportedMediaType, 415, "invalid_request_error", Some("unsupported_media_type"), None),
        (ErrorCode::Unprocessable, 422, "invalid_request_error", None, None),
        (ErrorCode::TooManyRows, 429, "rate_limit_error", Some("too_many_rows"), Some(false)),
        (ErrorCode::RateLimited, 429, "rate_limit_error", Some("rate_limit_exceeded"), None),
        (ErrorCode::ExecutionFailed, 500, "server_error", Some("execution_failed"), Some(false)),
        (ErrorCode::Internal, 500, "server_error", Some("internal_error"), Some(false)),
        (ErrorCode::UpstreamFailed, 502, "server_error", Some("upstream_failed"), None),
        (ErrorCode::Unavailable, 503, "server_error", Some("unavailable"), None),
        (ErrorCode::UpstreamTimeout, 504, "server_error", Some("upstream_timeout"), None),
    ];

    #[test]
    fn every_code_has_the_row_that_is_documented() {
        let documented = include_str!("../../docs/api.md");
        for (code, status, openai_type, openai_code, should_retry) in ROWS {
            let Meaning { ollama_words, .. } = code.meaning();
            let wanted = Meaning { status, openai_type, openai_code, should_retry, ollama_words };
            assert_eq!(code.meaning(), wanted, "{code:?}");
            let is_told = ollama_words.is_none_or(|words| documented.contains(&format!("`{words}`")));
            assert!(is_told, "docs/api.md does not tell {ollama_words:?}");
            let cells = openai_code.map_or("`null`".to_owned(), |code| format!("`{code}`"));
            let row = format!("| {status} | `{openai_type}` | {cells} |");
            assert!(documented.contains(&row), "docs/api.md has no row {row}");
        }
        for code in ErrorCode::ALL {
            assert!(ROWS.iter().any(|row| row.0 == code), "{code:?}");
        }
    }

    #[test]
    fn the_text_of_ollamas_api_begins_with_its_own_words_where_it_has_some() {
        assert_eq!(Error::invalid("no").ollama_text(), "no");
        let too_long = Error::new(ErrorCode::ContextTooLong, "9 tokens, 8 fit");
        assert_eq!(too_long.ollama_text(), "the input length exceeds the context length: 9 tokens, 8 fit");
        let said = Error::new(
            ErrorCode::ContextTooLong,
            "the backend answered 400: the input length exceeds the context length",
        );
        assert_eq!(said.ollama_text(), said.message(), "it is said once");
        let full = Error::refused(RefusalReason::QueueFull, "the queue of pool 'p' is full", 1);
        assert_eq!(full.ollama_text(), format!("{OLLAMA_IS_BUSY}: the queue of pool 'p' is full"));
        assert!(include_str!("../../docs/api.md").contains(&format!("`{OLLAMA_IS_BUSY}`")));
        assert_eq!(Error::refused(RefusalReason::NoBackend, "nobody", 1).ollama_text(), "nobody");
    }

    #[test]
    fn the_nearest_word_for_an_error_is_its_code() {
        let code = |error: &Error| error.openai_object()["code"].clone();
        let error = Error::invalid("no");
        assert_eq!(code(&error), Json::Null);
        let error = error.with_param("messages[0].content").with_upstream_code("bad_image");
        assert_eq!(
            (code(&error), &error.openai_object()["param"]),
            (json!("bad_image"), &json!("messages[0].content"))
        );
        let full = Error::refused(RefusalReason::QueueFull, "no", 1).with_upstream_code("x");
        assert_eq!(code(&full), "queue_full");
        let too_long = Error::new(ErrorCode::ContextTooLong, "no").with_upstream_code("exceed_context_size_error");
        assert_eq!(code(&too_long), "context_length_exceeded", "one word for it, whoever says it");
    }
}
