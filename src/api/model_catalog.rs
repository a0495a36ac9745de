//! All models that a client may name now, merged over pools and backends, by the names to call them by
//! (`docs/api.md`, choosing where a request goes). Fronts write them as their dialect lists models.

use std::collections::BTreeMap;

use super::{
    Api,
    scope::{self, CHAIN_PREFIX, Scope, Wanted},
};
use crate::{
    domain::{
        failure::RefusalReason,
        ids::ChainId,
        model::{Capabilities, Capability, ModelDetails, normalised, normalised_stem, same_model, with_tag},
        page::{MAX_LIMIT, Page},
        provider::ProviderKind,
        route::{ModelRoute, RouteTarget},
        time::Timestamp,
    },
    error::{Error, ErrorCode},
    runtime::directory::ServedModel,
    stores::catalog::StoreError,
};

/// Where a name comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// A model on local backends, by its own name.
    Local,
    /// A model of a cloud backend, as `<kind>/<name>`.
    Cloud,
    /// A stored alias.
    Alias,
    /// A stored chain, as `chain/<id>`.
    Chain,
}

/// One model that can be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallableModel {
    /// The name to call it by.
    pub name: String,
    /// What kind of name that is.
    pub origin: Origin,
    /// Kinds of backend that serve it, in the order of `ProviderKind::ALL`; empty for a chain.
    pub kinds: Vec<ProviderKind>,
    /// All that any backend of it can do.
    pub capabilities: Capabilities,
    /// What else any of them says it can do, in Ollama's words such as `tools` and `vision`.
    pub abilities: Vec<String>,
    /// Tokens of context, the largest that any backend has; 0 = unknown.
    pub context_length: i64,
    /// Bytes on disk; 0 = unknown.
    pub size: u64,
    /// Hex digest; empty = unknown.
    pub digest: String,
    /// File details; empty where no backend tells.
    pub details: ModelDetails,
    /// When its file, alias or chain changed; [`Timestamp::ZERO`] = unknown.
    pub modified_at: Timestamp,
    /// Whether it is in some backend's memory, as far as is known.
    pub is_warm: bool,
    /// Since when it is known here: its declaration, its oldest backend, its alias or its chain.
    pub created_at: Timestamp,
}

/// Stored chains that are listed, the newest ones.
const MAX_LISTED_CHAINS: usize = MAX_LIMIT;

/// All of them, in the order of their names. `scope` leaves out what the headers of the request exclude.
///
/// # Errors
/// 404 for an unknown pool; of the store.
pub(super) async fn list(api: &Api, scope: &Scope) -> Result<Vec<CallableModel>, Error> {
    let fleet = Fleet::of(api, scope)?;
    // An alias hides what has its name.
    let mut all = fleet.models();
    for alias in api.runtime.directory.aliases().values() {
        if let Ok(route) = scope::route_of(api, scope, &alias.name, Capability::Chat)
            && let Some(model) = fleet.of_route(&route)
        {
            let model = CallableModel {
                name: alias.name.clone(),
                origin: Origin::Alias,
                modified_at: alias.updated_at,
                created_at: alias.created_at,
                ..model
            };
            all.insert(alias.name.clone(), model);
        }
    }
    let page = Page { before: None, limit: MAX_LISTED_CHAINS };
    for chain in api.store.chain_names(page).await?.into_iter().filter(|chain| !chain.draft) {
        let model = of_chain(&chain.id, chain.created_at, chain.updated_at);
        all.insert(model.name.clone(), model);
    }
    Ok(all.into_values().collect())
}

/// One by the name a client calls it by, in any form that `scope::wanted` reads, and under that name.
///
/// # Errors
/// 404 for a model that is unknown here, 503 for one that nobody serves now; of the store.
pub(super) async fn find(api: &Api, scope: &Scope, name: &str) -> Result<CallableModel, Error> {
    let route = match scope::wanted(api, scope, name, Capability::Chat).await? {
        Wanted::Model(route) => route,
        Wanted::Chain(id) => {
            return match api.store.chain_version(&id, None).await {
                Ok(version) => Ok(of_chain(&id, version.created_at, version.created_at)),
                Err(StoreError::NotFound(_)) => {
                    Err(Error::new(ErrorCode::ModelNotFound, format!("model '{name}' not found")))
                }
                Err(error) => Err(error.into()),
            };
        }
    };
    let served = Fleet::of(api, scope)?.of_route(&route);
    let alias = api.runtime.directory.alias(name);
    let model = served.ok_or_else(|| {
        let message = format!("no backend that the request may go to serves model '{name}' now");
        Error::refused(RefusalReason::NoBackend, message, 1)
    })?;
    Ok(match alias {
        Some(alias) => CallableModel {
            name: name.to_owned(),
            origin: Origin::Alias,
            modified_at: alias.updated_at,
            created_at: alias.created_at,
            ..model
        },
        None => CallableModel { name: name.to_owned(), ..model },
    })
}

