//! The road of one call: pick a pool and its candidates from published tables, take a lease, call, fail over.
//!
//! Runs in the request's own task and asks no actor anything unless every slot is taken; then the pool's queue holds the
//! request until a freed slot is granted to it. Dropping the future anywhere gives back whatever it held.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::{
    directory::{Directory, PoolCell},
    lease::{Announced, Lease},
    mailbox::SendError,
    pool::{Candidate, Grant, Load, Matching, ModelQuery, Waiter, order, resolve},
};
use crate::{
    domain::{
        failure::{Failure, RefusalReason},
        ids::PoolId,
        message::{ChatCall, Completion, Served},
        model::Capability,
        pool::{EMBED_POOL, Policy, TASKS_POOL},
        provider::ProviderKind,
        route::{ModelRoute, RoutingStrategy},
    },
    providers::{ProviderError, ProviderErrorKind},
};

/// Backends one call may be tried on.
const MAX_ATTEMPTS: u32 = 3;

/// Models of requests that name none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteDefaults {
    /// Default prompt and chat model.
    pub task_model: String,
    /// Default embedding model.
    pub embed_model: String,
    /// Only this kind serves the default task model; `None`: local backends.
    pub task_provider: Option<ProviderKind>,
    /// Only this kind serves the default embedding model; `None`: local backends.
    pub embed_provider: Option<ProviderKind>,
}

impl RouteDefaults {
    fn of(&self, capability: Capability) -> (&str, Option<ProviderKind>, &'static str) {
        match capability {
            Capability::Prompt | Capability::Chat => (&self.task_model, self.task_provider, TASKS_POOL),
            Capability::Embed => (&self.embed_model, self.embed_provider, EMBED_POOL),
        }
    }
}

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{failure}")]
pub struct DispatchError {
    /// What went wrong, in words for the caller; a refusal when no backend was asked.
    pub failure: Failure,
    /// Who was asked last, if anybody was.
    pub served: Option<Box<Served>>,
}

impl DispatchError {
    fn refused(reason: RefusalReason, message: impl Into<String>) -> Self {
        Self { failure: Failure::refused(reason, message), served: None }
    }
}

/// Runs calls on the fleet; cheap to clone.
#[derive(Clone)]
pub struct Dispatcher {
    directory: Arc<Directory>,
    defaults: Arc<RouteDefaults>,
}

/// Where a call may go. Decided once: a failover changes the backend, never the model or the pool.
struct Plan {
    pool: Arc<PoolCell>,
    query: ModelQuery,
}

/// A slot, and how long the call waited for it.
struct Admitted {
    grant: Grant,
    waited: Duration,
}

impl Dispatcher {
    pub(super) fn new(directory: Arc<Directory>, defaults: RouteDefaults) -> Self {
        Self { directory, defaults: Arc::new(defaults) }
    }

    /// Asks a model for a reply.
    ///
    /// # Errors
    /// No usable backend, a full queue, or the failure of the last backend that was tried.
    pub async fn generate(&self, route: &ModelRoute, call: &ChatCall) -> Result<(Completion, Served), DispatchError> {
        self.run(route, Generate(call)).await
    }

    /// Asks a model for the vector of a text.
    ///
    /// # Errors
    /// As for [`Dispatcher::generate`].
    pub async fn embed(&self, route: &ModelRoute, text: &str) -> Result<(Vec<f64>, Served), DispatchError> {
        self.run(route, Embed(text)).await
    }

    async fn run<C: Call>(&self, route: &ModelRoute, call: C) -> Result<(C::Answer, Served), DispatchError> {
        let mut plan = self.plan(route)?;
        let mut waited = Duration::ZERO;
        let mut last: Option<DispatchError> = None;
        loop {
            let admitted = match (plan.admit(route.strategy, waited).await, last) {
                (Ok(admitted), _) => admitted,
                // No further backend can take over: the failure of the one that was asked says more.
                (Err(_), Some(failed)) => return Err(failed),
                (Err(error), None) => return Err(error),
            };
            let Grant { candidate, lease } = admitted.grant;
            waited += admitted.waited;
            plan.query.tried.push(candidate.backend.id.clone());
            let outcome = call.on(&candidate).await;
            drop(lease);
            let attempts = u32::try_from(plan.query.tried.len()).unwrap_or(u32::MAX);
            let served = served(&candidate, &plan.pool.id, attempts, waited);
            match outcome {
                Ok(value) => return Ok((value, served)),
                Err(error) => {
                    note_failure(&candidate, &error);
                    let may_try_another = error.may_fail_over() && attempts < MAX_ATTEMPTS;
                    let failed = DispatchError { failure: error.into(), served: Some(Box::new(served)) };
                    if !may_try_another {
                        return Err(failed);
                    }
                    last = Some(failed);
                }
            }
        }
    }

