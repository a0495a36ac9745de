//! One connection with what its statements need: the sealer of keys, the cap on rows, rising times.
//!
//! [`Connection`] is the whole of what the two databases differ in. The writer thread has one session, each reader thread
//! one of its own; the resource files get it as an argument and never open connections themselves.

use std::sync::Arc;

use crate::{
    domain::time::Timestamp,
    stores::{
        catalog::StoreError,
        sql::{
            errors::SqlError,
            secrets::Sealer,
            value::{FromValue, Params, Row},
        },
    },
};

/// A connection to a database, used by one thread. Between [`Connection::rest`] and the next statement it may be another
/// one each time.
pub(in crate::stores) trait Connection: Send {
    /// Runs a statement that returns no rows; says how many it changed.
    fn run(&self, sql: &str, params: &Params<'_>) -> Result<u64, SqlError>;
    /// Runs a statement and shows its rows, one after another.
    fn rows(
        &self,
        sql: &str,
        params: &Params<'_>,
        each: &mut dyn FnMut(&Row<'_>) -> Result<(), SqlError>,
    ) -> Result<(), SqlError>;
    /// The present in microseconds, as an expression: the same for all who use the database.
    fn clock(&self) -> &'static str;
    /// Runs several statements, separated by `;`.
    fn script(&self, sql: &str) -> Result<(), SqlError>;
    /// Begins, ends or divides a transaction.
    fn step(&self, step: Step) -> Result<(), SqlError>;
    /// Whether a transaction is open; the database may have given it up.
    fn in_transaction(&self) -> bool;
    /// The work is over for now. An open transaction is undone.
    fn rest(&self);
    /// The work is over for good.
    fn end(&self);
}

/// A part of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::stores) enum Step {
    /// Several writes, beside which nobody writes anything, whichever process it is.
    BeginWriting,
    /// Several reads of one state, whatever is written meanwhile.
    BeginReading,
    /// Remembers this point, to which [`Step::Undo`] goes back.
    Mark,
    /// Undoes what came after the mark, and forgets the mark.
    Undo,
    /// Keeps what came after the mark, and forgets the mark. Others are told that something has changed.
    Keep,
    /// The same without a word to others.
    KeepQuietly,
    /// Makes it all durable.
    Commit,
    /// Undoes all of it.
    RollBack,
}

/// A connection in use by one thread.
pub(in crate::stores) struct Session {
    conn: Box<dyn Connection>,
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
    Tokens,
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
            Self::Tokens => "tokens",
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
            Self::Tokens => "tokens",
        }
    }
}

/// The statements that resource files run, over any connection.
pub(in crate::stores) trait Statements {
    /// The connection.
    fn conn(&self) -> &dyn Connection;

    /// Runs a statement that returns no rows; says how many it changed.
    fn execute<'a>(&self, sql: &str, params: impl Into<Params<'a>>) -> Result<u64, SqlError> {
        self.conn().run(sql, &params.into().fit()?)
    }

    /// The first row, if there is one. Also for `… RETURNING`.
    fn find<'a, T>(
        &self,
        sql: &str,
        params: impl Into<Params<'a>>,
        mut read: impl FnMut(&Row<'_>) -> Result<T, SqlError>,
    ) -> Result<Option<T>, SqlError> {
        let mut first = None;
        self.conn().rows(sql, &params.into().fit()?, &mut |row| {
            if first.is_none() {
                first = Some(read(row)?);
            }
            Ok(())
        })?;
        Ok(first)
    }

    /// The only value of the first row, if there is one.
    fn value<'a, T: FromValue>(&self, sql: &str, params: impl Into<Params<'a>>) -> Result<Option<T>, SqlError> {
        self.find(sql, params, |row| row.only())
    }

    /// All rows.
    fn list<'a, T>(
        &self,
        sql: &str,
        params: impl Into<Params<'a>>,
        mut read: impl FnMut(&Row<'_>) -> Result<T, SqlError>,
    ) -> Result<Vec<T>, SqlError> {
        let mut rows = Vec::new();
        self.conn().rows(sql, &params.into().fit()?, &mut |row| {
            rows.push(read(row)?);
            Ok(())
        })?;
        Ok(rows)
    }

    /// Whether the statement finds anything.
    fn exists<'a>(&self, sql: &str, params: impl Into<Params<'a>>) -> Result<bool, SqlError> {
        Ok(self.find(sql, params, |_| Ok(()))?.is_some())
    }
}

impl Statements for dyn Connection + '_ {
    fn conn(&self) -> &dyn Connection {
        self
    }
}

impl Statements for Session {
    fn conn(&self) -> &dyn Connection {
        self.conn.as_ref()
    }
}

impl Session {
    pub(in crate::stores) fn new(conn: Box<dyn Connection>, sealer: Arc<Sealer>, max_rows: u64) -> Self {
        Self { conn, sealer, max_rows }
    }

    /// Several reads of one state of the store, whatever is written meanwhile.
    pub(super) fn at_one_time<T>(&self, read: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.conn.step(Step::BeginReading)?;
        let outcome = read();
        self.conn.step(Step::RollBack)?;
        outcome
    }

    /// Rows a table may have.
    pub(super) const fn max_rows(&self) -> u64 {
        self.max_rows
    }

    /// The current time in microseconds.
    pub(super) fn now(&self) -> i64 {
        Timestamp::now().as_micros()
    }

    /// The `created_at` of the table's next row: now, or a microsecond after the latest row if the clock is not past
    /// that.
    pub(super) fn next_created_at(&self, table: Table) -> Result<i64, SqlError> {
        let latest = self.value::<Option<i64>>(&format!("SELECT MAX(created_at) FROM {}", table.name()), ())?;
        Ok(latest.flatten().map_or(self.now(), |latest| self.now().max(latest + 1)))
    }

    /// As [`Session::next_created_at`], or `Full` when the table holds as many rows as it may.
    pub(super) fn admit(&self, table: Table) -> Result<i64, StoreError> {
        let rows = self.value::<i64>(&format!("SELECT COUNT(*) FROM {}", table.name()), ())?;
        if rows.is_some_and(|rows| rows.unsigned_abs() >= self.max_rows) {
            return Err(StoreError::Full(table.noun()));
        }
        Ok(self.next_created_at(table)?)
    }
}
