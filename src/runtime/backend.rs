//! One LLM backend: probes it, keeps its models in sync, publishes what it knows.
//!
//! Owns: [`BackendState`]. Children: tracked tasks, at most one probe and one download, which end with the actor.
//! Supervisor: `Fleet`.
//! Mailbox: 64 data permits for what calls tell, of which a part is enough; 256 control permits: reports of own tasks and one
//! intent per reconcile.
//! On crash: handed-out leases stay valid; the published view stays until the successor has probed; generation + 1.

mod access;
mod breaker;
mod downloads;
mod health;
mod kept_out;
mod latency;
mod limit;
mod limiter;
mod model_sync;
mod probe;
mod rest;

use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::time::Instant;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

pub use self::access::{BreakerPosition, BreakerSnapshot};
pub(super) use self::{
    access::{Access, Effect, Entry, Standing, Way},
    latency::LatencyView,
    limiter::{CallSample, INITIAL_LIMIT, Limiter},
};
use self::{downloads::Downloads, probe::ProbeOutcome};
use super::{
    ask::{AskError, CONTROL_DEADLINE, Reply, ask},
    directory::{BackendCell, BackendView, Health},
    duty::SyncDuty,
    events::EventsHandle,
    feed::{Feed, Happening},
    mailbox::{Address, Bounds, Envelope, Lane, MailboxSnapshot, SendError},
};
use crate::{
    config::ModelSync,
    domain::{
        backend::{ApiKey, Backend},
        ids::BackendId,
        provider::ProviderKind,
        time::Timestamp,
    },
    faults::fault,
    providers::{Provider, Target, Transport, connect},
};

const BOUNDS: Bounds = Bounds { data: 64, control: 256 };

/// A model declared for this backend through a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DeclaredModel {
    pub(super) name: String,
    /// The latest of: declared, assigned to the pool, backend assigned to the pool. A cancelled download stays
    /// cancelled until this moves.
    pub(super) since: Timestamp,
}

/// What the store says of this backend.
#[derive(Clone, PartialEq)]
pub(super) struct BackendGoal {
    pub(super) backend: Backend,
    pub(super) api_key: Option<ApiKey>,
    pub(super) in_pool: bool,
    pub(super) declared: Vec<DeclaredModel>,
}

/// What every backend actor needs besides its goal.
#[derive(Clone)]
pub(super) struct BackendDeps {
    pub(super) transport: Transport,
    pub(super) events: EventsHandle,
    pub(super) feed: Feed,
    pub(super) model_sync: ModelSync,
    pub(super) duty: SyncDuty,
    pub(super) tasks: TaskTracker,
}

/// Talks to the backend's actor, across its restarts.
#[derive(Clone)]
pub(super) struct BackendHandle {
    address: Address<BackendMsg>,
}

impl BackendHandle {
    pub(super) fn vacant() -> Self {
        Self { address: Address::vacant() }
    }

    pub(super) fn attach(&self, actor: ActorRef<Envelope<BackendMsg>>) {
        self.address.attach(actor, BOUNDS);
    }

    pub(super) fn detach(&self) {
        self.address.detach();
    }

    /// How full the actor's mailbox is.
    pub(super) fn mailbox(&self) -> Option<MailboxSnapshot> {
        self.address.snapshot()
    }

    pub(super) fn kill(&self) {
        self.address.kill();
    }

    /// Hands over a new goal. One that finds nobody is handed to the successor when it starts.
    pub(super) fn adopt(&self, goal: BackendGoal) -> Result<(), SendError> {
        match self.address.try_send(Lane::Control, BackendMsg::Adopt(Box::new(goal))) {
            Err(SendError::Gone) => Ok(()),
            sent => sent,
        }
    }

    /// Reports that a call found the backend unreachable; loss is harmless, the next probe finds out too.
    pub(super) fn call_failed(&self) {
        if let Err(error) = self.address.try_send(Lane::Data, BackendMsg::CallFailed) {
            tracing::debug!(%error, "a failed call was not reported");
        }
    }

    /// Reports what an answered call showed; loss is harmless, others will come.
    pub(super) fn call_ended(&self, sample: CallSample) {
        if let Err(error) = self.address.try_send(Lane::Data, BackendMsg::CallEnded(sample)) {
            tracing::trace!(%error, "what a call showed was not reported");
        }
    }

    /// Reports that the backend refused a call because it has too much to do; loss is harmless.
    pub(super) fn call_refused(&self, in_flight: u16) {
        if let Err(error) = self.address.try_send(Lane::Data, BackendMsg::CallRefused { in_flight }) {
            tracing::debug!(%error, "a refused call was not reported");
        }
    }

    /// Reports that calls are kept out of the backend for a time.
    pub(super) fn calls_kept_out(&self) -> Result<(), SendError> {
        self.address.try_send(Lane::Control, BackendMsg::CallsKeptOut)
    }

