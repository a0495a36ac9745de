//! The live side: supervised actors for backends, pools and chain runs, and the data plane that reads what they publish.
//!
//! The only place that names ractor. Callers get a [`Runtime`] and the handles in it.

mod actors;
pub mod alerts;
pub mod ask;
mod backend;
mod counter;
pub mod directory;
pub mod dispatch;
mod duty;
pub mod events;
pub mod feed;
mod fleet;
mod lease;
mod mailbox;
mod meters;
mod metrics;
pub mod peers;
mod pool;
mod presence;
pub mod reconcile;
mod restart;
mod root;
pub mod run;
pub mod runs;
mod shares;
#[cfg(test)]
mod simulation;
mod slots;
#[cfg(test)]
#[path = "runtime/slots/tests.rs"]
mod slots_tests;
mod task;
mod turns;

/// What [`slots`] counts with. Named here, so that `tests/slots.rs` can put loom's in its place.
mod atomic {
    pub(super) use std::sync::atomic::{AtomicU64, Ordering};
}

use std::{sync::Arc, time::Duration};

use ractor::Actor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::{
    actors::ActorSnapshot,
    mailbox::{MailboxSnapshot, SendError},
    root::SystemActor,
};
use self::{
    alerts::AlertLog,
    backend::BackendDeps,
    counter::TokenCounter,
    directory::Directory,
    dispatch::{Dispatcher, RouteDefaults},
    duty::SyncDuty,
    events::EventsHandle,
    feed::Feed,
    fleet::FleetHandle,
    mailbox::{Address, Envelope},
    peers::Peers,
    presence::Presence,
    reconcile::ReconcileHandle,
    restart::Restarts,
    root::{RootActor, RootArgs, RootMsg},
    run::{RunDeps, RunMeters, live::CancelError},
    runs::RunsHandle,
    shares::Shares,
};
use crate::{
    config::ModelSync,
    domain::{
        cluster::ClusterEvent,
        ids::{BackendId, InstanceId, RunId},
    },
    engine::EngineSettings,
    hooks::HookClient,
    providers::{TokenizerService, Transport},
    stores::{
        bus::Bus,
        catalog::CatalogStore,
        leases::LeaseStore,
        shared::{AnswerCache, SlotLeases},
    },
    telemetry::process,
};

/// What the runtime is made of.
pub struct RuntimeDeps {
    /// Stored intent.
    pub store: Arc<dyn CatalogStore>,
    /// What only one instance at a time may do.
    pub leases: Arc<dyn LeaseStore>,
    /// This process.
    pub instance: InstanceId,
    /// Where other instances are told and heard.
    pub bus: Arc<dyn Bus>,
    /// Where few slots are leased in turns, if anywhere.
    pub turns: Option<Arc<dyn SlotLeases>>,
    /// Where answers are kept, if anywhere.
    pub answers: Option<Arc<dyn AnswerCache>>,
    /// HTTP to backends and hooks.
    pub transport: Transport,
    /// Counts tokens where one is set.
    pub tokenizer: Option<TokenizerService>,
    /// Models of requests that name none.
    pub defaults: RouteDefaults,
    /// What the sync may delete.
    pub model_sync: ModelSync,
    /// What all chain runs have in common.
    pub engine: EngineSettings,
    /// Chain runs at once.
    pub max_runs: usize,
}

/// The running actors, and the handles through which everybody reaches them. Cheap to clone.
#[derive(Clone)]
pub struct Runtime {
    /// What the actors publish.
    pub directory: Arc<Directory>,
    /// Runs calls on the fleet.
    pub dispatcher: Dispatcher,
    /// Puts stored changes in force.
    pub reconcile: ReconcileHandle,
    /// Live events of downloads.
    pub events: EventsHandle,
    /// What happens here, live.
    pub feed: Feed,
    /// Starts chain runs.
    pub runs: RunsHandle,
    /// The latest alerts.
    pub alerts: AlertLog,
    /// The other instances.
    pub peers: Peers,
    fleet: FleetHandle,
    root: Address<RootMsg>,
    tasks: TaskTracker,
    stopping: CancellationToken,
    duty: SyncDuty,
    presence: Presence,
    max_runs: usize,
}

