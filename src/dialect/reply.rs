//! What is wrong with a successful answer that holds no reply: the same cases in every dialect.

use super::json::JsonError;

/// A reply that is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// Not the JSON that was expected.
    #[error("the reply is not what the protocol says: {0}")]
    Malformed(String),
    /// An answer without text.
    #[error("the reply is empty")]
    Empty,
    /// Withheld by the server's content filter.
    #[error("the reply was withheld by the server's content filter")]
    Filtered,
    /// A stream that ended without its end mark.
    #[error("the backend broke off in the middle of its answer")]
    Cut,
    /// The server reported a failure inside a successful reply.
    #[error("{0}")]
    Reported(String),
}

impl From<JsonError> for ReplyError {
    fn from(error: JsonError) -> Self {
        Self::Malformed(error.to_string())
    }
}
