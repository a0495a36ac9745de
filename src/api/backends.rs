//! `/backends` and what the probes say of them (`docs/api.md`, backends and state).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Api, Reply, fields};
use crate::{
    domain::{
        backend::{ApiKey, Backend, BackendSpec},
        cluster::ReportedBackend,
        ids::{BackendId, InstanceId},
        model::{ModelDetails, ObservedModel},
        page::Page,
        provider::ProviderKind,
        slip::Slip,
        time::Timestamp,
    },
    error::Error,
    runtime::directory::{BackendCell, BackendView, BreakerSnapshot, SlotSnapshot},
};

/// Body of POST and PUT.
#[derive(Deserialize, Default, ToSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct BackendInput {
    #[schema(required)]
    name: String,
    #[schema(required)]
    base_url: String,
    #[schema(required, value_type = ProviderKind)]
    #[serde(rename = "type")]
    kind: String,
    api_key: Option<String>,
    #[schema(minimum = 1, maximum = 65_535)]
    max_concurrency: Option<i64>,
    #[schema(minimum = 1, maximum = 1_000)]
    weight: Option<i64>,
    #[schema(minimum = 0, maximum = 9)]
    tier: Option<i64>,
    cloud: Option<bool>,
    enabled: Option<bool>,
    labels: Option<BTreeMap<String, String>>,
}

impl BackendInput {
    fn check(self) -> Result<BackendSpec, Error> {
        let kind = fields::required("type", &self.kind)?;
        let kind = ProviderKind::parse(&kind).ok_or_else(|| {
            Error::unprocessable(format!("field 'type' must be ollama, vllm, openai or gemini, not {}", Slip(&kind)))
        })?;
        let number = |field, value: Option<i64>, least, most| {
            value.map(|value| fields::number(field, value, least, most)).transpose()
        };
        Ok(BackendSpec {
            name: fields::required("name", &self.name)?,
            base_url: fields::base_url("baseUrl", &self.base_url)?,
            kind,
            api_key: self.api_key.filter(|key| !key.trim().is_empty()).map(|key| ApiKey::new(key.trim())),
            max_concurrency: number("maxConcurrency", self.max_concurrency, 1, u32::from(u16::MAX))?,
            weight: number("weight", self.weight, 1, 1000)?,
            tier: number("tier", self.tier, 0, 9)?,
            cloud: self.cloud,
            enabled: self.enabled,
            labels: self.labels,
        })
    }
}

/// A backend with what is known of it now.
#[derive(Serialize, ToSchema)]
#[schema(as = BackendView)]
pub(super) struct BackendWithModels {
    #[serde(flatten)]
    backend: Backend,
    models: Vec<String>,
    #[serde(rename = "pulledModels")]
    pulled_models: Vec<PulledModel>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// One entry of `GET /state`.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct BackendState {
    id: BackendId,
    name: String,
    models: Vec<String>,
    pulled_models: Vec<PulledModel>,
    backend: Backend,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    generation: u64,
    slots: SlotSnapshot,
    breaker: BreakerSnapshot,
    /// Until when it has asked to be left alone, if that is not over.
    #[serde(skip_serializing_if = "Option::is_none")]
    rests_until: Option<Timestamp>,
    /// Milliseconds until it begins to answer, on average; absent before the first answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_ms: Option<f32>,
    /// Requests that got the answer of a call that was made here for another (`singleFlight`), since the process began.
    shared_calls: u64,
    /// The instance that has seen it so.
    instance: InstanceId,
    /// What other instances see, as far as they can be heard.
    seen_by: Vec<SeenBy>,
}

/// What another instance sees of a backend.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct SeenBy {
    instance: InstanceId,
    /// What is wrong with it there; absent when nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// Calls that it may have there at once.
    limit: u16,
    /// Calls that it has there.
    in_use: u16,
    /// Requests that wait for it there.
    waiters: u32,
}

impl SeenBy {
    fn of(instance: InstanceId, seen: ReportedBackend) -> Self {
        let ReportedBackend { id: _, error, limit, in_use, waiters } = seen;
        Self { instance, error, limit, in_use, waiters }
    }
}

impl BackendState {
    fn of(cell: &BackendCell, view: &BackendView, instance: &InstanceId, seen_by: Vec<SeenBy>) -> Self {
        Self {
            instance: instance.clone(),
            seen_by,
            id: view.backend.id.clone(),
            name: view.backend.name.clone(),
            models: view.models.clone(),
            pulled_models: pulled(view),
            error: view.error().map(str::to_owned),
            generation: view.generation,
            slots: cell.slots(),
            breaker: cell.breaker(),
            rests_until: cell.rests_until(),
            latency_ms: cell.latency_ms().map(|millis| (millis * 10.0).round() / 10.0),
            shared_calls: cell.shared_calls(),
            backend: view.backend.clone(),
        }
    }
}

