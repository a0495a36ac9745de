//! `/hooks/remote` and `/supported` (`docs/api.md`, remote hooks).

use serde::Deserialize;
use serde_json::Value as Json;
use utoipa::ToSchema;

use super::{Api, Reply, fields};
use crate::{
    domain::{
        hook::HookSpec,
        ids::{HookId, MAX_ID_BYTES},
        page::Page,
    },
    error::Error,
};

const MAX_METHOD_BYTES: usize = 10;

/// Body of POST and PUT.
#[derive(Deserialize, Default, ToSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct HookInput {
    /// Of any type: a POST takes a text, a PUT ignores it.
    #[schema(value_type = serde_json::Value)]
    id: Option<Json>,
    #[schema(required)]
    name: String,
    #[schema(required)]
    endpoint_url: String,
    #[schema(required)]
    method: String,
    #[schema(required, minimum = 1)]
    timeout_ms: i64,
}

impl HookInput {
    fn check(self) -> Result<HookSpec, Error> {
        let method = fields::required("method", &self.method)?.trim().to_ascii_uppercase();
        let method = fields::at_most("method", &method, MAX_METHOD_BYTES)?;
        if !method.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            return Err(Error::unprocessable("field 'method' must be an HTTP method such as POST"));
        }
        if self.timeout_ms <= 0 {
            return Err(Error::unprocessable("field 'timeoutMs' must be a number of milliseconds above 0"));
        }
        Ok(HookSpec {
            name: fields::short("name", &self.name)?,
            endpoint_url: fields::url("endpointUrl", &self.endpoint_url)?,
            method,
            timeout_ms: self.timeout_ms,
        })
    }
}

/// `POST /hooks/remote`.
///
/// # Errors
/// 422, 409, 429.
pub async fn create(api: &Api, input: HookInput) -> Result<Reply, Error> {
    let id = match &input.id {
        None => "",
        Some(Json::String(id)) => id.trim(),
        Some(_) => return Err(Error::invalid("field 'id' must be a text")),
    };
    let id = match id {
        "" => None,
        id => Some(HookId::new(fields::at_most("id", id, MAX_ID_BYTES)?)),
    };
    Reply::created(&api.store.create_hook(id, input.check()?).await?)
}

/// `GET /hooks/remote`.
///
/// # Errors
/// Of the store only.
pub async fn list(api: &Api, page: Page) -> Result<Reply, Error> {
    Reply::json(&api.store.hooks(page).await?)
}

/// `GET /hooks/remote/{id}`.
///
/// # Errors
/// 404.
pub async fn get(api: &Api, id: &str) -> Result<Reply, Error> {
    Reply::json(&api.store.hook(&HookId::new(id)).await?)
}

/// `PUT /hooks/remote/{id}`.
///
/// # Errors
/// 404, 409, 422.
pub async fn update(api: &Api, id: &str, input: HookInput) -> Result<Reply, Error> {
    Reply::json(&api.store.update_hook(&HookId::new(id), input.check()?).await?)
}

/// `DELETE /hooks/remote/{id}`.
///
/// # Errors
/// 404.
pub async fn delete(api: &Api, id: &str) -> Result<Reply, Error> {
    api.store.delete_hook(&HookId::new(id)).await?;
    Reply::json(&"deleted")
}

/// `GET /supported`: the names chains may call.
///
/// # Errors
/// Of the store only.
pub async fn supported(api: &Api) -> Result<Reply, Error> {
    Reply::json(&api.store.hook_names().await?)
}
