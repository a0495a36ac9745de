//! The downloads of one backend: which wait, which runs, which were cancelled and stay so.
//!
//! Plain state, owned by the backend's actor. At most one download runs; a (backend, model) pair waits once.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::DeclaredModel;
use crate::{
    domain::{download::DownloadEvent, model::same_model, time::Timestamp},
    faults::fault,
    providers::Provider,
    runtime::{
        directory::{BackendCell, DownloadJob},
        events::EventsHandle,
    },
};

const FIRST_RETRY: Duration = Duration::from_secs(10);
const MAX_RETRY: Duration = Duration::from_secs(600);

struct Running {
    model: String,
    cancel: CancellationToken,
}

struct Failed {
    times: u32,
    not_before: Instant,
}

/// See the module.
pub(super) struct Downloads {
    /// Where the cancelled ones outlive a crash of the actor.
    cell: Arc<BackendCell>,
    waiting: Vec<DownloadJob>,
    running: Option<Running>,
    failed: HashMap<String, Failed>,
}

impl Downloads {
    pub(super) fn new(cell: Arc<BackendCell>) -> Self {
        Self { cell, waiting: Vec::new(), running: None, failed: HashMap::new() }
    }

    pub(super) fn waiting(&self) -> &[DownloadJob] {
        &self.waiting
    }

    pub(super) fn running_model(&self) -> Option<&str> {
        self.running.as_ref().map(|running| running.model.as_str())
    }

    /// Queues models that are missing, unless they wait or run already, were cancelled, or failed a moment ago.
    pub(super) fn queue(&mut self, missing: Vec<DeclaredModel>, now: Timestamp, instant: Instant) {
        for DeclaredModel { name, since } in missing {
            let is_known = self.waiting.iter().any(|job| same_model(&job.model, &name))
                || self.running_model().is_some_and(|running| same_model(running, &name));
            let is_cancelled = self.cell.cancelled.load().get(&name).is_some_and(|at| since <= *at);
            let is_resting = self.failed.get(&name).is_some_and(|failed| instant < failed.not_before);
            if !(is_known || is_cancelled || is_resting) {
                self.waiting.push(DownloadJob { model: name, created_at: now });
            }
        }
    }

    /// Takes the oldest waiting job, if none runs.
    pub(super) fn start_next(&mut self) -> Option<(String, CancellationToken)> {
        if self.running.is_some() || self.waiting.is_empty() {
            return None;
        }
        let model = self.waiting.remove(0).model;
        let cancel = CancellationToken::new();
        self.running = Some(Running { model: model.clone(), cancel: cancel.clone() });
        Some((model, cancel))
    }

