//! The data folder: made private, locked by one process, with the files in it named in one place.
//!
//! Owns the paths and the lock. Called by `open`.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use crate::stores::sql::OpenError;

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

    /// A place for a copy of the database as it is before its schema leaves this version. A former one is replaced.
    pub(super) fn copy_before(&self, version: i64) -> Result<Copy, OpenError> {
        let path = self.path.join(format!("penstock.db.schema-{version}"));
        let unfinished = path.with_extension(format!("schema-{version}.new"));
        let file = open_private(&unfinished).and_then(|file| file.set_len(0));
        file.map_err(|error| OpenError::folder(&unfinished, error))?;
        Ok(Copy { path, unfinished })
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

/// A copy in the making.
pub(super) struct Copy {
    path: PathBuf,
    /// An empty, private file to write it into.
    pub(super) unfinished: PathBuf,
}

impl Copy {
    /// Gives the copy its name: it is whole then, and on the disk.
    pub(super) fn finish(self) -> Result<(), OpenError> {
        let finish = || {
            File::open(&self.unfinished)?.sync_all()?;
            fs::rename(&self.unfinished, &self.path)?;
            self.path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
        };
        finish().map_err(|error| OpenError::folder(&self.path, error))?;
        tracing::info!(path = %self.path.display(), "copied the database aside before its schema is changed");
        Ok(())
    }
}

fn open_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}
