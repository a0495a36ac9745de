//! What all instances of one store have in common, and no others: a name that is made with it.
//!
//! Owns `cluster` in `meta`. Called when a store is opened.

use crate::stores::sql::{
    errors::OpenError,
    session::{Connection, Statements, Step},
};

const NAME: &str = "cluster";

/// The name of this store, made at its first start.
pub(in crate::stores) fn identity(conn: &dyn Connection, store: &str) -> Result<String, OpenError> {
    let made = uuid::Uuid::new_v4().simple().to_string();
    let outcome = conn.step(Step::BeginWriting).and_then(|()| {
        let sql = "INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO NOTHING";
        conn.execute(sql, (NAME, made.clone().into_bytes()))?;
        let stored = conn.value::<Vec<u8>>("SELECT value FROM meta WHERE name = ?1", (NAME,))?;
        conn.step(Step::Commit)?;
        Ok(stored.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or(made))
    });
    conn.rest();
    outcome.map_err(|error| OpenError::database(store, error))
}
