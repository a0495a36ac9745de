//! The road of one call: pick a pool and its candidates from published tables, take a lease, call, fail over.
//!
//! Runs in the request's own task and asks no actor anything unless every slot is taken; then the pool's queue holds the
//! request until a freed slot is granted to it. Dropping the future anywhere gives back whatever it held.

mod admission;
mod call;
mod prefix;

use std::{sync::Arc, time::Duration};

use self::{
    admission::{Choice, Found, Plan},
    call::{Call, Embed, Generate},
};
use super::{
    directory::{BackendView, Directory},
    pool::{Candidate, Grant, Matching, ModelQuery},
};
use crate::{
    domain::{
        failure::{Failure, RefusalReason},
        ids::PoolId,
        message::{ChatCall, Completion, Served},
        model::{Capability, ObservedModel, same_model},
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
        self.run(route, Generate(call)).await
    }

    /// Asks a model for the vector of a text.
    ///
    /// # Errors
    /// As for [`Dispatcher::generate`].
    pub async fn embed(&self, route: &ModelRoute, text: &str) -> Result<(Vec<f64>, Served), DispatchError> {
        self.run(route, Embed(text)).await
    }

    /// The backends a call would go to now, the preferred tier first, each with the model's name on it. Nothing is taken
    /// from them, and the call may go elsewhere all the same.
    pub(super) fn likely_backends(&self, route: &ModelRoute) -> Vec<(Arc<dyn Provider>, String)> {
        let found = self.plan(route).ok().and_then(|plan| plan.found);
        let mut candidates = found.map(|found| found.candidates).unwrap_or_default();
        candidates.sort_by_key(|candidate| candidate.tier);
        candidates.into_iter().map(|candidate| (candidate.provider, candidate.model)).collect()
    }

    /// The model a call would go to, by its name where it is served, else as it was asked for.
    pub(super) fn likely_model(&self, route: &ModelRoute) -> String {
        let served = self.likely_backends(route).into_iter().next().map(|(_, model)| model);
        let asked = || route.names.first().cloned();
        served.or_else(asked).unwrap_or_else(|| self.defaults.of(route.capability).0.to_owned())
    }

    async fn run<C: Call>(&self, route: &ModelRoute, call: C) -> Result<(C::Answer, Served), DispatchError> {
        let mut plan = self.plan(route)?;
        let choice = Choice::of(&plan.pool, route.strategy, || call.prefix());
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
                for pool in pools.iter().filter(|pool| !is_default || pool.id == default_pool) {
                    let found = Found::look_up(pool, &query);
                    if !found.candidates.is_empty() {
                        return Ok(Plan { pool: Arc::clone(pool), query, found: Some(found) });
                    }
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
        let describe = |view: &BackendView| {
            let name = &view.backend.name;
            let is_wanted = |model: &&ObservedModel| names.iter().any(|name| same_model(name, &model.name));
            match (view.error(), view.observed.iter().find(is_wanted)) {
                _ if !view.backend.enabled => format!("{name} is disabled"),
                (Some(_), _) => format!("{name} is failing"),
                (None, _) if !view.in_pool => format!("{name} is in no pool"),
                (None, Some(_)) if providers.is_empty() && view.backend.is_cloud() => {
                    format!("{name} has it, but is a cloud backend and used only when its provider is named")
                }
                (None, Some(_)) => format!(
                    "{name} has it, but no pool with {name} may use it for this: declare and assign the model there, or \
                     check its capabilities, its context length and the labels the pool requires"
                ),
                (None, None) => match &view.downloading {
                    Some(model) => format!("{name} is downloading {model}"),
                    None if view.observed.is_empty() => format!("{name} has no models yet"),
                    None => {
                        let models: Vec<&str> = view.observed.iter().map(|model| model.name.as_str()).take(5).collect();
                        format!("{name} has {}", models.join(", "))
                    }
                },
            }
        };
        let known: Vec<String> = backends.values().take(5).map(|cell| describe(&cell.view())).collect();
        let known = if known.is_empty() { "no backend is registered".to_owned() } else { known.join("; ") };
        format!("no usable {kinds} backend for model {} ({}): {known}", names.join(" or "), capability.as_str())
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
