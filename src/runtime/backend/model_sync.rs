//! What the actor does about models that are declared and not there: it downloads them, one after the other.

use std::sync::Arc;

use tokio::time::Instant;

use super::{BackendMsg, BackendState, DeclaredModel, downloads, report};
use crate::{
    domain::{model::same_model, time::Timestamp},
    runtime::{
        ask::{Reply, answer},
        feed::Happening,
        task::caught,
    },
};

impl BackendState {
    /// Queues what is declared and not there, where the backend can download and it is for this instance to see to it.
    pub(super) fn queue_missing(&mut self) {
        if !self.deps.duty.is_ours() {
            // What waits here, another one queues; what runs is let run.
            self.downloads.forget_waiting();
            return;
        }
        let Ok(provider) = &self.provider else { return };
        if provider.model_store().is_none() {
            return;
        }
        let missing = |declared: &&DeclaredModel| {
            !self.observed.iter().any(|observed| same_model(&observed.name, &declared.name))
        };
        let missing: Vec<DeclaredModel> = self.goal.declared.iter().filter(missing).cloned().collect();
        self.downloads.queue(missing, Timestamp::now(), Instant::now());
        self.start_download();
    }

    fn start_download(&mut self) {
        let Ok(provider) = &self.provider else { return };
        let Some((model, cancelled)) = self.downloads.start_next() else { return };
        let (provider, events) = (Arc::clone(provider), self.deps.events.clone());
        self.tell_download(&model, "started", None);
        let (handle, stop) = (self.handle().clone(), self.stop.clone());
        let (base_url, generation) = (self.goal.backend.base_url.clone(), self.generation);
        self.deps.tasks.spawn(async move {
            let work = async {
                let work = downloads::download(provider, &model, &base_url, &events, cancelled);
                let result = caught("download", work).await;
                let result = result.unwrap_or_else(|_| Err("the download failed; see the server's log".to_owned()));
                report(&handle, BackendMsg::DownloadFinished { generation, model, result }).await;
            };
            stop.run_until_cancelled(work).await;
        });
    }

    pub(super) fn on_download(&mut self, generation: u64, model: &str, result: Result<(), String>) {
        if generation != self.generation {
            return;
        }
        match &result {
            Ok(()) => tracing::info!(backend = %self.goal.backend.id, model, "model is downloaded"),
            Err(error) => tracing::warn!(backend = %self.goal.backend.id, model, %error, "model download failed"),
        }
        let status = self.downloads.finished(model, result.is_ok(), Instant::now());
        self.tell_download(model, status, result.err().filter(|_| status == "failed"));
        self.start_download();
        self.probe_soon();
    }

    fn tell_download(&self, model: &str, status: &'static str, error: Option<String>) {
        self.tell(|backend| Happening::Download { backend, model: model.to_owned(), status, error });
    }

    pub(super) fn cancel_download(&mut self, model: Option<&str>, waiting: bool, reply: Reply<Vec<String>>) {
        let dropped = self.downloads.cancel(model, waiting, &self.goal.declared);
        self.publish();
        answer(reply, dropped);
    }
}