    /// The first name with a usable backend, in the pool the rules of `docs/api.md`, routing, give it.
    fn plan(&self, route: &ModelRoute) -> Result<Plan, DispatchError> {
        let (default_model, default_provider, default_pool) = self.defaults.of(route.capability);
        let is_default = route.names.is_empty() && route.providers.is_empty();
        let providers = if is_default { default_provider.into_iter().collect() } else { route.providers.clone() };
        let pools = self.directory.pools();
        let default_pool = PoolId::new(default_pool);
        let names: Vec<Option<&str>> = match route.names.as_slice() {
            [] if is_default => vec![Some(default_model)],
            // Providers only: their default model, else anything of theirs that can do it.
            [] => vec![Some(default_model), None],
            names => names.iter().map(|name| Some(name.as_str())).collect(),
        };
        for model in &names {
            for matching in [Matching::Exact, Matching::Normalised] {
                let query = ModelQuery {
                    model: model.map(str::to_owned),
                    matching,
                    capability: route.capability,
                    providers: providers.clone(),
                    tokens: route.tokens,
                    tried: Vec::new(),
                };
                let mut eligible = pools.iter().filter(|pool| !is_default || pool.id == default_pool);
                if let Some(pool) = eligible.find(|pool| !resolve(&pool.table(), &query).is_empty()) {
                    return Ok(Plan { pool: Arc::clone(pool), query });
                }
            }
        }
        Err(DispatchError::refused(RefusalReason::NoBackend, self.nobody(route.capability, &names, &providers)))
    }

    /// What was wanted and what there is.
    fn nobody(&self, capability: Capability, names: &[Option<&str>], providers: &[ProviderKind]) -> String {
        let names: Vec<&str> = names.iter().copied().flatten().collect();
        let kinds: Vec<&str> = providers.iter().map(|kind| kind.as_str()).collect();
        let kinds = if kinds.is_empty() { "local".to_owned() } else { kinds.join(" or ") };
        let backends = self.directory.backends();
        let describe = |view: &super::directory::BackendView| {
            let name = &view.backend.name;
            match view.error() {
                _ if !view.backend.enabled => format!("{name} is disabled"),
                Some(_) => format!("{name} is failing"),
                None if !view.in_pool => format!("{name} is in no pool"),
                None if view.observed.is_empty() => format!("{name} has no models yet"),
                None => {
                    let models: Vec<&str> = view.observed.iter().map(|model| model.name.as_str()).take(5).collect();
                    format!("{name} has {}", models.join(", "))
                }
            }
        };
        let known: Vec<String> = backends.values().take(5).map(|cell| describe(&cell.view())).collect();
        let known = if known.is_empty() { "no backend is registered".to_owned() } else { known.join("; ") };
        format!("no usable {kinds} backend for model {} ({}): {known}", names.join(" or "), capability.as_str())
    }
}

impl Plan {
    /// A slot of one of the candidates: at once if one is free, else from the pool's queue, for what is left of the
    /// longest wait.
    async fn admit(&self, strategy: Option<RoutingStrategy>, waited: Duration) -> Result<Admitted, DispatchError> {
        let epoch = self.pool.epoch();
        let mut candidates = self.ranked(resolve(&self.pool.table(), &self.query), strategy);
        let free = candidates
            .iter()
            .enumerate()
            .find_map(|(at, candidate)| Some((at, Lease::try_acquire(&candidate.backend)?)));
        if let Some((at, lease)) = free {
            let candidate = candidates.swap_remove(at);
            return Ok(Admitted { grant: Grant { candidate, lease }, waited: Duration::ZERO });
        }
        if candidates.is_empty() {
            return Err(lost(&self.pool));
        }
        self.wait_for_slot(candidates, epoch, waited).await
    }

