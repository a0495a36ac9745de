//! The top of the tree: starts the system's actors in order and brings back the one that ends.
//!
//! Owns: the system actors and their crash histories. Children: `Events`, `Fleet`, `Reconcile`, `RunSupervisor`.
//! Supervisor: none; the process watches its end.
//! Mailbox: restarts only, 16 control permits, several times the number of children.
//! On crash: the process exits non-zero, because a child crashes faster than it can be restarted.

use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::time::Instant;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use super::backend::BackendDeps;
use super::{
    events::{self, EventsActor, EventsHandle},
    fleet::{FleetActor, FleetArgs, FleetHandle},
    mailbox::{Address, Bounds, Envelope, Lane},
    reconcile::{ReconcileActor, ReconcileArgs, ReconcileHandle},
    restart::{CrashHistory, RestartPolicy, Restarts, Verdict},
    run::RunDeps,
    runs::{RunSupervisor, RunsArgs, RunsHandle},
};
use crate::{faults::fault, stores::catalog::CatalogStore};
use std::sync::Arc;

const BOUNDS: Bounds = Bounds { data: 1, control: 16 };

/// The actors that exist once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SystemActor {
    /// Fans download events out.
    Events,
    /// Supervises backends and pools.
    Fleet,
    /// Puts stored intent in force.
    Reconcile,
    /// Supervises chain runs.
    Runs,
}

impl SystemActor {
    /// Its name in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Fleet => "fleet",
            Self::Reconcile => "reconcile",
            Self::Runs => "runs",
        }
    }
}

/// In the order in which they start.
pub(super) const SYSTEM: [SystemActor; 4] =
    [SystemActor::Events, SystemActor::Fleet, SystemActor::Reconcile, SystemActor::Runs];

/// What the system actors are made of, again after every crash.
#[derive(Clone)]
pub(super) struct RootArgs {
    pub(super) address: Address<RootMsg>,
    pub(super) events: EventsHandle,
    pub(super) fleet: FleetHandle,
    pub(super) reconcile: ReconcileHandle,
    pub(super) runs: RunsHandle,
    pub(super) store: Arc<dyn CatalogStore>,
    pub(super) directory: Arc<super::directory::Directory>,
    pub(super) backend_deps: BackendDeps,
    pub(super) run_deps: RunDeps,
    pub(super) max_runs: usize,
    pub(super) restarts: Restarts,
    pub(super) tasks: TaskTracker,
}

/// What the actor is told.
#[cfg_attr(feature = "faults", derive(strum::IntoStaticStr, strum::VariantNames))]
#[cfg_attr(feature = "faults", strum(prefix = "root.", serialize_all = "snake_case"))]
pub(super) enum RootMsg {
    /// From the timer behind a crash.
    RestartDue { which: SystemActor },
}

pub(super) struct RootActor;

struct Child {
    which: SystemActor,
    /// `None` while it is down.
    actor: Option<ActorId>,
    crashes: CrashHistory,
}

pub(super) struct RootState {
    args: RootArgs,
    children: Vec<Child>,
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
}

impl RootState {
    async fn start(
        &self,
        myself: &ActorRef<Envelope<RootMsg>>,
        which: SystemActor,
    ) -> Result<ActorId, ActorProcessingErr> {
        let (args, root) = (self.args.clone(), myself.get_cell());
        let actor = match which {
            SystemActor::Events => {
                let (actor, _) = Actor::spawn_linked(None, EventsActor, (), root).await?;
                args.events.address.attach(actor.clone(), events::BOUNDS);
                actor.get_id()
            }
            SystemActor::Fleet => {
                let RootArgs { fleet: handle, directory, backend_deps: deps, restarts, tasks, .. } = args;
                let args = FleetArgs { handle, directory, deps, restarts, tasks };
                Actor::spawn_linked(None, FleetActor, args, root).await?.0.get_id()
            }
            SystemActor::Reconcile => {
                let RootArgs { reconcile: handle, store, fleet, tasks, .. } = args;
                let args = ReconcileArgs { handle, store, fleet, tasks };
                Actor::spawn_linked(None, ReconcileActor, args, root).await?.0.get_id()
            }
            SystemActor::Runs => {
                let RootArgs { runs: handle, run_deps: deps, max_runs, .. } = args;
                let args = RunsArgs { handle, deps, max_runs };
                Actor::spawn_linked(None, RunSupervisor, args, root).await?.0.get_id()
            }
        };
        Ok(actor)
    }

