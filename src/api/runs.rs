//! `/runs`: the chains that run now, and ending one (`docs/api.md`, runs).

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

use super::{Api, Reply};
use crate::{
    domain::{
        cluster::ReportedRun,
        failure::RefusalReason,
        ids::{InstanceId, RunId},
        priority::Priority,
        time::Timestamp,
    },
    error::{Error, ErrorCode},
    runtime::run::live::{CancelError, LiveRun},
};

/// Seconds after which it is worth looking again whether a run has stopped.
const RETRY_AFTER_SECONDS: u32 = 1;

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ActiveRun {
    /// Also in `X-Penstock-Run` of the request's answer.
    id: String,
    /// The `id` of the chain; `null` where it has none.
    #[serde(rename = "chainID")]
    chain_id: Option<String>,
    started_at: Timestamp,
    /// The task it is at; `null` before the first.
    current_task: Option<String>,
    /// Attempts of tasks that are over.
    steps_done: usize,
    /// Calls of models that it is making, or waits to make.
    model_calls: usize,
    priority: Priority,
    #[serde(rename = "requestID")]
    request_id: String,
    /// Who runs it.
    instance: InstanceId,
}

impl ActiveRun {
    fn of(run: ReportedRun, instance: InstanceId) -> Self {
        let ReportedRun { id, chain, request, started_at, task, steps, calls, priority } = run;
        Self {
            id: id.to_string(),
            chain_id: chain.as_ref().map(ToString::to_string),
            started_at,
            current_task: task,
            steps_done: steps,
            model_calls: calls,
            priority,
            request_id: request.to_string(),
            instance,
        }
    }
}

/// `GET /runs/active`: all of them, the oldest first; those of other instances as they were last heard of.
///
/// # Errors
/// 503 while their supervisor is restarted.
pub async fn active(api: &Api) -> Result<Reply, Error> {
    let own = live(api).await?;
    let own = own.iter().map(|run| ActiveRun::of(run.report(), api.instance.clone()));
    let others = api.runtime.peers.runs().into_iter().map(|(instance, run)| ActiveRun::of(run, instance));
    let mut shown: Vec<ActiveRun> = own.chain(others).collect();
    shown.sort_by(|a, b| (a.started_at, &a.id).cmp(&(b.started_at, &b.id)));
    Reply::json(&shown)
}

/// `POST /runs/{id}/cancel`: answers when nothing of the run runs any more, whichever instance it is on.
///
/// # Errors
/// 404 for a run that is not active, 503 for one that does not stop.
pub async fn cancel(api: &Api, id: &str) -> Result<Reply, Error> {
    let unknown = || Error::new(ErrorCode::NotFound, format!("no run '{id}' is active"));
    match api.runtime.cancel_run(&RunId::new(id)).await {
        Ok(()) => Reply::json(&"run cancelled"),
        Err(CancelError::Over) => Err(unknown()),
        Err(error @ CancelError::Slow) => {
            let message = format!("{error}; GET /runs/active shows when it has");
            Err(Error::refused(RefusalReason::Restarting, message, RETRY_AFTER_SECONDS))
        }
    }
}

async fn live(api: &Api) -> Result<Vec<Arc<LiveRun>>, Error> {
    api.runtime.runs.live().await.map_err(|error| {
        let message = format!("runs cannot be looked at right now ({error}); it is safe to retry");
        Error::refused(RefusalReason::Restarting, message, RETRY_AFTER_SECONDS)
    })
}
