//! What the service says of itself (`docs/api.md`, service).

use serde::Serialize;
use utoipa::ToSchema;

use super::{Api, Reply};
use crate::{error::Error, runtime::metrics};

/// This service knows no tenants; clients of the interface expect a fixed UUID.
const TENANCY: &str = "54882f1d-3788-44f9-aed6-19a793c4568f";
/// The media type of Prometheus' text format.
pub(super) const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Version<'a> {
    version: &'static str,
    #[serde(rename = "nodeInstanceID")]
    node_instance_id: &'a str,
    tenancy: &'static str,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct DefaultModel<'a> {
    model_name: &'a str,
}

/// `GET /version`.
///
/// # Errors
/// None but faults of ours.
pub fn version(api: &Api) -> Result<Reply, Error> {
    let version = env!("CARGO_PKG_VERSION");
    Reply::json(&Version { version, node_instance_id: api.instance.as_str(), tenancy: TENANCY })
}

/// `GET /defaultmodel`: the embedding default, from configuration.
///
/// # Errors
/// None but faults of ours.
pub fn default_model(api: &Api) -> Result<Reply, Error> {
    Reply::json(&DefaultModel { model_name: &api.defaults.embed_model })
}

/// `GET /metrics`: how busy backends and pools are, in Prometheus' text format.
pub fn metrics(api: &Api) -> Reply {
    Reply::text(PROMETHEUS_TEXT, metrics::render(&api.runtime.directory))
}

/// `GET /alerts`: the latest alerts of chains, newest first.
///
/// # Errors
/// None but faults of ours.
pub fn alerts(api: &Api) -> Result<Reply, Error> {
    Reply::json(&api.runtime.alerts.latest())
}
