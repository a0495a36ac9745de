//! One waiting request, and the ways in which its wait can end. Exactly one of them happens: the answer consumes it.

use std::{sync::Arc, time::Duration};

use tokio::{sync::oneshot, time::Instant};

use super::{
    Candidate, ModelQuery,
    cooldown::way_into,
    course::Course,
    queue::{BackendKey, Standing, Ticket},
};
use crate::{
    domain::priority::Priority,
    runtime::{
        ask::answer,
        backend::Way,
        directory::{BackendCell, PoolCell},
        lease::{Announced, Lease},
    },
};

/// A slot for a waiting request, and which of its candidates it belongs to.
pub(in crate::runtime) struct Grant {
    pub(in crate::runtime) candidate: Candidate,
    pub(in crate::runtime) lease: Lease,
}

/// Why a request gets no slot in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::runtime) enum TooLate {
    /// It has waited as long as the pool lets anybody wait.
    Waited,
    /// Its own deadline has passed while it waited.
    Passed,
    /// Too many wait before it for its deadline.
    OutOfReach,
}

/// How a wait ends. One that ends without any word has lost its backends or its pool's actor.
pub(in crate::runtime) enum WaitEnd {
    /// With a slot.
    Granted(Grant),
    /// With none, in time.
    Refused(TooLate),
}

/// One waiting request. Dropping it unanswered tells it that it will get no slot.
pub(in crate::runtime) struct Waiter {
    /// Its place in the order of arrival.
    pub(in crate::runtime) ticket: Ticket,
    pub(in crate::runtime) class: Priority,
    pub(in crate::runtime) since: Instant,
    /// The end of the longest wait in this pool.
    pub(in crate::runtime) patience: Instant,
    /// The request's own.
    pub(in crate::runtime) deadline: Option<Instant>,
    /// Of a call that is made for several: where those learn what the queue foresees, who have deadlines of their own.
    pub(in crate::runtime) course: Option<Arc<Course>>,
    /// What it needs; asked again whenever the pool or a backend changes.
    pub(in crate::runtime) query: ModelQuery,
    /// The change count of the pool before `candidates` were looked up.
    pub(in crate::runtime) epoch: u64,
    /// Backends that could serve it, best first.
    pub(in crate::runtime) candidates: Arc<[Candidate]>,
    /// Whether it may try a backend whose breaker is open, where there is no other.
    pub(in crate::runtime) may_bypass: bool,
    /// That it waits for them; newcomers do not overtake it.
    pub(in crate::runtime) announced: Announced,
    pub(in crate::runtime) end: oneshot::Sender<WaitEnd>,
}

impl Waiter {
    /// Where it stands in the queue.
    pub(super) fn standing(&self) -> Standing {
        Standing {
            ticket: self.ticket,
            class: self.class,
            since: self.since,
            expires: self.deadline.map_or(self.patience, |deadline| deadline.min(self.patience)),
            backends: keys(&self.candidates),
        }
    }

    /// Whether nobody waits behind it any more.
    pub(super) fn has_gone(&self) -> bool {
        self.end.is_closed()
    }

    /// How it goes to a backend of which a slot is free; `None` when it does not now.
    pub(super) fn way_into(&self, backend: &BackendCell) -> Option<Way> {
        way_into(backend, &self.candidates, self.may_bypass)
    }

    /// Whether its deadline comes before the least time that it would wait.
    pub(super) fn cannot_make_it(&self, now: Instant, least_wait: Option<Duration>) -> bool {
        let Some(deadline) = self.deadline else { return false };
        let left = deadline.saturating_duration_since(now);
        left.is_zero() || least_wait.is_some_and(|wait| wait > left)
    }

    /// Takes what was found on a new look; the keys of the backends if they are others than before.
    pub(super) fn adopt(
        &mut self,
        pool: &PoolCell,
        candidates: Arc<[Candidate]>,
        epoch: u64,
    ) -> Option<Vec<BackendKey>> {
        let (old, new) = (&self.candidates, &candidates);
        let is_same = old.len() == new.len() && new.iter().all(|new| old.iter().any(|old| is_of(old, new)));
        self.epoch = epoch;
        self.candidates = candidates;
        if is_same {
            return None;
        }
        // The new announcement stands before the old one falls.
        self.announced = Announced::to(pool, self.candidates.iter().map(|candidate| &candidate.backend));
        Some(keys(&self.candidates))
    }

    /// Ends the wait with a slot; gives it back when nobody is there to take it.
    pub(super) fn accept(self, lease: Lease) -> Result<(), Lease> {
        let key = lease.backend().key;
        let Some(candidate) = self.candidates.iter().find(|candidate| candidate.backend.key == key) else {
            return Err(lease);
        };
        let grant = Grant { candidate: candidate.clone(), lease };
        match self.end.send(WaitEnd::Granted(grant)) {
            Ok(()) | Err(WaitEnd::Refused(_)) => Ok(()),
            Err(WaitEnd::Granted(grant)) => Err(grant.lease),
        }
    }

    /// Ends the wait without one.
    pub(super) fn refuse(self, why: TooLate) {
        answer(self.end, WaitEnd::Refused(why));
    }

    /// Ends it because its time is over.
    pub(super) fn expire(self) {
        let own = self.deadline.is_some_and(|deadline| deadline <= self.patience);
        self.refuse(if own { TooLate::Passed } else { TooLate::Waited });
    }
}

fn keys(candidates: &[Candidate]) -> Vec<BackendKey> {
    candidates.iter().map(|candidate| candidate.backend.key).collect()
}

fn is_of(one: &Candidate, other: &Candidate) -> bool {
    one.backend.key == other.backend.key
}
