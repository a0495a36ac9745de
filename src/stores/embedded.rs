//! The embedded store: SQLite in the data folder, the default when no database is configured.
//!
//! Owns the folder while it is open: `penstock.db`, `secret.key` and the lock (`docs/operations.md`, data folder). One
//! thread writes, two read; nothing here runs on an async runtime's thread. Opened and closed by the composition root,
//! used through [`CatalogStore`](crate::stores::catalog::CatalogStore).
//!
//! The way of a call: `catalog` (the trait) -> `writer` or `readers` (threads) -> a resource file (SQL) -> `session`.

mod aliases;
mod associations;
mod backends;
mod catalog;
mod chains;
mod columns;
mod errors;
mod folder;
mod hooks;
mod intent;
mod lanes;
mod migrations;
mod models;
mod pools;
mod providers;
mod readers;
mod secrets;
mod seed;
mod session;
mod unlock;
mod writer;

#[cfg(test)]
mod tests;

use std::{path::PathBuf, sync::Arc};

use crate::stores::catalog::{MAX_ROWS, StoreError};
use folder::DataFolder;
use readers::Readers;
use session::{Session, connect_reader, connect_writer};
use writer::{Lane, Writer};

pub use errors::OpenError;
pub use secrets::SecretKey;

/// Where the store lives and what encrypts the keys in it.
#[derive(Clone)]
pub struct EmbeddedSettings {
    /// The folder, made on first start.
    pub data_dir: PathBuf,
    /// `SECRET_KEY`; without it a key file in the folder, made on first start.
    pub secret_key: Option<SecretKey>,
}

/// An open store. Dropping it closes it too, but blocks the thread that does.
pub struct EmbeddedStore {
    readers: Readers,
    writer: Writer,
}

impl EmbeddedStore {
    /// Opens or makes the store and brings its schema up to date. Blocks: it touches the disk.
    pub fn open(settings: EmbeddedSettings) -> Result<Arc<Self>, OpenError> {
        Self::open_with_cap(settings, MAX_ROWS)
    }

    /// As [`EmbeddedStore::open`] with another cap on the rows of a table.
    fn open_with_cap(settings: EmbeddedSettings, max_rows: u64) -> Result<Arc<Self>, OpenError> {
        let folder = DataFolder::claim(&settings.data_dir)?;
        let database = folder.database()?;
        let failed = |error| OpenError::database(&database, error);

        let mut conn = connect_writer(&database).map_err(failed)?;
        migrations::migrate(&mut conn, &database)?;
        let sealer = Arc::new(unlock::unlock(&conn, &database, &folder.key_file(), settings.secret_key.as_ref())?);
        let sessions = (0..readers::THREADS)
            .map(|_| Ok(Session::new(connect_reader(&database)?, sealer.clone(), max_rows)))
            .collect::<rusqlite::Result<_>>()
            .map_err(failed)?;

        let no_thread = |reason| OpenError::System { reason };
        let readers = Readers::start(sessions).map_err(no_thread)?;
        let writer = Writer::start(Session::new(conn, sealer, max_rows), folder.into_lock()).map_err(no_thread)?;
        Ok(Arc::new(Self { readers, writer }))
    }

    /// Refuses new work, finishes what waits, moves the write-ahead log into the database and frees the folder.
    pub async fn close(self: Arc<Self>) {
        // A blocking thread of the runtime, because the last writes may take as long as the disk takes.
        if let Err(error) = tokio::task::spawn_blocking(move || self.finish()).await {
            tracing::error!(error = %error, "the store was not closed cleanly");
        }
    }

    /// Readers first: the log cannot be emptied while somebody reads it.
    fn finish(&self) {
        self.readers.finish();
        self.writer.finish();
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Session) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.readers.read(work).await
    }

    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Session) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.writer.write(Lane::Configuration, work).await
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        self.finish();
    }
}
