//! The road of one call: pick a pool and its candidates from published tables, take a lease, call, fail over.
//!
//! Runs in the request's own task and asks no actor anything unless every slot is taken; then the pool's queue holds the
//! request until a freed slot is granted to it. A call is made again only before the first byte of an answer, on another
//! backend, in another slot, and if the pool's budget pays for it. Dropping the future anywhere gives back whatever it held.

mod admission;
mod attempt;
mod batch;
mod call;
mod deadline;
pub mod exchange;
mod hedge;
mod held;
mod key;
#[doc(hidden)]
pub mod measured;
mod memory;
mod plan;
mod prefix;
mod repeat;
mod single_flight;
mod tab;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use tokio_util::task::TaskTracker;

#[cfg(test)]
pub(super) use self::repeat::MAX_ATTEMPTS;
use self::{
    admission::{Choice, Plan},
    attempt::{Attempt, Held, HeldCall},
    batch::Batches,
    call::{Call, Embed, Generate, words_of},
    deadline::given_up,
    memory::{Kept, Memory},
    repeat::{Onward, Spent},
    single_flight::{Flights, Question, Sharing},
    tab::Tab,
};
use super::{directory::Directory, meters::paid, pool::Grant};
use crate::{
    domain::{
        chat::{ChatCall, Usage},
        embedding::{EmbedCall, Embedded},
        failure::{Failure, FailureClass, RefusalReason},
        ids::PoolId,
        message::{Completion, Served},
        model::Capability,
        pool::{CallSettings, EMBED_POOL, TASKS_POOL},
        provider::ProviderKind,
        route::{ModelRoute, RouteScope},
        timing::CallTiming,
    },
    providers::Provider,
    stores::shared::AnswerCache,
};

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

#[cfg(feature = "faults")]
impl From<crate::faults::Fault> for Failure {
    fn from(fault: crate::faults::Fault) -> Self {
        Self::new(FailureClass::Internal, fault)
    }
}

#[cfg(feature = "faults")]
impl From<crate::faults::Fault> for DispatchError {
    fn from(fault: crate::faults::Fault) -> Self {
        Self { failure: fault.into(), served: None }
    }
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
    batches: Arc<Batches>,
    flights: Arc<Flights>,
    /// Answers that were kept, where instances share them.
    answers: Option<Arc<dyn AnswerCache>>,
}

impl Dispatcher {
    /// What several requests wait for is made in `tasks`.
    pub(super) fn new(directory: Arc<Directory>, defaults: RouteDefaults, tasks: TaskTracker) -> Self {
        let batches = Arc::new(Batches::new(tasks.clone()));
        let flights = Arc::new(Flights::new(tasks));
        Self { directory, defaults: Arc::new(defaults), batches, flights, answers: None }
    }

    /// The same with a place where answers are kept.
    #[must_use]
    pub(super) fn remembering(self, answers: Option<Arc<dyn AnswerCache>>) -> Self {
        Self { answers, ..self }
    }

    /// Whether pools can have answers kept.
    pub const fn can_keep(&self) -> bool {
        self.answers.is_some()
    }

    /// Asks a model for a reply.
    ///
    /// # Errors
    /// No usable backend, a full queue, or the failure of the last backend that was tried.
    pub async fn generate(&self, route: &ModelRoute, call: &ChatCall) -> Result<(Completion, Served), DispatchError> {
        let mut memory = Memory::none();
        let (completion, mut served) = match self.shared(route, Question::Generate(call), &mut memory).await? {
            Sharing::Known(known) => return known.completion(),
            Sharing::Shared(shared) => shared.completion(route, call)?,
            Sharing::Alone(plan, spent) => self.generate_alone(plan, route, call, spent).await?,
        };
        memory.keep(&mut served, || Kept::of_completion(&completion));
        Ok((completion, served))
    }

    async fn generate_alone(
        &self,
        plan: Plan,
        route: &ModelRoute,
        call: &ChatCall,
        spent: Spent,
    ) -> Result<(Completion, Served), DispatchError> {
        let (held, served) = self.run_from(plan, route, Generate(call), spent).await?;
        let completion = held.release(|completion| completion.usage);
        if let Some(tab) = Tab::open(&route.spending, || words_of(call)) {
            tab.complete(&completion);
        }
        Ok((completion, served))
    }

