//! How a call to a backend fails, classified once by phase and status (`docs/backends.md`, failures).

mod kind;
#[cfg(test)]
mod tests;

use std::time::Duration;

use self::kind::kind_of;

use crate::{
    dialect::{
        error_body::{ErrorBody, parse_error},
        reply::ReplyError,
        unsayable::Unsayable,
    },
    domain::failure::{Failure, FailureClass, ToldFault},
};

/// What a failure means for whoever chooses the next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProviderErrorKind {
    /// The call itself was wrong (4xx); another backend would say the same.
    Caller,
    /// The backend asked to slow down (429).
    RateLimited,
    /// What the key may spend is spent (429 with a code of its own): waiting does not help, another key may.
    Quota,
    /// The prompt does not fit the model.
    ContextLength,
    /// The key was missing or refused (401, 403).
    Auth,
    /// Passing trouble (502, 503, 504, and the like of a hosted server's front).
    Transient,
    /// The backend failed on this call (500 and other 5xx).
    Server,
    /// No connection.
    Connect,
    /// The connection broke, or the reply stopped, after it had begun.
    Cut,
    /// No connection or no first byte in time.
    Timeout,
    /// The answer had begun and took too long, or the server says that the call did (408).
    Stalled,
    /// A reply that cannot be used: malformed, empty or withheld.
    Reply,
}

impl ProviderErrorKind {
    /// Every kind.
    pub const ALL: [Self; 12] = [
        Self::Caller,
        Self::RateLimited,
        Self::Quota,
        Self::ContextLength,
        Self::Auth,
        Self::Transient,
        Self::Server,
        Self::Connect,
        Self::Cut,
        Self::Timeout,
        Self::Stalled,
        Self::Reply,
    ];

    /// Its place in [`ProviderErrorKind::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Its name in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::RateLimited => "rate_limited",
            Self::Quota => "quota",
            Self::ContextLength => "context_length",
            Self::Auth => "auth",
            Self::Transient => "transient",
            Self::Server => "server",
            Self::Connect => "connect",
            Self::Cut => "cut",
            Self::Timeout => "timeout",
            Self::Stalled => "stalled",
            Self::Reply => "reply",
        }
    }
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
    /// What it told of a fault of the caller's, for the caller's own library.
    pub told: Option<Box<ToldFault>>,
    /// Whether the backend was not asked at all, because its protocol has no words for the call: a backend of another kind
    /// may have them.
    pub is_unsaid: bool,
}

/// Characters of a backend's own words that are shown to a caller.
const SHOWN_WORDS: usize = 200;
/// Characters of a code or of a field's name that are handed on.
const SHOWN_CODE: usize = 80;

impl ProviderError {
    /// A failure without a status.
    pub fn new(kind: ProviderErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            status: None,
            retry_after: None,
            is_explained: false,
            told: None,
            is_unsaid: false,
        }
    }

    /// From an answer that is no success; `retry_after` is what its headers say.
    pub(super) fn from_status(status: u16, retry_after: Option<Duration>, body: &[u8]) -> Self {
        Self::explained(status, retry_after, parse_error(body))
    }

    /// From an error in place of a reply that had begun well: what it would be if it had come with a status.
    pub(super) fn reported(error: ErrorBody) -> Self {
        let says = |words: &[&str]| error.codes.iter().any(|code| words.contains(&code.as_str()));
        let status = match error.status {
            Some(status) => status,
            None if says(&["invalid_request_error", "BadRequestError", "context_length_exceeded"]) => 400,
            None if says(&["rate_limit_exceeded", "rate_limit_error", "insufficient_quota"]) => 429,
            // Nothing says that the call is at fault; before the first words another backend may take it.
            None => 503,
        };
        Self::explained(status, None, error)
    }

    fn explained(status: u16, retry_after: Option<Duration>, error: ErrorBody) -> Self {
        let kind = kind_of(status, &error);
        let retry_after = retry_after.or(error.retry_after);
        let words = match kind {
            // Some servers repeat the key they refuse.
            ProviderErrorKind::Auth => "check the API key",
            _ if (300..400).contains(&status) => "it wants to be asked elsewhere; correct the backend's base URL",
            _ => error.message.as_str(),
        };
        let words: String = words.chars().take(SHOWN_WORDS).collect();
        let message = match words.trim() {
            "" => format!("the backend answered {status}"),
            words => format!("the backend answered {status}: {words}"),
        };
        let short = |text: &str| text.chars().take(SHOWN_CODE).collect::<String>();
        let is_the_callers = matches!(kind, ProviderErrorKind::Caller | ProviderErrorKind::ContextLength);
        let told = ToldFault { param: short(&error.param), code: short(&error.code) };
        let told = (is_the_callers && told != ToldFault::default()).then(|| Box::new(told));
        Self { status: Some(status), retry_after, is_explained: error.is_protocol, told, ..Self::new(kind, message) }
    }

    /// The same of an answer of which nothing has come but its head: as good as none, so that another backend may be tried.
    pub(super) fn before_the_first_word(self) -> Self {
        let (kind, message) = match self.kind {
            ProviderErrorKind::Cut => (ProviderErrorKind::Connect, "the backend broke off before it had said anything"),
            ProviderErrorKind::Stalled => (ProviderErrorKind::Timeout, "the backend said nothing in time"),
            _ => return self,
        };
        Self { kind, message: message.to_owned(), ..self }
    }

    /// Whether the server does not have the route: a 404 or 405 that is not explained in its protocol.
    pub(super) const fn is_unknown_route(&self) -> bool {
        matches!(self.status, Some(404 | 405)) && !self.is_explained
    }

    /// Whether another backend may be tried for the same call: nothing of it can have been answered yet.
    pub const fn may_fail_over(&self) -> bool {
        use ProviderErrorKind::{
            Auth, Caller, Connect, ContextLength, Cut, Quota, RateLimited, Reply, Server, Stalled, Timeout, Transient,
        };
        match self.kind {
            RateLimited | Quota | Transient | Connect | Timeout => true,
            Caller => self.is_unsaid,
            ContextLength | Auth | Server | Cut | Stalled | Reply => false,
        }
    }
}

impl From<Unsayable> for ProviderError {
    fn from(error: Unsayable) -> Self {
        Self { is_unsaid: true, ..Self::new(ProviderErrorKind::Caller, error.to_string()) }
    }
}

impl From<ReplyError> for ProviderError {
    fn from(error: ReplyError) -> Self {
        let error = match error {
            ReplyError::Cut => return Self::new(ProviderErrorKind::Cut, error.to_string()),
            ReplyError::Explained(body) => return Self::reported(*body),
            error => error,
        };
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
            // Whoever runs the server must see to the key or to what it may spend; no wait helps.
            ProviderErrorKind::Auth | ProviderErrorKind::Quota => FailureClass::Auth,
            ProviderErrorKind::Transient | ProviderErrorKind::Server => FailureClass::ServerError,
            ProviderErrorKind::Connect | ProviderErrorKind::Cut => FailureClass::Connection,
            ProviderErrorKind::Timeout | ProviderErrorKind::Stalled => FailureClass::Timeout,
            ProviderErrorKind::Reply => FailureClass::InvalidOutput,
        };
        let ProviderError { message, status, retry_after, told, .. } = error;
        Self { class, message, refusal: None, status, retry_after, told }
    }
}
