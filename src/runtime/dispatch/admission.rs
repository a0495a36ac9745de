//! How a call gets its slot: at once where one is free, else from the pool's queue within its bounds.

use std::{sync::Arc, time::Duration};

use metrics::Counter;
use tokio::{sync::oneshot, time::Instant};

use super::{
    DispatchError,
    deadline::{Urgency, given_up},
    prefix::text_prefix,
    repeat::Spent,
};
use crate::{
    domain::{failure::RefusalReason, pool::Policy, priority::Priority, route::RoutingStrategy},
    faults::fault,
    runtime::{
        backend::Standing,
        directory::PoolCell,
        lease::Announced,
        mailbox::SendError,
        meters::PoolMeters,
        pool::{
            Candidate, Course, Grant, Load, ModelKey, ModelQuery, Pick, Prospect, Ticket, TooLate, WaitEnd, Waiter,
            first_lease, order, prospect, resolve,
        },
    },
};

/// Where a call may go. Decided once: a failover changes the backend, never the model or the pool.
pub(super) struct Plan {
    pub(super) pool: Arc<PoolCell>,
    pub(super) query: ModelQuery,
    /// Which of the route's targets it is.
    pub(super) target: usize,
    /// What the planning found, for the first attempt; further ones look again.
    pub(super) found: Option<Found>,
    /// How much of a hurry the call is in.
    pub(super) urgency: Urgency,
}

/// The candidates of a pool at one moment.
pub(super) struct Found {
    pub(super) candidates: Vec<Candidate>,
    /// The pool's change count before they were looked up.
    epoch: u64,
}

impl Found {
    pub(super) fn look_up(pool: &PoolCell, query: &ModelQuery) -> Self {
        let epoch = pool.epoch();
        Self { candidates: resolve(&pool.table(), query), epoch }
    }

    /// Whether calls can go to one of them now, apart from its slots.
    pub(super) fn is_reachable(&self) -> bool {
        self.candidates.iter().any(|candidate| candidate.backend.access.standing() == Standing::In)
    }
}

/// How one of several candidates is chosen for a call. Decided once: a failover changes neither.
#[derive(Debug, Clone, Copy)]
pub(super) struct Choice {
    policy: Policy,
    /// What the call begins with, as a number; 0 under policies that do not ask for it.
    prefix: u64,
}

impl Choice {
    /// As the request says, else as the pool does. `prefix` is computed only for a policy that looks at it.
    /// A session that the request names wants the backend that has seen it before, whatever the pool's policy.
    pub(super) fn of(
        pool: &PoolCell,
        strategy: Option<RoutingStrategy>,
        session: Option<&str>,
        prefix: impl FnOnce() -> u64,
    ) -> Self {
        let of_session = session.map(|_| Policy::PrefixAffinity);
        let policy = strategy.or(of_session).unwrap_or_else(|| pool.policy());
        let prefix = match (policy, session) {
            // Among backends with equal contexts the session counts.
            (Policy::PrefixAffinity | Policy::Auto | Policy::LowLatency, Some(session)) => text_prefix(session),
            (Policy::PrefixAffinity, None) => prefix(),
            _ => 0,
        };
        Self { policy, prefix }
    }
}

/// A slot, and how long the call waited for it.
pub(super) struct Admitted {
    pub(super) grant: Grant,
    pub(super) waited: Duration,
}

impl Plan {
    /// A slot of one of the candidates: at once if one is free, else from the pool's queue, for what is left of the
    /// longest wait. A call whose deadline has passed gets none.
    pub(super) async fn admit(&mut self, choice: Choice, spent: &Spent) -> Result<Admitted, DispatchError> {
        fault!("dispatch.admit", self.pool.id);
        // An open breaker is not broken for a call that somebody has failed already.
        let may_bypass = spent.attempts == 0;
        if self.urgency.is_over() {
            return Err(too_late(&self.pool, TooLate::Passed));
        }
        let mut waited = Duration::ZERO;
        loop {
            let found = self.found.take().unwrap_or_else(|| Found::look_up(&self.pool, &self.query));
            let mut candidates = self.ranked(found.candidates, choice);
            if let Some((at, lease)) = first_lease(&candidates, may_bypass) {
                self.pool.meters.picked(choice.policy);
                let candidate = candidates.swap_remove(at);
                return Ok(Admitted { grant: Grant { candidate, lease }, waited });
            }
            let standings = candidates.iter().map(|candidate| candidate.backend.access.standing());
            match prospect(standings, may_bypass, self.patience(spent.waited + waited)) {
                Prospect::Wait => {
                    let waiting = self.wait_for_slot(candidates, found.epoch, spent, waited, may_bypass);
                    let admitted = Box::pin(waiting).await?;
                    waited += admitted.waited;
                    // Where that is allowed no longer, another may take it.
                    if self.still_allows(&admitted.grant) {
                        self.pool.meters.picked(choice.policy);
                        return Ok(Admitted { grant: admitted.grant, waited });
                    }
                }
                Prospect::Refuse { left } => return Err(cooling_down(&self.pool, left)),
                Prospect::Nobody => return Err(lost(&self.pool)),
            }
        }
    }

