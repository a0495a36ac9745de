//! `GET /v1/models` and `GET /v1/models/{id}`: every model that a client may name.

use crate::{
    api::{
        Api, Reply,
        model_catalog::{self, CallableModel, Origin},
        scope::Scope,
    },
    dialect::openai_front::models::{ModelEntry, ModelList},
    error::Error,
};

/// All of them, as far as the request's headers allow.
///
/// # Errors
/// 404 for an unknown pool; of the store.
pub async fn models(api: &Api, scope: &Scope) -> Result<Reply, Error> {
    let known = model_catalog::list(api, scope).await?;
    Reply::json(&ModelList::of(known.into_iter().map(entry).collect()))
}

/// One of them.
///
/// # Errors
/// 404 for an unknown model, 503 for one that nobody serves now.
pub async fn model(api: &Api, scope: &Scope, name: &str) -> Result<Reply, Error> {
    let known = model_catalog::find(api, scope, name).await.map_err(super::of_model)?;
    Reply::json(&entry(known))
}

fn entry(model: CallableModel) -> ModelEntry {
    let owner = match (model.origin, model.kinds.first()) {
        (Origin::Local | Origin::Cloud, Some(kind)) => kind.as_str(),
        _ => "penstock",
    };
    ModelEntry::new(model.name, model.created_at.as_unix_seconds(), owner.to_owned(), model.context_length)
}