fn of_chain(id: &ChainId, created_at: Timestamp, modified_at: Timestamp) -> CallableModel {
    CallableModel {
        name: format!("{CHAIN_PREFIX}{id}"),
        origin: Origin::Chain,
        kinds: Vec::new(),
        capabilities: Capabilities::GENERATE,
        abilities: Vec::new(),
        context_length: 0,
        size: 0,
        digest: String::new(),
        details: ModelDetails::default(),
        modified_at,
        is_warm: true,
        created_at,
    }
}

/// What all backends serve that the request may go to.
struct Fleet(Vec<ServedModel>);

impl Fleet {
    fn of(api: &Api, scope: &Scope) -> Result<Self, Error> {
        scope::check(api, scope)?;
        let directory = &api.runtime.directory;
        let pool = scope.pool.as_ref().and_then(|pool| directory.pool_named(pool));
        let mut served = directory.served(&scope.require);
        served.retain(|model| {
            pool.as_ref().is_none_or(|pool| pool.id == model.pool)
                && (scope.providers.is_empty() || scope.providers.contains(&model.view.backend.kind))
        });
        Ok(Self(served))
    }

    /// All by the names to call them by: with and without `:latest` is one.
    fn models(&self) -> BTreeMap<String, CallableModel> {
        let mut all: BTreeMap<String, CallableModel> = BTreeMap::new();
        for served in &self.0 {
            let model = of_served(served);
            let key = with_tag(&model.name).into_owned();
            match all.get_mut(&key) {
                Some(known) => known.merge(model),
                None => drop(all.insert(key, model)),
            }
        }
        all.into_values().map(|model| (model.name.clone(), model)).collect()
    }

    /// What the first target of a route that anybody serves is, as one model.
    fn of_route(&self, route: &ModelRoute) -> Option<CallableModel> {
        route.targets.iter().find_map(|target| {
            let of = |is_same: &dyn Fn(&str, &str) -> bool| {
                let served = self.0.iter().filter(|served| is_of(served, target, is_same)).map(of_served);
                served.reduce(|mut all, model| {
                    all.merge(model);
                    all
                })
            };
            of(&same_model)
                .or_else(|| of(&|a, b| normalised(a) == normalised(b) || normalised_stem(a) == normalised(b)))
        })
    }
}

fn is_of(served: &ServedModel, target: &RouteTarget, is_same: &dyn Fn(&str, &str) -> bool) -> bool {
    let backend = &served.view.backend;
    let is_asked_for = match target.providers.as_slice() {
        [] => !backend.is_cloud(),
        kinds => kinds.contains(&backend.kind),
    };
    is_asked_for
        && target.pool.as_ref().is_none_or(|pool| served.pool.as_str() == pool)
        && target.model.as_ref().is_none_or(|model| is_same(&served.view.observed[served.at].name, model))
}

fn of_served(served: &ServedModel) -> CallableModel {
    let (backend, observed) = (&served.view.backend, &served.view.observed[served.at]);
    let (name, origin) = match backend.is_cloud() {
        true => (format!("{}/{}", backend.kind, observed.name), Origin::Cloud),
        false => (observed.name.clone(), Origin::Local),
    };
    CallableModel {
        name,
        origin,
        kinds: vec![backend.kind],
        capabilities: served.capabilities,
        abilities: observed.abilities.clone(),
        context_length: served.context_length,
        size: observed.size,
        digest: observed.digest.clone(),
        details: observed.details.clone(),
        modified_at: observed.modified_at,
        is_warm: observed.is_warm,
        created_at: served.declared_at.unwrap_or(backend.created_at),
    }
}

impl CallableModel {
    /// Adds what another backend tells of the same model. What describes a file stays together.
    fn merge(&mut self, other: Self) {
        if self.digest.is_empty() && (!other.digest.is_empty() || self.size == 0) {
            self.size = other.size;
            self.digest = other.digest;
            self.details = other.details;
            self.modified_at = other.modified_at;
        }
        if other.name.len() < self.name.len() {
            self.name = other.name;
        }
        self.kinds.extend(other.kinds);
        self.kinds.sort_unstable();
        self.kinds.dedup();
        self.capabilities = self.capabilities.union(other.capabilities);
        for ability in other.abilities {
            if !self.abilities.contains(&ability) {
                self.abilities.push(ability);
            }
        }
        self.context_length = self.context_length.max(other.context_length);
        self.is_warm |= other.is_warm;
        self.created_at = self.created_at.min(other.created_at);
    }
}
