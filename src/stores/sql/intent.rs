//! Everything the runtime acts on, read as of one moment.
//!
//! Owns the rule which key a backend's calls use. Called by `catalog`.

use crate::{
    domain::{
        backend::{ApiKey, Backend},
        ids::{BackendId, PoolId},
        intent::{BackendIntent, BackendMembership, Intent, ModelMembership},
    },
    stores::{
        catalog::StoreError,
        sql::{
            aliases, backends,
            columns::time,
            errors::SqlError,
            models, pools, providers,
            session::{Session, Statements},
            tokens, unlock,
            value::Row,
        },
    },
};

pub(super) fn read(session: &Session) -> Result<Intent, StoreError> {
    session.at_one_time(|| {
        let backends = session.list(
            "SELECT b.*, k.api_key AS provider_key
             FROM backends b LEFT JOIN provider_keys k ON k.provider = b.id ORDER BY b.created_at",
            (),
            StoredBackend::from_row,
        )?;
        Ok(Intent {
            backends: backends.into_iter().map(|stored| stored.into_intent(session)).collect(),
            pools: session.list("SELECT * FROM pools ORDER BY created_at", (), pools::from_row)?,
            models: session.list("SELECT * FROM models ORDER BY created_at", (), models::from_row)?,
            backend_members: session.list("SELECT * FROM pool_backends ORDER BY created_at", (), backend_member)?,
            aliases: session.list("SELECT * FROM aliases ORDER BY created_at", (), aliases::from_row)?,
            tokens: tokens::intents(session)?,
            model_members: session.list("SELECT * FROM pool_models ORDER BY created_at", (), model_member)?,
        })
    })
}

struct StoredBackend {
    backend: Backend,
    own_key: Option<Vec<u8>>,
    provider_key: Option<Vec<u8>>,
}

impl StoredBackend {
    fn from_row(row: &Row<'_>) -> Result<Self, SqlError> {
        Ok(Self {
            backend: backends::from_row(row)?,
            own_key: row.get("api_key")?,
            provider_key: row.get("provider_key")?,
        })
    }

    fn into_intent(self, session: &Session) -> BackendIntent {
        let api_key = self.key(session);
        BackendIntent { backend: self.backend, api_key }
    }

    /// Its own key, else, for a provider's own backend, the provider's. A provider's key never goes to another backend
    /// of the same kind: that may be anybody's server. A damaged key costs its backend only.
    fn key(&self, session: &Session) -> Option<ApiKey> {
        let id = &self.backend.id;
        let (place, sealed) = match (&self.own_key, &self.provider_key) {
            (Some(own), _) => (backends::key_place(id.as_str()), own),
            (None, Some(providers)) => (providers::key_place(id.as_str()), providers),
            (None, None) => return None,
        };
        unlock::open(session, place, sealed)
            .inspect_err(|error| tracing::error!(backend = %id, error = %error, "its stored key is unusable"))
            .ok()
    }
}

fn backend_member(row: &Row<'_>) -> Result<BackendMembership, SqlError> {
    Ok(BackendMembership {
        pool: PoolId::new(row.get::<String>("pool_id")?),
        backend: BackendId::new(row.get::<String>("backend_id")?),
        created_at: time(row, "created_at")?,
    })
}

fn model_member(row: &Row<'_>) -> Result<ModelMembership, SqlError> {
    Ok(ModelMembership {
        pool: PoolId::new(row.get::<String>("pool_id")?),
        model: row.get("model_id")?,
        created_at: time(row, "created_at")?,
    })
}
