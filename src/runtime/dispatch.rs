//! The road of one call: pick a pool and its candidates from published tables, take a lease, call, fail over.
//!
//! Runs in the request's own task and asks no actor anything unless every slot is taken; then the pool's queue holds the
//! request until a freed slot is granted to it. Dropping the future anywhere gives back whatever it held.

mod admission;
mod call;
pub mod exchange;
mod plan;
mod prefix;

use std::{sync::Arc, time::Duration};

use self::{
    admission::Choice,
    call::{Call, Embed, Generate},
    prefix::text_prefix,
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
        Ok((held.release(), served))
    }

    /// Asks a model for the vectors of texts.
    ///
    /// # Errors
    /// As for [`Dispatcher::generate`].
    pub async fn embed(&self, route: &ModelRoute, call: &EmbedCall) -> Result<(Embedded, Served), DispatchError> {
        let (held, served) = self.run(route, Embed(call)).await?;
        Ok((held.release(), served))
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

    /// Makes a call. What comes of it holds the slot until it is let go: a stream is no call done.
    async fn run<C: Call>(&self, route: &ModelRoute, call: C) -> Result<(Held<C::Answer>, Served), DispatchError> {
        let mut plan = self.plan(route, 0)?;
        let prefix = || route.session.as_deref().map_or_else(|| call.prefix(), text_prefix);
        let choice = Choice::of(&plan.pool, route.strategy, prefix);
        let mut waited = Duration::ZERO;
        let mut last: Option<DispatchError> = None;
        loop {
            let admitted = match (plan.admit(choice, waited).await, last) {
                (Ok(admitted), _) => admitted,
                // No further backend can take over: the failure of the one that was asked says more.
                (Err(_), Some(failed)) => return Err(failed),
                (Err(error), None) => return Err(error),
            };
            let Grant { candidate, lease } = admitted.grant;
            waited += admitted.waited;
            plan.query.tried.push(candidate.backend.id.clone());
            let outcome = call.on(&candidate).await;
            let attempts = u32::try_from(plan.query.tried.len()).unwrap_or(u32::MAX);
            let served = served(&candidate, &plan.pool.id, attempts, waited);
            match outcome {
                Ok(answer) => return Ok((Held { answer, call: HeldCall { candidate, _lease: lease } }, served)),
                Err(error) => {
                    drop(lease);
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
