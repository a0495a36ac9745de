//! Rows of `hooks`: remote hooks, which chains find by name.
//!
//! Owns the table's SQL and how a row becomes a [`Hook`]. Called by `catalog`.

use crate::{
    domain::{
        hook::{Hook, HookSpec},
        ids::HookId,
        page::Page,
    },
    stores::{
        catalog::StoreError,
        sql::{
            columns::{bounds, time},
            errors::SqlError,
            session::{Session, Statements, Table},
            value::{Row, named},
        },
    },
};

pub(super) fn create(session: &Session, id: &HookId, spec: &HookSpec) -> Result<Hook, StoreError> {
    let created_at = session.admit(Table::Hooks)?;
    let stored = session.find(
        "INSERT INTO hooks (id, name, endpoint_url, method, timeout_ms, created_at, updated_at)
         VALUES (:id, :name, :endpoint_url, :method, :timeout_ms, :created_at, :created_at)
         RETURNING *",
        named! {
            ":id": id.as_str(),
            ":name": &spec.name,
            ":endpoint_url": &spec.endpoint_url,
            ":method": &spec.method,
            ":timeout_ms": spec.timeout_ms,
            ":created_at": created_at,
        },
        from_row,
    );
    stored.map_err(|error| conflict(error, id, spec))?.ok_or_else(|| not_found(id))
}

pub(super) fn update(session: &Session, id: &HookId, spec: &HookSpec) -> Result<Hook, StoreError> {
    let stored = session.find(
        "UPDATE hooks SET
             name = :name, endpoint_url = :endpoint_url, method = :method, timeout_ms = :timeout_ms,
             updated_at = CASE WHEN :now > updated_at THEN :now ELSE updated_at END
         WHERE id = :id
         RETURNING *",
        named! {
            ":id": id.as_str(),
            ":name": &spec.name,
            ":endpoint_url": &spec.endpoint_url,
            ":method": &spec.method,
            ":timeout_ms": spec.timeout_ms,
            ":now": session.now(),
        },
        from_row,
    );
    stored.map_err(|error| conflict(error, id, spec))?.ok_or_else(|| not_found(id))
}

pub(super) fn delete(session: &Session, id: &HookId) -> Result<(), StoreError> {
    match session.execute("DELETE FROM hooks WHERE id = ?1", (id.as_str(),))? {
        0 => Err(not_found(id)),
        _ => Ok(()),
    }
}

pub(super) fn get(session: &Session, id: &HookId) -> Result<Hook, StoreError> {
    session.find("SELECT * FROM hooks WHERE id = ?1", (id.as_str(),), from_row)?.ok_or_else(|| not_found(id))
}

pub(super) fn get_by_name(session: &Session, name: &str) -> Result<Hook, StoreError> {
    let found = session.find("SELECT * FROM hooks WHERE name = ?1", (name,), from_row)?;
    found.ok_or_else(|| StoreError::NotFound(format!("hook named '{name}' not found")))
}

pub(super) fn list(session: &Session, page: Page) -> Result<Vec<Hook>, StoreError> {
    let sql = "SELECT * FROM hooks WHERE created_at < ?1 ORDER BY created_at DESC LIMIT ?2";
    Ok(session.list(sql, bounds(page), from_row)?)
}

pub(super) fn names(session: &Session) -> Result<Vec<String>, StoreError> {
    Ok(session.list("SELECT name FROM hooks ORDER BY name", (), |row| row.only())?)
}

pub(super) fn from_row(row: &Row<'_>) -> Result<Hook, SqlError> {
    Ok(Hook {
        id: HookId::new(row.get::<String>("id")?),
        name: row.get("name")?,
        endpoint_url: row.get("endpoint_url")?,
        method: row.get("method")?,
        timeout_ms: row.get("timeout_ms")?,
        created_at: time(row, "created_at")?,
        updated_at: time(row, "updated_at")?,
    })
}

fn not_found(id: &HookId) -> StoreError {
    StoreError::NotFound(format!("hook '{id}' not found"))
}

fn conflict(error: SqlError, id: &HookId, spec: &HookSpec) -> StoreError {
    let taken = match error.taken() {
        Some("hooks.name") => format!("a hook named '{}' exists already", spec.name),
        Some("hooks.id") => format!("a hook with the id '{id}' exists already"),
        _ => return error.into(),
    };
    StoreError::Conflict(taken)
}