    /// Asks a model for the vectors of texts.
    ///
    /// # Errors
    /// As for [`Dispatcher::generate`].
    pub async fn embed(&self, route: &ModelRoute, call: &EmbedCall) -> Result<(Embedded, Served), DispatchError> {
        let mut memory = Memory::none();
        let (embedded, mut served) = match self.shared(route, Question::Embed(call), &mut memory).await? {
            Sharing::Known(known) => return known.embedded(),
            Sharing::Shared(shared) => shared.embedded(route, call)?,
            Sharing::Alone(plan, spent) => self.embed_alone(plan, route, call, spent).await?,
        };
        memory.keep(&mut served, || Kept::of_vectors(&embedded));
        Ok((embedded, served))
    }

    async fn embed_alone(
        &self,
        plan: Plan,
        route: &ModelRoute,
        call: &EmbedCall,
        spent: Spent,
    ) -> Result<(Embedded, Served), DispatchError> {
        if let Some(outcome) = Box::pin(self.embed_with_others(&plan.pool, route, call)).await {
            return outcome;
        }
        let (held, served) = self.run_from(plan, route, Embed(call), spent).await?;
        let embedded = held.release(|embedded| Usage::of_texts(embedded.input_tokens));
        if let Some(tab) = Tab::of_texts(&route.spending, call) {
            tab.embedded(&embedded);
        }
        Ok((embedded, served))
    }

    /// A route of a chain's task as the request of the run allows it.
    ///
    /// # Errors
    /// When the task wants what the request excludes: then its call may go nowhere.
    pub(super) fn narrowed(&self, mut route: ModelRoute, scope: &RouteScope) -> Result<ModelRoute, DispatchError> {
        if let Some(allowed) = &scope.pool {
            let id = |named: &str| self.directory.pool_named(named).map(|pool| pool.id.clone());
            // One pool may be called by its id here and by its name there.
            for own in route.targets.iter_mut().filter_map(|target| target.pool.as_mut()) {
                if own != allowed && id(own).is_some_and(|own| id(allowed) == Some(own)) {
                    own.clone_from(allowed);
                }
            }
        }
        route.narrow(scope).map_err(|why| DispatchError {
            failure: Failure::new(
                FailureClass::InvalidInput,
                format!("the request excludes where the task may go: {why}"),
            ),
            served: None,
        })?;
        Ok(route)
    }

    /// The backends a call would go to now, the preferred tier first, each with the model's name on it. Nothing is taken
    /// from them, and the call may go elsewhere all the same.
    pub(super) fn likely_backends(&self, route: &ModelRoute) -> Vec<(Arc<dyn Provider>, String)> {
        let found = self.plan(route, 0).ok().and_then(|plan| plan.found);
        let mut candidates = found.map(|found| found.candidates).unwrap_or_default();
        candidates.sort_by_key(|candidate| candidate.tier);
        candidates.into_iter().map(|candidate| (candidate.provider, candidate.model)).collect()
    }

    /// Whether a call may go to backends with certain labels only.
    pub(super) fn is_bound_by_labels(&self, route: &ModelRoute) -> bool {
        let pool_requires = |plan: Plan| !plan.pool.table().pool.require_labels.is_empty();
        !route.require.is_empty() || self.plan(route, 0).is_ok_and(pool_requires)
    }

    /// The model a call would go to, by its name where it is served, else as it was asked for.
    pub(super) fn likely_model(&self, route: &ModelRoute) -> String {
        let served = self.likely_backends(route).into_iter().next().map(|(_, model)| model);
        let asked = || route.names().next().map(str::to_owned);
        served.or_else(asked).unwrap_or_else(|| self.defaults.of(route.capability).0.to_owned())
    }

    /// Makes a call. What comes of it holds the slot until it is let go: a stream is no call done. A route that falls back
    /// goes on to its next target where one has failed; each has its own attempts, bounded in all.
    async fn run<C: Call>(&self, route: &ModelRoute, call: C) -> Result<(Held<C::Answer>, Served), DispatchError> {
        self.run_from(self.plan(route, 0)?, route, call, Spent::default()).await
    }

    /// The same from this plan on, with what the call has spent already.
    async fn run_from<C: Call>(
        &self,
        mut plan: Plan,
        route: &ModelRoute,
        call: C,
        mut spent: Spent,
    ) -> Result<(Held<C::Answer>, Served), DispatchError> {
        plan.pool.budget.deposit(plan.pool.calls().retry_budget);
        let mut told: Option<DispatchError> = None;
        loop {
            let (target, pool) = (plan.target, Arc::clone(&plan.pool));
            let (failed, onward) = match self.on_target(plan, route, &call, &mut spent).await {
                Ok(answered) => return Ok(answered),
                Err(failed) => failed,
            };
            // A failed call says more than a full queue behind it.
            let says_more = failed.served.is_some() || told.is_none();
            let failed = if says_more { failed } else { told.take().unwrap_or(failed) };
            if onward == Onward::No {
                return Err(failed);
            }
            // Nobody else can take over: why the last one did not says more.
            let Ok(next) = self.plan(route, target + 1) else { return Err(failed) };
            match onward {
                Onward::Paid if !paid(&pool, |meters| &meters.fallbacks) => return Err(failed),
                Onward::Paid => {}
                Onward::Free | Onward::No => pool.meters.fallbacks.increment(1),
            }
            (plan, told) = (next, Some(failed));
        }
    }

