//! One connection with what its statements need: the sealer of keys, the cap on rows, rising times.
//!
//! Owns the SQLite settings. The writer thread has one session, each reader thread a read-only one; the resource files
//! get it as an argument and never open connections themselves.

use std::{path::Path, sync::Arc, time::Duration};

use rusqlite::{Connection, OpenFlags, OptionalExtension, Params, Row};

use crate::{
    domain::time::Timestamp,
    stores::{catalog::StoreError, embedded::secrets::Sealer},
};

/// Locks are held by this process alone, except when somebody inspects the file with other tools.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// More than the statements of all resource files.
const CACHED_STATEMENTS: usize = 128;

/// A connection in use by one thread.
pub(super) struct Session {
    conn: Connection,
    pub(super) sealer: Arc<Sealer>,
    max_rows: u64,
}

/// The tables whose rows are counted and timed.
#[derive(Clone, Copy)]
pub(super) enum Table {
    Backends,
    Models,
    Pools,
    PoolBackends,
    PoolModels,
    ProviderKeys,
    Hooks,
    Chains,
    Aliases,
}

impl Table {
    const fn name(self) -> &'static str {
        match self {
            Self::Backends => "backends",
            Self::Models => "models",
            Self::Pools => "pools",
            Self::PoolBackends => "pool_backends",
            Self::PoolModels => "pool_models",
            Self::ProviderKeys => "provider_keys",
            Self::Hooks => "hooks",
            Self::Chains => "chains",
            Self::Aliases => "aliases",
        }
    }

    /// As callers know its rows.
    const fn noun(self) -> &'static str {
        match self {
            Self::Backends => "backends",
            Self::Models => "models",
            Self::Pools => "pools",
            Self::PoolBackends => "backend assignments",
            Self::PoolModels => "model assignments",
            Self::ProviderKeys => "provider keys",
            Self::Hooks => "hooks",
            Self::Chains => "task chains",
            Self::Aliases => "aliases",
        }
    }
}

/// The connection that writes. The file must exist; `NO_MUTEX` because each connection stays on its thread.
pub(super) fn connect_writer(path: &Path) -> rusqlite::Result<Connection> {
    let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    configure(&conn)?;
    conn.pragma_update(None, "journal_mode", "WAL")?;
    // A confirmed change of configuration survives a power cut.
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update(None, "foreign_keys", true)?;
    Ok(conn)
}

/// A connection that cannot write.
pub(super) fn connect_reader(path: &Path) -> rusqlite::Result<Connection> {
    let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    configure(&conn)?;
    Ok(conn)
}

fn configure(conn: &Connection) -> rusqlite::Result<()> {
    conn.busy_timeout(BUSY_TIMEOUT)?;
    conn.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
    Ok(())
}

impl Session {
    pub(super) fn new(conn: Connection, sealer: Arc<Sealer>, max_rows: u64) -> Self {
        Self { conn, sealer, max_rows }
    }

    /// Runs a statement that returns no rows; says how many it changed.
    pub(super) fn execute(&self, sql: &str, params: impl Params) -> rusqlite::Result<usize> {
        self.conn.prepare_cached(sql)?.execute(params)
    }

    /// The first row, if there is one. Also for `… RETURNING`.
    pub(super) fn find<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Option<T>> {
        self.conn.prepare_cached(sql)?.query_row(params, read).optional()
    }

    /// All rows.
    pub(super) fn list<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Vec<T>> {
        self.conn.prepare_cached(sql)?.query_map(params, read)?.collect()
    }

    /// Whether the statement finds anything.
    pub(super) fn exists(&self, sql: &str, params: impl Params) -> rusqlite::Result<bool> {
        self.conn.prepare_cached(sql)?.exists(params)
    }

    /// Several reads of one state of the store, whatever is written meanwhile.
    pub(super) fn at_one_time<T>(&self, read: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        let transaction = self.conn.unchecked_transaction()?;
        let outcome = read()?;
        transaction.commit()?;
        Ok(outcome)
    }

    /// Rows a table may have.
    pub(super) const fn max_rows(&self) -> u64 {
        self.max_rows
    }

    /// Whether no transaction is open.
    pub(super) fn is_idle(&self) -> bool {
        self.conn.is_autocommit()
    }

    /// The current time in microseconds.
    pub(super) fn now(&self) -> i64 {
        Timestamp::now().as_micros()
    }

    /// The `created_at` of the table's next row: now, or a microsecond after the latest row if the clock is not past
    /// that.
    pub(super) fn next_created_at(&self, table: Table) -> rusqlite::Result<i64> {
        let latest = self.find(&format!("SELECT MAX(created_at) FROM {}", table.name()), (), |row| row.get(0))?;
        Ok(latest.flatten().map_or(self.now(), |latest: i64| self.now().max(latest + 1)))
    }

    /// As [`Session::next_created_at`], or `Full` when the table holds as many rows as it may.
    pub(super) fn admit(&self, table: Table) -> Result<i64, StoreError> {
        let rows = self.find(&format!("SELECT COUNT(*) FROM {}", table.name()), (), |row| row.get::<_, i64>(0))?;
        if rows.is_some_and(|rows| rows.unsigned_abs() >= self.max_rows) {
            return Err(StoreError::Full(table.noun()));
        }
        Ok(self.next_created_at(table)?)
    }
}
