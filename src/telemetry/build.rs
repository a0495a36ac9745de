//! Which build this is.

use std::sync::OnceLock;

/// The version of the package.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

static COMMIT: OnceLock<&'static str> = OnceLock::new();

/// Says from which commit the command was built. Said by `main` alone, so that a commit does not build the library anew.
pub fn set_commit(commit: &'static str) {
    // Whoever is first knows best.
    COMMIT.get_or_init(|| commit);
}

/// The commit, or `unknown`.
pub fn commit() -> &'static str {
    COMMIT.get().copied().unwrap_or("unknown")
}
