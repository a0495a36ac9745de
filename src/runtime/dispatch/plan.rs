//! Which pool and which backends a call may go to: the targets of its route in order, each in the pools that may serve it
//! (`docs/api.md`, routing).

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use super::{
    DispatchError, Dispatcher,
    admission::{Found, Plan},
    deadline::Urgency,
};
use crate::{
    domain::{
        failure::RefusalReason,
        model::{ObservedModel, same_model},
        provider::ProviderKind,
        route::{ModelRoute, RouteTarget},
    },
    faults::fault,
    runtime::{
        directory::{BackendView, PoolCell},
        pool::{ModelKey, ModelQuery},
    },
};

/// What most calls require.
static NO_LABELS: LazyLock<Arc<BTreeMap<String, String>>> = LazyLock::new(Arc::default);

impl Dispatcher {
    /// The first of the targets from this one on that has a usable backend to which calls can go now; else the first whose
    /// backends have open breakers or rest.
    pub(super) fn plan(&self, route: &ModelRoute, from: usize) -> Result<Plan, DispatchError> {
        if !route.targets.is_empty() {
            return self.first_usable(route, &route.targets, from);
        }
        let (default_model, default_provider, default_pool) = self.defaults.of(route.capability);
        let by_default = RouteTarget {
            model: Some(default_model.to_owned()),
            providers: default_provider.into_iter().collect(),
            pool: Some(default_pool.to_owned()),
        };
        self.first_usable(route, &[by_default], from)
    }

    fn first_usable(&self, route: &ModelRoute, targets: &[RouteTarget], from: usize) -> Result<Plan, DispatchError> {
        let pools = self.directory.pools();
        let require = if route.require.is_empty() { Arc::clone(&NO_LABELS) } else { Arc::new(route.require.clone()) };
        let mut kept_out = None;
        for (at, target) in targets.iter().enumerate().skip(from) {
            let named = target.pool.as_deref().map(|wanted| self.directory.pool_named(wanted));
            let pools = match &named {
                None => pools.as_slice(),
                Some(Some(pool)) => std::slice::from_ref(pool),
                // A pool that does not exist serves nobody; all others are not what was asked for.
                Some(None) => continue,
            };
            let query = |key: Option<ModelKey>, providers: Vec<ProviderKind>| ModelQuery {
                key,
                capability: route.capability,
                providers,
                require: Arc::clone(&require),
                tokens: route.tokens,
                tried: Vec::new(),
            };
            let found = match &target.model {
                Some(model) => by_name(pools, model, |key| query(Some(key), target.providers.clone())),
                // Providers or a pool only: the default model there, else anything that can do it.
                None => {
                    let (model, kind, _) = self.defaults.of(route.capability);
                    let kinds = match target.providers.as_slice() {
                        [] => kind.into_iter().collect(),
                        kinds => kinds.to_vec(),
                    };
                    let default = by_name(pools, model, |key| query(Some(key), kinds.clone()));
                    default.or_else(|| in_pools(pools, query(None, target.providers.clone())))
                }
            };
            if let Some((pool, query, found)) = found {
                fault!("dispatch.plan", pool.id);
                let is_reachable = found.is_reachable();
                let plan =
                    Plan { pool: Arc::clone(pool), query, target: at, found: Some(found), urgency: Urgency::of(route) };
                if is_reachable {
                    return Ok(plan);
                }
                kept_out.get_or_insert(plan);
            }
        }
        kept_out.ok_or_else(|| DispatchError::refused(RefusalReason::NoBackend, self.nobody(route, targets)))
    }

    /// That a pool does not exist, and which do.
    fn no_pool(&self, wanted: &str) -> String {
        /// Names that are told.
        const MOST_NAMES: usize = 20;
        let pools = self.directory.pools();
        let names: Vec<String> =
            pools.iter().take(MOST_NAMES).map(|cell| format!("'{}'", cell.table().pool.name)).collect();
        let more = if pools.len() > MOST_NAMES { " and others" } else { "" };
        let known =
            if names.is_empty() { "there are none".to_owned() } else { format!("they are {}{more}", names.join(", ")) };
        format!("there is no pool '{wanted}', by id or by name; {known}")
    }

    /// What was wanted and what there is.
    fn nobody(&self, route: &ModelRoute, targets: &[RouteTarget]) -> String {
        let mut names: Vec<&str> = targets.iter().filter_map(|target| target.model.as_deref()).collect();
        names.dedup();
        let mut kinds: Vec<&str> =
            targets.iter().flat_map(|target| &target.providers).map(|kind| kind.as_str()).collect();
        kinds.dedup();
        let names_no_kind = kinds.is_empty();
        let kinds = if names_no_kind { "local".to_owned() } else { kinds.join(" or ") };
        let labels: Vec<String> = route.require.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let labels = if labels.is_empty() { String::new() } else { format!(" with {}", labels.join(", ")) };
        let pool = match targets.first().and_then(|target| target.pool.as_deref()) {
            Some(pool) if targets.iter().all(|target| target.pool.as_deref() == Some(pool)) => {
                match self.directory.pool_named(pool) {
                    Some(_) => format!(" in pool '{pool}'"),
                    None => return self.no_pool(pool),
                }
            }
            _ => String::new(),
        };
        let backends = self.directory.backends();
        let describe = |view: &BackendView| {
            let name = &view.backend.name;
            let lacks = |(label, value): &(&String, &String)| view.backend.labels.get(*label) != Some(*value);
            let is_wanted = |model: &&ObservedModel| names.iter().any(|name| same_model(name, &model.name));
            match (view.error(), view.observed.iter().find(is_wanted)) {
                _ if !view.backend.enabled => format!("{name} is disabled"),
                (Some(_), _) => format!("{name} is failing"),
                (None, _) if !view.in_pool => format!("{name} is in no pool"),
                (None, Some(_)) if names_no_kind && view.backend.is_cloud() => {
                    format!("{name} has it, but is a cloud backend and used only when its provider is named")
                }
                (None, Some(_)) if route.require.iter().any(|label| lacks(&label)) => {
                    format!("{name} has it, but not the labels the request requires")
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
        let capability = route.capability.as_str();
        let names =
            if names.is_empty() { "the default model".to_owned() } else { format!("model {}", names.join(" or ")) };
        format!("no usable {kinds} backend{labels}{pool} for {names} ({capability}): {known}")
    }
}

/// A model by its name, else by one like it where no pool has it under its own.
fn by_name<'a>(
    pools: &'a [Arc<PoolCell>],
    model: &str,
    query: impl Fn(ModelKey) -> ModelQuery,
) -> Option<(&'a Arc<PoolCell>, ModelQuery, Found)> {
    let exact = in_pools(pools, query(ModelKey::exact(model)));
    exact.or_else(|| in_pools(pools, query(ModelKey::normalised(model))))
}

/// The first of the pools with a usable backend to which calls can go now; else the first whose backends have open breakers
/// or rest.
fn in_pools(pools: &[Arc<PoolCell>], query: ModelQuery) -> Option<(&Arc<PoolCell>, ModelQuery, Found)> {
    let mut kept_out = None;
    for pool in pools {
        let found = Found::look_up(pool, &query);
        if found.is_reachable() {
            return Some((pool, query, found));
        }
        if !found.candidates.is_empty() {
            kept_out.get_or_insert((pool, found));
        }
    }
    kept_out.map(|(pool, found)| (pool, query, found))
}
