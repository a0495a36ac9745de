//! One pool: the queue of requests that wait for a slot. The fleet publishes the route table they are served by.
//!
//! Owns: the queue. Children: none. Supervisor: `Fleet`.
//! Mailbox: 4,096 data permits, above any queue capacity in use, because every queued request is one message and the
//! queue itself is what bounds them; 64 control permits, of which one wake-up at a time is in use.
//! On crash: waiting requests get a retryable refusal; the route table stays readable; the successor's queue is empty.

mod affinity;
mod budget;
mod cooldown;
mod policy;
mod resolve;

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
};

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;

pub use self::resolve::ServedModel;
pub(super) use self::{
    affinity::stable_hash,
    budget::Budget,
    cooldown::{Prospect, first_lease, prospect},
    policy::{Load, Pick, order},
    resolve::{Candidate, ModelKey, ModelQuery, resolve, served},
};
use super::{
    ask::answer,
    directory::{PoolCell, RouteTable},
    lease::{Announced, Lease},
    mailbox::{Address, Bounds, Envelope, Lane, SendError},
};

const BOUNDS: Bounds = Bounds { data: 4096, control: 64 };

/// Talks to the pool's actor, across its restarts.
#[derive(Clone)]
pub(super) struct PoolHandle {
    pub(super) address: Address<PoolMsg>,
}

impl PoolHandle {
    pub(super) fn vacant() -> Self {
        Self { address: Address::vacant() }
    }

    pub(super) fn attach(&self, actor: ActorRef<Envelope<PoolMsg>>) {
        self.address.attach(actor, BOUNDS);
    }

    pub(super) fn detach(&self) {
        self.address.detach();
    }

    pub(super) fn kill(&self) {
        self.address.kill();
    }

    /// Puts a request into the queue.
    pub(super) fn enqueue(&self, waiter: Waiter) -> Result<(), SendError> {
        self.address.try_send(Lane::Data, PoolMsg::Enqueue(Box::new(waiter)))
    }
}

/// A slot for a waiting request, and which of its candidates it belongs to.
pub(super) struct Grant {
    pub(super) candidate: Candidate,
    pub(super) lease: Lease,
}

/// One waiting request. Dropping `grant` unanswered tells it that it will get none.
pub(super) struct Waiter {
    /// What it needs; asked again whenever the pool or a backend changes.
    pub(super) query: ModelQuery,
    /// The change count of the pool before `candidates` were looked up.
    pub(super) epoch: u64,
    /// Backends that could serve it, best first.
    pub(super) candidates: Vec<Candidate>,
    /// Whether it may try a backend whose breaker is open, where there is no other.
    pub(super) may_bypass: bool,
    /// That it waits for them; newcomers do not overtake it.
    pub(super) announced: Announced,
    pub(super) grant: oneshot::Sender<Grant>,
}

impl Waiter {
    /// Looks again who could serve it: backends come back, leave the pool, or are no longer allowed.
    fn refresh(&mut self, table: &RouteTable, epoch: u64) {
        if self.epoch != epoch {
            self.candidates = resolve(table, &self.query);
            self.candidates.sort_by_key(|candidate| candidate.tier);
            // The new announcement stands before the old one falls.
            self.announced = Announced::to(self.candidates.iter().map(|candidate| &candidate.backend));
            self.epoch = epoch;
        }
    }

    /// A slot of the first candidate that has one.
    fn claim(&self) -> Option<(usize, Lease)> {
        first_lease(&self.candidates, self.may_bypass, Lease::claim)
    }
}

/// What the actor is told.
pub(super) enum PoolMsg {
    /// From a request that found no free slot. Answered through the waiter when a slot is free.
    Enqueue(Box<Waiter>),
    /// From a backend that has a free slot while somebody waits or whose view changed, from the fleet behind a new route
    /// table, from a request that stopped waiting. One at a time is on its way.
    LookAgain,
}

pub(super) struct PoolActor;

pub(super) struct PoolState {
    cell: Arc<PoolCell>,
    /// Oldest first.
    queue: VecDeque<Waiter>,
    /// The change count at which every waiter was last refreshed.
    epoch: u64,
}

impl PoolState {
    fn enqueue(&mut self, mut waiter: Waiter) {
        // The world may have changed since it looked up its candidates. The count is read before the table, as the fleet
        // writes them the other way round: a change in between is seen again and not missed.
        let epoch = self.cell.epoch();
        waiter.refresh(&self.cell.table(), epoch);
        if !waiter.candidates.is_empty() {
            self.queue.push_back(waiter);
            self.pump();
        }
    }

    fn look_again(&mut self) {
        if self.cell.take_abandoned() {
            self.queue.retain(|waiter| !waiter.grant.is_closed());
        }
        let epoch = self.cell.epoch();
        if epoch != self.epoch {
            self.epoch = epoch;
            let table = self.cell.table();
            // Even with every slot taken nobody waits for backends that can no longer serve it.
            self.queue.retain_mut(|waiter| {
                waiter.refresh(&table, epoch);
                !waiter.candidates.is_empty()
            });
        }
        self.pump();
    }

    /// Gives free slots to the oldest requests that can use them.
    fn pump(&mut self) {
        let mut at = 0;
        while at < self.queue.len() && self.any_free_slot() {
            let waiter = &self.queue[at];
            let has_gone = waiter.grant.is_closed();
            let claimed = if has_gone { None } else { waiter.claim() };
            if !has_gone && claimed.is_none() {
                at += 1;
                continue;
            }
            let Some(Waiter { mut candidates, grant, .. }) = self.queue.remove(at) else { break };
            if let Some((chosen, lease)) = claimed {
                answer(grant, Grant { candidate: candidates.swap_remove(chosen), lease });
            }
        }
    }

    fn any_free_slot(&self) -> bool {
        self.cell.table().members.iter().any(|backend| {
            let counts = backend.slots.counts();
            counts.in_use < counts.limit
        })
    }
}

impl Actor for PoolActor {
    type Msg = Envelope<PoolMsg>;
    type State = PoolState;
    type Arguments = Arc<PoolCell>;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        cell: Arc<PoolCell>,
    ) -> Result<PoolState, ActorProcessingErr> {
        cell.woken.store(false, Ordering::Release);
        cell.handle.attach(myself);
        let epoch = cell.epoch();
        Ok(PoolState { cell, queue: VecDeque::new(), epoch })
    }

    async fn handle(
        &self,
        _: ActorRef<Self::Msg>,
        envelope: Self::Msg,
        state: &mut PoolState,
    ) -> Result<(), ActorProcessingErr> {
        match envelope.message {
            PoolMsg::Enqueue(waiter) => state.enqueue(*waiter),
            PoolMsg::LookAgain => {
                // Cleared before looking: what changes from here on sends a wake-up of its own. A swap and not a store, so
                // that whatever was done before a wake-up that found this flag set is seen by the look that follows.
                state.cell.woken.swap(false, Ordering::AcqRel);
                state.look_again();
            }
        }
        Ok(())
    }
}
