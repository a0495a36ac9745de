//! What can go wrong with the file, and how SQLite's codes become the catalog's errors.
//!
//! Owns [`OpenError`], whose texts stand alone on one line, and the mapping of driver errors, by code and column,
//! never by their prose. Used by every file of the embedded store.

use std::{
    io,
    path::{Path, PathBuf},
};

use rusqlite::{ErrorCode, ffi};

use crate::stores::catalog::StoreError;

/// Why the embedded store cannot be opened. Each text is one line, says what is wrong and what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder cannot be made, or a file in it cannot be written.
    #[error("cannot use {}: {reason}; DATA_DIR must be a folder that penstock can write", path.display())]
    Folder {
        /// The folder or the file in it.
        path: PathBuf,
        /// What the system said.
        reason: io::Error,
    },
    /// Another process has the store open.
    #[error("the data folder {} is in use by another process: stop it, or choose another DATA_DIR", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The file was written by a later version.
    #[error("{} was written by a later version of penstock (schema {found}): use that version", path.display())]
    NewerSchema {
        /// The database.
        path: PathBuf,
        /// Its schema version.
        found: i64,
    },
    /// The file was written by a build whose schema had the same number and another text.
    #[error("{} was made by another build of penstock: its schema step {version} differs", path.display())]
    ChangedMigration {
        /// The database.
        path: PathBuf,
        /// The step that differs.
        version: i64,
    },
    /// SQLite cannot open or write the file.
    #[error("cannot open {}: {reason}", path.display())]
    Database {
        /// The database.
        path: PathBuf,
        /// What SQLite said.
        reason: rusqlite::Error,
    },
    /// The given or kept secret is not the one the stored keys are encrypted with.
    #[error(
        "{given} does not fit the provider keys stored in {}: start with the secret they were stored with",
        path.display()
    )]
    WrongSecret {
        /// Where the secret came from: `SECRET_KEY` or the key file.
        given: &'static str,
        /// The database.
        path: PathBuf,
    },
    /// Keys are stored, and nothing to decrypt them with is there.
    #[error(
        "{} holds encrypted provider keys, but SECRET_KEY is not set and the key file {} is missing: set the one or \
         restore the other",
        database.display(),
        key_file.display()
    )]
    MissingSecret {
        /// The database.
        database: PathBuf,
        /// Where the key file should be.
        key_file: PathBuf,
    },
    /// The key file is not one of ours.
    #[error("the key file {} is damaged: restore it from a backup", path.display())]
    DamagedKeyFile {
        /// The key file.
        path: PathBuf,
    },
    /// The system gave no random bytes or no thread.
    #[error("the system cannot serve the store: {reason}")]
    System {
        /// What it said.
        reason: io::Error,
    },
}

impl OpenError {
    pub(super) fn folder(path: &Path, reason: io::Error) -> Self {
        Self::Folder { path: path.to_owned(), reason }
    }

    pub(super) fn system(reason: Cause) -> Self {
        Self::System { reason: io::Error::other(reason) }
    }

    pub(super) fn database(path: &Path, reason: rusqlite::Error) -> Self {
        Self::Database { path: path.to_owned(), reason }
    }
}

/// A cause of our own, kept for the log.
#[derive(Debug, thiserror::Error)]
pub(super) enum Cause {
    #[error("the store is closed")]
    Closed,
    #[error("too many operations wait for the store")]
    Crowded,
    #[error("an operation of the store panicked")]
    Panicked,
    #[error(transparent)]
    Database(#[from] rusqlite::Error),
    #[error("the transaction was given up by the database")]
    RolledBack,
    #[error("the stored record holds an unknown {what}: '{found}'")]
    Unknown { what: &'static str, found: String },
    #[error("a key cannot be encrypted")]
    Encrypt,
    #[error("a stored key cannot be decrypted")]
    Decrypt,
    #[error("no random bytes: {0}")]
    NoRandomness(String),
}

impl Cause {
    /// Trying again may work.
    pub(super) fn unavailable(self) -> StoreError {
        StoreError::Unavailable(Box::new(self))
    }

    /// Trying again will not help.
    pub(super) fn internal(self) -> StoreError {
        StoreError::Internal(Box::new(self))
    }
}

/// Errors of the medium pass; all others are a fault of ours or of the file.
impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(
                ErrorCode::DiskFull
                | ErrorCode::SystemIoFailure
                | ErrorCode::CannotOpen
                | ErrorCode::ReadOnly
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::OutOfMemory
                | ErrorCode::OperationInterrupted,
            ) => Self::Unavailable(Box::new(error)),
            _ => Self::Internal(Box::new(error)),
        }
    }
}

/// The column, `table.column`, whose uniqueness was violated, if that is what went wrong. SQLite tells it only in the
/// message, in a form it has kept since 3.8; for a key of two columns it names both, separated by a comma.
pub(super) fn taken_column(error: &rusqlite::Error) -> Option<&str> {
    match error {
        rusqlite::Error::SqliteFailure(failure, Some(message))
            if [ffi::SQLITE_CONSTRAINT_UNIQUE, ffi::SQLITE_CONSTRAINT_PRIMARYKEY].contains(&failure.extended_code) =>
        {
            message.strip_prefix("UNIQUE constraint failed: ")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(code: i32) -> rusqlite::Error {
        rusqlite::Error::SqliteFailure(ffi::Error::new(code), Some("no such table: backends".to_owned()))
    }

    #[test]
    fn a_full_or_failing_disk_is_unavailable_and_a_wrong_statement_is_internal() {
        for code in [ffi::SQLITE_FULL, ffi::SQLITE_IOERR_WRITE, ffi::SQLITE_BUSY, ffi::SQLITE_READONLY] {
            assert!(matches!(StoreError::from(failure(code)), StoreError::Unavailable(_)), "{code}");
        }
        for code in [ffi::SQLITE_ERROR, ffi::SQLITE_CORRUPT, ffi::SQLITE_CONSTRAINT_CHECK] {
            assert!(matches!(StoreError::from(failure(code)), StoreError::Internal(_)), "{code}");
        }
    }

    #[test]
    fn the_callers_text_holds_nothing_of_the_drivers() {
        let text = StoreError::from(failure(ffi::SQLITE_ERROR)).to_string();
        assert!(!text.contains("table"), "{text}");
    }
}
