//! A model that is asked for what it cannot do: no wait will help, so it is the request's fault and nobody's absence
//! (`docs/api.md`, choosing where a request goes).

use super::{Api, model_catalog, scope::Scope};
use crate::{
    domain::{
        failure::RefusalReason,
        model::{Capabilities, Capability},
    },
    error::Error,
    runtime::dispatch::DispatchError,
};

/// Models that could do it which are named.
const MOST_NAMED: usize = 3;

/// What a model can do that nobody could be found for because it cannot do what is wanted; `None` where that is not why.
pub(super) async fn capabilities(
    api: &Api,
    scope: &Scope,
    model: &str,
    wanted: Capability,
    failed: &DispatchError,
) -> Option<Capabilities> {
    if failed.failure.refusal != Some(RefusalReason::NoBackend) {
        return None;
    }
    let known = model_catalog::find(api, scope, model).await.ok()?;
    (!wanted.served_by(known.capabilities)).then_some(known.capabilities)
}

/// The error of its request, with what can be done about it.
pub(super) async fn error(api: &Api, scope: &Scope, model: &str, wanted: Capability, have: Capabilities) -> Error {
    let can = [Capability::Chat, Capability::Embed].into_iter().filter(|can| can.served_by(have)).map(verb);
    let can = can.collect::<Vec<_>>().join(" and ");
    let can = if can.is_empty() { "nothing that is asked for here".to_owned() } else { can };
    let known = model_catalog::list(api, scope).await.unwrap_or_default();
    let others = known.into_iter().filter(|other| wanted.served_by(other.capabilities)).map(|other| other.name);
    let others = others.take(MOST_NAMED).collect::<Vec<_>>().join(", ");
    let others = if others.is_empty() { String::new() } else { format!(", such as {others}") };
    Error::invalid(format!(
        "model '{model}' cannot {}, it can {can}: name one that does{others}; if it can all the same, declare so \
         (PUT /models)",
        verb(wanted)
    ))
}

const fn verb(capability: Capability) -> &'static str {
    match capability {
        Capability::Prompt => "complete texts",
        Capability::Chat => "chat",
        Capability::Embed => "embed texts",
    }
}
