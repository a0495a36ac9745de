//! What a request asks of routing beside its body: the pool, kinds of backend and labels it wants, the session it belongs to
//! (`docs/api.md`, choosing where a request goes), and what its model's name means.

use super::Api;
use crate::{
    domain::{
        ids::ChainId,
        model::Capability,
        provider::ProviderKind,
        route::{ModelRoute, RouteTarget},
    },
    error::Error,
};

/// The wishes in a request's headers: `X-Penstock-Pool`, `-Provider`, `-Require` and `-Session`.
pub use crate::domain::route::RouteScope as Scope;

/// What a model's name means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// `chain/<id>`: a stored chain.
    Chain(ChainId),
    /// A model, wherever it may run.
    Model(ModelRoute),
}

/// Reads a model's name as clients of both dialects write it.
///
/// # Errors
/// 404 for a name that means nothing here.
#[expect(clippy::unused_async, reason = "names that mean a stored alias are looked up")]
pub(super) async fn wanted(_api: &Api, scope: &Scope, model: &str, capability: Capability) -> Result<Wanted, Error> {
    if let Some(chain) = model.strip_prefix("chain/") {
        return Ok(Wanted::Chain(ChainId::new(chain)));
    }
    let target = RouteTarget {
        model: (!model.is_empty()).then(|| model.to_owned()),
        providers: scope.providers.clone(),
        pool: scope.pool.clone(),
    };
    let targets = if target == RouteTarget::default() { Vec::new() } else { vec![target] };
    let (require, session) = (scope.require.clone(), scope.session.clone());
    Ok(Wanted::Model(ModelRoute { targets, require, session, ..ModelRoute::default_model(capability) }))
}
