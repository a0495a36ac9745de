//! Rows of `backends`: records, own keys, uniqueness of name and URL.
//!
//! Owns the table's SQL and how a row becomes a [`Backend`]. Called by `catalog`; `associations`, `intent` and
//! `providers` read rows through it.

use std::collections::BTreeMap;

use crate::{
    domain::{
        backend::{ApiKey, Backend, BackendSpec, same_server, trim_url},
        ids::BackendId,
        page::Page,
        provider::{CloudProvider, ProviderKind},
    },
    stores::{
        catalog::StoreError,
        sql::{
            columns::{self, bounds, json, time, to_json},
            errors::SqlError,
            secrets::Place,
            session::{Session, Statements, Table},
            unlock,
            value::{Row, named},
        },
    },
};

const DEFAULT_WEIGHT: u32 = 1;
const DEFAULT_TIER: u32 = 0;

pub(super) fn create(session: &Session, spec: &BackendSpec) -> Result<Backend, StoreError> {
    insert(session, &BackendId::random(), spec)
}

/// Stores a backend under this id; for a provider's backend that is the provider's name.
pub(super) fn insert(session: &Session, id: &BackendId, spec: &BackendSpec) -> Result<Backend, StoreError> {
    let created_at = session.admit(Table::Backends)?;
    let no_labels = BTreeMap::new();
    let stored = session.find(
        "INSERT INTO backends (id, name, base_url, trimmed_url, kind, api_key, max_concurrency, weight, tier, cloud,
                               enabled, labels, created_at, updated_at)
         VALUES (:id, :name, :base_url, :trimmed_url, :kind, :api_key, :max_concurrency, :weight, :tier, :cloud,
                 :enabled, :labels, :created_at, :created_at)
         RETURNING *",
        named! {
            ":id": id.as_str(),
            ":name": &spec.name,
            ":base_url": &spec.base_url,
            ":trimmed_url": trim_url(&spec.base_url),
            ":kind": spec.kind.as_str(),
            ":api_key": seal_key(session, id, spec)?,
            ":max_concurrency": spec.max_concurrency,
            ":weight": spec.weight.unwrap_or(DEFAULT_WEIGHT),
            ":tier": spec.tier.unwrap_or(DEFAULT_TIER),
            ":cloud": spec.cloud,
            ":enabled": spec.enabled.unwrap_or(true),
            ":labels": to_json(spec.labels.as_ref().unwrap_or(&no_labels))?,
            ":created_at": created_at,
        },
        from_row,
    );
    stored.map_err(|error| conflict(error, id, spec))?.ok_or_else(|| not_found(id))
}

/// An update by a user, who cannot send a provider's backend elsewhere: its provider's key would follow.
pub(super) fn update(session: &Session, id: &BackendId, spec: &BackendSpec) -> Result<Backend, StoreError> {
    let stored = get(session, id)?;
    if let Some(provider) = CloudProvider::parse(id.as_str())
        && (stored.trimmed_url() != trim_url(&spec.base_url) || stored.kind != spec.kind)
    {
        let name = provider.as_str();
        return Err(StoreError::Invalid(format!(
            "baseUrl and type of the backend '{name}' are its provider's and cannot be changed here; \
             use /providers/{name}/configure"
        )));
    }
    replace(session, &stored, spec)
}

