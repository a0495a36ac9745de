//! `/providers`: cloud providers that are configured by their key alone (`docs/api.md`, cloud providers).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Api, Reply, fields};
use crate::{
    domain::{
        backend::ApiKey,
        page::Page,
        provider::{CloudProvider, ProviderConfig},
        time::Timestamp,
    },
    error::{Error, ErrorCode},
    stores::catalog::StoreError,
};

/// Body of `configure`.
#[derive(Deserialize, Default, ToSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct ProviderInput {
    #[schema(required)]
    api_key: String,
    upsert: bool,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ProviderStatus {
    configured: bool,
    updated_at: Timestamp,
    provider: &'static str,
}

/// Capitalised, because clients read it so.
#[derive(Serialize, ToSchema)]
#[schema(as = ProviderConfig)]
pub(super) struct ProviderConfigView {
    #[serde(rename = "APIKey")]
    api_key: String,
    #[serde(rename = "Type")]
    kind: &'static str,
}

impl From<ProviderConfig> for ProviderConfigView {
    fn from(config: ProviderConfig) -> Self {
        Self { api_key: config.masked_key, kind: config.provider.as_str() }
    }
}

fn parse(name: &str) -> Result<CloudProvider, Error> {
    let unknown =
        || Error::new(ErrorCode::NotFound, format!("provider '{name}' not found; there are openai and gemini"));
    CloudProvider::parse(name).ok_or_else(unknown)
}

/// `POST /providers/{provider}/configure`.
///
/// # Errors
/// 404 for another provider, 422.
pub async fn configure(api: &Api, provider: &str, input: ProviderInput) -> Result<Reply, Error> {
    let provider = parse(provider)?;
    let key = input.api_key.trim();
    if key.is_empty() {
        return Err(fields::missing("apiKey"));
    }
    let base_url = match provider {
        CloudProvider::Openai => &api.upstream.openai_base_url,
        CloudProvider::Gemini => &api.upstream.gemini_base_url,
    };
    let config = api.store.configure_provider(provider, ApiKey::new(key), base_url.clone(), input.upsert).await?;
    api.runtime.changed();
    Reply::json(&ProviderStatus { configured: true, updated_at: config.updated_at, provider: provider.as_str() })
}

/// `GET /providers/{provider}/status`.
///
/// # Errors
/// 404 for another provider.
pub async fn status(api: &Api, provider: &str) -> Result<Reply, Error> {
    let provider = parse(provider)?;
    let (configured, updated_at) = match api.store.provider(provider).await {
        Ok(config) => (true, config.updated_at),
        Err(StoreError::NotFound(_)) => (false, Timestamp::ZERO),
        Err(error) => return Err(error.into()),
    };
    Reply::json(&ProviderStatus { configured, updated_at, provider: provider.as_str() })
}

/// `GET /providers/{provider}/config`.
///
/// # Errors
/// 404 when it is not configured.
pub async fn config(api: &Api, provider: &str) -> Result<Reply, Error> {
    Reply::json(&ProviderConfigView::from(api.store.provider(parse(provider)?).await?))
}

/// `DELETE /providers/{provider}/config`.
///
/// # Errors
/// 404 when it is not configured.
pub async fn delete(api: &Api, provider: &str) -> Result<Reply, Error> {
    api.store.delete_provider(parse(provider)?).await?;
    api.put_in_force().await;
    Reply::json(&"Provider config deleted successfully")
}

/// `GET /providers/configs`.
///
/// # Errors
/// Of the store only.
pub async fn list(api: &Api, page: Page) -> Result<Reply, Error> {
    let configs = api.store.providers(page).await?;
    Reply::json(&configs.into_iter().map(ProviderConfigView::from).collect::<Vec<_>>())
}
