//! Rows of `tokens`: API tokens, by their hashes.
//!
//! Owns the table's SQL and how a row becomes a [`Token`]. Called by `catalog`; `intent` reads rows through it.

use crate::{
    domain::{
        ids::TokenId,
        intent::TokenIntent,
        page::Page,
        time::Timestamp,
        token::{Token, TokenHash, TokenSpec, TokenText},
    },
    stores::{
        catalog::StoreError,
        sql::{
            columns::{bounds, json, time, to_json},
            errors::{Cause, SqlError},
            session::{Session, Statements, Table},
            value::{Row, named},
        },
    },
};

pub(super) fn create(session: &Session, spec: &TokenSpec, text: &TokenText) -> Result<Token, StoreError> {
    let created_at = session.admit(Table::Tokens)?;
    let id = TokenId::random();
    let stored = session.find(
        "INSERT INTO tokens (id, name, hash, hint, scopes, limits, expires_at, created_at, updated_at)
         VALUES (:id, :name, :hash, :hint, :scopes, :limits, :expires_at, :created_at, :created_at)
         RETURNING *",
        named! {
            ":id": id.as_str(),
            ":name": &spec.name,
            ":hash": text.hash().0.to_vec(),
            ":hint": text.hint(),
            ":scopes": to_json(&spec.scopes)?,
            ":limits": to_json(&spec.limits)?,
            ":expires_at": spec.expires_at.map(Timestamp::as_micros),
            ":created_at": created_at,
        },
        from_row,
    );
    stored.map_err(|error| conflict(error, &spec.name))?.ok_or_else(|| not_found(&id))
}

pub(super) fn update(session: &Session, id: &TokenId, spec: &TokenSpec) -> Result<Token, StoreError> {
    let stored = session.find(
        "UPDATE tokens SET
             name = :name, scopes = :scopes, limits = :limits, expires_at = :expires_at,
             updated_at = CASE WHEN :now > updated_at THEN :now ELSE updated_at END
         WHERE id = :id
         RETURNING *",
        named! {
            ":id": id.as_str(),
            ":name": &spec.name,
            ":scopes": to_json(&spec.scopes)?,
            ":limits": to_json(&spec.limits)?,
            ":expires_at": spec.expires_at.map(Timestamp::as_micros),
            ":now": session.now(),
        },
        from_row,
    );
    stored.map_err(|error| conflict(error, &spec.name))?.ok_or_else(|| not_found(id))
}

pub(super) fn delete(session: &Session, id: &TokenId) -> Result<(), StoreError> {
    match session.execute("DELETE FROM tokens WHERE id = ?1", (id.as_str(),))? {
        0 => Err(not_found(id)),
        _ => Ok(()),
    }
}

pub(super) fn get(session: &Session, id: &TokenId) -> Result<Token, StoreError> {
    session.find("SELECT * FROM tokens WHERE id = ?1", (id.as_str(),), from_row)?.ok_or_else(|| not_found(id))
}

pub(super) fn list(session: &Session, page: Page) -> Result<Vec<Token>, StoreError> {
    let sql = "SELECT * FROM tokens WHERE created_at < ?1 ORDER BY created_at DESC LIMIT ?2";
    Ok(session.list(sql, bounds(page), from_row)?)
}

/// Every token with its hash, oldest first.
pub(super) fn intents(session: &Session) -> Result<Vec<TokenIntent>, SqlError> {
    session.list("SELECT * FROM tokens ORDER BY created_at", (), |row| {
        let hash = row.get::<Vec<u8>>("hash")?.try_into();
        let hash = TokenHash(hash.map_err(|_| SqlError::from(Cause::OtherType { column: "hash" }))?);
        Ok(TokenIntent { token: from_row(row)?, hash })
    })
}

pub(super) fn from_row(row: &Row<'_>) -> Result<Token, SqlError> {
    Ok(Token {
        id: TokenId::new(row.get::<String>("id")?),
        name: row.get("name")?,
        scopes: json(row, "scopes")?,
        limits: json(row, "limits")?,
        hint: row.get("hint")?,
        expires_at: row.get::<Option<i64>>("expires_at")?.map(Timestamp::from_micros),
        created_at: time(row, "created_at")?,
        updated_at: time(row, "updated_at")?,
    })
}

fn not_found(id: &TokenId) -> StoreError {
    StoreError::NotFound(format!("token '{id}' not found"))
}

fn conflict(error: SqlError, name: &str) -> StoreError {
    match error.taken() {
        Some("tokens.name") => StoreError::Conflict(format!("a token named '{name}' exists already")),
        _ => error.into(),
    }
}
