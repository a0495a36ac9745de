//! What a request asks of routing beside its body: the pool, kinds of backend and labels it wants, the session it belongs to
//! (`docs/api.md`, choosing where a request goes), and what its model's name means.

use super::{Api, fields::MAX_TEXT_BYTES, suggestion};
use crate::{
    domain::{
        alias::Alias,
        ids::ChainId,
        model::Capability,
        provider::ProviderKind,
        route::{ModelRoute, RouteTarget},
    },
    error::{Error, ErrorCode},
    runtime::directory::{Directory, Known, PoolCell},
};

/// The wishes in a request's headers: `X-Penstock-Pool`, `-Provider`, `-Require` and `-Session`.
pub use crate::domain::route::RouteScope as Scope;

/// Before the id of a stored chain that is asked for as a model.
pub(super) const CHAIN_PREFIX: &str = "chain/";
/// Before a pool's name and a model's that is wanted there.
pub(super) const POOL_PREFIX: &str = "pool/";

/// What a model's name means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// `chain/<id>`: a stored chain. Whoever runs it holds its steps to the request's scope.
    Chain(ChainId),
    /// A model, wherever it may run.
    Model(ModelRoute),
}

/// Reads a model's name as clients of both dialects write it: an alias, `chain/<id>`, `pool/<pool>/<model>`, a model by the
/// name it has on a local backend, or `<kind>/<model>` for one on backends of a kind, which may be a cloud.
///
/// # Errors
/// 400 for no name, and for one that contradicts the headers; 404 for a pool or a model that is unknown here, and for a
/// model that only a cloud has whose kind is not named.
pub(super) async fn wanted(api: &Api, scope: &Scope, model: &str, capability: Capability) -> Result<Wanted, Error> {
    if model.trim().is_empty() {
        return Err(Error::invalid("you must provide a model parameter: the name of a model, an alias, or chain/<id>"));
    }
    if model.len() > MAX_TEXT_BYTES {
        return Err(Error::invalid(format!("the name of the model is longer than {MAX_TEXT_BYTES} bytes")));
    }
    let directory = &api.runtime.directory;
    if let Some(chain) = model.strip_prefix(CHAIN_PREFIX) {
        check(api, scope)?;
        return Ok(Wanted::Chain(ChainId::new(chain)));
    }
    let reading = Reading::of(directory, scope, model)?;
    let route = reading.route(capability, |missing| Err(missing.error(directory)))?;
    Ok(Wanted::Model(route))
}

/// The same for routes where a model that nobody has is one that nobody has now.
///
/// # Errors
/// As [`wanted`], but for unknown models.
pub(super) fn route_of(api: &Api, scope: &Scope, model: &str, capability: Capability) -> Result<ModelRoute, Error> {
    let reading = Reading::of(&api.runtime.directory, scope, model)?;
    reading.route(capability, |missing| Ok(missing.plainly()))
}

/// The default model, as far as the request allows.
///
/// # Errors
/// 404 for an unknown pool.
pub(super) fn default_route(api: &Api, scope: &Scope, capability: Capability) -> Result<ModelRoute, Error> {
    check(api, scope)?;
    let mut route = ModelRoute::default_model(capability);
    route.narrow(scope).map_err(Error::invalid)?;
    Ok(route)
}

/// Refuses a scope that can be met by nobody, whatever is asked for.
///
/// # Errors
/// 404 for an unknown pool.
pub(super) fn check(api: &Api, scope: &Scope) -> Result<(), Error> {
    match &scope.pool {
        Some(pool) if api.runtime.directory.pool_named(pool).is_none() => {
            Err(unknown_pool(&api.runtime.directory, pool))
        }
        _ => Ok(()),
    }
}

/// A name on its way to its meaning.
struct Reading<'a> {
    directory: &'a Directory,
    scope: &'a Scope,
    /// The pool that the name or the headers want.
    pool: Option<std::sync::Arc<PoolCell>>,
    /// The name without its pool.
    name: &'a str,
    alias: Option<std::sync::Arc<Alias>>,
}

