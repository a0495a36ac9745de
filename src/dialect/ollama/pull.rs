//! The progress of a download.

use serde::Deserialize;

use crate::dialect::{json, reply::ReplyError};

/// One line of a pull's progress.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct PullLine {
    /// What the server is doing; `success` is the last.
    #[serde(default)]
    pub status: String,
    /// The layer it is about.
    #[serde(default)]
    pub digest: String,
    /// Bytes of the layer.
    #[serde(default)]
    pub total: u64,
    /// Bytes already there.
    #[serde(default)]
    pub completed: u64,
    /// Set when the pull failed.
    #[serde(default)]
    pub error: Option<String>,
}

/// Reads one line of a pull.
///
/// # Errors
/// A line that is no JSON object.
pub fn parse_pull_line(line: &[u8]) -> Result<PullLine, ReplyError> {
    Ok(json::decode(line)?)
}
