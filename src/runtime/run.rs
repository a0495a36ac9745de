//! One chain run: drives the engine's machine and carries out its effects.
//!
//! Owns: the [`Machine`], the tasks that carry out its effects. Children: one tracked task at a time.
//! Supervisor: `RunSupervisor`.
//! Mailbox: control messages only, 16 permits: the start, one event for the effect that runs or one continuation of a
//! run that waits for nothing, its caller's leaving, cancellations, snapshots.
//! On crash: the caller gets an internal error; the run's tasks end and give their leases back.

mod effects;
pub mod live;
pub mod steps;
mod tally;
pub mod told;

use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use serde::Serialize;
use tokio::{sync::oneshot, time::Instant};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

pub(super) use self::tally::RunMeters;
use self::{
    live::{Alive, LiveRun},
    steps::Watch,
    tally::{RunTally, ToldRun},
    told::Teller,
};
use super::{
    alerts::AlertLog,
    ask::{AskError, CONTROL_DEADLINE, Reply, answer, ask},
    counter::TokenCounter,
    dispatch::Dispatcher,
    feed::Feed,
    mailbox::{Address, Bounds, Envelope, Lane},
};
use crate::{
    domain::{
        failure::{Failure, FailureClass},
        ids::{ChainId, RequestId, RunId},
        route::RouteScope,
        time::Timestamp,
        value::Value,
    },
    engine::{EngineSettings, Event, Machine, Program, RunInfo, RunOutcome},
    faults::fault,
    hooks::HookClient,
};

const BOUNDS: Bounds = Bounds { data: 1, control: 16 };

/// What a run needs to carry out its effects.
#[derive(Clone)]
pub(super) struct RunDeps {
    pub(super) dispatcher: Dispatcher,
    pub(super) counter: TokenCounter,
    pub(super) hooks: HookClient,
    pub(super) alerts: AlertLog,
    pub(super) feed: Feed,
    pub(super) meters: RunMeters,
    pub(super) settings: Arc<EngineSettings>,
    pub(super) tasks: TaskTracker,
}

/// What is to be run.
pub struct RunSpec {
    /// The compiled chain.
    pub program: Arc<Program>,
    /// Its id, where it has one.
    pub chain: Option<ChainId>,
    /// Whether it is stored under that id.
    pub is_stored: bool,
    /// Its input.
    pub input: Value,
    /// The request it belongs to.
    pub info: RunInfo,
    /// Where the request allows its steps to go; holds for every call of a model.
    pub scope: RouteScope,
    /// Who is told its output while it is made, if anybody.
    pub teller: Option<Teller>,
}

/// Where a run stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunSnapshot {
    /// Which run.
    pub id: RunId,
    /// Attempts recorded so far.
    pub attempts: usize,
}

/// A running chain. Dropping it cancels the run: nobody waits for its answer any more.
pub struct RunHandle {
    /// Which run.
    pub id: RunId,
    address: Address<RunMsg>,
    outcome: oneshot::Receiver<RunOutcome>,
}

impl RunHandle {
    /// Waits for the end of the run; `None` when its actor failed.
    pub async fn outcome(&mut self) -> Option<RunOutcome> {
        (&mut self.outcome).await.ok()
    }

    /// Where the run stands.
    ///
    /// # Errors
    /// When the run is over.
    pub async fn snapshot(&self) -> Result<RunSnapshot, AskError> {
        ask(&self.address, CONTROL_DEADLINE, |reply| RunMsg::GetSnapshot { reply }).await
    }
}

impl Drop for RunHandle {
    fn drop(&mut self) {
        // A run that is over has no mailbox; the message is for one whose caller has left.
        if let Err(error) = self.address.try_send(Lane::Control, RunMsg::Abandon) {
            tracing::trace!(run = %self.id, %error, "nothing to cancel");
        }
    }
}

/// What the actor is told.
#[cfg_attr(feature = "faults", derive(strum::IntoStaticStr, strum::VariantNames))]
#[cfg_attr(feature = "faults", strum(prefix = "run.", serialize_all = "snake_case"))]
pub(super) enum RunMsg {
    /// From its own start, so that the first step runs in the run's own task and not in the supervisor's.
    Begin,
    /// From the task that carried out an effect.
    Happened(Box<Event>),
    /// From this actor's own task, after the machine has yielded: what came meanwhile has been handled.
    Continue,
    /// From the caller's handle when it is dropped. The run stops, its effect is aborted, nobody is told.
    Abandon,
    /// From whoever may end runs. The same, but the caller is told.
    Cancel,
    /// From whoever watches. MUST be answered at once.
    GetSnapshot { reply: Reply<RunSnapshot> },
}

