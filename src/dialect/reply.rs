//! What is wrong with a successful answer that holds no reply: the same cases in every dialect.

use super::{error_body::ErrorBody, json::JsonError};
use crate::domain::{
    chat::{ChatReply, Finish},
    message::Completion,
};

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
    /// The same with what tells which failure it is.
    #[error("{}", .0.message)]
    Explained(Box<ErrorBody>),
}

impl From<JsonError> for ReplyError {
    fn from(error: JsonError) -> Self {
        Self::Malformed(error.to_string())
    }
}

/// A reply as chains need it: the text of its first choice.
///
/// # Errors
/// No text, or a filtered answer.
pub fn completion_of(reply: ChatReply) -> Result<Completion, ReplyError> {
    let said = reply.choices.into_iter().next().ok_or(ReplyError::Empty)?;
    match said.finish.unwrap_or_default() {
        Finish::ContentFilter => Err(ReplyError::Filtered),
        _ if said.text.is_empty() => Err(ReplyError::Empty),
        finish => Ok(Completion { text: said.text, role: "assistant".to_owned(), finish, usage: reply.usage }),
    }
}
