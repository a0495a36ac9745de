//! Errors of the layers below as errors of a request: one mapping each.

use crate::{
    domain::failure::{Failure, RefusalReason},
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
        Some(reason) => Error::refused(reason, message, RETRY_AFTER_SECONDS),
        None => Error::new(ErrorCode::ExecutionFailed, message),
    }
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