    /// Whether the call may still go where its slot is: between the grant and the call the backend may have lost what the
    /// call requires.
    fn still_allows(&self, grant: &Grant) -> bool {
        let now = resolve(&self.pool.table(), &self.query);
        now.iter().any(|candidate| candidate.backend.id == grant.candidate.backend.id)
    }

    /// Whether a backend that was not tried yet may take the call, which has `waited` so long for slots; the next attempt
    /// goes to one of those.
    pub(super) fn has_another(&mut self, waited: Duration) -> bool {
        let found = Found::look_up(&self.pool, &self.query);
        let standings = found.candidates.iter().map(|candidate| candidate.backend.access.standing());
        let has_another = prospect(standings, false, self.patience(waited)) == Prospect::Wait;
        self.found = Some(found);
        has_another
    }

    /// What is left of the pool's longest wait for a call that has waited so long.
    fn patience(&self, waited: Duration) -> Duration {
        Duration::from_millis(self.pool.table().pool.queue.max_wait_ms).saturating_sub(waited)
    }

    /// A slot of another backend that is free now, for a call that runs already.
    pub(super) fn spare(&self, choice: Choice) -> Option<Grant> {
        let mut candidates = self.ranked(Found::look_up(&self.pool, &self.query).candidates, choice);
        let (at, lease) = first_lease(&candidates, false)?;
        Some(Grant { candidate: candidates.swap_remove(at), lease })
    }

    /// Candidates in the order in which they should be tried.
    pub(super) fn ranked(&self, candidates: Vec<Candidate>, choice: Choice) -> Vec<Candidate> {
        if candidates.len() < 2 {
            return candidates;
        }
        let load = |candidate: &Candidate| {
            let counts = candidate.backend.slots.counts();
            Load {
                tier: candidate.tier,
                in_use: counts.in_use,
                limit: counts.limit,
                weight: candidate.weight,
                hash: candidate.backend.hash,
                is_warm: candidate.is_warm,
                context: candidate.context_length,
                latency: candidate.backend.access.latency(),
            }
        };
        let loads: Vec<Load> = candidates.iter().map(load).collect();
        let turn = self.pool.next_turn(self.query.key.as_ref().map_or("", ModelKey::as_str));
        let pick = Pick { turn, key: choice.prefix };
        let picked = order(choice.policy, &loads, pick, |below| fastrand::usize(..below));
        let mut candidates: Vec<Option<Candidate>> = candidates.into_iter().map(Some).collect();
        picked.into_iter().filter_map(|at| candidates[at].take()).collect()
    }

