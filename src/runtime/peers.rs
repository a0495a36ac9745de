//! The other instances that share the database: what they are told, what is heard of them, what is done about it.
//!
//! Owns the latest report of each. One tracked task hears, another tells how it is going here. Nothing waits for another
//! instance but the cancelling of a run that may be there, for a bounded time. A bus that is away, or that there is none, costs
//! what is told of others, nothing else.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::{
    sync::broadcast,
    time::{Instant, timeout_at},
};

use super::{Runtime, run::live::CancelError};
use crate::{
    domain::{
        cluster::{ClusterEvent, InstanceReport, QueuedDownload, ReportedBackend, ReportedRun, RunEnd, Told},
        ids::{InstanceId, RunId},
    },
    stores::bus::{Bus, BusStanding, Heard},
};

/// Between two reports, when nothing has changed.
const REPORT: Duration = Duration::from_secs(2);
/// Between two looks whether something has.
const LOOK: Duration = Duration::from_millis(250);
/// Without a report for so long an instance is not there any more.
const SILENCE: Duration = Duration::from_secs(7);
/// Longest wait for an instance that runs it to say that a run has stopped: it waits so long for it itself, and a little.
const STOP_TIME: Duration = Duration::from_secs(11);
/// Longest wait for somebody to say so of a run that nobody has reported: it may have begun a moment ago.
const FIRST_WORD: Duration = Duration::from_millis(500);
/// Entries of each kind in a report; who has more has other worries.
const MOST_REPORTED: usize = 200;
/// Characters that are told of what is wrong with a backend.
const MOST_WORDS: usize = 300;
/// Ends of runs that may wait to be looked at.
const ENDS: usize = 64;

/// The other instances. Cheap to clone.
#[derive(Clone)]
pub struct Peers {
    me: InstanceId,
    bus: Arc<dyn Bus>,
    /// Written by the task that hears, read by everybody.
    known: Arc<ArcSwap<BTreeMap<InstanceId, Arc<Peer>>>>,
    /// Runs of others that have been told to stop, and what came of it.
    ends: broadcast::Sender<(RunId, RunEnd)>,
}

struct Peer {
    heard_at: Instant,
    report: InstanceReport,
}

impl Peers {
    pub(super) fn new(me: InstanceId, bus: Arc<dyn Bus>) -> Self {
        Self { me, bus, known: Arc::default(), ends: broadcast::Sender::new(ENDS) }
    }

    /// Of an instance that has none.
    #[cfg(test)]
    pub(super) fn alone() -> Self {
        let me = InstanceId::new("alone");
        Self::new(me.clone(), Arc::new(crate::stores::bus::in_process::Hub::default().join(me)))
    }

    /// How the way to them stands.
    pub(super) fn bus_standing(&self) -> BusStanding {
        self.bus.standing()
    }

    /// Tells all of them, if they can be told now.
    pub fn tell(&self, event: ClusterEvent) {
        self.bus.tell(event);
    }

    /// Those that have been heard of lately.
    pub fn live(&self) -> Vec<InstanceId> {
        self.reports().into_iter().map(|(instance, _)| instance).collect()
    }

    /// What waits to be downloaded by others.
    pub fn queued(&self) -> Vec<QueuedDownload> {
        self.reports().into_iter().flat_map(|(_, report)| report.queue).collect()
    }

    /// The chains that others run, and who does.
    pub fn runs(&self) -> Vec<(InstanceId, ReportedRun)> {
        let of = |(instance, report): (InstanceId, InstanceReport)| {
            report.runs.into_iter().map(move |run| (instance.clone(), run))
        };
        self.reports().into_iter().flat_map(of).collect()
    }

    /// What others see of the backends.
    pub fn views(&self) -> Vec<(InstanceId, ReportedBackend)> {
        let of = |(instance, report): (InstanceId, InstanceReport)| {
            report.backends.into_iter().map(move |seen| (instance.clone(), seen))
        };
        self.reports().into_iter().flat_map(of).collect()
    }

    /// Ends a run that another instance may run.
    ///
    /// # Errors
    /// When none does, or it does not stop.
    pub async fn cancel_run(&self, run: &RunId) -> Result<(), CancelError> {
        let reports = self.reports();
        if reports.is_empty() {
            return Err(CancelError::Over);
        }
        let has_it = |report: &InstanceReport| report.runs.iter().any(|reported| reported.id == *run);
        let at = reports.into_iter().find(|(_, report)| has_it(report)).map(|(instance, _)| instance);
        let is_reported = at.is_some();
        let mut ends = self.ends.subscribe();
        self.tell(ClusterEvent::CancelRun { run: run.clone(), at });
        let end = Instant::now() + if is_reported { STOP_TIME } else { FIRST_WORD };
        let said = async {
            loop {
                match ends.recv().await {
                    Ok((ended, end)) if ended == *run => break end,
                    // What was missed may have been it; the run is asked about again then, and is over.
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
                }
            }
        };
        match timeout_at(end, said).await {
            Ok(RunEnd::Stopped) => Ok(()),
            Ok(RunEnd::Over) => Err(CancelError::Over),
            Err(_) if !is_reported => Err(CancelError::Over),
            Ok(RunEnd::Slow) | Err(_) => Err(CancelError::Slow),
        }
    }

    fn reports(&self) -> Vec<(InstanceId, InstanceReport)> {
        let known = self.known.load();
        let live = known.iter().filter(|(_, peer)| peer.heard_at.elapsed() < SILENCE);
        live.map(|(instance, peer)| (instance.clone(), peer.report.clone())).collect()
    }

