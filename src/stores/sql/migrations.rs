//! The schema's history: numbered, forward-only, each step applied once and never edited afterwards.
//!
//! Owns `schema_migrations`, and in `meta` which binaries can still use the store. Called when a store is opened, before
//! anything else reads it; each database has texts of its own for the same steps. To change the schema, add a file to
//! both and an entry here.
//!
//! A step should leave the store usable by the release before it, so that an upgrade can be taken back: it adds tables, and
//! columns with a default, and the release that no longer needs what is there drops it. Then its `oldest_reader` is the
//! version of that release; a binary whose latest step is older refuses the store.

use sha2::{Digest, Sha256};

use crate::{
    domain::time::Timestamp,
    stores::sql::{
        errors::{OpenError, SqlError},
        session::{Connection, Statements, Step},
        value::named,
    },
};

/// One step.
#[derive(Debug, Clone, Copy)]
pub(in crate::stores) struct Migration {
    /// Its number.
    pub(in crate::stores) version: i64,
    /// What it is about.
    pub(in crate::stores) name: &'static str,
    /// The latest step that binaries must know to use a store that has this one.
    pub(in crate::stores) oldest_reader: i64,
    /// Its statements.
    pub(in crate::stores) sql: &'static str,
}

/// All steps for one database.
pub(in crate::stores) struct History<'h> {
    /// Makes `schema_migrations` (version, name, checksum, applied_at) unless it is there.
    pub(in crate::stores) ledger: &'static str,
    /// The steps, in order.
    pub(in crate::stores) steps: &'h [Migration],
}

const OLDEST_READER: &str = "oldest_reader";

/// Brings the store to this binary's schema, all missing steps in one transaction. `before` runs before a store that is in
/// use is changed, outside of any transaction; it is told the version it has.
pub(in crate::stores) fn migrate(
    conn: &dyn Connection,
    store: &str,
    history: &History<'_>,
    before: impl FnOnce(i64) -> Result<(), OpenError>,
) -> Result<(), OpenError> {
    let outcome = apply(conn, store, history, before);
    conn.rest();
    outcome
}

fn apply(
    conn: &dyn Connection,
    store: &str,
    history: &History<'_>,
    before: impl FnOnce(i64) -> Result<(), OpenError>,
) -> Result<(), OpenError> {
    let failed = |error| OpenError::database(store, error);
    let begin = || {
        conn.step(Step::BeginWriting).map_err(failed)?;
        conn.script(history.ledger).map_err(failed)?;
        pending(conn, store, history)
    };
    let (version, missing) = begin()?;
    let missing = match version {
        Some(version) if !missing.is_empty() => {
            conn.step(Step::RollBack).map_err(failed)?;
            before(version)?;
            begin()?.1
        }
        _ => missing,
    };
    for migration in missing {
        conn.script(migration.sql).and_then(|()| note(conn, migration)).map_err(failed)?;
        tracing::info!(version = migration.version, name = migration.name, "store schema migrated");
    }
    conn.step(Step::Commit).map_err(failed)
}

/// Whether the store has exactly this binary's schema, or one that it can use: for who only reads.
pub(in crate::stores) fn check(conn: &dyn Connection, store: &str, history: &History<'_>) -> Result<(), OpenError> {
    let missing = pending(conn, store, history)?.1;
    if missing.is_empty() { Ok(()) } else { Err(OpenError::OlderSchema { store: store.to_owned() }) }
}

/// The version that the store has, and the steps that it lacks.
fn pending<'h>(
    conn: &dyn Connection,
    store: &str,
    history: &History<'h>,
) -> Result<(Option<i64>, Vec<&'h Migration>), OpenError> {
    let failed = |error| OpenError::database(store, error);
    let sql = "SELECT version, checksum FROM schema_migrations ORDER BY version";
    let applied = conn.list(sql, (), |row| Ok((row.get::<i64>("version")?, row.get::<String>("checksum")?)));
    let applied = applied.map_err(failed)?;
    let latest_known = history.steps.iter().map(|step| step.version).max().unwrap_or(0);
    for (version, checksum) in &applied {
        match history.steps.iter().find(|known| known.version == *version) {
            None if oldest_reader(conn).map_err(failed)?.is_some_and(|oldest| oldest <= latest_known) => {
                tracing::warn!(
                    store,
                    version,
                    "the store has a schema step of a later version of penstock; it can be used"
                );
            }
            None => return Err(OpenError::NewerSchema { store: store.to_owned(), found: *version }),
            Some(known) if self::checksum(known.sql) != *checksum => {
                return Err(OpenError::ChangedMigration { store: store.to_owned(), version: *version });
            }
            Some(_) => {}
        }
    }
    let is_applied = |step: &&Migration| applied.iter().any(|(version, _)| *version == step.version);
    let missing = history.steps.iter().filter(|step| !is_applied(step)).collect();
    Ok((applied.last().map(|(version, _)| *version), missing))
}

fn note(conn: &dyn Connection, migration: &Migration) -> Result<(), SqlError> {
    conn.execute(
        "INSERT INTO schema_migrations (version, name, checksum, applied_at)
         VALUES (:version, :name, :checksum, :applied_at)",
        named! {
            ":version": migration.version,
            ":name": migration.name,
            ":checksum": checksum(migration.sql),
            ":applied_at": Timestamp::now().as_micros(),
        },
    )?;
    let oldest = oldest_reader(conn)?.unwrap_or(0).max(migration.oldest_reader);
    let sql = "INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    conn.execute(sql, (OLDEST_READER, oldest.to_string().into_bytes()))?;
    Ok(())
}

/// The latest step that a binary must know to use this store; `None` where no step has said it.
fn oldest_reader(conn: &dyn Connection) -> Result<Option<i64>, SqlError> {
    let stored = conn.value::<Vec<u8>>("SELECT value FROM meta WHERE name = ?1", (OLDEST_READER,))?;
    Ok(stored.and_then(|bytes| String::from_utf8(bytes).ok()?.parse().ok()))
}

fn checksum(sql: &str) -> String {
    Sha256::digest(sql).iter().map(|byte| format!("{byte:02x}")).collect()
}
