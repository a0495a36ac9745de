//! The data folder: made private, locked by one process, with the files in it named in one place.
//!
//! Owns the paths and the lock. Called by `EmbeddedStore::open`.

use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use crate::stores::embedded::errors::OpenError;

/// An existing folder that this process may use alone.
pub(super) struct DataFolder {
    path: PathBuf,
    lock: File,
}

impl DataFolder {
    /// Makes the folder if it is missing, readable by this user only, and locks it. The lock goes with the process,
    /// however that ends.
    pub(super) fn claim(path: &Path) -> Result<Self, OpenError> {
        let failed = |error| OpenError::folder(path, error);
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        let lock = open_private(&path.join("penstock.lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), lock }),
            Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// The database, made empty and private if it is missing; SQLite gives its side files the same mode.
    pub(super) fn database(&self) -> Result<PathBuf, OpenError> {
        let database = self.path.join("penstock.db");
        open_private(&database).map_err(|error| OpenError::folder(&database, error))?;
        Ok(database)
    }

    /// Where the key file is, or would be.
    pub(super) fn key_file(&self) -> PathBuf {
        self.path.join("secret.key")
    }

    /// Gives the lock to whoever uses the folder longest.
    pub(super) fn into_lock(self) -> File {
        self.lock
    }
}

fn open_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}
