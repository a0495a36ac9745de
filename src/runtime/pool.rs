//! One pool: the queue of requests that wait for a slot. The fleet publishes the route table they are served by.
//!
//! Owns: the queue. Children: none. Supervisor: `Fleet`.
//! Mailbox: 4,096 data permits, above any queue capacity in use, because every queued request is one message and the
//! queue itself is what bounds them; 64 control permits, of which one wake-up at a time is in use.
//! On crash: waiting requests get a retryable refusal; the route table stays readable; the successor's queue is empty.

mod policy;
mod resolve;

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
};

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;

pub(super) use self::{
    policy::{Load, order},
    resolve::{Candidate, Matching, ModelQuery, resolve},
};
use super::{
    ask::answer,
    directory::{PoolCell, RouteTable},
    lease::Lease,
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
    /// Backends that could serve it, best first.
    pub(super) candidates: Vec<Candidate>,
    pub(super) grant: oneshot::Sender<Grant>,
}

impl Waiter {
    /// False when the request has gone, or nothing that could have served it still can: its channel is to be closed.
    fn has_hope(&self, table: &RouteTable) -> bool {
        !self.grant.is_closed() && self.candidates.iter().any(|candidate| candidate.is_usable(table))
    }
}

/// What the actor is told.
pub(super) enum PoolMsg {
    /// From a request that found no free slot. Answered through the waiter when a slot is free.
    Enqueue(Box<Waiter>),
    /// From a backend that has a free slot while somebody waits. Behind a new view or a new route table too: then the
    /// cell is marked outdated.
    SlotFreed,
}

pub(super) struct PoolActor;

pub(super) struct PoolState {
    cell: Arc<PoolCell>,
    /// Oldest first.
    queue: VecDeque<Waiter>,
}

impl PoolState {
    /// Gives free slots to the oldest requests that can use them.
    fn pump(&mut self) {
        let table = self.cell.table();
        let mut still_waiting = VecDeque::with_capacity(self.queue.len());
        while let Some(waiter) = self.queue.pop_front() {
            if !waiter.has_hope(&table) {
                continue;
            }
            let free = waiter.candidates.iter().enumerate().filter(|(_, candidate)| candidate.is_usable(&table));
            let claimed = free.filter_map(|(at, candidate)| Some((at, Lease::claim(&candidate.backend)?))).next();
            match claimed {
                None => still_waiting.push_back(waiter),
                Some((at, lease)) => {
                    let Waiter { mut candidates, grant } = waiter;
                    // A request that has gone meanwhile gives the lease back by dropping it.
                    answer(grant, Grant { candidate: candidates.swap_remove(at), lease });
                }
            }
            if !self.any_free_slot() {
                break;
            }
        }
        still_waiting.append(&mut self.queue);
        self.queue = still_waiting;
    }

    fn any_free_slot(&self) -> bool {
        self.cell.table().members.iter().any(|backend| {
            let counts = backend.slots.counts();
            counts.in_use < counts.limit
        })
    }

    /// Makes room by forgetting requests that have gone.
    fn enqueue(&mut self, waiter: Waiter) {
        self.queue.retain(|waiter| !waiter.grant.is_closed());
        // What it was resolved against may have changed on its way here.
        if waiter.has_hope(&self.cell.table()) {
            self.queue.push_back(waiter);
        }
        self.pump();
    }

    /// Lets go of every request that nothing can serve any more, wherever in the queue it stands.
    fn revise(&mut self) {
        let table = self.cell.table();
        self.queue.retain(|waiter| waiter.has_hope(&table));
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
        Ok(PoolState { cell, queue: VecDeque::new() })
    }

    async fn handle(
        &self,
        _: ActorRef<Self::Msg>,
        envelope: Self::Msg,
        state: &mut PoolState,
    ) -> Result<(), ActorProcessingErr> {
        match envelope.message {
            PoolMsg::Enqueue(waiter) => state.enqueue(*waiter),
            PoolMsg::SlotFreed => {
                // Cleared before looking: a slot freed from here on sends a wake-up of its own.
                state.cell.woken.store(false, Ordering::Release);
                if state.cell.outdated.swap(false, Ordering::AcqRel) {
                    state.revise();
                }
                state.pump();
            }
        }
        Ok(())
    }
}
