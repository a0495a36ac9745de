//! `/models` and `/internal/models` (`docs/api.md`, models).

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use utoipa::ToSchema;

use super::{Api, Reply, fields};
use crate::{
    domain::{
        model::{Capabilities, Model, ModelPatch, same_model},
        page::Page,
        time::Timestamp,
    },
    error::{Error, ErrorCode},
};

/// Body of POST and PUT.
#[derive(Deserialize, Default, ToSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct ModelInput {
    /// Of any type: a POST ignores it, a PUT compares it.
    #[schema(value_type = serde_json::Value)]
    id: Option<Json>,
    model: Option<String>,
    context_length: Option<i64>,
    can_chat: Option<bool>,
    can_embed: Option<bool>,
    can_prompt: Option<bool>,
    can_stream: Option<bool>,
}

impl ModelInput {
    fn check(self) -> Result<ModelPatch, Error> {
        if self.context_length.is_some_and(|tokens| tokens < 0) {
            return Err(Error::unprocessable("field 'contextLength' must not be negative"));
        }
        Ok(ModelPatch {
            model: self.model.map(|model| fields::required("model", &model)).transpose()?,
            context_length: self.context_length,
            can_chat: self.can_chat,
            can_embed: self.can_embed,
            can_prompt: self.can_prompt,
            can_stream: self.can_stream,
        })
    }
}

/// A model as the API shows it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Model)]
pub(super) struct ModelView {
    id: String,
    model: String,
    context_length: i64,
    #[serde(flatten)]
    capabilities: Capabilities,
    created_at: Timestamp,
    updated_at: Timestamp,
}

/// A model with the best that is known: declared, else seen on a backend, else guessed from the name.
pub(super) fn view(api: &Api, model: Model) -> ModelView {
    let is_unknown = model.capabilities.is_none() || model.context_length == 0;
    let observed = is_unknown
        .then(|| {
            let backends = api.runtime.directory.backends();
            backends
                .values()
                .find_map(|cell| cell.view().observed.iter().find(|seen| same_model(&seen.name, &model.name)).cloned())
        })
        .flatten();
    let seen_length = observed.as_ref().map_or(0, |seen| seen.context_length);
    let seen_capabilities = observed.map(|seen| seen.capabilities);
    ModelView {
        context_length: if model.context_length > 0 { model.context_length } else { seen_length },
        capabilities: model.capabilities.or(seen_capabilities).unwrap_or_else(|| model.known_capabilities()),
        id: model.id,
        model: model.name,
        created_at: model.created_at,
        updated_at: model.updated_at,
    }
}

/// `POST /models`.
///
/// # Errors
/// 422, 409, 429.
pub async fn create(api: &Api, input: ModelInput) -> Result<Reply, Error> {
    let patch = input.check()?;
    if patch.model.is_none() {
        return Err(fields::missing("model"));
    }
    let model = api.store.create_model(patch).await?;
    api.runtime.changed();
    Reply::created(&view(api, model))
}

/// `PUT /models/{id}`.
///
/// # Errors
/// 404, 409, 422.
pub async fn update(api: &Api, id: &str, input: ModelInput) -> Result<Reply, Error> {
    if let Some(sent) = input.id.as_ref().filter(|sent| **sent != "" && **sent != id) {
        return Err(Error::unprocessable(format!("field 'id' is {sent}, but the path names '{id}'")));
    }
    let stored = api.store.model(id).await?;
    let patch = input.check()?;
    // A default model under another name would be declared anew at the next start.
    let is_renamed = patch.model.as_deref().is_some_and(|name| name != stored.name);
    if is_renamed && api.is_default_model(&stored.name) {
        return Err(Error::new(ErrorCode::Immutable, format!("model '{id}' is a default model and cannot be renamed")));
    }
    let model = api.store.update_model(id, patch).await?;
    api.runtime.changed();
    Reply::json(&view(api, model))
}

/// The list in OpenAI's form.
#[derive(Serialize, ToSchema)]
pub(super) struct ModelList {
    object: &'static str,
    data: Vec<ModelEntry>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct ModelEntry {
    id: String,
    object: &'static str,
    created: i64,
    owned_by: &'static str,
}

/// `GET /models`.
///
/// # Errors
/// Of the store only.
pub async fn list(api: &Api, page: Page) -> Result<Reply, Error> {
    let entry = |model: Model| ModelEntry {
        id: model.name,
        object: "model",
        created: model.created_at.as_unix_seconds(),
        owned_by: "system",
    };
    let data = api.store.models(page).await?.into_iter().map(entry).collect();
    Reply::json(&ModelList { object: "list", data })
}

/// `GET /internal/models`.
///
/// # Errors
/// Of the store only.
pub async fn list_internal(api: &Api, page: Page) -> Result<Reply, Error> {
    let models = api.store.models(page).await?;
    Reply::json(&models.into_iter().map(|model| view(api, model)).collect::<Vec<_>>())
}

/// `DELETE /models/{model}`; with `purge` its downloads go too.
///
/// # Errors
/// 403 for a default model, 404.
pub async fn delete(api: &Api, id: &str, purge: bool) -> Result<Reply, Error> {
    let stored = api.store.model(id).await?;
    if api.is_default_model(&stored.name) {
        let message = format!("model '{id}' is a default model (TASK_MODEL or EMBED_MODEL) and cannot be removed");
        return Err(Error::new(ErrorCode::Immutable, message));
    }
    api.store.delete_model(id).await?;
    if purge {
        api.runtime.cancel_downloads(None, Some(&stored.name), true).await;
    }
    api.put_in_force().await;
    Reply::json(&"model removed")
}