    /// Makes a call on one target: on several of its backends where the first ones cannot serve it. The error comes with
    /// whether another target may be tried.
    async fn on_target<C: Call>(
        &self,
        mut plan: Plan,
        route: &ModelRoute,
        call: &C,
        spent: &mut Spent,
    ) -> Result<(Held<C::Answer>, Served), (DispatchError, Onward)> {
        let choice = Choice::of(&plan.pool, route.strategy, route.session.as_deref(), || call.prefix());
        let CallSettings { hedging, .. } = plan.pool.calls();
        let mut last: Option<(DispatchError, Onward)> = None;
        loop {
            let began = Instant::now();
            let admitted = match (plan.admit(choice, spent).await, last) {
                (Ok(admitted), _) => admitted,
                // No further backend can take over: the failure of the one that was asked says more.
                (Err(_), Some(failed)) => return Err(failed),
                (Err(refused), None) => {
                    spent.waited += began.elapsed();
                    let onward = if route.falls_back { Onward::Free } else { Onward::No };
                    return Err((refused, onward));
                }
            };
            spent.waited += admitted.waited;
            let (attempt, urgency) = (plan.attempt(admitted.grant, route, spent), plan.urgency);
            let (attempt, outcome) = if hedging.after_ms == 0 {
                attempt.make(call, urgency).await
            } else {
                let after = Duration::from_millis(hedging.after_ms);
                let second = || plan.second_attempt(call, choice, route, spent);
                Box::pin(hedge::hedged(call, attempt, urgency, after, second)).await
            };
            let served = served(&attempt, &plan.pool.id, spent);
            let error = match outcome {
                Some(Ok(answer)) => return Ok((Held { answer, call: HeldCall(attempt) }, served)),
                Some(Err(error)) => error,
                None => {
                    return Err((DispatchError { failure: given_up(), served: Some(Box::new(served)) }, Onward::No));
                }
            };
            spent.called += served.timing.upstream();
            // Frees the slot: whatever follows waits for one like everybody else.
            drop(attempt);
            let onward = repeat::onward(&error, route, spent);
            let may_try_another = error.may_fail_over()
                && spent.leaves_another(plan.query.tried.len())
                && !plan.urgency.is_over()
                && plan.has_another(spent.waited)
                && paid(&plan.pool, |meters| &meters.failovers);
            let failed = DispatchError { failure: error.into(), served: Some(Box::new(served)) };
            if !may_try_another {
                return Err((failed, onward));
            }
            last = Some((failed, onward));
        }
    }
}

impl Plan {
    /// A call with this slot.
    fn attempt(&mut self, grant: Grant, route: &ModelRoute, spent: &mut Spent) -> Attempt {
        self.query.tried.push(grant.candidate.backend.id.clone());
        spent.begin();
        Attempt::begin(grant, route.capability.into())
    }

    /// A second attempt of a call that is late, if it may have one, a slot is free and the budget pays.
    fn second_attempt<C: Call>(
        &mut self,
        call: &C,
        choice: Choice,
        route: &ModelRoute,
        spent: &mut Spent,
    ) -> Option<Attempt> {
        let CallSettings { hedging, .. } = self.pool.calls();
        if !spent.leaves_another(self.query.tried.len()) || !call.is_short(hedging.max_tokens) {
            return None;
        }
        let grant = self.spare(choice)?;
        paid(&self.pool, |meters| &meters.hedges).then(|| self.attempt(grant, route, spent))
    }
}

fn served(attempt: &Attempt, pool: &PoolId, spent: &Spent) -> Served {
    let candidate = attempt.candidate();
    Served {
        backend: candidate.backend.id.clone(),
        pool: pool.clone(),
        model: candidate.model.clone(),
        attempts: spent.attempts,
        timing: CallTiming { queued: spent.waited, before: spent.called, ..attempt.timing() },
        is_shared: false,
        was_kept: None,
    }
}