/// The actors could not be started, or have ended by themselves.
#[derive(Debug, thiserror::Error)]
#[error("the runtime's root actor ended: {0}")]
pub struct RootEnded(String);

impl Runtime {
    /// Starts all actors. The future that comes with them resolves when the root ends.
    ///
    /// # Errors
    /// When an actor cannot be started.
    pub async fn start(deps: RuntimeDeps) -> Result<(Self, impl Future<Output = RootEnded> + Send), RootEnded> {
        let tasks = TaskTracker::new();
        let directory = Arc::new(Directory::default());
        let dispatcher = Dispatcher::new(Arc::clone(&directory), deps.defaults, tasks.clone());
        let dispatcher = dispatcher.remembering(deps.answers);
        let duty = SyncDuty::new(Arc::clone(&deps.leases), deps.instance.clone());
        // Before the first look at a backend: whoever is alone needs not wait for the second.
        duty.renew().await;
        let feed = Feed::new(deps.instance.clone());
        let peers = Peers::new(deps.instance.clone(), deps.bus);
        let presence = Presence::new(deps.leases, deps.instance, peers.clone());
        presence.say().await;
        let (events, alerts) = (EventsHandle::vacant(peers.clone()), AlertLog::new(peers.clone(), feed.clone()));
        let runtime = Self {
            directory: Arc::clone(&directory),
            dispatcher: dispatcher.clone(),
            reconcile: ReconcileHandle::vacant(),
            events: events.clone(),
            feed: feed.clone(),
            runs: RunsHandle::vacant(),
            alerts: alerts.clone(),
            peers,
            duty: duty.clone(),
            presence: presence.clone(),
            max_runs: deps.max_runs,
            fleet: FleetHandle::vacant(),
            root: Address::vacant(),
            tasks: tasks.clone(),
            stopping: CancellationToken::new(),
        };
        let args = RootArgs {
            address: runtime.root.clone(),
            events: events.clone(),
            fleet: runtime.fleet.clone(),
            reconcile: runtime.reconcile.clone(),
            runs: runtime.runs.clone(),
            store: Arc::clone(&deps.store),
            directory,
            backend_deps: BackendDeps {
                transport: deps.transport.clone(),
                events,
                feed: feed.clone(),
                model_sync: deps.model_sync,
                duty: duty.clone(),
                tasks: tasks.clone(),
            },
            run_deps: RunDeps {
                counter: TokenCounter::new(dispatcher.clone(), deps.tokenizer),
                dispatcher,
                hooks: HookClient::new(deps.store, deps.transport),
                alerts,
                feed,
                meters: RunMeters::default(),
                settings: Arc::new(deps.engine),
                tasks: tasks.clone(),
            },
            max_runs: deps.max_runs,
            restarts: Restarts::new(),
            tasks,
        };
        let (_root, ended) = Actor::spawn(None, RootActor, args).await.map_err(|error| RootEnded(error.to_string()))?;
        let ended =
            async move { RootEnded(ended.await.map_or_else(|error| error.to_string(), |()| "it stopped".to_owned())) };
        let heeding = runtime.peers.clone().heed(runtime.clone());
        let reporting = runtime.peers.clone().report(runtime.clone());
        runtime.tasks.spawn(runtime.stopping.clone().run_until_cancelled_owned(heeding));
        runtime.tasks.spawn(runtime.stopping.clone().run_until_cancelled_owned(reporting));
        runtime.tasks.spawn(runtime.stopping.clone().run_until_cancelled_owned(duty.keep()));
        let shares = Shares::new(Arc::clone(&runtime.directory), presence.clone(), deps.turns);
        runtime.tasks.spawn(runtime.stopping.clone().run_until_cancelled_owned(presence.keep()));
        runtime.tasks.spawn(runtime.stopping.clone().run_until_cancelled_owned(shares.keep()));
        runtime.tasks.spawn(runtime.stopping.clone().run_until_cancelled_owned(process::canary()));
        Ok((runtime, ended))
    }

    /// Something stored was changed here: it is put in force, here and elsewhere.
    pub fn changed(&self) {
        self.peers.tell(ClusterEvent::Changed);
        self.reconcile.poke();
    }

