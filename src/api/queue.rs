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

/// `GET /queue`: waiting downloads of all backends, whichever instance makes them, oldest first.
///
/// # Errors
/// None but faults of ours.
pub fn list(api: &Api) -> Result<Reply, Error> {
    let backends = api.runtime.directory.backends();
    let views: Vec<_> = backends.values().map(|cell| cell.view()).collect();
    let here = views
        .iter()
        .flat_map(|view| view.queue.iter().map(|queued| job(&view.backend.base_url, &queued.model, queued.created_at)));
    let elsewhere = api.runtime.peers.queued();
    let elsewhere = elsewhere.iter().map(|queued| job(&queued.base_url, &queued.model, queued.created_at));
    let mut jobs: Vec<Job> = here.chain(elsewhere).collect();
    jobs.sort_by(|a, b| (&a.id, a.created_at).cmp(&(&b.id, b.created_at)));
    // Whoever queues it, it is one download.
    jobs.dedup_by(|later, first| later.id == first.id);
    jobs.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
    Reply::json(&jobs)
}

fn job(url: &str, model: &str, created_at: Timestamp) -> Job {
    Job {
        id: format!("{url}#{model}"),
        task_type: "model_download",
        model_job: ModelJob { url: url.to_owned(), model: model.to_owned() },
        scheduled_for: 0,
        valid_until: 0,
        created_at,
    }
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
