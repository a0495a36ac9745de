//! What the service says of itself (`docs/api.md`, service).

use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use super::{Api, Reply};
use crate::{
    domain::failure::RefusalReason,
    error::Error,
    telemetry::{self, Now, build, families as f, process},
};

/// This service knows no tenants; clients of the interface expect a fixed UUID.
const TENANCY: &str = "54882f1d-3788-44f9-aed6-19a793c4568f";
/// Longest wait for the store when somebody asks whether all is ready, and how long to wait then.
const READY_PATIENCE: Duration = Duration::from_secs(2);
const READY_RETRY_SECONDS: u32 = 1;
/// The media type of Prometheus' text format.
pub(super) const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Version<'a> {
    version: &'static str,
    /// The commit it was built from, or `unknown`.
    commit: &'static str,
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
    let (version, commit) = (build::VERSION, build::commit());
    Reply::json(&Version { version, commit, node_instance_id: api.instance.as_str(), tenancy: TENANCY })
}

/// `GET /defaultmodel`: the embedding default, from configuration.
///
/// # Errors
/// None but faults of ours.
pub fn default_model(api: &Api) -> Result<Reply, Error> {
    Reply::json(&DefaultModel { model_name: &api.defaults.embed_model })
}

/// `GET /ready`: whether requests that need the store can be answered.
///
/// # Errors
/// 503 when the store does not answer.
pub async fn ready(api: &Api) -> Result<Reply, Error> {
    let answer = tokio::time::timeout(READY_PATIENCE, api.store.ping()).await;
    match answer {
        Ok(Ok(())) => Ok(Reply::empty()),
        Ok(Err(_)) | Err(_) => Err(Error::refused(
            RefusalReason::StoreUnavailable,
            "the store does not answer: prompts on known backends are served, configuration is not",
            READY_RETRY_SECONDS,
        )),
    }
}

/// `GET /metrics`: everything that Prometheus is told, in its text format. `now` holds what is known of the door already.
pub fn metrics(api: &Api, mut now: Now) -> Reply {
    now.is(&f::BUILD_INFO, &[build::VERSION, build::commit()], 1.0);
    let store = api.store.standing();
    now.is(&f::STORE_UP, &[store.kind], if store.is_up { 1.0 } else { 0.0 });
    api.runtime.tell(&mut now);
    process::tell(&mut now);
    Reply::text(PROMETHEUS_TEXT, telemetry::render(now))
}

/// `GET /debug/actors`: every actor, as it can be seen without asking it.
///
/// # Errors
/// None but faults of ours.
pub async fn actors(api: &Api) -> Result<Reply, Error> {
    let mut actors = api.runtime.actors();
    actors.extend(api.runtime.run_actors().await);
    Reply::json(&actors)
}

/// `GET /alerts`: the latest alerts of chains, newest first.
///
/// # Errors
/// None but faults of ours.
pub fn alerts(api: &Api) -> Result<Reply, Error> {
    Reply::json(&api.runtime.alerts.latest())
}