pub(super) struct RunActor;

pub(super) struct RunArgs {
    pub(super) id: RunId,
    pub(super) spec: RunSpec,
    pub(super) deps: RunDeps,
    pub(super) address: Address<RunMsg>,
    pub(super) live: Arc<LiveRun>,
    alive: Alive,
    pub(super) outcome: oneshot::Sender<RunOutcome>,
    /// Who is shown its steps, if anybody.
    pub(super) watch: Option<Watch>,
}

impl RunArgs {
    /// The arguments of a new run's actor, and the handle its caller gets.
    pub(super) fn new(spec: RunSpec, deps: RunDeps) -> (Self, RunHandle) {
        let (id, address, (sender, receiver)) = (spec.info.run_id.clone(), Address::vacant(), oneshot::channel());
        let handle = RunHandle { id: id.clone(), address: address.clone(), outcome: receiver };
        let (live, alive) = LiveRun::new(&spec, address.clone());
        (Self { id, spec, deps, address, live, alive, outcome: sender, watch: None }, handle)
    }
}

/// The time as the run sees it: it only goes on, whatever happens to the clock of the host.
struct Clock {
    began: Timestamp,
    instant: Instant,
}

impl Clock {
    fn start() -> Self {
        Self { began: Timestamp::now(), instant: Instant::now() }
    }

    fn now(&self) -> Timestamp {
        self.began.after(self.instant.elapsed())
    }
}

pub(super) struct RunState {
    id: RunId,
    request_id: RequestId,
    machine: Machine,
    scope: RouteScope,
    clock: Clock,
    deps: RunDeps,
    address: Address<RunMsg>,
    live: Arc<LiveRun>,
    alive: Alive,
    outcome: Option<oneshot::Sender<RunOutcome>>,
    watch: Option<Watch>,
    teller: Option<Teller>,
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
    tally: RunTally,
}

impl Actor for RunActor {
    type Msg = Envelope<RunMsg>;
    type State = RunState;
    type Arguments = RunArgs;