    async fn wait_for_slot(
        &self,
        candidates: Vec<Candidate>,
        epoch: u64,
        spent: &Spent,
        waited: Duration,
        may_bypass: bool,
    ) -> Result<Admitted, DispatchError> {
        let (pool, Urgency { priority, deadline }) = (&self.pool, self.urgency);
        let limits = pool.table().pool.queue;
        let full = || {
            let message = format!("the queue of pool '{}' is full for {} requests", pool.id, priority.as_str());
            DispatchError::refused(RefusalReason::QueueFull, message)
        };
        let mut place = WaitingPlace::take(pool, priority, limits.capacity).ok_or_else(|| {
            pool.meters.full.increment(1);
            full()
        })?;
        let since = place.since;
        // Announced first, queued second: a slot freed in between comes to the pool as a value, or is found free when it
        // looks.
        let announced = Announced::to(pool, candidates.iter().map(|candidate| &candidate.backend));
        let (end, ended) = oneshot::channel();
        let waiter = Waiter {
            ticket: place.ticket,
            class: priority,
            since,
            patience: since + self.patience(spent.waited + waited),
            deadline,
            course: spent.course.clone(),
            query: self.query.clone(),
            epoch,
            candidates: candidates.into(),
            may_bypass,
            announced,
            end,
        };
        if let Err(error) = pool.handle.enqueue(waiter) {
            return Err(match error {
                SendError::Full => {
                    place.settle(|meters| &meters.full);
                    full()
                }
                SendError::Gone => {
                    place.settle(|meters| &meters.lost);
                    lost(pool)
                }
            });
        }
        // The queue's own timer ends the wait: it is not looked at here.
        fault!("dispatch.queued", pool.id);
        let ended = ended.await;
        place.settle(|meters| match &ended {
            Ok(WaitEnd::Granted(_)) => &meters.granted,
            Ok(WaitEnd::Refused(TooLate::Waited)) => &meters.timeout,
            Ok(WaitEnd::Refused(TooLate::Passed | TooLate::OutOfReach)) => &meters.deadline,
            Err(_) => &meters.lost,
        });
        if let Some(course) = &spent.course {
            // What was foreseen was for this queue.
            course.foresee(None);
        }
        fault!("dispatch.granted", pool.id);
        match ended {
            Ok(WaitEnd::Granted(grant)) => Ok(Admitted { grant, waited: since.elapsed() }),
            Ok(WaitEnd::Refused(why)) => Err(too_late(pool, why)),
            Err(_) => Err(lost(pool)),
        }
    }
}

/// Counts a waiting request against its pool's capacity for as long as it waits.
struct WaitingPlace {
    pool: Arc<PoolCell>,
    class: Priority,
    ticket: Ticket,
    since: Instant,
    /// False while the request is still in the actor's queue: leaving then means that the queue must be cleared of it.
    is_settled: bool,
}

impl WaitingPlace {
    fn take(pool: &Arc<PoolCell>, class: Priority, capacity: u32) -> Option<Self> {
        let taken = pool.places.take(class, capacity);
        taken.then(|| Self {
            pool: Arc::clone(pool),
            class,
            ticket: pool.draw_ticket(),
            since: Instant::now(),
            is_settled: false,
        })
    }

    /// The wait has ended, in this way.
    fn settle(&mut self, how: impl FnOnce(&PoolMeters) -> &Counter) {
        self.is_settled = true;
        how(&self.pool.meters).increment(1);
    }
}

impl Drop for WaitingPlace {
    fn drop(&mut self) {
        self.pool.places.leave(self.class);
        self.pool.meters.waited(self.class, self.since.elapsed());
        if !self.is_settled {
            self.pool.meters.left.increment(1);
            self.pool.abandon(self.ticket);
        }
    }
}

/// All backends that could serve the call have asked to be left alone for longer than it can wait.
fn cooling_down(pool: &PoolCell, left: Duration) -> DispatchError {
    let seconds = left.as_secs_f64().ceil();
    let message =
        format!("the backends of pool '{}' have asked to be left alone for another {seconds} s; retry then", pool.id);
    let mut refused = DispatchError::refused(RefusalReason::CoolingDown, message);
    refused.failure.retry_after = Some(left);
    refused
}

/// The queue let go of the request: its backends failed, or its pool's actor did. Nothing was sent, a retry is safe.
fn lost(pool: &PoolCell) -> DispatchError {
    DispatchError::refused(
        RefusalReason::NoBackend,
        format!("the backends of pool '{}' became unusable while the request waited; it is safe to retry", pool.id),
    )
}

/// The deadline of a request has passed that waited for a call which others wait for, too.
pub(super) fn past_deadline(pool: &PoolCell, course: &Course) -> DispatchError {
    if course.has_begun() {
        return DispatchError { failure: given_up(), served: None };
    }
    too_late(pool, TooLate::Passed)
}

/// The request got no slot in time. Nothing was sent.
pub(super) fn too_late(pool: &PoolCell, why: TooLate) -> DispatchError {
    let id = &pool.id;
    let longest = pool.table().pool.queue.max_wait_ms;
    let (reason, message) = match why {
        TooLate::Waited => {
            (RefusalReason::QueueTimeout, format!("no backend of pool '{id}' had a free slot within {longest} ms"))
        }
        TooLate::Passed => {
            (RefusalReason::Deadline, format!("the request's deadline passed before pool '{id}' had a free slot"))
        }
        TooLate::OutOfReach => (
            RefusalReason::Deadline,
            format!("so many requests wait in pool '{id}' that the request's deadline is out of reach"),
        ),
    };
    DispatchError::refused(reason, message)
}
