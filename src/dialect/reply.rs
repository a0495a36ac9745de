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
    /// An answer of which nothing but thoughts had been made when its bound was reached.
    #[error(
        "the reply is empty: its bound of tokens was reached before its first word; allow more of them (max_tokens, or \
         MAX_OUTPUT_TOKENS)"
    )]
    Spent,
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
        Finish::Length if said.text.is_empty() => Err(ReplyError::Spent),
        _ if said.text.is_empty() => Err(ReplyError::Empty),
        finish => Ok(Completion { text: said.text, role: "assistant".to_owned(), finish, usage: reply.usage }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::chat::Said;

    #[test]
    fn a_chain_is_told_why_it_gets_no_text() {
        let reply = |text: &str, finish| {
            let said = Said { text: text.to_owned(), finish, reasoning: "hm".to_owned(), ..Said::default() };
            completion_of(ChatReply { choices: vec![said], ..ChatReply::default() }).map(|completion| completion.text)
        };
        assert_eq!(reply("a", Some(Finish::Length)), Ok("a".to_owned()));
        assert_eq!(reply("", Some(Finish::Length)), Err(ReplyError::Spent));
        assert_eq!(reply("", Some(Finish::Stop)), Err(ReplyError::Empty));
        assert_eq!(reply("a", Some(Finish::ContentFilter)), Err(ReplyError::Filtered));
        assert_eq!(completion_of(ChatReply::default()), Err(ReplyError::Empty));
    }
}
