//! Stored intent becomes live actors: reads the store whole and hands it to the fleet.
//!
//! Owns: whether a read is running and whether another must follow. Children: one tracked read at a time.
//! Supervisor: `Root`.
//! Mailbox: control messages only, 1,024 permits: one a configuration change; pokes during a read melt into one.
//! On crash: `Root` starts it again, which reads the store at once.

use std::{sync::Arc, time::Duration};

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use super::{
    ask::{AskError, Reply, answer, ask},
    fleet::FleetHandle,
    mailbox::{Address, Bounds, Envelope, Lane},
    task::caught,
};
use crate::{faults::fault, stores::catalog::CatalogStore};

pub(super) const BOUNDS: Bounds = Bounds { data: 1, control: 1024 };
/// Rest after a failed read.
const RETRY_DELAY: Duration = if cfg!(feature = "faults") { Duration::from_millis(50) } else { Duration::from_secs(1) };
/// How long a caller waits until its change is in force.
const APPLY_DEADLINE: Duration = Duration::from_secs(10);

/// Asks for a reconciliation.
#[derive(Clone)]
pub struct ReconcileHandle {
    pub(super) address: Address<ReconcileMsg>,
}

impl ReconcileHandle {
    pub(super) fn vacant() -> Self {
        Self { address: Address::vacant() }
    }

    /// Something stored has changed; what it was, the store knows.
    pub fn poke(&self) {
        if let Err(error) = self.address.try_send(Lane::Control, ReconcileMsg::Poke { applied: None }) {
            // A full mailbox holds a poke that has not been read yet, which will see this change too.
            tracing::debug!(%error, "reconcile was not poked");
        }
    }

    /// The same, and waits until the live actors have been given the change.
    ///
    /// # Errors
    /// When the store cannot be read in time.
    pub async fn apply(&self) -> Result<(), AskError> {
        ask(&self.address, APPLY_DEADLINE, |reply| ReconcileMsg::Poke { applied: Some(reply) }).await
    }
}

/// What the actor is told.
#[cfg_attr(feature = "faults", derive(strum::IntoStaticStr, strum::VariantNames))]
#[cfg_attr(feature = "faults", strum(prefix = "reconcile.", serialize_all = "snake_case"))]
pub(super) enum ReconcileMsg {
    /// From the API and the supervisor. `applied` MUST be answered once a read that began later has been handed over.
    Poke { applied: Option<Reply<()>> },
    /// From this actor's read task.
    ReadFinished { succeeded: bool },
    /// From the timer after a failed read.
    RetryDue,
}

pub(super) struct ReconcileArgs {
    pub(super) handle: ReconcileHandle,
    pub(super) store: Arc<dyn CatalogStore>,
    pub(super) fleet: FleetHandle,
    pub(super) tasks: TaskTracker,
}

pub(super) struct ReconcileActor;

pub(super) struct ReconcileState {
    args: ReconcileArgs,
    is_reading: bool,
    read_again: bool,
    /// Answered by the running read.
    answered_now: Vec<Reply<()>>,
    /// Came while a read was running, which may have missed their change.
    answered_next: Vec<Reply<()>>,
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
}

impl ReconcileState {
    fn poke(&mut self, applied: Option<Reply<()>>) {
        self.answered_next.extend(applied);
        if self.is_reading {
            self.read_again = true;
        } else {
            self.read();
        }
    }

    fn read(&mut self) {
        self.is_reading = true;
        self.read_again = false;
        self.answered_now.append(&mut self.answered_next);
        let (store, fleet) = (Arc::clone(&self.args.store), self.args.fleet.clone());
        let (handle, stop) = (self.args.handle.clone(), self.stop.clone());
        self.args.tasks.spawn(async move {
            let work = async {
                let outcome = caught("reconcile", put_in_force(store.as_ref(), &fleet)).await;
                let outcome = outcome.unwrap_or_else(|panicked| Err(panicked.to_string()));
                if let Err(error) = &outcome {
                    tracing::warn!(%error, "stored configuration could not be put in force; trying again");
                }
                tell(&handle, ReconcileMsg::ReadFinished { succeeded: outcome.is_ok() }).await;
            };
            stop.run_until_cancelled(work).await;
        });
    }

    fn on_read(&mut self, succeeded: bool) {
        self.is_reading = false;
        if succeeded {
            for reply in self.answered_now.drain(..) {
                answer(reply, ());
            }
        } else {
            let (handle, stop) = (self.args.handle.clone(), self.stop.clone());
            self.args.tasks.spawn(async move {
                let work = async {
                    tokio::time::sleep(RETRY_DELAY).await;
                    tell(&handle, ReconcileMsg::RetryDue).await;
                };
                stop.run_until_cancelled(work).await;
            });
        }
        if self.read_again {
            self.read();
        }
    }
}

async fn put_in_force(store: &dyn CatalogStore, fleet: &FleetHandle) -> Result<(), String> {
    fault!("reconcile.read");
    let intent = store.intent().await.map_err(|error| error.to_string())?;
    fault!("reconcile.hand_over");
    fleet.apply(intent).await
}

async fn tell(handle: &ReconcileHandle, message: ReconcileMsg) {
    if let Err(error) = handle.address.send(Lane::Control, message).await {
        tracing::debug!(%error, "a reconcile task outlived its actor");
    }
}

impl Actor for ReconcileActor {
    type Msg = Envelope<ReconcileMsg>;
    type State = ReconcileState;
    type Arguments = ReconcileArgs;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        args: ReconcileArgs,
    ) -> Result<ReconcileState, ActorProcessingErr> {
        args.handle.address.attach(myself, BOUNDS);
        fault!("reconcile.start");
        let stop = CancellationToken::new();
        let mut state = ReconcileState {
            args,
            is_reading: false,
            read_again: false,
            answered_now: Vec::new(),
            answered_next: Vec::new(),
            _stop_on_drop: stop.clone().drop_guard(),
            stop,
        };
        state.read();
        Ok(state)
    }

    async fn handle(
        &self,
        _: ActorRef<Self::Msg>,
        envelope: Self::Msg,
        state: &mut ReconcileState,
    ) -> Result<(), ActorProcessingErr> {
        fault!(before envelope.message => stage);
        match envelope.message {
            ReconcileMsg::Poke { applied } => state.poke(applied),
            ReconcileMsg::ReadFinished { succeeded } => state.on_read(succeeded),
            ReconcileMsg::RetryDue => state.poke(None),
        }
        fault!(after stage);
        Ok(())
    }
}