impl<'a> Reading<'a> {
    fn of(directory: &'a Directory, scope: &'a Scope, model: &'a str) -> Result<Self, Error> {
        let named = |pool: &String| directory.pool_named(pool).ok_or_else(|| unknown_pool(directory, pool));
        let mut pool = scope.pool.as_ref().map(named).transpose()?;
        let mut alias = directory.alias(model);
        let mut name = model;
        if alias.is_none()
            && let Some(rest) = model.strip_prefix(POOL_PREFIX)
        {
            let (in_name, rest) = split_pool(directory, rest)?;
            if rest.starts_with(CHAIN_PREFIX) {
                let message = "a chain is held to a pool by header X-Penstock-Pool, not by its name";
                return Err(Error::invalid(message));
            }
            if pool.is_some_and(|pool| pool.id != in_name.id) {
                let message = format!("model '{model}' names one pool and header X-Penstock-Pool another");
                return Err(Error::invalid(message));
            }
            (pool, name, alias) = (Some(in_name), rest, directory.alias(rest));
        }
        Ok(Self { directory, scope, pool, name, alias })
    }

    /// Where calls of it may go. `missing` decides on a model that is unknown.
    fn route(
        &self,
        capability: Capability,
        missing: impl Fn(Missing<'_>) -> Result<RouteTarget, Error>,
    ) -> Result<ModelRoute, Error> {
        let mut route = ModelRoute::default_model(capability);
        match &self.alias {
            None => route.targets.push(self.target(self.name, &self.scope.providers, missing)?),
            Some(alias) => {
                route.falls_back = true;
                route.targets = alias.targets.iter().map(|target| self.alias_target(target)).collect();
            }
        }
        // By id, in which all of them agree.
        let pool = self.pool.as_ref().map(|pool| pool.id.as_str().to_owned());
        let providers = if self.alias.is_some() { self.scope.providers.clone() } else { Vec::new() };
        let scope = Scope { pool, providers, ..self.scope.clone() };
        route.narrow(&scope).map_err(|why| {
            let message = format!("no target of alias '{}' is one that the request allows: {why}", self.name);
            Error::new(ErrorCode::ModelNotFound, message)
        })?;
        Ok(route)
    }

    /// One target of an alias. Nobody may have it now: others follow.
    fn alias_target(&self, target: &crate::domain::alias::AliasTarget) -> RouteTarget {
        let pool = target.pool.as_ref().map(|pool| match self.directory.pool_named(pool) {
            Some(known) => known.id.as_str().to_owned(),
            None => pool.clone(),
        });
        let read = if target.providers.is_empty() {
            self.target(&target.model, &[], |missing| Ok::<_, Error>(missing.plainly())).ok()
        } else {
            None
        };
        let read = read.unwrap_or_else(|| RouteTarget {
            model: Some(target.model.clone()),
            providers: target.providers.clone(),
            pool: None,
        });
        RouteTarget { pool, ..read }
    }

    /// A model by the name it has, else, where that begins with a kind of backend, by the rest on that kind.
    fn target(
        &self,
        name: &str,
        providers: &[ProviderKind],
        missing: impl Fn(Missing<'_>) -> Result<RouteTarget, Error>,
    ) -> Result<RouteTarget, Error> {
        let pool = self.pool.as_deref();
        let plain = |name: &str, providers: &[ProviderKind]| RouteTarget {
            model: Some(name.to_owned()),
            providers: providers.to_vec(),
            pool: None,
        };
        let known = self.directory.known(name, providers, pool);
        if known.exactly {
            return Ok(plain(name, providers));
        }
        let of_kind = split_kind(name);
        if let Some((kind, rest)) = of_kind {
            let is_allowed = providers.is_empty() || providers.contains(&kind);
            let there = if is_allowed { self.directory.known(rest, &[kind], pool) } else { Known::default() };
            if there.anywhere() || (there.uncertain && !known.anywhere()) {
                return Ok(plain(rest, &[kind]));
            }
            if !is_allowed && !known.anywhere() {
                let message =
                    format!("model '{name}' names backends of type {kind}, header X-Penstock-Provider does not");
                return Err(Error::invalid(message));
            }
        }
        let only_in_clouds = !known.loosely && !known.clouds.is_empty();
        if known.loosely || (!only_in_clouds && known.declared) || known.uncertain {
            return Ok(plain(name, providers));
        }
        missing(Missing { name, providers, pool, of_kind, clouds: &known.clouds, target: plain(name, providers) })
    }
}

/// A model that nobody has whom the request allows.
struct Missing<'a> {
    name: &'a str,
    providers: &'a [ProviderKind],
    pool: Option<&'a PoolCell>,
    of_kind: Option<(ProviderKind, &'a str)>,
    clouds: &'a [ProviderKind],
    /// The name as it stands.
    target: RouteTarget,
}

impl Missing<'_> {
    /// Where it goes when its absence is no error yet.
    fn plainly(self) -> RouteTarget {
        match self.of_kind {
            Some((kind, rest)) => RouteTarget { model: Some(rest.to_owned()), providers: vec![kind], pool: None },
            None => self.target,
        }
    }

    fn error(&self, directory: &Directory) -> Error {
        let Self { name, providers, pool, .. } = self;
        let message = if let Some(kind) = self.clouds.first() {
            format!(
                "model '{name}' is on a cloud backend, which is used only when it is named: ask for '{kind}/{name}', or \
                 send X-Penstock-Provider: {kind}"
            )
        } else if let Some(pool) = pool
            && directory.known(name, providers, None).anywhere()
        {
            format!("model '{name}' is not in pool '{}', which the request names", pool.table().pool.name)
        } else {
            let kinds: Vec<&str> = match self.of_kind {
                Some((kind, _)) => vec![kind.as_str()],
                None => providers.iter().map(|kind| kind.as_str()).collect(),
            };
            let place = if kinds.is_empty() { String::new() } else { format!(" on {} backends", kinds.join(" or ")) };
            let hint = suggestion::for_model(directory, name).map(|hint| format!("; {hint}")).unwrap_or_default();
            format!("model '{name}' not found{place}{hint}")
        };
        Error::new(ErrorCode::ModelNotFound, message)
    }
}

/// A pool and what follows it in `pool/<pool>/<model>`. Names of pools may hold slashes: the longest that exists is meant.
fn split_pool<'a>(directory: &Directory, text: &'a str) -> Result<(std::sync::Arc<PoolCell>, &'a str), Error> {
    let parts = text.rmatch_indices('/').map(|(at, _)| (&text[..at], &text[at + 1..]));
    let mut parts = parts.filter(|(pool, model)| !pool.is_empty() && !model.is_empty()).peekable();
    if parts.peek().is_none() {
        return Err(Error::invalid("a model in a pool is named pool/<name or id of the pool>/<model>"));
    }
    let found = parts.find_map(|(pool, model)| Some((directory.pool_named(pool)?, model)));
    found.ok_or_else(|| unknown_pool(directory, text.split('/').next().unwrap_or(text)))
}

/// A kind of backend and what follows it in `<kind>/<model>`.
fn split_kind(name: &str) -> Option<(ProviderKind, &str)> {
    let (kind, rest) = name.split_once('/')?;
    let kind = ProviderKind::ALL.into_iter().find(|known| known.as_str() == kind)?;
    (!rest.is_empty()).then_some((kind, rest))
}

fn unknown_pool(directory: &Directory, pool: &str) -> Error {
    let hint = suggestion::for_pool(directory, pool).map(|hint| format!("; {hint}")).unwrap_or_default();
    Error::new(ErrorCode::NotFound, format!("pool '{pool}' not found{hint}"))
}