    /// Candidates in the order in which they should be tried.
    fn ranked(&self, candidates: Vec<Candidate>, strategy: Option<RoutingStrategy>) -> Vec<Candidate> {
        let load = |candidate: &Candidate| {
            let counts = candidate.backend.slots.counts();
            Load { tier: candidate.tier, in_use: counts.in_use, limit: counts.limit }
        };
        let loads: Vec<Load> = candidates.iter().map(load).collect();
        let by_context = matches!(strategy, Some(RoutingStrategy::Auto | RoutingStrategy::LowLatency));
        let policy = match strategy.and_then(RoutingStrategy::policy) {
            Some(policy) => policy,
            None if by_context => Policy::Random,
            None => self.pool.policy(),
        };
        let turn = self.pool.next_turn(self.query.model.as_deref().unwrap_or_default());
        let mut picked = order(policy, &loads, turn, |below| fastrand::usize(..below));
        if by_context {
            // The tier stays first: a large context is no reason to leave the own machines.
            picked.sort_by_key(|at| (candidates[*at].tier, std::cmp::Reverse(candidates[*at].context_length)));
        }
        picked.into_iter().map(|at| candidates[at].clone()).collect()
    }

    async fn wait_for_slot(
        &self,
        candidates: Vec<Candidate>,
        epoch: u64,
        waited: Duration,
    ) -> Result<Admitted, DispatchError> {
        let pool = &self.pool;
        let limits = pool.table().pool.queue;
        let full =
            || DispatchError::refused(RefusalReason::QueueFull, format!("the queue of pool '{}' is full", pool.id));
        let mut place = WaitingPlace::take(pool, limits.capacity).ok_or_else(full)?;
        let began = Instant::now();
        // Announced first, queued second: a slot freed in between wakes the pool, or is found free when it looks.
        let announced = Announced::to(&candidates);
        let (grant, granted) = oneshot::channel();
        let waiter = Waiter { query: self.query.clone(), epoch, candidates, announced, grant };
        pool.handle.enqueue(waiter).map_err(|error| match error {
            SendError::Full => full(),
            SendError::Gone => lost(pool),
        })?;
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
        let taken = pool.waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, grow);
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

/// The queue let go of the request: its backends failed, or its pool's actor did. Nothing was sent, a retry is safe.
fn lost(pool: &PoolCell) -> DispatchError {
    DispatchError::refused(
        RefusalReason::NoBackend,
        format!("the backends of pool '{}' became unusable while the request waited; it is safe to retry", pool.id),
    )
}

/// One kind of call, as it is made on whichever candidate gets it.
trait Call: Sync {
    type Answer;

    fn on(&self, candidate: &Candidate) -> impl Future<Output = Result<Self::Answer, ProviderError>> + Send;
}

struct Embed<'a>(&'a str);

impl Call for Embed<'_> {
    type Answer = Vec<f64>;

    async fn on(&self, candidate: &Candidate) -> Result<Vec<f64>, ProviderError> {
        candidate.provider.embed(&candidate.model, self.0).await
    }
}

struct Generate<'a>(&'a ChatCall);

impl Call for Generate<'_> {
    type Answer = Completion;

    /// A constrained reply that the backend refuses is asked for again without the constraint, and the refusal
    /// remembered once the plain call has worked.
    async fn on(&self, candidate: &Candidate) -> Result<Completion, ProviderError> {
        let (call, Candidate { provider, model, backend, .. }) = (self.0, candidate);
        if call.constraint.is_none() {
            return provider.generate(model, call).await;
        }
        let plain = ChatCall { constraint: None, ..call.clone() };
        if backend.unconstrained.load().contains(model) {
            return provider.generate(model, &plain).await;
        }
        match provider.generate(model, call).await {
            Err(refused) if refused.kind == ProviderErrorKind::Caller && refused.status == Some(400) => {
                let completion = provider.generate(model, &plain).await?;
                tracing::info!(backend = %backend.id, %model, "backend refuses constrained replies; asked without now");
                backend.unconstrained.rcu(|known| {
                    let mut known = known.as_ref().clone();
                    known.insert(model.clone());
                    known
                });
                Ok(completion)
            }
            other => other,
        }
    }
}

fn note_failure(candidate: &Candidate, error: &ProviderError) {
    let backend = &candidate.backend;
    tracing::debug!(backend = %backend.id, model = %candidate.model, kind = ?error.kind, %error, "call failed");
    if matches!(error.kind, ProviderErrorKind::Connect | ProviderErrorKind::Cut | ProviderErrorKind::Timeout) {
        backend.handle.call_failed();
    }
}

fn served(candidate: &Candidate, pool: &PoolId, attempts: u32, waited: Duration) -> Served {
    Served {
        backend: candidate.backend.id.clone(),
        pool: pool.clone(),
        model: candidate.model.clone(),
        attempts,
        queue_ms: u64::try_from(waited.as_millis()).unwrap_or(u64::MAX),
    }
}
