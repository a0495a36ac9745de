//! The schema's history in PostgreSQL's words: the same steps as the embedded store's, under the same numbers.

use crate::stores::sql::migrations::{History, Migration};

pub(super) const HISTORY: History<'static> = History {
    ledger: "CREATE TABLE IF NOT EXISTS schema_migrations (
        version    BIGINT PRIMARY KEY,
        name       TEXT NOT NULL,
        checksum   TEXT NOT NULL,
        applied_at BIGINT NOT NULL
    )",
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
