//! Errors of the layers below as errors of a request: one mapping each.

use crate::{
    domain::failure::Failure,
    error::{Error, ErrorCode, RefusalReason},
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
                Self::new(ErrorCode::Unavailable, message).with_detail(source)
            }
            StoreError::Internal(source) => {
                Self::new(ErrorCode::Internal, "the store failed; see the server's log").with_detail(source)
            }
        }
    }
}

/// The error of a request whose call or run ended in this failure.
pub(super) fn from_failure(failure: &Failure, message: String) -> Error {
    if failure.unavailable {
        Error::refused(RefusalReason::NoBackend, message, RETRY_AFTER_SECONDS)
    } else {
        Error::new(ErrorCode::ExecutionFailed, message)
    }
}

impl From<DispatchError> for Error {
    fn from(error: DispatchError) -> Self {
        match error.refusal {
            Some(reason) => Self::refused(reason, error.failure.message, RETRY_AFTER_SECONDS),
            None => from_failure(&error.failure, error.failure.message.clone()),
        }
    }
}

impl From<StartError> for Error {
    fn from(error: StartError) -> Self {
        let reason = match error {
            StartError::Full => RefusalReason::RunsFull,
            StartError::Gone => RefusalReason::NoBackend,
        };
        Self::refused(reason, format!("{error}; it is safe to retry"), RETRY_AFTER_SECONDS)
    }
}

impl From<SendError> for Error {
    fn from(error: SendError) -> Self {
        let message = format!("{error}; it is safe to retry");
        Self::refused(RefusalReason::NoBackend, message, RETRY_AFTER_SECONDS)
    }
}
