//! A connection to the file, and how SQLite's codes become the catalog's errors.
//!
//! Owns the SQLite settings, and the mapping of its errors, by code and column, never by their prose.

use std::{path::Path, time::Duration};

use rusqlite::{
    ErrorCode, OpenFlags, Statement, ToSql, ffi,
    types::{ToSqlOutput, ValueRef},
};

use crate::stores::sql::{
    errors::SqlError,
    session::{Connection, Step},
    value::{Columns, Params, Row, Value},
};

/// Locks are held by this process alone, except when somebody inspects the file with other tools.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// More than the statements of all resource files.
const CACHED_STATEMENTS: usize = 128;

/// One connection.
pub(in crate::stores) struct SqliteConnection(rusqlite::Connection);

/// The connection that writes. The file must exist; `NO_MUTEX` because each connection stays on its thread.
pub(super) fn connect_writer(path: &Path) -> rusqlite::Result<SqliteConnection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = rusqlite::Connection::open_with_flags(path, flags)?;
    configure(&conn)?;
    conn.pragma_update(None, "journal_mode", "WAL")?;
    // A confirmed change of configuration survives a power cut.
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update(None, "foreign_keys", true)?;
    Ok(SqliteConnection(conn))
}

/// A connection that cannot write.
pub(super) fn connect_reader(path: &Path) -> rusqlite::Result<SqliteConnection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = rusqlite::Connection::open_with_flags(path, flags)?;
    configure(&conn)?;
    Ok(SqliteConnection(conn))
}

fn configure(conn: &rusqlite::Connection) -> rusqlite::Result<()> {
    conn.busy_timeout(BUSY_TIMEOUT)?;
    conn.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
    Ok(())
}

/// A database of a test's own, made where there is none.
#[cfg(test)]
pub(in crate::stores) fn writing(path: &Path) -> SqliteConnection {
    SqliteConnection(rusqlite::Connection::open(path).unwrap())
}

impl SqliteConnection {
    /// What SQLite finds wrong with the file, in its own words; nothing when it is sound.
    pub(super) fn damage(&self) -> rusqlite::Result<Option<String>> {
        let found: String = self.0.query_row("PRAGMA quick_check(1)", (), |row| row.get(0))?;
        // The lines before the last one say where it has looked.
        Ok((found != "ok").then(|| found.lines().last().unwrap_or_default().to_owned()))
    }

    /// Writes a copy of the whole database into an empty file.
    pub(super) fn copy_into(&self, path: &Path) -> rusqlite::Result<()> {
        self.0.execute("VACUUM INTO ?1", (path.to_string_lossy(),)).map(drop)
    }
}

impl Connection for SqliteConnection {
    fn run(&self, sql: &str, params: &Params<'_>) -> Result<u64, SqlError> {
        let mut statement = self.0.prepare_cached(sql)?;
        bind(&mut statement, params)?;
        Ok(statement.raw_execute()? as u64)
    }

    fn rows(
        &self,
        sql: &str,
        params: &Params<'_>,
        each: &mut dyn FnMut(&Row<'_>) -> Result<(), SqlError>,
    ) -> Result<(), SqlError> {
        let mut statement = self.0.prepare_cached(sql)?;
        bind(&mut statement, params)?;
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next()? {
            each(&Row(row))?;
        }
        Ok(())
    }

    fn clock(&self) -> &'static str {
        "CAST(unixepoch('subsec') * 1000000 AS INTEGER)"
    }

    fn script(&self, sql: &str) -> Result<(), SqlError> {
        Ok(self.0.execute_batch(sql)?)
    }

    fn step(&self, step: Step) -> Result<(), SqlError> {
        let statements: &[&str] = match step {
            Step::BeginWriting => &["BEGIN IMMEDIATE"],
            Step::BeginReading => &["BEGIN"],
            Step::Mark => &["SAVEPOINT one"],
            Step::Undo => &["ROLLBACK TO one", "RELEASE one"],
            Step::Keep | Step::KeepQuietly => &["RELEASE one"],
            Step::Commit => &["COMMIT"],
            Step::RollBack => &["ROLLBACK"],
        };
        for sql in statements {
            self.0.prepare_cached(sql)?.execute(())?;
        }
        Ok(())
    }