    /// Ends a run, whichever instance it is on.
    ///
    /// # Errors
    /// When none runs it, or it does not stop.
    pub async fn cancel_run(&self, run: &RunId) -> Result<(), CancelError> {
        match self.cancel_run_here(run).await {
            Some(outcome) => outcome,
            None => self.peers.cancel_run(run).await,
        }
    }

    /// The same for a run of this instance; `None` when it is none.
    async fn cancel_run_here(&self, run: &RunId) -> Option<Result<(), CancelError>> {
        let live = self.runs.live().await.unwrap_or_default();
        match live.iter().find(|live| live.id == *run) {
            Some(live) => Some(live.cancel().await),
            None => None,
        }
    }

    /// Stops downloads on all instances, as `cancel_downloads_here` does on this one.
    pub async fn cancel_downloads(&self, backends: Option<Vec<BackendId>>, model: Option<&str>, waiting: bool) {
        let ids = backends.as_ref().map(|ids| ids.iter().cloned().collect());
        let model_name = model.map(str::to_owned);
        self.peers.tell(ClusterEvent::CancelDownloads { backends: ids, model: model_name, waiting });
        self.cancel_downloads_here(backends, model, waiting).await;
    }

    /// Drops the waiting downloads (if `waiting`) and stops the running ones of a model on all backends, or with
    /// `model` absent everything on the given backends. Where the actor is just being restarted none runs, and its successor
    /// queues none of them.
    async fn cancel_downloads_here(&self, backends: Option<Vec<BackendId>>, model: Option<&str>, waiting: bool) {
        for (id, cell) in self.directory.backends().iter() {
            if backends.as_ref().is_some_and(|wanted| !wanted.contains(id)) {
                continue;
            }
            let models = match cell.handle.cancel_download(model.map(str::to_owned), waiting).await {
                Ok(models) => models,
                Err(error) => {
                    tracing::warn!(backend = %id, %error, "a download is cancelled behind its actor's back");
                    let model = model.map(str::to_owned).or_else(|| cell.view().downloading.clone());
                    cell.remember_cancelled(model.clone());
                    model.into_iter().collect()
                }
            };
            if !models.is_empty() {
                // Whoever takes over the downloads must know of it.
                self.peers.tell(ClusterEvent::DownloadsCancelled { backend: id.clone(), models });
            }
        }
    }

    /// Ends a system actor as a crash would; supervision brings it back. For fault tests.
    pub fn crash(&self, which: SystemActor) {
        match which {
            SystemActor::Events => self.events.address.kill(),
            SystemActor::Fleet => self.fleet.address.kill(),
            SystemActor::Reconcile => self.reconcile.address.kill(),
            SystemActor::Runs => self.runs.address.kill(),
        }
    }

    /// Stops all actors and waits for their tasks, at most this long.
    pub async fn stop(&self, limit: Duration) {
        self.peers.tell(ClusterEvent::Left);
        self.stopping.cancel();
        self.root.stop();
        // A store that does not answer must not hold the stop up.
        let farewell = async { tokio::join!(self.duty.give_back(), self.presence.leave()) };
        if tokio::time::timeout(limit, farewell).await.is_err() {
            tracing::debug!("the store was not told in time that this instance stops");
        }
        self.directory.vacate();
        self.tasks.close();
        if tokio::time::timeout(limit, self.tasks.wait()).await.is_err() {
            tracing::warn!(tasks = self.tasks.len(), "some tasks did not end in time");
        }
    }
}

/// What every actor is told: as a stage at which a fault can be set, before it is heeded and, with `.done` behind it, after.
#[cfg(feature = "faults")]
pub fn message_stages() -> Vec<&'static str> {
    use strum::VariantNames;
    let actors = [
        root::RootMsg::VARIANTS,
        fleet::FleetMsg::VARIANTS,
        backend::BackendMsg::VARIANTS,
        pool::PoolMsg::VARIANTS,
        runs::RunsMsg::VARIANTS,
        run::RunMsg::VARIANTS,
        reconcile::ReconcileMsg::VARIANTS,
        events::EventsMsg::VARIANTS,
    ];
    actors.concat()
}

/// Checked at compile time: what is shared by all requests can be.
const _: fn() = || {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Runtime>();
    shared::<Envelope<RootMsg>>();
};
