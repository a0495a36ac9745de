//! The catalog in SQL, for both databases: one text of every statement, one place for every rule.
//!
//! A database gives a `session::Connection` for each thread and the texts of its schema; `embedded` does so for SQLite,
//! `postgres` for PostgreSQL. One thread writes, committing what waits in groups, the others read; nothing here runs on an
//! async runtime's thread. Writes of several processes never overlap, so what a write reads first still holds when it
//! writes.
//!
//! The way of a call: `catalog` (the trait) -> `writer` or `readers` (threads) -> a resource file (SQL) -> `session`.

mod aliases;
mod associations;
mod backends;
mod catalog;
mod chains;
mod columns;
pub(super) mod errors;
mod hooks;
pub(super) mod identity;
mod intent;
mod lanes;
mod leases;
mod meters;
pub(super) mod migrations;
mod models;
mod pools;
mod providers;
mod readers;
pub(super) mod secrets;
mod seed;
pub(super) mod session;
mod tokens;
pub(super) mod transfer;
pub(super) mod unlock;
pub(super) mod value;
mod writer;

use std::{
    any::Any,
    io::{BufRead, Write},
    sync::Arc,
    time::Duration,
};

use tokio::sync::watch;

use crate::stores::catalog::StoreError;
use errors::Cause;
use meters::StoreMeters;
use readers::Readers;
use session::Session;
use writer::{Lane, Writer};

pub use errors::OpenError;
pub use secrets::{Passphrase, SecretKey};
pub use transfer::TransferError;

/// An open store. Dropping it closes it too, but blocks the thread that does.
pub struct SqlStore {
    readers: Readers,
    writer: Writer,
    changes: Option<watch::Receiver<u64>>,
    patience: Option<Duration>,
    cluster: String,
    meters: StoreMeters,
}

/// News of changes made by other processes that use the store. Nothing is said of what they were.
pub struct Changes(Option<watch::Receiver<u64>>);

impl Changes {
    /// Waits until there may have been one since the last time; for ever where there are no other processes.
    pub async fn next(&mut self) {
        let told = match &mut self.0 {
            Some(told) => told.changed().await.is_ok(),
            None => false,
        };
        if !told {
            std::future::pending().await
        }
    }
}

/// A store that is opened for one command: everything out of it, or into it.
pub struct Transfer {
    session: Session,
    /// Held as long as it is open.
    _keeps: Box<dyn Any + Send>,
}

impl Transfer {
    pub(super) fn new(session: Session, keeps: Box<dyn Any + Send>) -> Self {
        Self { session, _keeps: keeps }
    }

    /// Writes everything as lines, as of one moment; how many rows. With a passphrase secrets go along. `progress` is told
    /// now and then how many rows that were.
    ///
    /// # Errors
    /// One line that says what is wrong.
    pub fn export(
        &self,
        out: &mut dyn Write,
        passphrase: Option<&Passphrase>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<u64, TransferError> {
        transfer::export(&self.session, out, passphrase, progress)
    }

    /// Stores all lines, or none; how many rows. Into a store that holds nothing but what a first start makes, or with
    /// `replace` in place of what it holds.
    ///
    /// # Errors
    /// One line that says what is wrong, and in which line of the input. Nothing has been changed then.
    pub fn import(
        &self,
        input: &mut dyn BufRead,
        passphrase: Option<&Passphrase>,
        replace: bool,
        progress: &mut dyn FnMut(u64),
    ) -> Result<u64, TransferError> {
        transfer::import(&self.session, input, passphrase, replace, progress)
    }
}

/// What a database brings beside its connections.
pub(super) struct Surroundings {
    /// Kept until everything is written.
    pub(super) keeps: Box<dyn Any + Send>,
    /// Rises whenever another process may have changed something; `None` where there can be none.
    pub(super) changes: Option<watch::Receiver<u64>>,
    /// What all processes that use this store have in common, and no others.
    pub(super) cluster: String,
    /// Longest wait of a caller; `None` where everything comes to an end by itself.
    pub(super) patience: Option<Duration>,
}

impl SqlStore {
    /// Starts the threads, each with a session of its own.
    pub(super) fn start(readers: Vec<Session>, writer: Session, surroundings: Surroundings) -> Result<Self, OpenError> {
        let Surroundings { keeps, changes, patience, cluster } = surroundings;
        let no_thread = |reason| OpenError::System { reason };
        let readers = Readers::start(readers).map_err(no_thread)?;
        let writer = Writer::start(writer, keeps).map_err(no_thread)?;
        Ok(Self { readers, writer, changes, patience, cluster, meters: StoreMeters::default() })
    }

    /// What all processes that use this store have in common, and no others.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// Whether it answered the last time that it was asked.
    pub fn is_up(&self) -> bool {
        self.meters.reads.is_up() && self.meters.writes.is_up()
    }

    /// What other processes change from here on.
    pub fn changes(&self) -> Changes {
        Changes(self.changes.clone())
    }

    /// Refuses new work, finishes what waits and gives back what the database has lent.
    pub async fn close(self: Arc<Self>) {
        // A blocking thread of the runtime, because the last writes may take as long as the disk takes.
        if let Err(error) = tokio::task::spawn_blocking(move || self.finish()).await {
            tracing::error!(error = %error, "the store was not closed cleanly");
        }
    }

    /// Readers first: SQLite's log cannot be emptied while somebody reads it.
    fn finish(&self) {
        self.readers.finish();
        self.writer.finish();
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Session) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.meters.reads.measure(self.in_time(self.readers.read(work))).await
    }

    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Session) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.meters.writes.measure(self.in_time(self.writer.write(Lane::Configuration, work))).await
    }

    /// Writes what is no configuration: nobody else is told.
    async fn record<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Session) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.meters.writes.measure(self.in_time(self.writer.write(Lane::History, work))).await
    }

    /// Whether other processes can use the same store.
    fn has_others(&self) -> bool {
        self.changes.is_some()
    }

    /// What is not begun by then never is; what is begun may still be done.
    async fn in_time<T>(&self, answer: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        match self.patience {
            None => answer.await,
            Some(patience) => {
                let late = |_| Cause::Late.unavailable();
                tokio::time::timeout(patience, answer).await.map_err(late)?
            }
        }
    }
}

impl Drop for SqlStore {
    fn drop(&mut self) {
        self.finish();
    }
}
