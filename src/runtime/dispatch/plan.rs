//! Which pool and which backends a call may go to: the targets of its route in order, each in the pools that may serve it
//! (`docs/api.md`, routing).

use std::sync::Arc;

use super::{
    DispatchError, Dispatcher,
    admission::{Found, Plan},
};
use crate::{
    domain::{
        failure::RefusalReason,
        model::{Capability, ObservedModel, same_model},
        pool::Pool,
        provider::ProviderKind,
        route::{ModelRoute, RouteTarget},
    },
    runtime::{
        directory::BackendView,
        pool::{Matching, ModelQuery},
    },
};

impl Dispatcher {
    /// The first of the targets from this one on that has a usable backend.
    pub(super) fn plan(&self, route: &ModelRoute, from: usize) -> Result<Plan, DispatchError> {
        let (default_model, default_provider, default_pool) = self.defaults.of(route.capability);
        let by_default = [RouteTarget {
            model: Some(default_model.to_owned()),
            providers: default_provider.into_iter().collect(),
            pool: Some(default_pool.to_owned()),
        }];
        let targets = if route.targets.is_empty() { &by_default[..] } else { &route.targets };
        let pools = self.directory.pools();
        let require = Arc::new(route.require.clone());
        for (at, target) in targets.iter().enumerate().skip(from) {
            let names: &[Option<&str>] = match &target.model {
                Some(model) => &[Some(model.as_str())],
                // Providers or a pool only: the default model there, else anything that can do it.
                None => &[Some(default_model), None],
            };
            for model in names {
                for matching in [Matching::Exact, Matching::Normalised] {
                    let query = ModelQuery {
                        model: model.map(str::to_owned),
                        matching,
                        capability: route.capability,
                        providers: target.providers.clone(),
                        require: Arc::clone(&require),
                        tokens: route.tokens,
                        tried: Vec::new(),
                    };
                    for pool in pools.iter().filter(|pool| is_wanted(&pool.table().pool, target.pool.as_deref())) {
                        let found = Found::look_up(pool, &query);
                        if !found.candidates.is_empty() {
                            return Ok(Plan { pool: Arc::clone(pool), query, target: at, found: Some(found) });
                        }
                    }
                }
            }
        }
        Err(DispatchError::refused(RefusalReason::NoBackend, self.nobody(route.capability, targets)))
    }

    /// What was wanted and what there is.
    fn nobody(&self, capability: Capability, targets: &[RouteTarget]) -> String {
        let names: Vec<&str> = targets.iter().filter_map(|target| target.model.as_deref()).collect();
        let providers: Vec<ProviderKind> = targets.iter().flat_map(|target| target.providers.iter().copied()).collect();
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

/// Whether a pool is the one named, by its id or its name.
fn is_wanted(pool: &Pool, wanted: Option<&str>) -> bool {
    wanted.is_none_or(|wanted| pool.id.as_str() == wanted || pool.name == wanted)
}
