//! Rows of `pools`.
//!
//! Owns the table's SQL and how a row becomes a [`Pool`]. Called by `catalog`; `associations`, `intent` and `seed` read
//! rows through it.

use crate::{
    domain::{
        ids::PoolId,
        page::Page,
        pool::{Policy, Pool, PoolPatch},
    },
    stores::{
        catalog::StoreError,
        sql::{
            columns::{self, bounds, json, time, to_json},
            errors::SqlError,
            session::{Session, Statements, Table},
            value::{Row, named},
        },
    },
};

pub(super) fn create(session: &Session, patch: &PoolPatch) -> Result<Pool, StoreError> {
    let created_at = session.admit(Table::Pools)?;
    insert(session, &PoolId::random(), patch, created_at)
}

/// Stores a pool under this id, whatever the cap: the seeded ones must exist.
pub(super) fn insert(session: &Session, id: &PoolId, patch: &PoolPatch, created_at: i64) -> Result<Pool, StoreError> {
    let Some(name) = &patch.name else {
        return Err(StoreError::Invalid("name is required".to_owned()));
    };
    let stored = session.find(
        "INSERT INTO pools (id, name, purpose_type, policy, queue, require_labels, calls, created_at, updated_at)
         VALUES (:id, :name, :purpose_type, :policy, :queue, :require_labels, :calls, :created_at, :created_at)
         RETURNING *",
        named! {
            ":id": id.as_str(),
            ":name": name,
            ":purpose_type": patch.purpose_type.as_deref().unwrap_or_default(),
            ":policy": patch.policy.unwrap_or_default().as_str(),
            ":queue": to_json(&patch.queue.unwrap_or_default())?,
            ":require_labels": to_json(&patch.require_labels.clone().unwrap_or_default())?,
            ":calls": to_json(&patch.calls.unwrap_or_default())?,
            ":created_at": created_at,
        },
        from_row,
    );
    stored.map_err(|error| conflict(error, id, patch))?.ok_or_else(|| not_found(id))
}

pub(super) fn update(session: &Session, id: &PoolId, patch: &PoolPatch) -> Result<Pool, StoreError> {
    let stored = session.find(
        "UPDATE pools SET
             name = COALESCE(:name, name), purpose_type = COALESCE(:purpose_type, purpose_type),
             policy = COALESCE(:policy, policy), queue = COALESCE(:queue, queue),
             require_labels = COALESCE(:require_labels, require_labels), calls = COALESCE(:calls, calls),
             updated_at = CASE WHEN :now > updated_at THEN :now ELSE updated_at END
         WHERE id = :id
         RETURNING *",
        named! {
            ":id": id.as_str(),
            ":name": patch.name.as_ref(),
            ":purpose_type": patch.purpose_type.as_ref(),
            ":policy": patch.policy.map(Policy::as_str),
            ":queue": patch.queue.as_ref().map(to_json).transpose()?,
            ":require_labels": patch.require_labels.as_ref().map(to_json).transpose()?,
            ":calls": patch.calls.as_ref().map(to_json).transpose()?,
            ":now": session.now(),
        },
        from_row,
    );
    stored.map_err(|error| conflict(error, id, patch))?.ok_or_else(|| not_found(id))
}

pub(super) fn delete(session: &Session, id: &PoolId) -> Result<(), StoreError> {
    match session.execute("DELETE FROM pools WHERE id = ?1", (id.as_str(),))? {
        0 => Err(not_found(id)),
        _ => Ok(()),
    }
}

pub(super) fn get(session: &Session, id: &PoolId) -> Result<Pool, StoreError> {
    find(session, id)?.ok_or_else(|| not_found(id))
}

pub(super) fn find(session: &Session, id: &PoolId) -> Result<Option<Pool>, StoreError> {
    Ok(session.find("SELECT * FROM pools WHERE id = ?1", (id.as_str(),), from_row)?)
}

pub(super) fn get_by_name(session: &Session, name: &str) -> Result<Pool, StoreError> {
    let found = session.find("SELECT * FROM pools WHERE name = ?1", (name,), from_row)?;
    found.ok_or_else(|| StoreError::NotFound(format!("pool named '{name}' not found")))
}

pub(super) fn list(session: &Session) -> Result<Vec<Pool>, StoreError> {
    Ok(session.list("SELECT * FROM pools ORDER BY created_at DESC", (), from_row)?)
}

pub(super) fn list_by_purpose(session: &Session, purpose: &str, page: Page) -> Result<Vec<Pool>, StoreError> {
    let (before, limit) = bounds(page);
    let sql = "SELECT * FROM pools WHERE purpose_type = ?1 AND created_at < ?2 ORDER BY created_at DESC LIMIT ?3";
    Ok(session.list(sql, (purpose, before, limit), from_row)?)
}

pub(super) fn from_row(row: &Row<'_>) -> Result<Pool, SqlError> {
    Ok(Pool {
        id: PoolId::new(row.get::<String>("id")?),
        name: row.get("name")?,
        purpose_type: row.get("purpose_type")?,
        policy: columns::named(row, "policy", Policy::parse)?,
        queue: json(row, "queue")?,
        require_labels: json(row, "require_labels")?,
        calls: json(row, "calls")?,
        created_at: time(row, "created_at")?,
        updated_at: time(row, "updated_at")?,
    })
}

pub(super) fn not_found(id: &PoolId) -> StoreError {
    StoreError::NotFound(format!("pool '{id}' not found"))
}

fn conflict(error: SqlError, id: &PoolId, patch: &PoolPatch) -> StoreError {
    let taken = match error.taken() {
        Some("pools.name") => {
            format!("a pool named '{}' exists already", patch.name.as_deref().unwrap_or_default())
        }
        Some("pools.id") => format!("a pool with the id '{id}' exists already"),
        _ => return error.into(),
    };
    StoreError::Conflict(taken)
}
