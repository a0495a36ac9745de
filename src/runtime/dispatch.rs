//! The road of one call: pick a pool and its candidates from published tables, take a lease, call, fail over.
//!
//! Runs in the request's own task and asks no actor anything unless every slot is taken; then the pool's queue holds the
//! request until a freed slot is granted to it. Dropping the future anywhere gives back whatever it held.

mod admission;
mod call;
pub mod exchange;
mod plan;
mod prefix;
mod tab;
#[cfg(test)]
mod tests;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use self::{
    admission::{Choice, Plan},
    call::{Call, Embed, Generate},
    tab::Tab,
};
use super::{
    directory::Directory,
    lease::Lease,
    pool::{Candidate, Grant},
};
use crate::{
    domain::{
        chat::{ChatCall, Usage},
        embedding::{EmbedCall, Embedded},
        failure::{Failure, RefusalReason},
        ids::PoolId,
        message::{Completion, Served},
        model::Capability,
        pool::{EMBED_POOL, TASKS_POOL},
        provider::ProviderKind,
        route::ModelRoute,
    },
    providers::{Provider, ProviderError, ProviderErrorKind},
};

/// Backends one call may be tried on, of each target.
const MAX_ATTEMPTS: usize = 3;
/// The same on all targets of a route that falls back.
const MAX_ATTEMPTS_IN_ALL: u32 = 10;

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

impl Dispatcher {
    pub(super) fn new(directory: Arc<Directory>, defaults: RouteDefaults) -> Self {
        Self { directory, defaults: Arc::new(defaults) }
    }

    /// Asks a model for a reply.
    ///
    /// # Errors
    /// No usable backend, a full queue, or the failure of the last backend that was tried.
    pub async fn generate(&self, route: &ModelRoute, call: &ChatCall) -> Result<(Completion, Served), DispatchError> {
        let (held, served) = self.run(route, Generate(call)).await?;
        let completion = held.release();
        if let Some(tab) = Tab::open(&route.spending, || tab::words_of(call)) {
            tab.complete(&completion);
        }
        Ok((completion, served))
    }

    /// Asks a model for the vectors of texts.
    ///
    /// # Errors
    /// As for [`Dispatcher::generate`].
    pub async fn embed(&self, route: &ModelRoute, call: &EmbedCall) -> Result<(Embedded, Served), DispatchError> {
        let (held, served) = self.run(route, Embed(call)).await?;
        let embedded = held.release();
        if let Some(tab) = Tab::open(&route.spending, || call.inputs.iter().map(String::len).sum()) {
            tab.embedded(&embedded);
        }
        Ok((embedded, served))
    }

    /// The backends a call would go to now, the preferred tier first, each with the model's name on it. Nothing is taken
    /// from them, and the call may go elsewhere all the same.
    pub(super) fn likely_backends(&self, route: &ModelRoute) -> Vec<(Arc<dyn Provider>, String)> {
        let found = self.plan(route, 0).ok().and_then(|plan| plan.found);
        let mut candidates = found.map(|found| found.candidates).unwrap_or_default();
        candidates.sort_by_key(|candidate| candidate.tier);
        candidates.into_iter().map(|candidate| (candidate.provider, candidate.model)).collect()
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
        let mut spent = Spent::default();
        let mut from = 0;
        let mut last: Option<DispatchError> = None;
        loop {
            let plan = match self.plan(route, from) {
                Ok(plan) => plan,
                // Nobody else can take over: why the last one did not says more.
                Err(nobody) => return Err(last.unwrap_or(nobody)),
            };
            from = plan.target + 1;
            match self.on_target(plan, route, &call, &mut spent).await {
                Ok(answered) => return Ok(answered),
                Err((failed, may_go_on)) => {
                    // A failed call says more than a full queue behind it.
                    let says_more = failed.served.is_some() || last.is_none();
                    let told = if says_more { failed } else { last.take().unwrap_or(failed) };
                    if !(route.falls_back && may_go_on && spent.attempts < MAX_ATTEMPTS_IN_ALL) {
                        return Err(told);
                    }
                    last = Some(told);
                }
            }
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
    ) -> Result<(Held<C::Answer>, Served), (DispatchError, bool)> {
        let choice = Choice::of(&plan.pool, route.strategy, route.session.as_deref(), || call.prefix());
        let mut last: Option<DispatchError> = None;
        loop {
            let began = Instant::now();
            let admitted = match (plan.admit(choice, spent.waited).await, last) {
                (Ok(admitted), _) => admitted,
                // No further backend can take over: the failure of the one that was asked says more.
                (Err(_), Some(failed)) => return Err((failed, true)),
                (Err(error), None) => {
                    spent.waited += began.elapsed();
                    return Err((error, true));
                }
            };
            let Grant { candidate, lease } = admitted.grant;
            spent.waited += admitted.waited;
            spent.attempts += 1;
            plan.query.tried.push(candidate.backend.id.clone());
            let outcome = call.on(&candidate).await;
            let served = served(&candidate, &plan.pool.id, spent.attempts, spent.waited);
            match outcome {
                Ok(answer) => return Ok((Held { answer, call: HeldCall { candidate, _lease: lease } }, served)),
                Err(error) => {
                    drop(lease);
                    note_failure(&candidate, &error);
                    let may_try_another = error.may_fail_over()
                        && plan.query.tried.len() < MAX_ATTEMPTS
                        && spent.attempts < MAX_ATTEMPTS_IN_ALL;
                    let may_go_on = may_fall_back(&error);
                    let failed = DispatchError { failure: error.into(), served: Some(Box::new(served)) };
                    if !may_try_another {
                        return Err((failed, may_go_on));
                    }
                    last = Some(failed);
                }
            }
        }
    }
}

/// What a call has cost so far, on all of its targets.
#[derive(Default)]
struct Spent {
    attempts: u32,
    waited: Duration,
}

/// Whether a call that failed so may be made on another target, another model of maybe another provider: nothing of it was
/// answered, and it was no fault of the call.
fn may_fall_back(error: &ProviderError) -> bool {
    use ProviderErrorKind::{
        Auth, Caller, Connect, ContextLength, Cut, Quota, RateLimited, Reply, Server, Stalled, Timeout, Transient,
    };
    match error.kind {
        RateLimited | Quota | Transient | Connect | Timeout | ContextLength | Auth | Server | Cut => true,
        // A model that the provider does not have.
        Caller => error.status == Some(404),
        Stalled | Reply => false,
    }
}

/// What came of a call, and the slot it is made in. Dropping it frees the slot.
struct Held<T> {
    answer: T,
    call: HeldCall,
}

/// The call behind an answer that is still being read.
struct HeldCall {
    candidate: Candidate,
    _lease: Lease,
}

impl HeldCall {
    /// Tells the backend's actor that the answer broke.
    fn failed(&self, error: &ProviderError) {
        note_failure(&self.candidate, error);
    }

    /// Writes down what the answer cost.
    fn ended(&self, usage: Usage) {
        let Candidate { backend, model, .. } = &self.candidate;
        let (input, output) = (usage.input_tokens, usage.output_tokens);
        tracing::debug!(backend = %backend.id, %model, input, output, "a relayed stream ended");
    }
}

impl<T> Held<T> {
    /// The answer alone, for a call that is done: frees the slot.
    fn release(self) -> T {
        self.answer
    }

    /// Both apart: the slot is taken for as long as the second lives.
    fn into_parts(self) -> (T, HeldCall) {
        (self.answer, self.call)
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
