//! One pool: the queue of requests that wait for a slot. The fleet publishes the route table they are served by.
//!
//! Owns: the queue, and the timer of its next expiry. Children: none. Supervisor: `Fleet`.
//! Mailbox: 32,768 data permits, two for each request of the largest queue, because a queued request is one message when
//! it comes and one when it gives up, and the queue itself is what bounds them; freed slots that come as values share them,
//! and where there is no room the slot is freed and a wake-up sent. 64 control permits, of which one wake-up and one alarm
//! at a time are in use.
//! On crash: waiting requests get a retryable refusal, slots on their way to it go to other waiters; the route table stays
//! readable; the successor's queue is empty.

mod affinity;
mod alarm;
mod budget;
mod cooldown;
mod course;
mod pace;
mod places;
mod policy;
mod queue;
mod resolve;
#[cfg(test)]
mod tests;
mod waiter;

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
};

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

pub use self::resolve::ServedModel;
pub(super) use self::{
    affinity::stable_hash,
    budget::Budget,
    cooldown::{Prospect, first_lease, prospect},
    course::Course,
    places::Places,
    policy::{Load, Pick, order},
    queue::{BackendKey, Ticket},
    resolve::{Candidate, ModelKey, ModelQuery, resolve, served},
    waiter::{Grant, TooLate, WaitEnd, Waiter},
};
use self::{alarm::Alarm, queue::WaitQueue};
use super::{
    directory::{BackendCell, PoolCell, RouteTable},
    lease::Slot,
    mailbox::{Address, Bounds, Envelope, Lane, SendError},
};
use crate::{domain::pool::MAX_QUEUE_CAPACITY, faults::fault};

