//! The schema's history in SQLite's words.

use crate::stores::sql::migrations::{History, Migration};

pub(super) const HISTORY: History<'static> = History {
    ledger: "CREATE TABLE IF NOT EXISTS schema_migrations (
        version    INTEGER PRIMARY KEY NOT NULL,
        name       TEXT NOT NULL,
        checksum   TEXT NOT NULL,
        applied_at INTEGER NOT NULL
    ) STRICT",
    steps: &[
        Migration { version: 1, name: "catalog", oldest_reader: 1, sql: include_str!("migrations/0001_catalog.sql") },
        Migration { version: 2, name: "chains", oldest_reader: 2, sql: include_str!("migrations/0002_chains.sql") },
        Migration { version: 3, name: "aliases", oldest_reader: 3, sql: include_str!("migrations/0003_aliases.sql") },
        Migration {
            version: 4,
            name: "pool_calls",
            oldest_reader: 4,
            sql: include_str!("migrations/0004_pool_calls.sql"),
        },
        Migration { version: 5, name: "tokens", oldest_reader: 4, sql: include_str!("migrations/0005_tokens.sql") },
        Migration { version: 6, name: "leases", oldest_reader: 4, sql: include_str!("migrations/0006_leases.sql") },
    ],
};

#[cfg(test)]
mod tests {
    use super::HISTORY;
    use crate::stores::{
        embedded::connection::{SqliteConnection, writing},
        sql::{
            OpenError,
            migrations::{History, Migration, migrate},
            session::{Connection, Statements},
        },
    };

    const ONE: Migration = Migration {
        version: 1,
        name: "one",
        oldest_reader: 1,
        sql: "CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB)",
    };
    const TWO: Migration =
        Migration { version: 2, name: "two", oldest_reader: 2, sql: "CREATE TABLE two (id INTEGER)" };

    fn connection() -> SqliteConnection {
        writing(std::path::Path::new(":memory:"))
    }

    fn apply_to(conn: &SqliteConnection, steps: &[Migration]) -> Result<(), OpenError> {
        migrate(conn, "penstock.db", &History { ledger: HISTORY.ledger, steps }, |_| Ok(()))
    }

    fn tables(conn: &SqliteConnection) -> Vec<String> {
        let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name <> 'schema_migrations' ORDER BY name";
        let conn: &dyn Connection = conn;
        conn.list(sql, (), |row| row.only()).unwrap()
    }

    #[test]
    fn steps_run_once_and_later_ones_follow() {
        let conn = connection();
        apply_to(&conn, &[ONE]).unwrap();
        apply_to(&conn, &[ONE]).unwrap();
        apply_to(&conn, &[ONE, TWO]).unwrap();
        assert_eq!(tables(&conn), ["meta", "two"]);
    }

    #[test]
    fn an_older_binary_refuses_a_store_that_it_cannot_use_and_takes_one_that_it_can() {
        let conn = connection();
        apply_to(&conn, &[ONE, TWO]).unwrap();
        assert!(matches!(apply_to(&conn, &[ONE]), Err(OpenError::NewerSchema { found: 2, .. })));

        let conn = connection();
        apply_to(&conn, &[ONE, Migration { oldest_reader: 1, ..TWO }]).unwrap();
        apply_to(&conn, &[ONE]).unwrap();
        // Only as far as every one of the later steps allows it.
        let three = Migration { version: 3, oldest_reader: 2, name: "three", sql: "CREATE TABLE three (id INTEGER)" };
        apply_to(&conn, &[ONE, Migration { oldest_reader: 1, ..TWO }, three]).unwrap();
        assert!(matches!(apply_to(&conn, &[ONE]), Err(OpenError::NewerSchema { found: 2, .. })));
        apply_to(&conn, &[ONE, TWO]).unwrap();
    }

    #[test]
    fn an_applied_step_may_not_change() {
        let conn = connection();
        apply_to(&conn, &[ONE]).unwrap();
        let changed = Migration { sql: "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT)", ..ONE };
        assert!(matches!(apply_to(&conn, &[changed]), Err(OpenError::ChangedMigration { version: 1, .. })));
    }

    #[test]
    fn a_failing_step_leaves_nothing_of_its_run_behind() {
        let conn = connection();
        let broken = Migration { sql: "CREATE TABLE half (id INTEGER); nonsense", ..TWO };
        assert!(apply_to(&conn, &[ONE, broken]).is_err());
        assert!(tables(&conn).is_empty());
    }
}
