//! A connection to the server, borrowed from the pool while there is work, and how the server's codes become the catalog's
//! errors.
//!
//! Every statement goes in one round trip and leaves nothing behind in the server, so a pooler in between (PgBouncer in
//! transaction mode) does no harm. Every wait is bounded. Used by the store's own threads, which may block.

use std::{cell::RefCell, error::Error, io, time::Duration};

use deadpool_postgres::Object;
use tokio::runtime::Handle;
use tokio_postgres::{
    Client,
    error::SqlState,
    types::{IsNull, ToSql, Type, private::BytesMut, to_sql_checked},
};

use super::pool::Lender;
use crate::stores::sql::{
    errors::SqlError,
    session::{Connection, Step},
    value::{Columns, Params, Row, Value},
};

/// Longest time of a statement, as the server counts it.
pub(super) const STATEMENT_TIME: Duration = Duration::from_secs(5);
/// Longest wait for its answer: a server that hangs does not count the time.
const ANSWER_TIME: Duration = if cfg!(test) { Duration::from_millis(800) } else { Duration::from_secs(6) };
/// Where the writers of all processes queue up: one lock of a database, by a number of our own.
const WRITERS: i64 = 0x0050_656e_7374_6f63;
/// The channel on which writers tell that something was changed.
pub(super) const CHANGES: &str = "penstock_changes";

/// A place for one connection.
pub(super) struct PostgresConnection {
    lender: Lender,
    runtime: Handle,
    held: RefCell<Option<Held>>,
    begin_writing: String,
    commit_changes: String,
}

struct Held {
    client: Object,
    in_transaction: bool,
    /// Whether the transaction has changed anything.
    changed: bool,
}

impl PostgresConnection {
    /// Gets its connections from `lender`; what it changes is told under the name of this process.
    pub(super) fn new(lender: Lender, runtime: Handle, process: &str) -> Self {
        Self {
            lender,
            runtime,
            held: RefCell::default(),
            begin_writing: format!("BEGIN; SELECT pg_advisory_xact_lock({WRITERS})"),
            commit_changes: format!("SELECT pg_notify('{CHANGES}', '{process}'); COMMIT"),
        }
    }

    /// Lets some work use the connection; one that does not answer is given up.
    fn work<T>(&self, work: impl AsyncFnOnce(&Client) -> Result<T, tokio_postgres::Error>) -> Result<T, SqlError> {
        let mut held = self.held.borrow_mut();
        self.runtime.block_on(async {
            let lent = match held.as_mut() {
                Some(lent) => lent,
                None => held.insert(Held { client: self.lender.lend().await?, in_transaction: false, changed: false }),
            };
            match tokio::time::timeout(ANSWER_TIME, work(&lent.client)).await {
                Ok(Ok(done)) => Ok(done),
                Ok(Err(error)) => {
                    if lent.client.is_closed() {
                        give_up(&mut held);
                    }
                    Err(error.into())
                }
                Err(_) => {
                    // An answer that comes late would be taken for that to the next question.
                    give_up(&mut held);
                    let error = SqlError::Unavailable("the database did not answer in time".into());
                    self.lender.note(&error);
                    Err(error)
                }
            }
        })
    }

    fn script_of(&self, step: Step, changed: bool) -> &str {
        match step {
            Step::BeginWriting => &self.begin_writing,
            Step::BeginReading => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            Step::Mark => "SAVEPOINT one",
            Step::Undo => "ROLLBACK TO one; RELEASE one",
            Step::Keep | Step::KeepQuietly => "RELEASE one",
            Step::Commit if changed => &self.commit_changes,
            Step::Commit => "COMMIT",
            Step::RollBack => "ROLLBACK",
        }
    }
}

impl Connection for PostgresConnection {
    fn run(&self, sql: &str, params: &Params<'_>) -> Result<u64, SqlError> {
        let (sql, values) = dollars(sql, params)?;
        self.work(async |client| client.execute_typed(&sql, &typed(&values)).await)
    }

    fn rows(
        &self,
        sql: &str,
        params: &Params<'_>,
        each: &mut dyn FnMut(&Row<'_>) -> Result<(), SqlError>,
    ) -> Result<(), SqlError> {
        let (sql, values) = dollars(sql, params)?;
        let rows = self.work(async |client| client.query_typed(&sql, &typed(&values)).await)?;
        rows.iter().try_for_each(|row| each(&Row(row)))
    }

    fn clock(&self) -> &'static str {
        "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)"
    }

    fn script(&self, sql: &str) -> Result<(), SqlError> {
        self.work(async |client| client.batch_execute(sql).await)
    }

    fn step(&self, step: Step) -> Result<(), SqlError> {
        let changed = self.held.borrow().as_ref().is_some_and(|held| held.changed);
        if matches!(step, Step::Commit | Step::RollBack | Step::Mark | Step::Undo | Step::Keep | Step::KeepQuietly)
            && !self.in_transaction()
        {
            // It went with its connection: undone it is, and kept it is not.
            return if step == Step::RollBack { Ok(()) } else { Err(lost()) };
        }
        self.script(self.script_of(step, changed))?;
        if let Some(held) = self.held.borrow_mut().as_mut() {
            match step {
                Step::BeginWriting | Step::BeginReading => (held.in_transaction, held.changed) = (true, false),
                Step::Keep => held.changed = true,
                Step::Commit | Step::RollBack => held.in_transaction = false,
                Step::Mark | Step::Undo | Step::KeepQuietly => {}
            }
        }
        Ok(())
    }