const BOUNDS: Bounds = Bounds { data: 2 * MAX_QUEUE_CAPACITY as usize, control: 64 };

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

    /// Hands over a slot for whoever is next; gives it back where nobody can take it.
    pub(super) fn offer(&self, slot: Slot) -> Result<(), Slot> {
        match self.address.try_hand(Lane::Data, PoolMsg::Offer(slot)) {
            Err(PoolMsg::Offer(slot)) => Err(slot),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Tells that a request waits no longer.
    pub(super) fn left(&self, ticket: Ticket) -> Result<(), SendError> {
        self.address.try_send(Lane::Data, PoolMsg::Left(ticket))
    }
}

/// What the actor is told.
#[cfg_attr(feature = "faults", derive(strum::IntoStaticStr, strum::VariantNames))]
#[cfg_attr(feature = "faults", strum(prefix = "pool.", serialize_all = "snake_case"))]
pub(super) enum PoolMsg {
    /// From a request that found no free slot. Answered through the waiter when a slot is free or its time is over.
    Enqueue(Box<Waiter>),
    /// From a backend whose slot was given back while a request of this pool waits for it. Goes to whoever is next; where
    /// nobody is left, it is freed.
    Offer(Slot),
    /// From a request that stopped waiting.
    Left(Ticket),
    /// From a backend with a free slot that could not be offered, or whose view changed; from the fleet behind a new route
    /// table; from a request that stopped waiting and found no room to say which. One at a time is on its way.
    LookAgain,
    /// From the alarm: somebody has waited as long as it may.
    ExpiryDue,
}

pub(super) struct PoolActor;

pub(super) struct PoolArgs {
    pub(super) cell: Arc<PoolCell>,
    pub(super) tasks: TaskTracker,
}

pub(super) struct PoolState {
    cell: Arc<PoolCell>,
    queue: WaitQueue<Waiter>,
    alarm: Alarm,
    /// The change count at which every waiter was last refreshed.
    epoch: u64,
}

impl PoolState {
    fn handle(&mut self, message: PoolMsg) {
        let now = Instant::now();
        while let Some(expired) = self.queue.pop_expired(now) {
            expired.expire();
        }
        match message {
            PoolMsg::Enqueue(waiter) => self.enqueue(*waiter, now),
            PoolMsg::Offer(slot) => {
                self.refresh();
                if let Err(slot) = self.grant(slot, now) {
                    slot.pass_on();
                }
            }
            PoolMsg::Left(ticket) => {
                self.queue.remove(ticket);
            }
            PoolMsg::LookAgain => {
                // Cleared before looking: what changes from here on sends a wake-up of its own. A swap and not a store, so
                // that whatever was done before a wake-up that found this flag set is seen by the look that follows.
                self.cell.woken.swap(false, Ordering::AcqRel);
                self.look_again(now);
            }
            PoolMsg::ExpiryDue => self.alarm.clear(),
        }
        self.alarm.set_for(self.queue.next_expiry());
        self.cell.note_oldest(self.queue.oldest());
    }

    fn enqueue(&mut self, mut waiter: Waiter, now: Instant) {
        self.refresh();
        // The world may have changed since it looked up its candidates.
        if waiter.epoch != self.epoch {
            let candidates = in_order_of_tiers(&self.cell.table(), &waiter.query);
            waiter.adopt(&self.cell, candidates, self.epoch);
        }
        if waiter.candidates.is_empty() {
            return;
        }
        let standing = waiter.standing();
        let least = self.queue.least_wait(standing.class, &standing.backends);
        if let Some(course) = &waiter.course {
            course.foresee(least.and_then(|wait| now.checked_add(wait)));
        }
        if waiter.cannot_make_it(now, least) {
            waiter.refuse(TooLate::OutOfReach);
            return;
        }
        let (ticket, candidates) = (standing.ticket, Arc::clone(&waiter.candidates));
        self.queue.push(standing, waiter);
        // A slot that was freed while it was on its way is nobody's; older waiters may be the ones to get it.
        for candidate in candidates.iter() {
            if !self.queue.holds(ticket) {
                break;
            }
            self.serve(&candidate.backend, now);
        }
    }

    fn look_again(&mut self, now: Instant) {
        if self.cell.take_abandoned() {
            self.queue.remove_all(Waiter::has_gone);
        }
        self.refresh();
        for backend in &self.cell.table().members {
            self.serve(backend, now);
        }
    }

    /// Looks again who could serve those who wait: backends come back, leave the pool, or are no longer allowed. Even with
    /// every slot taken nobody waits for backends that can no longer serve it.
    fn refresh(&mut self) {
        // The count is read before the table, as the fleet writes them the other way round: a change in between is seen
        // again and not missed.
        let epoch = self.cell.epoch();
        if epoch == self.epoch {
            return;
        }
        self.epoch = epoch;
        let table = self.cell.table();
        // Most of those who wait ask for the same.
        let mut known: HashMap<ModelQuery, Arc<[Candidate]>> = HashMap::new();
        let cell = &self.cell;
        self.queue.retarget(|waiter| {
            let candidates = match known.get(&waiter.query) {
                Some(candidates) => Arc::clone(candidates),
                None => {
                    let candidates = in_order_of_tiers(&table, &waiter.query);
                    known.insert(waiter.query.clone(), Arc::clone(&candidates));
                    candidates
                }
            };
            waiter.adopt(cell, candidates, epoch)
        });
    }

    /// Gives the free slots of a backend to those who wait for it.
    fn serve(&mut self, backend: &Arc<BackendCell>, now: Instant) {
        while self.queue.is_wanted(backend.key)
            && let Some(slot) = Slot::claim(backend)
        {
            if let Err(slot) = self.grant(slot, now) {
                slot.free();
                return;
            }
        }
    }

    /// Gives a slot to whoever is next; gives it back where nobody can take it now.
    fn grant(&mut self, mut slot: Slot, now: Instant) -> Result<(), Slot> {
        let key = slot.backend().key;
        // Whether calls are kept out is asked before anybody leaves the queue for it.
        while let Some(next) = self.queue.peek(key, now, Waiter::has_gone)
            && let Some(way) = next.way_into(slot.backend())
        {
            let lease = match slot.enter(way) {
                Ok(lease) => lease,
                Err(back) => {
                    slot = back;
                    break;
                }
            };
            let Some(waiter) = self.queue.take(key, now) else {
                slot = lease.into_slot();
                break;
            };
            fault!("pool.grant", self.cell.id, else |_| Err(lease.into_slot()));
            match waiter.accept(lease) {
                Ok(()) => return Ok(()),
                Err(lease) => slot = lease.into_slot(),
            }
        }
        Err(slot)
    }
}

fn in_order_of_tiers(table: &RouteTable, query: &ModelQuery) -> Arc<[Candidate]> {
    let mut candidates = resolve(table, query);
    candidates.sort_by_key(|candidate| candidate.tier);
    candidates.into()
}

impl Actor for PoolActor {
    type Msg = Envelope<PoolMsg>;
    type State = PoolState;
    type Arguments = PoolArgs;

    async fn pre_start(&self, myself: ActorRef<Self::Msg>, args: PoolArgs) -> Result<PoolState, ActorProcessingErr> {
        let PoolArgs { cell, tasks } = args;
        cell.woken.store(false, Ordering::Release);
        cell.note_oldest(None);
        cell.handle.attach(myself);
        fault!("pool.start", cell.id);
        let alarm = Alarm::start(cell.handle.clone(), &tasks);
        let epoch = cell.epoch();
        Ok(PoolState { cell, queue: WaitQueue::new(), alarm, epoch })
    }

    async fn handle(
        &self,
        _: ActorRef<Self::Msg>,
        envelope: Self::Msg,
        state: &mut PoolState,
    ) -> Result<(), ActorProcessingErr> {
        fault!(before envelope.message => stage, state.cell.id);
        state.handle(envelope.message);
        fault!(after stage, state.cell.id);
        Ok(())
    }
}
