//! `/queue`: model downloads that wait, that run, and their live events (`docs/api.md`, download queue).

use serde::Serialize;
use utoipa::ToSchema;

use super::{Api, Reply};
use crate::{
    domain::{backend::trim_url, time::Timestamp},
    error::Error,
};

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Job {
    id: String,
    task_type: &'static str,
    model_job: ModelJob,
    scheduled_for: i64,
    valid_until: i64,
    created_at: Timestamp,
}

#[derive(Serialize, ToSchema)]
pub(super) struct ModelJob {
    url: String,
    model: String,
}

/// `GET /queue`: waiting downloads of all backends, oldest first.
///
/// # Errors
/// None but faults of ours.
pub fn list(api: &Api) -> Result<Reply, Error> {
    let backends = api.runtime.directory.backends();
    let mut jobs: Vec<Job> = backends.values().flat_map(|cell| jobs_of(&cell.view())).collect();
    jobs.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
    Reply::json(&jobs)
}

fn jobs_of(view: &crate::runtime::directory::BackendView) -> Vec<Job> {
    let url = &view.backend.base_url;
    let job = |job: &crate::runtime::directory::DownloadJob| Job {
        id: format!("{url}#{}", job.model),
        task_type: "model_download",
        model_job: ModelJob { url: url.clone(), model: job.model.clone() },
        scheduled_for: 0,
        valid_until: 0,
        created_at: job.created_at,
    };
    view.queue.iter().map(job).collect()
}

/// `DELETE /queue/{model}`: waiting and running downloads of a model, on all backends.
///
/// # Errors
/// None but faults of ours.
pub async fn remove(api: &Api, model: &str) -> Result<Reply, Error> {
    api.runtime.cancel_downloads(None, Some(model), true).await;
    Reply::json(&"Model removed from queue")
}

/// `DELETE /queue/cancel`: the running download of a backend (`url`, which wins), or all downloads of a model.
///
/// # Errors
/// 400 when neither is given.
pub async fn cancel(api: &Api, url: Option<&str>, model: Option<&str>) -> Result<Reply, Error> {
    match (url.filter(|url| !url.is_empty()), model.filter(|model| !model.is_empty())) {
        (Some(url), _) => {
            let backends = api.runtime.directory.backends();
            let at_url = backends.values().map(|cell| cell.view());
            let at_url = at_url.filter(|view| view.backend.trimmed_url() == trim_url(url));
            let ids = at_url.map(|view| view.backend.id.clone()).collect();
            api.runtime.cancel_downloads(Some(ids), None, false).await;
        }
        (None, Some(model)) => api.runtime.cancel_downloads(None, Some(model), true).await,
        (None, None) => {
            return Err(Error::invalid("give the query parameter 'url' (a backend's base URL) or 'model'"));
        }
    }
    Reply::json(&"Model download cancellation initiated")
}

/// `GET /queue/inProgress`: live events of all downloads.
///
/// # Errors
/// 503 while the events' actor is restarted.
pub fn events(api: &Api) -> Result<Reply, Error> {
    Ok(Reply::events(api.runtime.events.listen()?))
}