    fn in_transaction(&self) -> bool {
        self.held.borrow().as_ref().is_some_and(|held| held.in_transaction)
    }

    fn rest(&self) {
        let mut held = self.held.borrow_mut();
        if held.as_ref().is_some_and(|held| held.in_transaction) {
            give_up(&mut held);
        }
        *held = None;
    }

    fn end(&self) {
        self.rest();
    }
}

/// Closes the connection, and with it whatever is open in it.
fn give_up(held: &mut Option<Held>) {
    if let Some(held) = held.take() {
        drop(Object::take(held.client));
    }
}

fn lost() -> SqlError {
    SqlError::Unavailable("the connection to the database was lost in the middle of a change".into())
}

/// The statement with its parameters as PostgreSQL counts them, and their values in that order.
fn dollars<'p, 'v>(sql: &str, params: &'p Params<'v>) -> Result<(String, Vec<&'p Value<'v>>), SqlError> {
    let names: Vec<&str> = match params {
        Params::Numbered(_) => Vec::new(),
        Params::Named(values) => values.iter().map(|(name, _)| *name).collect(),
    };
    let mut written = String::with_capacity(sql.len() + 16);
    let mut rest = sql;
    while let Some(at) = rest.find(['?', ':']) {
        let (before, from) = rest.split_at(at);
        written.push_str(before);
        let end = from[1..].find(|c: char| !c.is_ascii_alphanumeric() && c != '_').map_or(from.len(), |end| end + 1);
        let (name, after) = from.split_at(end);
        let number = match name.strip_prefix('?') {
            Some(number) => number.to_owned(),
            None => match names.iter().position(|known| *known == name) {
                Some(index) => (index + 1).to_string(),
                None => return Err(SqlError::Broken(format!("the parameter {name} has no value").into())),
            },
        };
        written.push('$');
        written.push_str(&number);
        rest = after;
    }
    written.push_str(rest);
    let values = match params {
        Params::Numbered(values) => values.iter().collect(),
        Params::Named(values) => values.iter().map(|(_, value)| value).collect(),
    };
    Ok((written, values))
}

fn typed<'p>(values: &[&'p Value<'p>]) -> Vec<(&'p (dyn ToSql + Sync), Type)> {
    let typed = |value: &&'p Value<'p>| -> (&'p (dyn ToSql + Sync), Type) {
        let r#type = match value {
            // The server knows what it belongs to.
            Value::Null => Type::UNKNOWN,
            Value::Int(_) => Type::INT8,
            Value::Bool(_) => Type::BOOL,
            Value::Text(_) => Type::TEXT,
            Value::Bytes(_) => Type::BYTEA,
        };
        (*value, r#type)
    };
    values.iter().map(typed).collect()
}

impl ToSql for Value<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Value::Null => Ok(IsNull::Yes),
            Value::Int(number) => number.to_sql(ty, out),
            Value::Bool(is) => is.to_sql(ty, out),
            Value::Text(text) => text.to_sql(ty, out),
            Value::Bytes(bytes) => bytes.as_ref().to_sql(ty, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

impl Columns for tokio_postgres::Row {
    fn named(&self, column: &str) -> Result<Value<'_>, SqlError> {
        let at = self.columns().iter().position(|known| known.name() == column);
        self.at(at.ok_or_else(|| SqlError::Broken(format!("the answer has no column {column}").into()))?)
    }

    fn at(&self, column: usize) -> Result<Value<'_>, SqlError> {
        let Some(known) = self.columns().get(column) else {
            return Err(SqlError::Broken("the answer has fewer columns".into()));
        };
        let value = match *known.type_() {
            Type::INT8 => self.try_get::<_, Option<i64>>(column)?.map(Value::Int),
            Type::BOOL => self.try_get::<_, Option<bool>>(column)?.map(Value::Bool),
            Type::TEXT => self.try_get::<_, Option<&str>>(column)?.map(Value::from),
            Type::BYTEA => self.try_get::<_, Option<&[u8]>>(column)?.map(|bytes| Value::Bytes(bytes.into())),
            ref other => return Err(SqlError::Broken(format!("a column of the type {other}").into())),
        };
        Ok(value.unwrap_or(Value::Null))
    }
}

/// Sorted by code, never by prose. What the server cannot do now, it may be able to do later.
impl From<tokio_postgres::Error> for SqlError {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(said) = error.as_db_error() else {
            let is_io = error.source().is_some_and(|source| source.is::<io::Error>());
            let passes = error.is_closed() || is_io;
            return if passes { Self::Unavailable(Box::new(error)) } else { Self::Broken(Box::new(error)) };
        };
        if *said.code() == SqlState::UNIQUE_VIOLATION
            && let Some(columns) = said.constraint()
        {
            return Self::Taken(columns.to_owned());
        }
        let class = said.code().code().get(..2).unwrap_or_default();
        let passes = matches!(class, "08" | "40" | "53" | "57" | "58")
            || [
                SqlState::LOCK_NOT_AVAILABLE,
                SqlState::READ_ONLY_SQL_TRANSACTION,
                SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
            ]
            .contains(said.code());
        if passes { Self::Unavailable(Box::new(error)) } else { Self::Broken(Box::new(error)) }
    }
}
