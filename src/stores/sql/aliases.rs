//! Rows of `aliases`: names of our own for models.
//!
//! Owns the table's SQL and how a row becomes an [`Alias`]. Called by `catalog`; `intent` reads rows through it.

use crate::{
    domain::{
        alias::{Alias, AliasSpec},
        page::Page,
    },
    stores::{
        catalog::StoreError,
        sql::{
            columns::{bounds, json, time, to_json},
            errors::SqlError,
            session::{Session, Statements, Table},
            value::{Row, named},
        },
    },
};

pub(super) fn create(session: &Session, spec: &AliasSpec) -> Result<Alias, StoreError> {
    let created_at = session.admit(Table::Aliases)?;
    let stored = session.find(
        "INSERT INTO aliases (name, targets, created_at, updated_at)
         VALUES (:name, :targets, :created_at, :created_at)
         RETURNING *",
        named! { ":name": &spec.name, ":targets": to_json(&spec.targets)?, ":created_at": created_at },
        from_row,
    );
    stored.map_err(|error| conflict(error, &spec.name))?.ok_or_else(|| not_found(&spec.name))
}

pub(super) fn update(session: &Session, name: &str, spec: &AliasSpec) -> Result<Alias, StoreError> {
    let stored = session.find(
        "UPDATE aliases SET name = :new_name, targets = :targets, updated_at = CASE WHEN :now > updated_at THEN :now ELSE updated_at END
         WHERE name = :name
         RETURNING *",
        named! {
            ":name": name,
            ":new_name": &spec.name,
            ":targets": to_json(&spec.targets)?,
            ":now": session.now(),
        },
        from_row,
    );
    stored.map_err(|error| conflict(error, &spec.name))?.ok_or_else(|| not_found(name))
}

pub(super) fn delete(session: &Session, name: &str) -> Result<(), StoreError> {
    match session.execute("DELETE FROM aliases WHERE name = ?1", (name,))? {
        0 => Err(not_found(name)),
        _ => Ok(()),
    }
}

pub(super) fn get(session: &Session, name: &str) -> Result<Alias, StoreError> {
    session.find("SELECT * FROM aliases WHERE name = ?1", (name,), from_row)?.ok_or_else(|| not_found(name))
}

pub(super) fn list(session: &Session, page: Page) -> Result<Vec<Alias>, StoreError> {
    let sql = "SELECT * FROM aliases WHERE created_at < ?1 ORDER BY created_at DESC LIMIT ?2";
    Ok(session.list(sql, bounds(page), from_row)?)
}

pub(super) fn from_row(row: &Row<'_>) -> Result<Alias, SqlError> {
    Ok(Alias {
        name: row.get("name")?,
        targets: json(row, "targets")?,
        created_at: time(row, "created_at")?,
        updated_at: time(row, "updated_at")?,
    })
}

fn not_found(name: &str) -> StoreError {
    StoreError::NotFound(format!("alias '{name}' not found"))
}

fn conflict(error: SqlError, name: &str) -> StoreError {
    match error.taken() {
        Some("aliases.name") => StoreError::Conflict(format!("an alias named '{name}' exists already")),
        _ => error.into(),
    }
}
