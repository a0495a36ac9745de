//! What can go wrong with a database, whichever it is.
//!
//! Owns [`OpenError`], whose texts stand alone on one line, and how the drivers' errors, sorted by each connection, become
//! the catalog's.

use std::{
    error::Error,
    io,
    path::{Path, PathBuf},
};

use crate::stores::catalog::StoreError;

/// What the driver said.
pub(in crate::stores) type DriverError = Box<dyn Error + Send + Sync>;

/// Why a store cannot be opened. Each text is one line, says what is wrong and what to do.
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
    /// The store was written by a later version.
    #[error("{store} was written by a later version of penstock (schema {found}): use that version")]
    NewerSchema {
        /// The database.
        store: String,
        /// Its schema version.
        found: i64,
    },
    /// The store was written by an earlier version, and may only be read.
    #[error("{store} was written by an earlier version of penstock: start this version on it once")]
    OlderSchema {
        /// The database.
        store: String,
    },
    /// The store was written by a build whose schema had the same number and another text.
    #[error("{store} was made by another build of penstock: its schema step {version} differs")]
    ChangedMigration {
        /// The database.
        store: String,
        /// The step that differs.
        version: i64,
    },
    /// The database cannot be opened, read or written.
    #[error("cannot open {store}: {reason}")]
    Database {
        /// The database.
        store: String,
        /// What it said.
        reason: DriverError,
    },
    /// The database has said no.
    #[error("{store} cannot be used: {reason}; check DATABASE_URL")]
    Refused {
        /// The database.
        store: String,
        /// What it said.
        reason: String,
    },
    /// Whoever answers has not shown that it is the database that is meant.
    #[error("{store} is not trusted: {reason}; check the host, sslmode and sslrootcert in DATABASE_URL")]
    Untrusted {
        /// The database.
        store: String,
        /// What is wrong with what it has shown.
        reason: String,
    },
    /// The database does not answer.
    #[error("{store} was not reached within {seconds} s: {reason}; check DATABASE_URL, and that it runs")]
    Unreachable {
        /// The database.
        store: String,
        /// How long that was tried.
        seconds: u64,
        /// What came of it at last.
        reason: String,
    },
    /// The file has holes, or holds what no database of SQLite's does.
    #[error("{store} is damaged ({damage}): restore it from a backup; it has not been touched")]
    Damaged {
        /// The database.
        store: String,
        /// What SQLite found first.
        damage: String,
    },
    /// The given or kept secret is not the one the stored keys are encrypted with.
    #[error("{given} does not fit the provider keys stored in {store}: start with the secret they were stored with")]
    WrongSecret {
        /// Where the secret came from: `SECRET_KEY` or the key file.
        given: &'static str,
        /// The database.
        store: String,
    },
    /// Keys are stored, and nothing to decrypt them with is there.
    #[error(
        "{store} holds encrypted provider keys, but SECRET_KEY is not set and the key file {} is missing: set the one or \
         restore the other",
        key_file.display()
    )]
    MissingSecret {
        /// The database.
        store: String,
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
    pub(in crate::stores) fn folder(path: &Path, reason: io::Error) -> Self {
        Self::Folder { path: path.to_owned(), reason }
    }

    pub(super) fn system(reason: Cause) -> Self {
        Self::System { reason: io::Error::other(reason) }
    }

    pub(in crate::stores) fn database(store: &str, reason: impl Into<SqlError>) -> Self {
        let reason = match reason.into() {
            SqlError::Unavailable(reason) | SqlError::Broken(reason) => reason,
            other => Box::new(other),
        };
        Self::Database { store: store.to_owned(), reason }
    }
}

/// A driver's error, sorted.
#[derive(Debug, thiserror::Error)]
pub(in crate::stores) enum SqlError {
    /// What must be unique is there: the columns, `table.column`, with a comma between two.
    #[error("{0} is taken")]
    Taken(String),
    /// Trying again may work: the database or its medium is in trouble.
    #[error("{0}")]
    Unavailable(#[source] DriverError),
    /// A value of the caller's cannot be kept.
    #[error("{0}")]
    Unfit(&'static str),
    /// A fault of ours or of the file.
    #[error("{0}")]
    Broken(#[source] DriverError),
}

impl SqlError {
    /// The columns whose uniqueness was violated, if that is what went wrong.
    pub(super) fn taken(&self) -> Option<&str> {
        match self {
            Self::Taken(columns) => Some(columns),
            Self::Unavailable(_) | Self::Unfit(_) | Self::Broken(_) => None,
        }
    }
}

impl From<Cause> for SqlError {
    fn from(cause: Cause) -> Self {
        Self::Broken(Box::new(cause))
    }
}

impl From<SqlError> for StoreError {
    fn from(error: SqlError) -> Self {
        match error {
            SqlError::Unavailable(reason) => Self::Unavailable(reason),
            SqlError::Unfit(problem) => Self::Invalid(problem.to_owned()),
            // The resource that knows what it means has not said it.
            SqlError::Taken(_) => Self::Internal(Box::new(error)),
            SqlError::Broken(reason) => Self::Internal(reason),
        }
    }
}

/// A cause of our own, kept for the log.
#[derive(Debug, thiserror::Error)]
pub(in crate::stores) enum Cause {
    #[error("the store is closed")]
    Closed,
    #[error("too many operations wait for the store")]
    Crowded,
    #[error("the store did not answer in time")]
    Late,
    #[error("an operation of the store panicked")]
    Panicked,
    #[error(transparent)]
    Database(#[from] SqlError),
    #[error("the transaction was given up by the database")]
    RolledBack,
    #[error("the stored record holds an unknown {what}: '{found}'")]
    Unknown { what: &'static str, found: String },
    #[error("the column {column} holds a value of another type")]
    OtherType { column: &'static str },
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

/// An error and everything behind it, on one line.
pub(in crate::stores) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text.replace('\n', " ")
}