    async fn pre_start(&self, myself: ActorRef<Self::Msg>, args: RunArgs) -> Result<RunState, ActorProcessingErr> {
        args.address.attach(myself, BOUNDS);
        fault!("run.start");
        args.address.try_send(Lane::Control, RunMsg::Begin)?;
        let RunSpec { program, input, info, scope, teller, chain, is_stored } = args.spec;
        let tally = args.deps.meters.begin(chain.as_ref().filter(|_| is_stored));
        let told =
            ToldRun { feed: args.deps.feed.clone(), run: args.id.clone(), request: info.request_id.clone(), chain };
        let tally = tally.telling(told);
        let wish = teller.as_ref().map(Teller::wish).unwrap_or_default();
        let stop = CancellationToken::new();
        Ok(RunState {
            id: args.id,
            request_id: info.request_id.clone(),
            machine: Machine::new(program, input, info, Arc::clone(&args.deps.settings)).telling(wish),
            teller,
            scope,
            clock: Clock::start(),
            deps: args.deps,
            address: args.address,
            live: args.live,
            alive: args.alive,
            outcome: Some(args.outcome),
            watch: args.watch,
            _stop_on_drop: stop.clone().drop_guard(),
            stop,
            tally,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        envelope: Self::Msg,
        state: &mut RunState,
    ) -> Result<(), ActorProcessingErr> {
        fault!(before envelope.message => stage);
        let now = state.clock.now();
        let is_over = match envelope.message {
            RunMsg::Begin => {
                let effects = state.machine.start(now);
                state.carry_out(effects)
            }
            RunMsg::Happened(event) => {
                let effects = state.machine.on_event(*event, now);
                state.carry_out(effects)
            }
            RunMsg::Continue => {
                let effects = state.machine.resume(now);
                state.carry_out(effects)
            }
            RunMsg::Abandon => true,
            RunMsg::Cancel => {
                let effects = state.machine.end(Failure::new(FailureClass::Cancelled, "the run was cancelled"));
                state.carry_out(effects)
            }
            RunMsg::GetSnapshot { reply } => {
                let snapshot = RunSnapshot { id: state.id.clone(), attempts: state.machine.state().len() };
                answer(reply, snapshot);
                false
            }
        };
        if is_over {
            // At once, and not when the last reference to the state falls.
            state.stop.cancel();
            state.address.detach();
            myself.stop(None);
        }
        fault!(after stage);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        domain::{
            chain::Chain,
            ids::{InstanceId, RequestId},
        },
        engine,
        providers::{Transport, TransportConfig},
        runtime::{directory::Directory, dispatch::RouteDefaults},
        stores::embedded::{self, EmbeddedSettings},
    };

    /// What a run needs that asks nobody.
    fn deps(folder: &tempfile::TempDir) -> RunDeps {
        let defaults = RouteDefaults {
            task_model: String::new(),
            embed_model: String::new(),
            task_provider: None,
            embed_provider: None,
        };
        let time = Duration::from_secs(1);
        // An error says only that another test has done it.
        rustls::crypto::ring::default_provider().install_default().ok();
        let transport =
            Transport::new(TransportConfig { connect: time, first_byte: time, idle: time, total: time }).unwrap();
        let store = embedded::open(&EmbeddedSettings {
            data_dir: folder.path().to_owned(),
            secret_key: None,
            previous_key: None,
        });
        let dispatcher = Dispatcher::new(Arc::new(Directory::default()), defaults, TaskTracker::new());
        RunDeps {
            counter: TokenCounter::new(dispatcher.clone(), None),
            dispatcher,
            hooks: HookClient::new(store.unwrap(), transport),
            alerts: AlertLog::new(crate::runtime::peers::Peers::alone(), Feed::new(InstanceId::new("me"))),
            feed: Feed::new(InstanceId::new("me")),
            meters: RunMeters::default(),
            settings: Arc::new(EngineSettings {
                default_system_instruction: String::new(),
                max_output_tokens: 1,
                default_step_timeout: time,
                counts_exactly: false,
            }),
            tasks: TaskTracker::new(),
        }
    }

    fn endless() -> RunSpec {
        let chain: Chain = serde_json::from_str(
            r#"{"tasks": [{"id": "t", "handler": "noop", "transition": {"branches": [{"goto": "t"}]}}]}"#,
        )
        .unwrap();
        RunSpec {
            program: Arc::new(engine::compile(&chain).unwrap()),
            input: Value::Int(1),
            info: RunInfo { run_id: RunId::random(), request_id: RequestId::new("r"), started_at: Timestamp::ZERO },
            scope: RouteScope::default(),
            teller: None,
            chain: None,
            is_stored: false,
        }
    }

    #[tokio::test]
    async fn a_run_of_endless_noops_can_be_looked_at_and_abandoned() {
        let folder = tempfile::tempdir().unwrap();
        let (args, mut handle) = RunArgs::new(endless(), deps(&folder));
        let (_actor, ended) = Actor::spawn(None, RunActor, args).await.unwrap();
        let seen = handle.snapshot().await.unwrap().attempts;
        assert!((1..1000).contains(&seen), "{seen}");
        handle.address.try_send(Lane::Control, RunMsg::Abandon).unwrap();
        assert!(handle.outcome().await.is_none(), "the run came to its end before it was abandoned");
        ended.await.unwrap();
    }

    #[tokio::test]
    async fn who_cancels_a_run_waits_until_it_has_stopped_and_its_caller_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let (args, mut handle) = RunArgs::new(endless(), deps(&folder));
        let (live, alive) = (Arc::clone(&args.live), Arc::clone(&args.alive));
        let (_actor, ended) = Actor::spawn(None, RunActor, args).await.unwrap();
        handle.snapshot().await.unwrap();
        assert!(live.progress().steps > 0);
        let mut cancelled = std::pin::pin!(live.cancel());
        let failed = tokio::select! {
            biased;
            end = &mut cancelled => panic!("something of it is alive: {end:?}"),
            outcome = handle.outcome() => outcome.unwrap(),
        };
        assert_eq!(failed.result.unwrap_err().failure.class, FailureClass::Cancelled);
        assert!(!failed.state.is_empty());
        drop(alive);
        cancelled.await.unwrap();
        ended.await.unwrap();
        assert_eq!(live.cancel().await, Err(live::CancelError::Over));
    }

    #[tokio::test]
    async fn who_cancels_a_run_that_does_not_stop_is_told_so() {
        let folder = tempfile::tempdir().unwrap();
        let (args, handle) = RunArgs::new(endless(), deps(&folder));
        let (live, _alive) = (Arc::clone(&args.live), Arc::clone(&args.alive));
        let (_actor, ended) = Actor::spawn(None, RunActor, args).await.unwrap();
        handle.snapshot().await.unwrap();
        // From here on nothing happens but that time passes.
        tokio::time::pause();
        assert_eq!(live.cancel().await, Err(live::CancelError::Slow));
        ended.await.unwrap();
    }
}
