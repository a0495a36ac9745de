//! When the backend is looked at, and what is believed of what was seen: one look at a time, the latest alone counts, and one
//! that came late says little of a backend that answers calls.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    BackendMsg, BackendState, TaskName,
    probe::{ProbeOutcome, Sight, Unseen, probe},
    report,
};
use crate::runtime::{directory::Health, feed::Happening, task::caught};

/// Rest between the end of a probe and the next.
const PROBE_INTERVAL: Duration =
    if cfg!(feature = "faults") { Duration::from_millis(200) } else { Duration::from_secs(10) };
/// Failed calls start no probe within this time after the last.
const PROBE_REST_AFTER_FAILURE: Duration = Duration::from_millis(500);

impl BackendState {
    /// Starts a probe, or notes that another must follow the running one. Backends outside all pools are left alone.
    pub(super) fn probe_soon(&mut self) {
        if !self.goal.in_pool {
            self.observed = Vec::new();
            self.health = Health::Unknown;
            self.downloads.clear();
            self.publish();
            return;
        }
        let provider = match &self.provider {
            Ok(provider) => Arc::clone(provider),
            Err(error) => {
                self.health = Health::Failing(error.clone());
                self.observed = Vec::new();
                self.publish();
                return;
            }
        };
        self.publish();
        if self.is_probing {
            self.probe_again = true;
            return;
        }
        self.is_probing = true;
        self.probe_number += 1;
        self.probed_at = Some(Instant::now());
        let (goal, name) = (self.goal.clone(), self.probe_name());
        let (model_sync, duty) = (self.deps.model_sync, self.deps.duty.clone());
        let busy = self.downloads.running_model().map(str::to_owned);
        self.probe_stop = self.stop.child_token();
        let (handle, stop) = (self.handle().clone(), self.probe_stop.clone());
        self.deps.tasks.spawn(async move {
            let work = async {
                let outcome = caught("probe", probe(provider, &goal, (model_sync, &duty), busy.as_deref())).await;
                let outcome =
                    outcome.unwrap_or_else(|_| Err("the probe failed; see the server's log".to_owned().into()));
                report(&handle, BackendMsg::ProbeFinished { probe: name, outcome }).await;
                tokio::time::sleep(PROBE_INTERVAL).await;
                report(&handle, BackendMsg::ProbeDue { probe: name }).await;
            };
            stop.run_until_cancelled(work).await;
        });
    }

    /// What the latest probe sees, or would delete, belongs to an old goal: it is stopped, and what it may have reported
    /// already bears a name that no longer counts.
    pub(super) fn forget_probe(&mut self) {
        self.probe_stop.cancel();
        self.probe_number += 1;
        self.is_probing = false;
        self.probe_again = false;
    }

    /// Looks at once whether the backend is still there, but not more often than a storm of failures deserves.
    pub(super) fn on_call_failed(&mut self) {
        let is_fresh = self.probed_at.is_some_and(|at| at.elapsed() < PROBE_REST_AFTER_FAILURE);
        if !self.is_probing && !is_fresh {
            self.probe_soon();
        }
    }

    pub(super) fn on_probe(&mut self, probe: TaskName, outcome: ProbeOutcome) {
        if probe != self.probe_name() {
            return;
        }
        self.is_probing = false;
        self.adopt_outcome(outcome);
        self.publish();
        if std::mem::take(&mut self.probe_again) {
            self.probe_soon();
        }
    }

    pub(super) fn on_probe_due(&mut self, probe: TaskName) {
        if probe == self.probe_name() {
            self.probe_soon();
        }
    }

    /// The latest probe.
    pub(super) fn probe_name(&self) -> TaskName {
        TaskName { generation: self.generation, number: self.probe_number }
    }

    fn adopt_outcome(&mut self, outcome: ProbeOutcome) {
        match outcome {
            Ok(Sight { models: observed, load }) => {
                self.cell.meters.probes_ok.increment(1);
                if let Some(load) = load {
                    self.on_load(load);
                }
                if self.health != Health::Healthy {
                    let (backend, models) = (&self.goal.backend, observed.len());
                    tracing::info!(backend = %backend.id, name = %backend.name, models, "backend is healthy");
                    self.tell_health(None);
                }
                self.health = Health::Healthy;
                self.observed = observed;
                self.queue_missing();
            }
            // It is busy and not gone: its calls are answered.
            Err(Unseen { words, is_late: true }) if self.is_answering() => {
                let backend = &self.goal.backend;
                self.cell.meters.probes_late.increment(1);
                tracing::debug!(backend = %backend.id, name = %backend.name, error = words, "a busy backend was late");
            }
            Err(Unseen { words: error, .. }) => {
                self.cell.meters.probes_failed.increment(1);
                if self.health != Health::Failing(error.clone()) {
                    let backend = &self.goal.backend;
                    tracing::warn!(backend = %backend.id, name = %backend.name, %error, "backend is not usable");
                    self.tell_health(Some(error.clone()));
                }
                self.health = Health::Failing(error);
                self.observed = Vec::new();
            }
        }
    }

    fn tell_health(&self, error: Option<String>) {
        let (name, healthy) = (self.goal.backend.name.clone(), error.is_none());
        self.tell(|backend| Happening::Health { backend, name, healthy, error });
    }

    /// Whether calls were answered since the latest probe began, by a backend that was well before.
    fn is_answering(&self) -> bool {
        let since = self.probed_at.map(|at| at.elapsed());
        self.health == Health::Healthy && since.is_some_and(|since| self.cell.access.has_answered_within(since))
    }
}