    /// Drops the waiting downloads of a model (all models when `None`) if `waiting`, and stops its running one; which these were.
    pub(super) async fn cancel_download(&self, model: Option<String>, waiting: bool) -> Result<Vec<String>, AskError> {
        ask(&self.address, CONTROL_DEADLINE, |reply| BackendMsg::CancelDownload { model, waiting, reply }).await
    }
}

/// What the actor is told.
#[cfg_attr(feature = "faults", derive(strum::IntoStaticStr, strum::VariantNames))]
#[cfg_attr(feature = "faults", strum(prefix = "backend.", serialize_all = "snake_case"))]
pub(super) enum BackendMsg {
    /// From reconcile. Not answered; the next view shows it.
    Adopt(Box<BackendGoal>),
    /// From the timer behind the probe of this name. Only the latest probe's timer counts.
    ProbeDue { probe: TaskName },
    /// From this actor's probe task. Only the latest probe counts.
    ProbeFinished { probe: TaskName, outcome: ProbeOutcome },
    /// From a call that could not reach the backend. May be lost.
    CallFailed,
    /// From a call that was answered, where the limit is to be found. May be lost.
    CallEnded(CallSample),
    /// From a call that was refused, with so many in flight. May be lost.
    CallRefused { in_flight: u16 },
    /// From a call after which the breaker is open, or closed again, or the backend rests; one at a time is on its way. Who waits looks again
    /// now and when that ends; what is lost is made up for by the next slot that comes free.
    CallsKeptOut,
    /// From the timer behind such a time. Only the latest counts.
    LookDue { timer: TaskName },
    /// From the download task of this life of the actor; one of a former life is ignored.
    DownloadFinished { generation: u64, model: String, result: Result<(), String> },
    /// From the API. MUST be answered once the queue is changed and the running download told to stop.
    CancelDownload { model: Option<String>, waiting: bool, reply: Reply<Vec<String>> },
}

/// Which probe, or timer, of which life of the actor: an address outlives its actor, so tasks of a former life can be heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TaskName {
    generation: u64,
    number: u64,
}

pub(super) struct BackendActor;

pub(super) struct BackendArgs {
    pub(super) cell: Arc<BackendCell>,
    pub(super) goal: BackendGoal,
    pub(super) generation: u64,
    pub(super) deps: BackendDeps,
}

pub(super) struct BackendState {
    cell: Arc<BackendCell>,
    deps: BackendDeps,
    goal: BackendGoal,
    generation: u64,
    /// Counts the probes of this life, and the times one was given up.
    probe_number: u64,
    probed_at: Option<Instant>,
    /// Ends the latest probe and its timer, when a new goal makes its sight useless.
    probe_stop: CancellationToken,
    provider: Result<Arc<dyn Provider>, String>,
    health: Health,
    observed: Vec<crate::domain::model::ObservedModel>,
    is_probing: bool,
    probe_again: bool,
    downloads: Downloads,
    /// Finds how many calls it can bear, where no `maxConcurrency` says it.
    limiter: Limiter,
    /// Counts the timers behind which who waits looks again.
    look_number: u64,
    /// How often the breaker had opened when that was last written down.
    openings_told: u32,
    /// What watchers were told of the breaker.
    breaker_told: BreakerPosition,
    /// Ends every task of this actor, whichever way the actor ends.
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
}

impl BackendState {
    fn new(args: BackendArgs) -> Self {
        let stop = CancellationToken::new();
        let downloads = Downloads::new(Arc::clone(&args.cell));
        let openings_told = args.cell.breaker().opened;
        let limiter = match args.generation {
            1 => Limiter::new(),
            _ => Limiter::resuming(args.cell.slots().limit),
        };
        Self {
            provider: provider_of(&args.goal, &args.deps.transport),
            // Until the first probe of this life the predecessor's sight is the best there is.
            observed: args.cell.view().observed.clone(),
            cell: args.cell,
            deps: args.deps,
            goal: args.goal,
            probe_number: 0,
            probed_at: None,
            generation: args.generation,
            health: Health::Unknown,
            is_probing: false,
            probe_again: false,
            probe_stop: stop.child_token(),
            downloads,
            limiter,
            look_number: 0,
            openings_told,
            breaker_told: BreakerPosition::Closed,
            _stop_on_drop: stop.clone().drop_guard(),
            stop,
        }
    }

    /// Tells those who watch.
    fn tell(&self, of: impl FnOnce(BackendId) -> Happening) {
        self.deps.feed.tell(of(self.goal.backend.id.clone()));
    }

    fn handle(&self) -> &BackendHandle {
        &self.cell.handle
    }