/// A model seen on a backend, every field in the spellings of both API generations.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct PulledModel {
    name: String,
    model: String,
    #[serde(rename = "modified_at")]
    modified_at_old: Timestamp,
    modified_at: Timestamp,
    size: u64,
    digest: String,
    details: PulledDetails,
    context_length: i64,
    can_chat: bool,
    can_embed: bool,
    can_prompt: bool,
    can_stream: bool,
}

#[derive(Serialize, ToSchema)]
pub(super) struct PulledDetails {
    #[serde(flatten)]
    details: ModelDetails,
    #[serde(rename = "parentModel")]
    parent_model: String,
    #[serde(rename = "parameterSize")]
    parameter_size: String,
    #[serde(rename = "quantizationLevel")]
    quantization_level: String,
}

impl From<&ObservedModel> for PulledModel {
    fn from(model: &ObservedModel) -> Self {
        let details = model.details.clone();
        Self {
            name: model.name.clone(),
            model: model.name.clone(),
            modified_at_old: model.modified_at,
            modified_at: model.modified_at,
            size: model.size,
            digest: model.digest.clone(),
            details: PulledDetails {
                parent_model: details.parent_model.clone(),
                parameter_size: details.parameter_size.clone(),
                quantization_level: details.quantization_level.clone(),
                details,
            },
            context_length: model.context_length,
            can_chat: model.capabilities.can_chat,
            can_embed: model.capabilities.can_embed,
            can_prompt: model.capabilities.can_prompt,
            can_stream: model.capabilities.can_stream,
        }
    }
}

fn pulled(view: &BackendView) -> Vec<PulledModel> {
    view.observed.iter().map(PulledModel::from).collect()
}

/// `POST /backends`.
///
/// # Errors
/// 422, 409, 429.
pub async fn create(api: &Api, input: BackendInput) -> Result<Reply, Error> {
    let backend = api.store.create_backend(input.check()?).await?;
    api.runtime.changed();
    Reply::created(&backend)
}

/// `GET /backends`.
///
/// # Errors
/// Of the store only.
pub async fn list(api: &Api, page: Page) -> Result<Reply, Error> {
    let backends = api.store.backends(page).await?;
    Reply::json(&backends.into_iter().map(|backend| with_models(api, backend)).collect::<Vec<_>>())
}

/// `GET /backends/{id}`.
///
/// # Errors
/// 404.
pub async fn get(api: &Api, id: &str) -> Result<Reply, Error> {
    let backend = api.store.backend(&BackendId::new(id)).await?;
    Reply::json(&with_models(api, backend))
}

/// `PUT /backends/{id}`.
///
/// # Errors
/// 404, 409, 422.
pub async fn update(api: &Api, id: &str, input: BackendInput) -> Result<Reply, Error> {
    let backend = api.store.update_backend(&BackendId::new(id), input.check()?).await?;
    api.put_in_force().await;
    Reply::json(&backend)
}

/// `DELETE /backends/{id}`.
///
/// # Errors
/// 404.
pub async fn delete(api: &Api, id: &str) -> Result<Reply, Error> {
    api.store.delete_backend(&BackendId::new(id)).await?;
    api.put_in_force().await;
    Reply::json(&"backend removed")
}

/// `POST /backends/{id}/breaker/reset`: calls go there again as if none had failed.
///
/// # Errors
/// 404.
pub async fn reset_breaker(api: &Api, id: &str) -> Result<Reply, Error> {
    let id = BackendId::new(id);
    api.store.backend(&id).await?;
    // One that is not there yet has a closed breaker.
    if let Some(cell) = api.runtime.directory.backend(&id) {
        cell.reset_breaker();
        tracing::info!(backend = %id, "breaker is reset");
    }
    Reply::json(&"breaker reset")
}

/// `GET /state`: every backend that is in a pool, by name.
///
/// # Errors
/// None but faults of ours.
pub fn state(api: &Api) -> Result<Reply, Error> {
    let mut others: BTreeMap<BackendId, Vec<SeenBy>> = BTreeMap::new();
    for (instance, seen) in api.runtime.peers.views() {
        others.entry(seen.id.clone()).or_default().push(SeenBy::of(instance, seen));
    }
    let backends = api.runtime.directory.backends();
    let mut entries: Vec<BackendState> = backends
        .values()
        .map(|cell| (cell, cell.view()))
        .filter(|(_, view)| view.in_pool)
        .map(|(cell, view)| BackendState::of(cell, &view, &api.instance, others.remove(&cell.id).unwrap_or_default()))
        .collect();
    entries.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    Reply::json(&entries)
}

fn with_models(api: &Api, backend: Backend) -> BackendWithModels {
    match api.runtime.directory.backend(&backend.id).map(|cell| cell.view()) {
        Some(view) => BackendWithModels {
            models: view.models.clone(),
            pulled_models: pulled(&view),
            error: view.error().map(str::to_owned),
            backend,
        },
        None => BackendWithModels { backend, models: Vec::new(), pulled_models: Vec::new(), error: None },
    }
}
