//! Rows of `provider_keys`: the sealed keys of the cloud providers, each beside its provider's backend.
//!
//! Owns the table's SQL. A row hangs on the backend whose id is the provider's name, so that neither outlives the
//! other. Called by `catalog`; `intent` reads keys through it.

use crate::{
    domain::{
        backend::{ApiKey, BackendSpec},
        ids::BackendId,
        page::Page,
        provider::{CloudProvider, ProviderConfig},
        time::Timestamp,
    },
    stores::{
        catalog::StoreError,
        sql::{
            backends,
            columns::{bounds, named, time},
            errors::{Cause, SqlError},
            secrets::Place,
            session::{Session, Statements, Table},
            unlock,
            value::Row,
        },
    },
};

pub(super) fn configure(
    session: &Session,
    provider: CloudProvider,
    key: &ApiKey,
    base_url: String,
    upsert: bool,
) -> Result<ProviderConfig, StoreError> {
    let name = provider.as_str();
    if session.exists("SELECT 1 FROM provider_keys WHERE provider = ?1", (name,))? {
        if !upsert {
            return Err(StoreError::Invalid(format!(
                "provider '{name}' is configured already: set upsert to true to replace its key"
            )));
        }
        let stored = backends::get(session, &backend_of(provider))?;
        backends::replace(session, &stored, &spec(provider, base_url))?;
        let sealed = unlock::seal(session, key_place(name), key)?;
        let sql = "UPDATE provider_keys SET api_key = ?2, updated_at = CASE WHEN ?3 > updated_at THEN ?3 ELSE updated_at END WHERE provider = ?1";
        session.execute(sql, (name, sealed, session.now()))?;
    } else {
        match backends::get(session, &backend_of(provider)) {
            // It came by an import without secrets, and keeps what it was given.
            Ok(stored) => drop(backends::replace(session, &stored, &spec(provider, base_url))?),
            Err(StoreError::NotFound(_)) => {
                backends::insert(session, &backend_of(provider), &spec(provider, base_url))?;
            }
            Err(error) => return Err(error),
        }
        let created_at = session.admit(Table::ProviderKeys)?;
        let sealed = unlock::seal(session, key_place(name), key)?;
        let sql = "INSERT INTO provider_keys (provider, api_key, created_at, updated_at) VALUES (?1, ?2, ?3, ?3)";
        session.execute(sql, (name, sealed, created_at))?;
    }
    get(session, provider)
}

pub(super) fn get(session: &Session, provider: CloudProvider) -> Result<ProviderConfig, StoreError> {
    let sql = "SELECT * FROM provider_keys WHERE provider = ?1";
    session
        .find(sql, (provider.as_str(),), StoredKey::from_row)?
        .ok_or_else(|| not_found(provider))?
        .into_config(session)
}

/// The key hangs on the backend and goes with it.
pub(super) fn delete(session: &Session, provider: CloudProvider) -> Result<(), StoreError> {
    let sql = "DELETE FROM backends WHERE id IN (SELECT provider FROM provider_keys WHERE provider = ?1)";
    match session.execute(sql, (provider.as_str(),))? {
        0 => Err(not_found(provider)),
        _ => Ok(()),
    }
}

pub(super) fn list(session: &Session, page: Page) -> Result<Vec<ProviderConfig>, StoreError> {
    let sql = "SELECT * FROM provider_keys WHERE created_at < ?1 ORDER BY created_at DESC LIMIT ?2";
    let stored = session.list(sql, bounds(page), StoredKey::from_row)?;
    stored.into_iter().map(|key| key.into_config(session)).collect()
}

/// Where a provider's key is sealed to.
pub(super) fn key_place(provider: &str) -> Place<'_> {
    Place { table: "provider_keys", row: provider }
}

struct StoredKey {
    provider: CloudProvider,
    sealed: Vec<u8>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl StoredKey {
    fn from_row(row: &Row<'_>) -> Result<Self, SqlError> {
        Ok(Self {
            provider: named(row, "provider", CloudProvider::parse)?,
            sealed: row.get("api_key")?,
            created_at: time(row, "created_at")?,
            updated_at: time(row, "updated_at")?,
        })
    }

    fn into_config(self, session: &Session) -> Result<ProviderConfig, StoreError> {
        let key = unlock::open(session, key_place(self.provider.as_str()), &self.sealed).map_err(Cause::internal)?;
        Ok(ProviderConfig {
            provider: self.provider,
            masked_key: key.masked(),
            created_at: self.created_at,
            updated_at: self.updated_at,
        })
    }
}

fn backend_of(provider: CloudProvider) -> BackendId {
    BackendId::new(provider.as_str())
}

/// Of an existing backend this refreshes name, kind and URL and keeps the rest.
fn spec(provider: CloudProvider, base_url: String) -> BackendSpec {
    BackendSpec {
        name: provider.as_str().to_owned(),
        base_url,
        kind: provider.kind(),
        api_key: None,
        max_concurrency: None,
        weight: None,
        tier: None,
        cloud: None,
        enabled: None,
        labels: None,
    }
}

fn not_found(provider: CloudProvider) -> StoreError {
    StoreError::NotFound(format!("provider config '{}' not found", provider.as_str()))
}