    /// Notes the end of the running download; after a failure the model rests, longer each time. One that was stopped
    /// has not failed.
    /// Says what it came to: `success`, `cancelled` or `failed`.
    pub(super) fn finished(&mut self, model: &str, succeeded: bool, now: Instant) -> &'static str {
        let was_stopped = self.running.take().is_some_and(|running| running.cancel.is_cancelled());
        let meters = &self.cell.meters;
        let (status, count) = match (succeeded, was_stopped) {
            (true, _) => ("success", &meters.downloads_ok),
            (false, true) => ("cancelled", &meters.downloads_cancelled),
            (false, false) => ("failed", &meters.downloads_failed),
        };
        count.increment(1);
        if succeeded {
            self.failed.remove(model);
        }
        if succeeded || was_stopped {
            return status;
        }
        let failed = self.failed.entry(model.to_owned()).or_insert(Failed { times: 0, not_before: now });
        failed.not_before = now + FIRST_RETRY.saturating_mul(1 << failed.times.min(6)).min(MAX_RETRY);
        failed.times += 1;
        status
    }

    /// Cancels on a user's word: `model` or all; waiting jobs only if `waiting`. What was cancelled stays so until it is
    /// declared anew. Says what that was.
    pub(super) fn cancel(&mut self, model: Option<&str>, waiting: bool, declared: &[DeclaredModel]) -> Vec<String> {
        let is_meant = |name: &str| model.is_none_or(|model| same_model(model, name));
        let since = |name: &str| declared.iter().find(|declared| same_model(&declared.name, name)).map(|d| d.since);
        let mut dropped: Vec<String> = Vec::new();
        if waiting {
            dropped.extend(self.waiting.iter().map(|job| job.model.clone()).filter(|name| is_meant(name)));
            self.waiting.retain(|job| !is_meant(&job.model));
        }
        if let Some(running) = self.running.as_ref().filter(|running| is_meant(&running.model)) {
            running.cancel.cancel();
            dropped.push(running.model.clone());
        }
        let mut cancelled = HashMap::clone(&self.cell.cancelled.load());
        // What is declared no more needs no memory: declared again, it is declared anew.
        cancelled.retain(|name, _| since(name).is_some());
        cancelled.extend(dropped.iter().filter_map(|name| since(name).map(|since| (name.clone(), since))));
        self.cell.cancelled.store(Arc::new(cancelled));
        dropped
    }

    /// What waits is somebody else's business.
    pub(super) fn forget_waiting(&mut self) {
        self.waiting.clear();
    }

    /// Forgets the failures of what is no longer declared. Its jobs stay: only `purge` and the queue's routes end them.
    pub(super) fn forget_failures(&mut self, declared: &[DeclaredModel]) {
        self.failed.retain(|name, _| declared.iter().any(|declared| same_model(&declared.name, name)));
    }

    /// Stops the running download; it may be queued again.
    pub(super) fn stop_running(&self) {
        if let Some(running) = &self.running {
            running.cancel.cancel();
        }
    }

    /// Nothing is wanted of this backend any more.
    pub(super) fn clear(&mut self) {
        self.waiting.clear();
        self.failed.clear();
        self.stop_running();
    }
}

