//! Why a model call, a hook or a run failed: one closed set of classes, decided from statuses and phases, never from
//! the words of a message.

use std::time::Duration;

use serde::Serialize;

/// The class of a failure; chains retry and catch by it, the API maps it to a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// The backend asked to slow down (429).
    RateLimit,
    /// The backend failed (5xx), or nothing could serve the call.
    ServerError,
    /// No connection, or it broke.
    Connection,
    /// A phase took too long.
    Timeout,
    /// The key was refused (401, 403).
    Auth,
    /// The prompt does not fit.
    ContextLength,
    /// The reply is not what the task needs.
    InvalidOutput,
    /// The call was wrong: bad input, unknown variable, 4xx.
    InvalidInput,
    /// A remote hook failed.
    HookError,
    /// A task ran too often.
    MaxVisits,
    /// The run took too many steps.
    MaxSteps,
    /// A budget is spent.
    Budget,
    /// Somebody stopped it.
    Cancelled,
    /// Our own fault.
    Internal,
}

impl FailureClass {
    /// Every class.
    pub const ALL: [Self; 14] = [
        Self::RateLimit,
        Self::ServerError,
        Self::Connection,
        Self::Timeout,
        Self::Auth,
        Self::ContextLength,
        Self::InvalidOutput,
        Self::InvalidInput,
        Self::HookError,
        Self::MaxVisits,
        Self::MaxSteps,
        Self::Budget,
        Self::Cancelled,
        Self::Internal,
    ];

    /// Its name in a chain and in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RateLimit => "rate_limit",
            Self::ServerError => "server_error",
            Self::Connection => "connection",
            Self::Timeout => "timeout",
            Self::Auth => "auth",
            Self::ContextLength => "context_length",
            Self::InvalidOutput => "invalid_output",
            Self::InvalidInput => "invalid_input",
            Self::HookError => "hook_error",
            Self::MaxVisits => "max_visits",
            Self::MaxSteps => "max_steps",
            Self::Budget => "budget",
            Self::Cancelled => "cancelled",
            Self::Internal => "internal",
        }
    }

    /// Reads a name; `None` for an unknown one.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == text.trim())
    }
}

/// Why a request was refused for load or state, a closed set: sent as `X-Penstock-Reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefusalReason {
    /// The pool's wait queue is full.
    QueueFull,
    /// No slot came free within the longest wait.
    QueueTimeout,
    /// No backend can serve the request.
    NoBackend,
    /// The store did not answer.
    StoreUnavailable,
    /// An actor the request needs is just being restarted.
    Restarting,
    /// More runs are active than allowed.
    RunsFull,
    /// The process is stopping.
    Draining,
    /// The process answers as many requests as it may.
    Overloaded,
    /// The credential has sent more requests than it may.
    RequestRate,
    /// The credential has used more tokens than it may.
    TokenRate,
    /// The request's deadline is too near for an answer, or has passed.
    Deadline,
    /// The backends asked to be left alone for a while, and it is not over.
    CoolingDown,
}

impl RefusalReason {
    /// Every reason.
    pub const ALL: [Self; 12] = [
        Self::QueueFull,
        Self::QueueTimeout,
        Self::NoBackend,
        Self::StoreUnavailable,
        Self::Restarting,
        Self::RunsFull,
        Self::Draining,
        Self::Overloaded,
        Self::RequestRate,
        Self::TokenRate,
        Self::Deadline,
        Self::CoolingDown,
    ];

    /// Its place in [`RefusalReason::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The header's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::QueueTimeout => "queue_timeout",
            Self::NoBackend => "no_backend",
            Self::StoreUnavailable => "store_unavailable",
            Self::Restarting => "restarting",
            Self::RunsFull => "runs_full",
            Self::Draining => "draining",
            Self::Overloaded => "overloaded",
            Self::RequestRate => "request_rate",
            Self::TokenRate => "token_rate",
            Self::Deadline => "deadline",
            Self::CoolingDown => "cooling_down",
        }
    }
}

/// One failure, with words that may be shown to the caller: short, without secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What kind.
    pub class: FailureClass,
    /// For the caller.
    pub message: String,
    /// Set when no usable backend, slot or store was the root cause: the request gets 503 instead of 500.
    pub refusal: Option<RefusalReason>,
    /// The status an upstream answered with, if one did.
    pub status: Option<u16>,
    /// How long the upstream asks us to wait before the next attempt (`Retry-After`).
    pub retry_after: Option<Duration>,
    /// What an upstream said of a fault of the caller's beside its words.
    pub told: Option<Box<ToldFault>>,
}

/// What a server's error says for programs: which field of the request is wrong and the server's own word for how, in
/// OpenAI's format `param` and `code`. Short; empty where the server said nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ToldFault {
    /// Which field.
    pub param: String,
    /// What is wrong with it.
    pub code: String,
}

impl Failure {
    /// A failure of this class.
    pub fn new(class: FailureClass, message: impl Into<String>) -> Self {
        Self { class, message: message.into(), refusal: None, status: None, retry_after: None, told: None }
    }

    /// "Nothing can serve this now", and why.
    pub fn refused(reason: RefusalReason, message: impl Into<String>) -> Self {
        Self { refusal: Some(reason), ..Self::new(FailureClass::ServerError, message) }
    }

    /// The same with the upstream's status.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_is_read_back_by_its_name_and_written_as_it_in_json() {
        for class in FailureClass::ALL {
            assert_eq!(FailureClass::parse(class.as_str()), Some(class));
            assert_eq!(serde_json::to_value(class).expect("serialises"), class.as_str());
        }
        assert_eq!(FailureClass::parse("ratelimit"), None);
    }
}
