//! Pages of a list: newest first, everything created strictly before the cursor (`docs/api.md`, pagination).

use crate::domain::time::Timestamp;

/// Entries of a page when the caller names no limit.
pub const DEFAULT_LIMIT: usize = 100;
/// Largest page a caller may ask for.
pub const MAX_LIMIT: usize = 1000;

/// Which part of a list is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// Only entries created strictly before this time.
    pub before: Option<Timestamp>,
    /// At most this many entries, 1 to [`MAX_LIMIT`].
    pub limit: usize,
}

impl Default for Page {
    fn default() -> Self {
        Self { before: None, limit: DEFAULT_LIMIT }
    }
}