/// Runs one download to its end and tells the listeners about it.
pub(super) async fn download(
    provider: Arc<dyn Provider>,
    model: &str,
    base_url: &str,
    events: &EventsHandle,
    cancelled: CancellationToken,
) -> Result<(), String> {
    fault!("backend.download");
    let event = |status: String| DownloadEvent {
        status,
        digest: String::new(),
        total: 0,
        completed: 0,
        model: model.to_owned(),
        base_url: base_url.to_owned(),
    };
    let mut on_progress = |step: crate::providers::PullProgress| {
        // The end is told below, on the road that is never dropped.
        if step.status != "success" {
            let (digest, total, completed) = (step.digest, step.total, step.completed);
            events.step(DownloadEvent { digest, total, completed, ..event(step.status) });
        }
    };
    let Some(store) = provider.model_store() else { return Err("the backend cannot download models".to_owned()) };
    let result = match cancelled.run_until_cancelled(store.pull(model, &mut on_progress)).await {
        None => Err("cancelled".to_owned()),
        Some(result) => result.map_err(|error| error.to_string()),
    };
    events.end(event(result.as_ref().map_or_else(|error| format!("error: {error}"), |()| "success".to_owned()))).await;
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn downloads() -> Downloads {
        Downloads::new(BackendCell::new(crate::runtime::backend::sample(), tokio_util::task::TaskTracker::new()))
    }

    fn declared(name: &str, since: i64) -> DeclaredModel {
        DeclaredModel { name: name.to_owned(), since: Timestamp::from_micros(since) }
    }

    fn names(downloads: &Downloads) -> Vec<&str> {
        downloads.waiting().iter().map(|job| job.model.as_str()).collect()
    }

    fn queue(downloads: &mut Downloads, models: &[DeclaredModel], at: Instant) {
        downloads.queue(models.to_vec(), Timestamp::ZERO, at);
    }

    #[test]
    fn a_model_waits_once_and_not_while_it_is_downloaded() {
        let (mut downloads, now) = (downloads(), Instant::now());
        queue(&mut downloads, &[declared("a", 1), declared("b", 1)], now);
        queue(&mut downloads, &[declared("a:latest", 1)], now);
        assert_eq!(names(&downloads), ["a", "b"]);
        assert_eq!(downloads.start_next().map(|(model, _)| model).as_deref(), Some("a"));
        assert!(downloads.start_next().is_none(), "one at a time");
        queue(&mut downloads, &[declared("a", 1)], now);
        assert_eq!(names(&downloads), ["b"]);
    }

    #[test]
    fn what_was_cancelled_stays_so_until_it_is_declared_anew() {
        let (mut downloads, now) = (downloads(), Instant::now());
        let models = [declared("a", 1), declared("b", 1), declared("c", 1)];
        queue(&mut downloads, &models, now);
        let (_, token) = downloads.start_next().unwrap();
        downloads.cancel(Some("a"), true, &models);
        assert!(token.is_cancelled());
        downloads.cancel(Some("b"), true, &models);
        assert_eq!(names(&downloads), ["c"], "the order of the others is kept");
        downloads.finished("a", false, now);
        queue(&mut downloads, &models, now + MAX_RETRY);
        assert_eq!(names(&downloads), ["c"]);
        queue(&mut downloads, &[declared("a", 2)], now + MAX_RETRY);
        assert_eq!(names(&downloads), ["c", "a"]);
    }

    #[test]
    fn stopping_the_running_download_leaves_waiting_ones_alone() {
        let (mut downloads, now) = (downloads(), Instant::now());
        let models = [declared("a", 1), declared("b", 1)];
        queue(&mut downloads, &models, now);
        let (_, token) = downloads.start_next().unwrap();
        downloads.cancel(None, false, &models);
        assert!(token.is_cancelled());
        assert_eq!(names(&downloads), ["b"]);
    }

    #[test]
    fn a_stopped_download_needs_no_rest() {
        let (mut downloads, now) = (downloads(), Instant::now());
        queue(&mut downloads, &[declared("a", 1)], now);
        downloads.start_next().unwrap();
        downloads.stop_running();
        downloads.finished("a", false, now);
        queue(&mut downloads, &[declared("a", 1)], now);
        assert_eq!(names(&downloads), ["a"]);
    }

    #[test]
    fn a_failed_download_rests_longer_each_time() {
        let (mut downloads, mut now) = (downloads(), Instant::now());
        let models = [declared("a", 1)];
        for seconds in [10, 20, 40, 80, 160, 320, 600, 600] {
            queue(&mut downloads, &models, now);
            downloads.start_next().unwrap();
            downloads.finished("a", false, now);
            let rest = Duration::from_secs(seconds);
            queue(&mut downloads, &models, now + rest.mul_f64(0.99));
            assert!(names(&downloads).is_empty(), "{seconds}");
            now += rest;
        }
    }

    #[test]
    fn a_job_outlives_its_declaration_and_goes_with_its_backend() {
        let (mut downloads, now) = (downloads(), Instant::now());
        queue(&mut downloads, &[declared("a", 1), declared("b", 1)], now);
        let (_, token) = downloads.start_next().unwrap();
        downloads.forget_failures(&[]);
        assert!(!token.is_cancelled());
        assert_eq!(names(&downloads), ["b"]);
        downloads.clear();
        assert!(token.is_cancelled());
        assert!(names(&downloads).is_empty());
    }

    #[test]
    fn what_was_cancelled_is_remembered_by_the_next_life_of_the_actor() {
        let (mut downloads, now) = (downloads(), Instant::now());
        let models = [declared("a", 1)];
        queue(&mut downloads, &models, now);
        downloads.cancel(Some("a"), true, &models);
        let mut successor = Downloads::new(Arc::clone(&downloads.cell));
        queue(&mut successor, &models, now);
        assert!(names(&successor).is_empty());
    }
}