    fn in_transaction(&self) -> bool {
        !self.0.is_autocommit()
    }

    fn rest(&self) {
        if self.in_transaction()
            && let Err(error) = self.step(Step::RollBack)
        {
            tracing::error!(%error, "an open transaction was not undone");
        }
    }

    /// Moves the log into the database, so that its file alone is all.
    fn end(&self) {
        if let Err(error) = self.0.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(())) {
            tracing::warn!(%error, "the store's log was not checkpointed, the next start does it");
        }
    }
}

fn bind(statement: &mut Statement<'_>, params: &Params<'_>) -> rusqlite::Result<()> {
    match params {
        Params::Numbered(values) => {
            for (index, value) in values.iter().enumerate() {
                statement.raw_bind_parameter(index + 1, value)?;
            }
        }
        Params::Named(values) => {
            for (name, value) in values {
                let index = statement.parameter_index(name)?;
                let index = index.ok_or_else(|| rusqlite::Error::InvalidParameterName((*name).to_owned()))?;
                statement.raw_bind_parameter(index, value)?;
            }
        }
    }
    Ok(())
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Value::Null => ValueRef::Null,
            Value::Int(number) => ValueRef::Integer(*number),
            Value::Bool(is) => ValueRef::Integer((*is).into()),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
            Value::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

impl Columns for rusqlite::Row<'_> {
    fn named(&self, column: &str) -> Result<Value<'_>, SqlError> {
        value(self.get_ref(column)?)
    }

    fn at(&self, column: usize) -> Result<Value<'_>, SqlError> {
        value(self.get_ref(column)?)
    }
}

fn value(value: ValueRef<'_>) -> Result<Value<'_>, SqlError> {
    Ok(match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Int(number),
        ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text)),
        ValueRef::Blob(bytes) => Value::Bytes(bytes.into()),
        ValueRef::Real(_) => return Err(SqlError::Broken("a number that is not whole".into())),
    })
}

/// Errors of the medium pass; all others are a fault of ours or of the file.
impl From<rusqlite::Error> for SqlError {
    fn from(error: rusqlite::Error) -> Self {
        if let Some(columns) = taken_columns(&error) {
            return Self::Taken(columns.to_owned());
        }
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
            _ => Self::Broken(Box::new(error)),
        }
    }
}

/// The columns, `table.column`, whose uniqueness was violated, if that is what went wrong. SQLite tells it only in the
/// message, in a form it has kept since 3.8; for a key of two columns it names both, separated by a comma.
fn taken_columns(error: &rusqlite::Error) -> Option<&str> {
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
    use crate::stores::catalog::StoreError;

    fn failure(code: i32) -> StoreError {
        let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), Some("no such table: backends".to_owned()));
        SqlError::from(error).into()
    }

    #[test]
    fn a_full_or_failing_disk_is_unavailable_and_a_wrong_statement_is_internal() {
        for code in [ffi::SQLITE_FULL, ffi::SQLITE_IOERR_WRITE, ffi::SQLITE_BUSY, ffi::SQLITE_READONLY] {
            assert!(matches!(failure(code), StoreError::Unavailable(_)), "{code}");
        }
        for code in [ffi::SQLITE_ERROR, ffi::SQLITE_CORRUPT, ffi::SQLITE_CONSTRAINT_CHECK] {
            assert!(matches!(failure(code), StoreError::Internal(_)), "{code}");
        }
    }

    #[test]
    fn the_callers_text_holds_nothing_of_the_drivers() {
        let text = failure(ffi::SQLITE_ERROR).to_string();
        assert!(!text.contains("table"), "{text}");
    }
}
