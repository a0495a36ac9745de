//! Errors of the layers below as errors of a request: one mapping each.

use std::time::Duration;

use crate::{
    dialect::openai_front::ReadError,
    domain::failure::{Failure, FailureClass, RefusalReason, ToldFault},
    error::{Error, ErrorCode},
    runtime::{SendError, dispatch::DispatchError, runs::StartError},
    stores::catalog::StoreError,
};

/// Seconds after which a refused request may try again: about the time a slot or a probe takes.
const RETRY_AFTER_SECONDS: u32 = 1;

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound(message) => Self::new(ErrorCode::NotFound, message),
            StoreError::Conflict(message) => Self::new(ErrorCode::Conflict, message),
            StoreError::Invalid(message) => Self::unprocessable(message),
            StoreError::Full(_) => Self::new(ErrorCode::TooManyRows, error.to_string()),
            StoreError::Unavailable(source) => {
                let message = "the store is unavailable; it is safe to retry";
                Self::refused(RefusalReason::StoreUnavailable, message, RETRY_AFTER_SECONDS).with_detail(source)
            }
            StoreError::Internal(source) => {
                Self::new(ErrorCode::Internal, "the store failed; see the server's log").with_detail(source)
            }
        }
    }
}

/// The error of a request whose call or run ended in this failure.
pub(super) fn from_failure(failure: &Failure, message: String) -> Error {
    match failure.refusal {
        Some(reason) => Error::refused(reason, message, retry_after_seconds(failure)),
        None if failure.class == FailureClass::Cancelled => Error::new(ErrorCode::Cancelled, message),
        None => Error::new(ErrorCode::ExecutionFailed, message),
    }
}

/// The error of a dialect's request whose call ended so: its class decides the status, so that the client's own library
/// does what it would do with the backend itself (`docs/api.md`, errors of the dialects).
pub(super) fn of_call(error: DispatchError) -> Error {
    let DispatchError { failure, served } = error;
    of_failure(&failure).with_served(served)
}

/// The same for a failure by itself.
pub(super) fn of_failure(failure: &Failure) -> Error {
    let message = failure.message.clone();
    if let Some(reason) = failure.refusal {
        return Error::refused(reason, message, retry_after_seconds(failure));
    }
    let code = match failure.class {
        FailureClass::InvalidInput if failure.status == Some(404) => ErrorCode::ModelNotFound,
        FailureClass::InvalidInput => ErrorCode::InvalidRequest,
        FailureClass::ContextLength => ErrorCode::ContextTooLong,
        FailureClass::RateLimit => ErrorCode::RateLimited,
        FailureClass::Timeout => ErrorCode::UpstreamTimeout,
        // A refused key is ours, not the client's.
        FailureClass::Auth | FailureClass::ServerError | FailureClass::Connection | FailureClass::InvalidOutput => {
            ErrorCode::UpstreamFailed
        }
        FailureClass::HookError | FailureClass::MaxVisits | FailureClass::MaxSteps | FailureClass::Budget => {
            ErrorCode::ExecutionFailed
        }
        FailureClass::Cancelled => ErrorCode::Cancelled,
        FailureClass::Internal => ErrorCode::Internal,
    };
    let error = Error::new(code, message).retry_after(failure.retry_after.map(whole_seconds));
    match failure.told.as_deref() {
        Some(ToldFault { param, code }) => error.with_param(param).with_upstream_code(code),
        None => error,
    }
}

/// When a refused request may try again: when it was told, else soon.
fn retry_after_seconds(failure: &Failure) -> u32 {
    failure.retry_after.map_or(RETRY_AFTER_SECONDS, |wait| whole_seconds(wait).max(RETRY_AFTER_SECONDS))
}

fn whole_seconds(wait: Duration) -> u32 {
    u32::try_from(wait.as_secs_f64().ceil() as u64).unwrap_or(u32::MAX)
}

impl From<DispatchError> for Error {
    fn from(error: DispatchError) -> Self {
        from_failure(&error.failure, error.failure.message.clone()).with_served(error.served)
    }
}

impl From<StartError> for Error {
    fn from(error: StartError) -> Self {
        let reason = match error {
            StartError::Full => RefusalReason::RunsFull,
            StartError::Gone => RefusalReason::Restarting,
        };
        Self::refused(reason, format!("{error}; it is safe to retry"), RETRY_AFTER_SECONDS)
    }
}

impl From<SendError> for Error {
    fn from(error: SendError) -> Self {
        let message = format!("{error}; it is safe to retry");
        Self::refused(RefusalReason::Restarting, message, RETRY_AFTER_SECONDS)
    }
}

/// The error of a request whose run's actor failed.
pub(super) fn crashed() -> Error {
    Error::new(ErrorCode::Internal, "the run crashed; steps already taken may have had effects, retry with care")
}

/// What a failure is to a client of OpenAI's API that reads a stream.
pub(super) fn openai_error(failure: &Failure) -> serde_json::Value {
    of_failure(failure).openai_object()
}

impl From<ReadError> for Error {
    fn from(error: ReadError) -> Self {
        let ReadError { message, param } = error;
        Self::invalid(message).with_param(param.unwrap_or_default())
    }
}
