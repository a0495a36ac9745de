//! The error every layer above the domain speaks: a code from a closed set, words for the caller, details for the log.
//!
//! Of its words only [`Error::message`] can reach a response body; `detail` goes to the log. What a code is in HTTP and to
//! clients of OpenAI's API is one table, [`meaning`].

pub mod meaning;

use std::{fmt, time::Duration};

use crate::domain::{
    failure::{RefusalReason, ToldFault},
    ids::RunId,
    message::Served,
};

/// What went wrong, as far as a client needs to tell cases apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// Undecodable, incomplete or of the wrong type.
    InvalidRequest,
    /// Token missing or wrong.
    Unauthorized,
    /// The token does not let its owner do this.
    Forbidden,
    /// The thing may not be changed.
    Immutable,
    /// No such resource or path.
    NotFound,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// Something unique is taken.
    Conflict,
    /// Somebody has cancelled the run.
    Cancelled,
    /// The body is larger than allowed.
    BodyTooLarge,
    /// The body's media type is not read here.
    UnsupportedMediaType,
    /// Well-formed, but no valid resource.
    Unprocessable,
    /// The resource type holds as many rows as it may.
    TooManyRows,
    /// The client did not send its request in time.
    RequestTimeout,
    /// A task, model call or hook failed.
    ExecutionFailed,
    /// The model named by a client of a dialect is unknown here.
    ModelNotFound,
    /// The prompt does not fit the model.
    ContextTooLong,
    /// The backend asked to slow down and no other could take over.
    RateLimited,
    /// The backend failed, or its answer was none.
    UpstreamFailed,
    /// The backend took too long.
    UpstreamTimeout,
    /// A fault of ours.
    Internal,
    /// Nothing can serve the request now.
    Unavailable,
}

/// Characters of an error's message; a chain's findings are the longest.
const MAX_MESSAGE_CHARS: usize = 4_000;
/// Characters of a field's name or a backend's code.
const MAX_NAME_CHARS: usize = 200;

/// One failed request.
#[derive(Debug)]
pub struct Error {
    code: ErrorCode,
    message: String,
    detail: Option<Box<dyn std::error::Error + Send + Sync>>,
    reason: Option<RefusalReason>,
    retry_after_seconds: Option<u32>,
    /// The same as it is known to ourselves.
    exact_wait: Option<Duration>,
    fields: Vec<(&'static str, serde_json::Value)>,
    served: Option<Box<Served>>,
    run: Option<Box<RunId>>,
    /// The field at fault and the backend's word for it; empty where unknown.
    told: Option<Box<ToldFault>>,
}

impl Error {
    /// An error with words for the caller: short, naming the field and the fix, never holding a secret.
    /// What the caller sent may be quoted in it, so it is cut where an answer would grow out of hand.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if let Some((end, _)) = message.char_indices().nth(MAX_MESSAGE_CHARS) {
            message.truncate(end);
            message.push('…');
        }
        Self {
            code,
            message,
            detail: None,
            reason: None,
            retry_after_seconds: None,
            exact_wait: None,
            fields: Vec::new(),
            served: None,
            run: None,
            told: None,
        }
    }

    /// 400.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidRequest, message)
    }

    /// 422.
    pub fn unprocessable(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Unprocessable, message)
    }

    /// 503 with its reason and the seconds after which a retry makes sense.
    pub fn refused(reason: RefusalReason, message: impl Into<String>, retry_after_seconds: u32) -> Self {
        let mut error = Self::new(ErrorCode::Unavailable, message);
        error.reason = Some(reason);
        error.retry_after_seconds = Some(retry_after_seconds);
        error
    }

    /// 429 with its reason, for a caller who has used what it may use, and the time after which it has some again.
    pub fn limited(reason: RefusalReason, message: impl Into<String>, wait: Duration) -> Self {
        let mut error = Self::new(ErrorCode::RateLimited, message);
        error.reason = Some(reason);
        error.retry_after_seconds = Some(u32::try_from(wait.as_millis().div_ceil(1000).max(1)).unwrap_or(u32::MAX));
        error.exact_wait = Some(wait);
        error
    }

    /// Adds the seconds after which a retry makes sense.
    #[must_use]
    pub fn retry_after(mut self, seconds: Option<u32>) -> Self {
        self.retry_after_seconds = seconds.or(self.retry_after_seconds);
        self
    }

    /// Adds what only the log may see.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds a member to the error body, beside `error`.
    #[must_use]
    pub fn with_field(mut self, name: &'static str, value: serde_json::Value) -> Self {
        self.fields.push((name, value));
        self
    }

    /// Names the backend that was asked last.
    #[must_use]
    pub fn with_served(mut self, served: Option<Box<Served>>) -> Self {
        self.served = served;
        self
    }

    /// Names the run that failed.
    #[must_use]
    pub fn of_run(mut self, run: &RunId) -> Self {
        self.run = Some(Box::new(run.clone()));
        self
    }

    /// Names the field of the request that is at fault, by its path.
    #[must_use]
    pub fn with_param(mut self, param: impl Into<String>) -> Self {
        self.told.get_or_insert_default().param = short(param.into());
        self
    }

    /// Adds the word by which the backend told this case apart.
    #[must_use]
    pub fn with_upstream_code(mut self, code: impl Into<String>) -> Self {
        self.told.get_or_insert_default().code = short(code.into());
        self
    }

    /// The field that is at fault, where it is known.
    pub fn param(&self) -> Option<&str> {
        self.told.as_deref().map(|told| told.param.as_str()).filter(|param| !param.is_empty())
    }

    /// The backend's own word for it, where it gave one.
    pub fn upstream_code(&self) -> Option<&str> {
        self.told.as_deref().map(|told| told.code.as_str()).filter(|code| !code.is_empty())
    }

    /// Which case it is.
    pub const fn code(&self) -> ErrorCode {
        self.code
    }

    /// The words for the caller.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What only the log may see.
    pub fn detail(&self) -> Option<&(dyn std::error::Error + Send + Sync)> {
        self.detail.as_deref()
    }

    /// Why it was refused, for 503 and a caller's own 429.
    pub const fn reason(&self) -> Option<RefusalReason> {
        self.reason
    }

    /// Seconds after which a retry makes sense.
    pub const fn retry_after_seconds(&self) -> Option<u32> {
        self.retry_after_seconds
    }

    /// The same to the nanosecond, where we know it ourselves.
    pub const fn exact_wait(&self) -> Option<Duration> {
        self.exact_wait
    }

    /// The run that failed, if it was one.
    pub fn run(&self) -> Option<&RunId> {
        self.run.as_deref()
    }

    /// The backend that was asked last, if one was.
    pub fn served(&self) -> Option<&Served> {
        self.served.as_deref()
    }

    /// Further members of the error body.
    pub fn fields(&self) -> &[(&'static str, serde_json::Value)] {
        &self.fields
    }
}

/// Names are quoted too, of requests and of backends.
fn short(name: String) -> String {
    name.chars().take(MAX_NAME_CHARS).collect()
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.detail.as_deref().map(|detail| detail as &(dyn std::error::Error + 'static))
    }
}