    fn vacate(&self, which: SystemActor) {
        match which {
            SystemActor::Events => self.args.events.address.detach(),
            SystemActor::Fleet => {
                self.args.fleet.address.detach();
                // Its children have ended with it.
                self.args.directory.vacate();
            }
            SystemActor::Reconcile => self.args.reconcile.address.detach(),
            SystemActor::Runs => self.args.runs.address.detach(),
        }
    }

    fn on_child_ended(&mut self, actor: ActorId, why: &str) -> Result<(), ActorProcessingErr> {
        match self.children.iter().find(|child| child.actor == Some(actor)).map(|child| child.which) {
            Some(which) => self.crashed(which, why),
            None => Ok(()),
        }
    }

    fn crashed(&mut self, which: SystemActor, why: &str) -> Result<(), ActorProcessingErr> {
        let Some(child) = self.children.iter_mut().find(|child| child.which == which) else { return Ok(()) };
        child.actor = None;
        match child.crashes.on_crash(RestartPolicy::STANDARD, Instant::now(), fastrand::f64()) {
            Verdict::Escalate => Err(format!("{which:?} crashes again and again: {why}").into()),
            Verdict::RestartAfter(delay) => {
                self.args.restarts.of_system(which).increment(1);
                tracing::error!(actor = ?which, error = why, ?delay, "actor crashed and will be restarted");
                self.vacate(which);
                let (address, stop) = (self.args.address.clone(), self.stop.clone());
                self.args.tasks.spawn(async move {
                    let work = async {
                        tokio::time::sleep(delay).await;
                        if let Err(error) = address.send(Lane::Control, RootMsg::RestartDue { which }).await {
                            tracing::debug!(%error, "a restart outlived the root");
                        }
                    };
                    stop.run_until_cancelled(work).await;
                });
                Ok(())
            }
        }
    }

    async fn restart(
        &mut self,
        myself: &ActorRef<Envelope<RootMsg>>,
        which: SystemActor,
    ) -> Result<(), ActorProcessingErr> {
        // One that does not start has crashed.
        let actor = match self.start(myself, which).await {
            Ok(actor) => actor,
            Err(error) => return self.crashed(which, &error.to_string()),
        };
        if let Some(child) = self.children.iter_mut().find(|child| child.which == which) {
            child.actor = Some(actor);
        }
        // A new fleet has no children until it is told what is stored.
        if which == SystemActor::Fleet {
            self.args.reconcile.poke();
        }
        Ok(())
    }
}

impl Actor for RootActor {
    type Msg = Envelope<RootMsg>;
    type State = RootState;
    type Arguments = RootArgs;

    async fn pre_start(&self, myself: ActorRef<Self::Msg>, args: RootArgs) -> Result<RootState, ActorProcessingErr> {
        args.address.attach(myself.clone(), BOUNDS);
        fault!("root.start");
        let stop = CancellationToken::new();
        let mut state = RootState { args, children: Vec::new(), _stop_on_drop: stop.clone().drop_guard(), stop };
        for which in SYSTEM {
            let actor = state.start(&myself, which).await?;
            state.children.push(Child { which, actor: Some(actor), crashes: CrashHistory::default() });
        }
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        envelope: Self::Msg,
        state: &mut RootState,
    ) -> Result<(), ActorProcessingErr> {
        fault!(before envelope.message => stage);
        match envelope.message {
            RootMsg::RestartDue { which } => state.restart(&myself, which).await?,
        }
        fault!(after stage);
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<Self::Msg>,
        event: SupervisionEvent,
        state: &mut RootState,
    ) -> Result<(), ActorProcessingErr> {
        if !matches!(event, SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_)) {
            fault!("root.child_ended");
        }
        match event {
            SupervisionEvent::ActorFailed(who, error) => state.on_child_ended(who.get_id(), &error.to_string()),
            SupervisionEvent::ActorTerminated(who, _, reason) => {
                state.on_child_ended(who.get_id(), reason.as_deref().unwrap_or("stopped"))
            }
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => Ok(()),
        }
    }
}