    /// Adopts a goal and looks at the backend at once.
    fn adopt(&mut self, goal: BackendGoal) {
        if goal == self.goal {
            return;
        }
        let is_other_server = goal.backend.trimmed_url() != self.goal.backend.trimmed_url()
            || goal.backend.kind != self.goal.backend.kind;
        let is_other_call = goal.api_key != self.goal.api_key || goal.backend != self.goal.backend;
        if is_other_server || goal.api_key != self.goal.api_key {
            // What calls found they found elsewhere, or with another key.
            self.cell.access.reset();
        }
        self.goal = goal;
        self.forget_probe();
        if is_other_call {
            self.provider = provider_of(&self.goal, &self.deps.transport);
        }
        if is_other_server {
            self.observed = Vec::new();
            self.health = Health::Unknown;
            self.downloads.clear();
            self.cell.unconstrained.store(Arc::default());
            self.cell.meters.forget_models();
            self.forget_limit();
        }
        self.downloads.forget_failures(&self.goal.declared);
        self.probe_soon();
    }

    /// Shows the world the state as it is now.
    fn publish(&self) {
        let goal = &self.goal;
        let mut view = BackendView::new(goal.backend.clone(), self.generation);
        view.health = self.health.clone();
        view.in_pool = goal.in_pool;
        view.provider = self.provider.as_ref().ok().map(Arc::clone);
        view.models = match goal.backend.kind {
            // Before the first probe nothing is known, not even what ought to be there.
            _ if self.health == Health::Unknown => Vec::new(),
            ProviderKind::Ollama => goal.declared.iter().map(|declared| declared.name.clone()).collect(),
            ProviderKind::Vllm | ProviderKind::Openai | ProviderKind::Gemini => {
                self.observed.iter().map(|model| model.name.clone()).collect()
            }
        };
        view.queue = self.downloads.waiting().to_vec();
        view.downloading = self.downloads.running_model().map(str::to_owned);
        view.observe(self.observed.clone());
        self.cell.publish(view);
        // It may have had a limit of its own until now.
        self.cell.set_found_limit(self.limiter.limit());
    }
}

fn provider_of(goal: &BackendGoal, transport: &Transport) -> Result<Arc<dyn Provider>, String> {
    let backend = &goal.backend;
    let target = Target { base_url: backend.trimmed_url().to_owned(), api_key: goal.api_key.clone() };
    let is_hosted = backend.cloud.is_none() && backend.is_cloud();
    connect(backend.kind, is_hosted, target, transport).map_err(|error| error.to_string())
}

/// A task's message to its own actor; when that has gone, so has the need to tell it.
async fn report(handle: &BackendHandle, message: BackendMsg) {
    if let Err(error) = handle.address.send(Lane::Control, message).await {
        tracing::debug!(%error, "a backend task outlived its actor");
    }
}

impl Actor for BackendActor {
    type Msg = Envelope<BackendMsg>;
    type State = BackendState;
    type Arguments = BackendArgs;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        args: BackendArgs,
    ) -> Result<BackendState, ActorProcessingErr> {
        args.cell.handle.attach(myself);
        fault!("backend.start", args.cell.id);
        let mut state = BackendState::new(args);
        state.probe_soon();
        state.on_calls_kept_out();
        Ok(state)
    }

    async fn handle(
        &self,
        _: ActorRef<Self::Msg>,
        envelope: Self::Msg,
        state: &mut BackendState,
    ) -> Result<(), ActorProcessingErr> {
        fault!(before envelope.message => stage, state.cell.id);
        match envelope.message {
            BackendMsg::Adopt(goal) => state.adopt(*goal),
            BackendMsg::ProbeDue { probe } => state.on_probe_due(probe),
            BackendMsg::ProbeFinished { probe, outcome } => state.on_probe(probe, outcome),
            BackendMsg::CallFailed => state.on_call_failed(),
            BackendMsg::CallEnded(sample) => state.on_call_ended(sample),
            BackendMsg::CallRefused { in_flight } => state.on_call_refused(in_flight),
            BackendMsg::CallsKeptOut => state.on_calls_kept_out(),
            BackendMsg::LookDue { timer } => state.on_look_due(timer),
            BackendMsg::DownloadFinished { generation, model, result } => {
                state.on_download(generation, &model, result);
            }
            BackendMsg::CancelDownload { model, waiting, reply } => {
                state.cancel_download(model.as_deref(), waiting, reply);
            }
        }
        fault!(after stage, state.cell.id);
        Ok(())
    }
}

/// A stored backend for the tests of this module's parts.
#[cfg(test)]
pub(super) fn sample() -> Backend {
    Backend {
        id: crate::domain::ids::BackendId::new("b"),
        name: "b".to_owned(),
        base_url: "http://127.0.0.1:1".to_owned(),
        kind: ProviderKind::Ollama,
        api_key_set: false,
        max_concurrency: None,
        weight: 1,
        tier: 0,
        cloud: None,
        enabled: true,
        labels: std::collections::BTreeMap::new(),
        created_at: Timestamp::ZERO,
        updated_at: Timestamp::ZERO,
    }
}

#[cfg(test)]
mod tests;
