//! All chain runs of this process: how many there may be, and what becomes of one that crashes.
//!
//! Owns: the list of live runs. Children: `RunActor`. Supervisor: `Root`.
//! Mailbox: 4,096 data permits, one a request that wants to start a run, so that a burst is refused rather than piled up;
//! 16 control permits for those who want to see the list.
//! On crash: its runs end with it and their callers get an internal error; `Root` starts it again.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::oneshot;

use super::{
    ask::{AskError, CONTROL_DEADLINE, Reply, answer, ask},
    mailbox::{Address, Bounds, Envelope, Lane},
    run::{RunActor, RunArgs, RunDeps, RunHandle, RunSpec, live::LiveRun, steps::Watch},
};
use crate::faults::fault;

pub(super) const BOUNDS: Bounds = Bounds { data: 4096, control: 16 };

/// Why a run was not started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// As many runs are active as may be.
    #[error("too many chain runs are active")]
    Full,
    /// The supervisor is being restarted.
    #[error("chain runs cannot be started right now")]
    Gone,
}

/// Starts runs.
#[derive(Clone)]
pub struct RunsHandle {
    pub(super) address: Address<RunsMsg>,
    active: Arc<AtomicUsize>,
}

impl RunsHandle {
    pub(super) fn vacant() -> Self {
        Self { address: Address::vacant(), active: Arc::default() }
    }

    /// Starts a run.
    ///
    /// # Errors
    /// When too many are active.
    pub async fn start(&self, spec: RunSpec) -> Result<RunHandle, StartError> {
        self.start_watched(spec, None).await
    }

    /// Starts a run that shows its steps.
    ///
    /// # Errors
    /// When too many are active.
    pub async fn start_watched(&self, spec: RunSpec, watch: Option<Watch>) -> Result<RunHandle, StartError> {
        let (reply, answer) = oneshot::channel();
        let message = RunsMsg::Start { spec: Box::new(spec), watch: watch.map(Box::new), reply };
        self.address.try_send(Lane::Data, message).map_err(|error| match error {
            super::mailbox::SendError::Full => StartError::Full,
            super::mailbox::SendError::Gone => StartError::Gone,
        })?;
        answer.await.unwrap_or(Err(StartError::Gone))
    }

    /// Runs that are active now.
    pub fn active(&self) -> usize {
        self.active.load(Ordering::Acquire)
    }

    /// The same one by one, in no order.
    ///
    /// # Errors
    /// While the supervisor is being restarted.
    pub async fn live(&self) -> Result<Vec<Arc<LiveRun>>, AskError> {
        ask(&self.address, CONTROL_DEADLINE, |reply| RunsMsg::GetLive { reply }).await
    }
}

/// What the actor is told.
#[cfg_attr(feature = "faults", derive(strum::IntoStaticStr, strum::VariantNames))]
#[cfg_attr(feature = "faults", strum(prefix = "runs.", serialize_all = "snake_case"))]
pub(super) enum RunsMsg {
    /// From a request. MUST be answered with the run's handle or a refusal.
    Start { spec: Box<RunSpec>, watch: Option<Box<Watch>>, reply: oneshot::Sender<Result<RunHandle, StartError>> },
    /// From whoever watches. MUST be answered at once.
    GetLive { reply: Reply<Vec<Arc<LiveRun>>> },
}

pub(super) struct RunsArgs {
    pub(super) handle: RunsHandle,
    pub(super) deps: RunDeps,
    pub(super) max_runs: usize,
}

pub(super) struct RunSupervisor;

pub(super) struct RunsState {
    args: RunsArgs,
    live: HashMap<ActorId, Arc<LiveRun>>,
}

impl RunsState {
    async fn start(
        &mut self,
        myself: &ActorRef<Envelope<RunsMsg>>,
        spec: RunSpec,
        watch: Option<Box<Watch>>,
    ) -> Result<RunHandle, StartError> {
        if self.live.len() >= self.args.max_runs {
            return Err(StartError::Full);
        }
        let (mut args, handle) = RunArgs::new(spec, self.args.deps.clone());
        args.watch = watch.map(|watch| *watch);
        // Starting an actor of ours waits for nothing outside: the first step runs in the run's own task.
        let live = Arc::clone(&args.live);
        let started = Actor::spawn_linked(None, RunActor, args, myself.get_cell()).await;
        let (actor, _) = started.map_err(|_| StartError::Gone)?;
        self.live.insert(actor.get_id(), live);
        self.publish();
        Ok(handle)
    }

    fn ended(&mut self, actor: ActorId) {
        self.live.remove(&actor);
        self.publish();
    }

    fn publish(&self) {
        self.args.handle.active.store(self.live.len(), Ordering::Release);
    }
}

impl Actor for RunSupervisor {
    type Msg = Envelope<RunsMsg>;
    type State = RunsState;
    type Arguments = RunsArgs;

    async fn pre_start(&self, myself: ActorRef<Self::Msg>, args: RunsArgs) -> Result<RunsState, ActorProcessingErr> {
        args.handle.active.store(0, Ordering::Release);
        args.handle.address.attach(myself, BOUNDS);
        fault!("runs.begin");
        Ok(RunsState { args, live: HashMap::new() })
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        envelope: Self::Msg,
        state: &mut RunsState,
    ) -> Result<(), ActorProcessingErr> {
        fault!(before envelope.message => stage);
        match envelope.message {
            // Nobody waits for it any more.
            RunsMsg::Start { reply, .. } if reply.is_closed() => {}
            RunsMsg::Start { spec, watch, reply } => {
                // A caller that has gone drops the handle, which cancels the run.
                answer(reply, state.start(&myself, *spec, watch).await);
            }
            RunsMsg::GetLive { reply } => answer(reply, state.live.values().map(Arc::clone).collect()),
        }
        fault!(after stage);
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<Self::Msg>,
        event: SupervisionEvent,
        state: &mut RunsState,
    ) -> Result<(), ActorProcessingErr> {
        if !matches!(event, SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_)) {
            fault!("runs.run_ended");
        }
        match event {
            SupervisionEvent::ActorFailed(who, error) => {
                tracing::error!(%error, "a chain run crashed");
                state.ended(who.get_id());
            }
            SupervisionEvent::ActorTerminated(who, ..) => state.ended(who.get_id()),
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => {}
        }
        Ok(())
    }
}
