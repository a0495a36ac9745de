//! How a call gets its slot: at once where one is free, else from the pool's queue within its bounds.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::{DispatchError, prefix::text_prefix};
use crate::{
    domain::{failure::RefusalReason, pool::Policy, route::RoutingStrategy},
    runtime::{
        backend::Standing,
        directory::PoolCell,
        lease::{Announced, Lease},
        mailbox::SendError,
        pool::{
            Candidate, Grant, Load, ModelKey, ModelQuery, Pick, Prospect, Waiter, first_lease, order, prospect, resolve,
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
    /// The largest context first, the policy among equals.
    by_context: bool,
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
        let by_context = matches!(strategy, Some(RoutingStrategy::Auto | RoutingStrategy::LowLatency));
        let policy = match strategy.and_then(RoutingStrategy::policy) {
            Some(policy) => policy,
            None if session.is_some() => Policy::PrefixAffinity,
            None if by_context => Policy::Random,
            None => pool.policy(),
        };
        let prefix = match (policy, session) {
            (Policy::PrefixAffinity, Some(session)) => text_prefix(session),
            (Policy::PrefixAffinity, None) => prefix(),
            _ => 0,
        };
        Self { policy, by_context, prefix }
    }
}

/// A slot, and how long the call waited for it.
pub(super) struct Admitted {
    pub(super) grant: Grant,
    pub(super) waited: Duration,
}

impl Plan {
    /// A slot of one of the candidates: at once if one is free, else from the pool's queue, for what is left of the
    /// longest wait. `may_bypass`: the call may try a backend whose breaker is open, where there is no other.
    pub(super) async fn admit(
        &mut self,
        choice: Choice,
        waited: Duration,
        may_bypass: bool,
    ) -> Result<Admitted, DispatchError> {
        let found = self.found.take().unwrap_or_else(|| Found::look_up(&self.pool, &self.query));
        let mut candidates = self.ranked(found.candidates, choice);
        if let Some((at, lease)) = first_lease(&candidates, may_bypass, Lease::try_acquire) {
            let candidate = candidates.swap_remove(at);
            return Ok(Admitted { grant: Grant { candidate, lease }, waited: Duration::ZERO });
        }
        let limits = self.pool.table().pool.queue;
        let patience = Duration::from_millis(limits.max_wait_ms).saturating_sub(waited);
        let standings = candidates.iter().map(|candidate| candidate.backend.access.standing());
        match prospect(standings, may_bypass, patience) {
            Prospect::Wait => {
                let admitted = self.wait_for_slot(candidates, found.epoch, waited, may_bypass).await?;
                if self.still_allows(&admitted.grant) { Ok(admitted) } else { Err(lost(&self.pool)) }
            }
            Prospect::Refuse { left } => Err(cooling_down(&self.pool, left)),
            Prospect::Nobody => Err(lost(&self.pool)),
        }
    }

    /// Whether the call may still go where its slot is: between the grant and the call the backend may have lost what the
    /// call requires.
    fn still_allows(&self, grant: &Grant) -> bool {
        let now = resolve(&self.pool.table(), &self.query);
        now.iter().any(|candidate| candidate.backend.id == grant.candidate.backend.id)
    }

    /// Whether a backend that was not tried yet may take the call; the next attempt goes to one of those.
    pub(super) fn has_another(&mut self) -> bool {
        let found = Found::look_up(&self.pool, &self.query);
        let has_another = found
            .candidates
            .iter()
            .any(|candidate| matches!(candidate.backend.access.standing(), Standing::In | Standing::Resting { .. }));
        self.found = Some(found);
        has_another
    }

    /// A slot of another backend that is free now, for a call that runs already.
    pub(super) fn spare(&self, choice: Choice) -> Option<Grant> {
        let mut candidates = self.ranked(Found::look_up(&self.pool, &self.query).candidates, choice);
        let (at, lease) = first_lease(&candidates, false, Lease::try_acquire)?;
        Some(Grant { candidate: candidates.swap_remove(at), lease })
    }

    /// Candidates in the order in which they should be tried.
    fn ranked(&self, candidates: Vec<Candidate>, choice: Choice) -> Vec<Candidate> {
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
                latency: candidate.backend.access.latency(),
            }
        };
        let loads: Vec<Load> = candidates.iter().map(load).collect();
        let turn = self.pool.next_turn(self.query.key.as_ref().map_or("", ModelKey::as_str));
        let pick = Pick { turn, key: choice.prefix };
        let mut picked = order(choice.policy, &loads, pick, |below| fastrand::usize(..below));
        if choice.by_context {
            // The tier stays first: a large context is no reason to leave the own machines.
            picked.sort_by_key(|at| (candidates[*at].tier, std::cmp::Reverse(candidates[*at].context_length)));
        }
        let mut candidates: Vec<Option<Candidate>> = candidates.into_iter().map(Some).collect();
        picked.into_iter().filter_map(|at| candidates[at].take()).collect()
    }

    async fn wait_for_slot(
        &self,
        candidates: Vec<Candidate>,
        epoch: u64,
        waited: Duration,
        may_bypass: bool,
    ) -> Result<Admitted, DispatchError> {
        let pool = &self.pool;
        let limits = pool.table().pool.queue;
        let full =
            || DispatchError::refused(RefusalReason::QueueFull, format!("the queue of pool '{}' is full", pool.id));
        let mut place = WaitingPlace::take(pool, limits.capacity).ok_or_else(full)?;
        let began = Instant::now();
        // Announced first, queued second: a slot freed in between wakes the pool, or is found free when it looks.
        let announced = Announced::to(candidates.iter().map(|candidate| &candidate.backend));
        let (grant, granted) = oneshot::channel();
        let waiter = Waiter { query: self.query.clone(), epoch, candidates, may_bypass, announced, grant };
        if let Err(error) = pool.handle.enqueue(waiter) {
            place.is_settled = true;
            return Err(match error {
                SendError::Full => full(),
                SendError::Gone => lost(pool),
            });
        }
        let longest = Duration::from_millis(limits.max_wait_ms).saturating_sub(waited);
        let outcome = tokio::time::timeout(longest, granted).await;
        place.is_settled = outcome.is_ok();
        match outcome {
            Ok(Ok(grant)) => Ok(Admitted { grant, waited: began.elapsed() }),
            Ok(Err(_)) => Err(lost(pool)),
            Err(_) => Err(DispatchError::refused(
                RefusalReason::QueueTimeout,
                format!("no backend of pool '{}' had a free slot within {} ms", pool.id, limits.max_wait_ms),
            )),
        }
    }
}

/// Counts a waiting request against its pool's capacity for as long as it waits.
struct WaitingPlace {
    pool: Arc<PoolCell>,
    /// False while the request is still in the actor's queue: leaving then means that the queue must be cleared of it.
    is_settled: bool,
}

impl WaitingPlace {
    fn take(pool: &Arc<PoolCell>, capacity: u32) -> Option<Self> {
        let capacity = usize::try_from(capacity).unwrap_or(usize::MAX);
        let grow = |waiting: usize| (waiting < capacity).then_some(waiting + 1);
        let taken = pool.waiting.fetch_update(Ordering::SeqCst, Ordering::SeqCst, grow);
        taken.is_ok().then(|| Self { pool: Arc::clone(pool), is_settled: false })
    }
}

impl Drop for WaitingPlace {
    fn drop(&mut self) {
        self.pool.waiting.fetch_sub(1, Ordering::AcqRel);
        if !self.is_settled {
            self.pool.abandon();
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
