//! A call that a dialect has no words for. It is the caller's fault, and told before anything is sent.

/// Why it cannot be said, and what to send instead; for the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unsayable(String);

impl Unsayable {
    pub(super) fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}
