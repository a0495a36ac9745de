//! `/runs`: the chains that run now, and ending one (`docs/api.md`, runs).

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

use super::{Api, Reply};
use crate::{
    domain::{failure::RefusalReason, ids::RunId, priority::Priority, time::Timestamp},
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
}

impl From<&LiveRun> for ActiveRun {
    fn from(run: &LiveRun) -> Self {
        let progress = run.progress();
        Self {
            id: run.id.to_string(),
            chain_id: run.chain.as_ref().map(ToString::to_string),
            started_at: run.started_at,
            current_task: progress.task.as_deref().map(str::to_owned),
            steps_done: progress.steps,
            model_calls: run.calls(),
            priority: run.priority,
            request_id: run.request_id.to_string(),
        }
    }
}

/// `GET /runs/active`: all of them, the oldest first.
///
/// # Errors
/// 503 while their supervisor is restarted.
pub async fn active(api: &Api) -> Result<Reply, Error> {
    let mut live = live(api).await?;
    live.sort_by(|a, b| (a.started_at, &a.id).cmp(&(b.started_at, &b.id)));
    let shown: Vec<ActiveRun> = live.iter().map(|run| ActiveRun::from(&**run)).collect();
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
