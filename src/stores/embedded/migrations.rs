//! The schema's history: numbered, forward-only, each step applied once and never edited afterwards.
//!
//! Owns `schema_migrations`. Called by `EmbeddedStore::open` before anything else reads the file. To change the
//! schema, add a file and an entry; a binary that is older than the file refuses to open it.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};
use sha2::{Digest, Sha256};

use crate::{domain::time::Timestamp, stores::embedded::errors::OpenError};

struct Migration {
    version: i64,
    name: &'static str,
    sql: &'static str,
}

const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "catalog", sql: include_str!("migrations/0001_catalog.sql") },
    Migration { version: 2, name: "chains", sql: include_str!("migrations/0002_chains.sql") },
    Migration { version: 3, name: "aliases", sql: include_str!("migrations/0003_aliases.sql") },
    Migration { version: 4, name: "pool_calls", sql: include_str!("migrations/0004_pool_calls.sql") },
];

/// Brings the file to this binary's schema, all missing steps in one transaction.
pub(super) fn migrate(conn: &mut Connection, path: &Path) -> Result<(), OpenError> {
    apply(conn, path, MIGRATIONS)
}

fn apply(conn: &mut Connection, path: &Path, migrations: &[Migration]) -> Result<(), OpenError> {
    let failed = |error| OpenError::database(path, error);
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    tx.execute_batch(
        "CREATE TABLE IF NOT EXISTS schema_migrations (
             version    INTEGER PRIMARY KEY NOT NULL,
             name       TEXT NOT NULL,
             checksum   TEXT NOT NULL,
             applied_at INTEGER NOT NULL
         ) STRICT",
    )
    .map_err(failed)?;
    let applied: Vec<(i64, String)> = tx
        .prepare("SELECT version, checksum FROM schema_migrations ORDER BY version")
        .and_then(|mut rows| rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect())
        .map_err(failed)?;

    for (version, checksum) in &applied {
        match migrations.iter().find(|known| known.version == *version) {
            None => return Err(OpenError::NewerSchema { path: path.to_owned(), found: *version }),
            Some(known) if self::checksum(known.sql) != *checksum => {
                return Err(OpenError::ChangedMigration { path: path.to_owned(), version: *version });
            }
            Some(_) => {}
        }
    }
    for migration in migrations.iter().filter(|known| applied.iter().all(|(version, _)| *version != known.version)) {
        tx.execute_batch(migration.sql).map_err(failed)?;
        tx.execute(
            "INSERT INTO schema_migrations (version, name, checksum, applied_at) VALUES (?1, ?2, ?3, ?4)",
            (migration.version, migration.name, checksum(migration.sql), Timestamp::now().as_micros()),
        )
        .map_err(failed)?;
        tracing::info!(version = migration.version, name = migration.name, "store schema migrated");
    }
    tx.commit().map_err(failed)
}

fn checksum(sql: &str) -> String {
    Sha256::digest(sql).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Migration = Migration { version: 1, name: "one", sql: "CREATE TABLE one (id INTEGER)" };
    const TWO: Migration = Migration { version: 2, name: "two", sql: "CREATE TABLE two (id INTEGER)" };

    fn apply_to(conn: &mut Connection, migrations: &[Migration]) -> Result<(), OpenError> {
        apply(conn, Path::new("penstock.db"), migrations)
    }

    fn tables(conn: &Connection) -> Vec<String> {
        let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name <> 'schema_migrations' ORDER BY name";
        let mut rows = conn.prepare(sql).unwrap();
        rows.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn steps_run_once_and_later_ones_follow() {
        let mut conn = Connection::open_in_memory().unwrap();
        apply_to(&mut conn, &[ONE]).unwrap();
        apply_to(&mut conn, &[ONE]).unwrap();
        apply_to(&mut conn, &[ONE, TWO]).unwrap();
        assert_eq!(tables(&conn), ["one", "two"]);
    }

    #[test]
    fn an_older_binary_refuses_a_newer_file() {
        let mut conn = Connection::open_in_memory().unwrap();
        apply_to(&mut conn, &[ONE, TWO]).unwrap();
        assert!(matches!(apply_to(&mut conn, &[ONE]), Err(OpenError::NewerSchema { found: 2, .. })));
    }

    #[test]
    fn an_applied_step_may_not_change() {
        let mut conn = Connection::open_in_memory().unwrap();
        apply_to(&mut conn, &[ONE]).unwrap();
        let changed = Migration { sql: "CREATE TABLE one (id TEXT)", ..ONE };
        assert!(matches!(apply_to(&mut conn, &[changed]), Err(OpenError::ChangedMigration { version: 1, .. })));
    }

    #[test]
    fn a_failing_step_leaves_nothing_of_its_run_behind() {
        let mut conn = Connection::open_in_memory().unwrap();
        let broken = Migration { sql: "CREATE TABLE half (id INTEGER); nonsense", ..TWO };
        assert!(apply_to(&mut conn, &[ONE, broken]).is_err());
        assert!(tables(&conn).is_empty());
    }
}