/// Writes what the spec says over what is stored. A key is for the server it was given for: it does not follow the
/// backend to another one.
pub(super) fn replace(session: &Session, stored: &Backend, spec: &BackendSpec) -> Result<Backend, StoreError> {
    let id = &stored.id;
    let keeps_key = stored.kind == spec.kind && same_server(&stored.base_url, &spec.base_url);
    let stored = session.find(
        "UPDATE backends SET
             name = :name, base_url = :base_url, trimmed_url = :trimmed_url, kind = :kind,
             api_key = COALESCE(:api_key, CASE WHEN :keeps_key THEN api_key END),
             max_concurrency = COALESCE(:max_concurrency, max_concurrency),
             weight = COALESCE(:weight, weight), tier = COALESCE(:tier, tier), cloud = COALESCE(:cloud, cloud),
             enabled = COALESCE(:enabled, enabled), labels = COALESCE(:labels, labels),
             updated_at = CASE WHEN :now > updated_at THEN :now ELSE updated_at END
         WHERE id = :id
         RETURNING *",
        named! {
            ":id": id.as_str(),
            ":name": &spec.name,
            ":base_url": &spec.base_url,
            ":trimmed_url": trim_url(&spec.base_url),
            ":kind": spec.kind.as_str(),
            ":api_key": seal_key(session, id, spec)?,
            ":keeps_key": keeps_key,
            ":max_concurrency": spec.max_concurrency,
            ":weight": spec.weight,
            ":tier": spec.tier,
            ":cloud": spec.cloud,
            ":enabled": spec.enabled,
            ":labels": spec.labels.as_ref().map(to_json).transpose()?,
            ":now": session.now(),
        },
        from_row,
    );
    stored.map_err(|error| conflict(error, id, spec))?.ok_or_else(|| not_found(id))
}

/// Assignments go with the row, and so does the key of the provider whose backend it is: a provider without a backend
/// would look configured and serve nothing.
pub(super) fn delete(session: &Session, id: &BackendId) -> Result<(), StoreError> {
    match session.execute("DELETE FROM backends WHERE id = ?1", (id.as_str(),))? {
        0 => Err(not_found(id)),
        _ => Ok(()),
    }
}

pub(super) fn get(session: &Session, id: &BackendId) -> Result<Backend, StoreError> {
    session.find("SELECT * FROM backends WHERE id = ?1", (id.as_str(),), from_row)?.ok_or_else(|| not_found(id))
}

pub(super) fn list(session: &Session, page: Page) -> Result<Vec<Backend>, StoreError> {
    let sql = "SELECT * FROM backends WHERE created_at < ?1 ORDER BY created_at DESC LIMIT ?2";
    Ok(session.list(sql, bounds(page), from_row)?)
}

pub(super) fn from_row(row: &Row<'_>) -> Result<Backend, SqlError> {
    Ok(Backend {
        id: BackendId::new(row.get::<String>("id")?),
        name: row.get("name")?,
        base_url: row.get("base_url")?,
        kind: columns::named(row, "kind", ProviderKind::parse)?,
        api_key_set: row.get::<Option<Vec<u8>>>("api_key")?.is_some(),
        max_concurrency: row.get("max_concurrency")?,
        weight: row.get("weight")?,
        tier: row.get("tier")?,
        cloud: row.get("cloud")?,
        enabled: row.get("enabled")?,
        labels: json(row, "labels")?,
        created_at: time(row, "created_at")?,
        updated_at: time(row, "updated_at")?,
    })
}

/// Where a backend's own key is sealed to.
pub(super) fn key_place(id: &str) -> Place<'_> {
    Place { table: "backends", row: id }
}

pub(super) fn not_found(id: &BackendId) -> StoreError {
    StoreError::NotFound(format!("backend '{id}' not found"))
}

fn seal_key(session: &Session, id: &BackendId, spec: &BackendSpec) -> Result<Option<Vec<u8>>, StoreError> {
    let seal = |key: &ApiKey| unlock::seal(session, key_place(id.as_str()), key);
    spec.api_key.as_ref().map(seal).transpose()
}

fn conflict(error: SqlError, id: &BackendId, spec: &BackendSpec) -> StoreError {
    let taken = match error.taken() {
        Some("backends.name") => format!("a backend named '{}' exists already", spec.name),
        Some("backends.trimmed_url") => format!("a backend with the baseUrl '{}' exists already", spec.base_url),
        Some("backends.id") => format!("a backend with the id '{id}' exists already"),
        _ => return error.into(),
    };
    StoreError::Conflict(taken)
}