    /// Remembers what an instance has reported, or that it has left; whether it was known.
    fn note(&self, instance: &InstanceId, report: Option<InstanceReport>) -> bool {
        let mut known = BTreeMap::clone(&self.known.load());
        known.retain(|_, peer| peer.heard_at.elapsed() < SILENCE);
        let former = match report {
            Some(report) => known.insert(instance.clone(), Arc::new(Peer { heard_at: Instant::now(), report })),
            None => known.remove(instance),
        };
        self.known.store(Arc::new(known));
        former.is_some()
    }

    /// Hears what others tell, for ever.
    pub(super) async fn heed(self, runtime: Runtime) {
        let mut listening = self.bus.listen();
        loop {
            match listening.next().await {
                // What was stored meanwhile, the store knows.
                Heard::Gap => runtime.reconcile.poke(),
                Heard::Told(told) => self.on_told(&told, &runtime),
            }
        }
    }

    fn on_told(&self, told: &Told, runtime: &Runtime) {
        match &told.event {
            ClusterEvent::Changed => runtime.reconcile.poke(),
            ClusterEvent::Download(event) => runtime.events.show(event.clone()),
            ClusterEvent::CancelDownloads { backends, model, waiting } => {
                let (runtime, backends) = (runtime.clone(), backends.clone());
                let (model, waiting) = (model.clone(), *waiting);
                self.in_background(&runtime.clone(), async move {
                    let backends = backends.map(|ids| ids.into_iter().collect());
                    runtime.cancel_downloads_here(backends, model.as_deref(), waiting).await;
                });
            }
            ClusterEvent::DownloadsCancelled { backend, models } => {
                if let Some(cell) = runtime.directory.backend(backend) {
                    models.iter().for_each(|model| cell.note_cancelled(model));
                }
            }
            ClusterEvent::Alert(alert) => runtime.alerts.keep(alert.clone()),
            ClusterEvent::CancelRun { run, at } => {
                let (runtime, peers, run) = (runtime.clone(), self.clone(), run.clone());
                let is_meant = at.as_ref() == Some(&self.me);
                self.in_background(&runtime.clone(), async move {
                    let end = match runtime.cancel_run_here(&run).await {
                        Some(Ok(())) => RunEnd::Stopped,
                        Some(Err(CancelError::Slow)) => RunEnd::Slow,
                        Some(Err(CancelError::Over)) => RunEnd::Over,
                        None if is_meant => RunEnd::Over,
                        None => return,
                    };
                    peers.tell(ClusterEvent::RunCancelled { run, end });
                });
            }
            ClusterEvent::RunCancelled { run, end } => {
                // Nobody may have asked here.
                drop(self.ends.send((run.clone(), *end)));
            }
            ClusterEvent::Report(report) => {
                if !self.note(&told.from, Some(report.clone())) {
                    tracing::info!(instance = %told.from, "another instance is there");
                }
            }
            ClusterEvent::Left => {
                if self.note(&told.from, None) {
                    tracing::info!(instance = %told.from, "another instance has left");
                }
            }
        }
    }

    /// What takes its time must not keep the next event waiting.
    fn in_background(&self, runtime: &Runtime, work: impl Future<Output = ()> + Send + 'static) {
        runtime.tasks.spawn(work);
    }

    /// Tells how it is going here, for ever.
    pub(super) async fn report(self, runtime: Runtime) {
        let (mut last, mut told_at) = (None, Instant::now());
        loop {
            if !self.bus.has_others() {
                tokio::time::sleep(REPORT).await;
                continue;
            }
            let report = report_of(&runtime).await;
            let essence = essence_of(&report);
            if last.as_ref() != Some(&essence) || told_at.elapsed() >= REPORT {
                self.tell(ClusterEvent::Report(report));
                (last, told_at) = (Some(essence), Instant::now());
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

async fn report_of(runtime: &Runtime) -> InstanceReport {
    let backends = runtime.directory.backends();
    let queue = backends.values().flat_map(|cell| {
        let view = cell.view();
        let queued = view.queue.iter().map(|job| QueuedDownload {
            base_url: view.backend.base_url.clone(),
            model: job.model.clone(),
            created_at: job.created_at,
        });
        queued.collect::<Vec<_>>()
    });
    let seen = backends.values().map(|cell| {
        let (view, slots) = (cell.view(), cell.slots());
        let error = view.error().map(|words| words.chars().take(MOST_WORDS).collect());
        ReportedBackend { id: cell.id.clone(), error, limit: slots.limit, in_use: slots.in_use, waiters: slots.waiters }
    });
    // A supervisor that is just being restarted has none.
    let runs = runtime.runs.live().await.unwrap_or_default();
    InstanceReport {
        queue: queue.take(MOST_REPORTED).collect(),
        runs: runs.iter().take(MOST_REPORTED).map(|run| run.report()).collect(),
        backends: seen.take(MOST_REPORTED).collect(),
    }
}

/// What of a report is worth another one at once: not how busy somebody is at the moment.
fn essence_of(report: &InstanceReport) -> InstanceReport {
    let mut essence = report.clone();
    for seen in &mut essence.backends {
        (seen.in_use, seen.waiters) = (0, 0);
    }
    for run in &mut essence.runs {
        run.calls = 0;
    }
    essence
}
