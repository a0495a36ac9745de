//! How a call to a backend fails, classified once by phase and status (`docs/backends.md`, failures).

use std::time::Duration;

use crate::{
    dialect::{error_body::parse_error, reply::ReplyError},
    domain::failure::{Failure, FailureClass},
};

/// What a failure means for whoever chooses the next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProviderErrorKind {
    /// The call itself was wrong (4xx); another backend would say the same.
    Caller,
    /// The backend asked to slow down (429).
    RateLimited,
    /// The prompt does not fit the model.
    ContextLength,
    /// The key was missing or refused (401, 403).
    Auth,
    /// Passing trouble (502, 503, 504).
    Transient,
    /// The backend failed on this call (500 and other 5xx).
    Server,
    /// No connection.
    Connect,
    /// The connection broke, or the reply stopped, after it had begun.
    Cut,
    /// No connection or no first byte in time.
    Timeout,
    /// The answer had begun and took too long.
    Stalled,
    /// A reply that cannot be used: malformed, empty or withheld.
    Reply,
}

/// One failed call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ProviderError {
    /// What it means.
    pub kind: ProviderErrorKind,
    /// Short, for the caller: no key, no prompt, little of the upstream's words.
    pub message: String,
    /// The status the backend answered with, if it did.
    pub status: Option<u16>,
    /// How long the backend asks us to wait.
    pub retry_after: Option<Duration>,
    /// Whether the backend said why in the error format of its protocol. A 404 without that is an unknown path.
    pub is_explained: bool,
}

/// Characters of a backend's own words that are shown to a caller.
const SHOWN_WORDS: usize = 200;

impl ProviderError {
    /// A failure without a status.
    pub fn new(kind: ProviderErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), status: None, retry_after: None, is_explained: false }
    }

    /// From an answer that is no success; `retry_after` is what its headers say.
    pub(super) fn from_status(status: u16, retry_after: Option<Duration>, body: &[u8]) -> Self {
        let error = parse_error(body);
        let says = |word: &str| error.codes.iter().any(|code| code == word);
        // vLLM has no code for it, but names the input as what is wrong.
        let is_too_long = says("context_length_exceeded")
            || says("exceed_context_size_error")
            || (status == 400 && error.param == "input_tokens");
        let kind = match status {
            _ if is_too_long => ProviderErrorKind::ContextLength,
            // Gemini's answer to a key that is none.
            400 if says("API_KEY_INVALID") => ProviderErrorKind::Auth,
            429 => ProviderErrorKind::RateLimited,
            401 | 403 => ProviderErrorKind::Auth,
            502..=504 => ProviderErrorKind::Transient,
            500.. => ProviderErrorKind::Server,
            _ => ProviderErrorKind::Caller,
        };
        let retry_after = retry_after.or(error.retry_after);
        // Some servers repeat the key they refuse.
        let words = if kind == ProviderErrorKind::Auth { "check the API key".to_owned() } else { error.message };
        let words: String = words.chars().take(SHOWN_WORDS).collect();
        let message = match words.trim() {
            "" => format!("the backend answered {status}"),
            words => format!("the backend answered {status}: {words}"),
        };
        Self { kind, message, status: Some(status), retry_after, is_explained: error.is_protocol }
    }

    /// Whether the server does not have the route: a 404 or 405 that is not explained in its protocol.
    pub(super) const fn is_unknown_route(&self) -> bool {
        matches!(self.status, Some(404 | 405)) && !self.is_explained
    }

    /// Whether another backend may be tried for the same call: nothing of it can have been answered yet.
    pub const fn may_fail_over(&self) -> bool {
        use ProviderErrorKind::{
            Auth, Caller, Connect, ContextLength, Cut, RateLimited, Reply, Server, Stalled, Timeout, Transient,
        };
        match self.kind {
            RateLimited | Transient | Connect | Timeout => true,
            Caller | ContextLength | Auth | Server | Cut | Stalled | Reply => false,
        }
    }
}

impl From<ReplyError> for ProviderError {
    fn from(error: ReplyError) -> Self {
        if error == ReplyError::Cut {
            return Self::new(ProviderErrorKind::Cut, error.to_string());
        }
        let words: String = error.to_string().chars().take(SHOWN_WORDS).collect();
        Self::new(ProviderErrorKind::Reply, words)
    }
}

impl From<ProviderError> for Failure {
    fn from(error: ProviderError) -> Self {
        let class = match error.kind {
            ProviderErrorKind::Caller => FailureClass::InvalidInput,
            ProviderErrorKind::RateLimited => FailureClass::RateLimit,
            ProviderErrorKind::ContextLength => FailureClass::ContextLength,
            ProviderErrorKind::Auth => FailureClass::Auth,
            ProviderErrorKind::Transient | ProviderErrorKind::Server => FailureClass::ServerError,
            ProviderErrorKind::Connect | ProviderErrorKind::Cut => FailureClass::Connection,
            ProviderErrorKind::Timeout | ProviderErrorKind::Stalled => FailureClass::Timeout,
            ProviderErrorKind::Reply => FailureClass::InvalidOutput,
        };
        Self { class, message: error.message, refusal: None, status: error.status, retry_after: error.retry_after }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_decide_the_kind() {
        for (status, kind) in [
            (400, ProviderErrorKind::Caller),
            (401, ProviderErrorKind::Auth),
            (404, ProviderErrorKind::Caller),
            (408, ProviderErrorKind::Caller),
            (429, ProviderErrorKind::RateLimited),
            (500, ProviderErrorKind::Server),
            (501, ProviderErrorKind::Server),
            (503, ProviderErrorKind::Transient),
        ] {
            assert_eq!(ProviderError::from_status(status, None, b"").kind, kind, "{status}");
        }
        let body = br#"{"error":{"code":400,"message":"request (3031 tokens)","type":"exceed_context_size_error"}}"#;
        assert_eq!(ProviderError::from_status(400, None, body).kind, ProviderErrorKind::ContextLength);
        let body = br#"{"error":{"message":"at least 2049 input tokens","type":"BadRequestError","param":"input_tokens","code":400}}"#;
        assert_eq!(ProviderError::from_status(400, None, body).kind, ProviderErrorKind::ContextLength);
        let body = br#"{"error":{"code":400,"message":"no key","status":"INVALID_ARGUMENT","details":[{"reason":"API_KEY_INVALID"}]}}"#;
        assert_eq!(ProviderError::from_status(400, None, body).kind, ProviderErrorKind::Auth);
    }

    #[test]
    fn a_wait_comes_from_the_header_or_the_body_as_it_is_asked_for() {
        let wait = |header: Option<u64>, body: &str| {
            let header = header.map(Duration::from_secs);
            ProviderError::from_status(429, header, body.as_bytes()).retry_after.map(|wait| wait.as_secs())
        };
        let body = r#"{"error":{"status":"RESOURCE_EXHAUSTED","message":"x","details":[{"retryDelay":"7s"}]}}"#;
        assert_eq!((wait(Some(3), body), wait(None, body), wait(None, "")), (Some(3), Some(7), None));
        assert_eq!(wait(Some(86_400), ""), Some(86_400), "whoever waits knows how long is too long");
    }

    #[test]
    fn messages_are_short_and_never_repeat_a_refused_key() {
        let long = format!("{{\"error\":\"{}\"}}", "x".repeat(9000));
        assert!(ProviderError::from_status(500, None, long.as_bytes()).message.len() < 300);
        let refused = ProviderError::from_status(401, None, br#"{"error":{"message":"bad key sk-secret"}}"#);
        assert!(!refused.message.contains("sk-secret"));
    }
}
