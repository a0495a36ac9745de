//! Which models may serve a call: what a chain, a request or the defaults ask of the fleet (`docs/workflow-spec.md`,
//! which model). Made by the engine and by `api`, read by the dispatch.

use std::{collections::BTreeMap, time::Instant};

pub use crate::domain::model::Capability;
/// A chain's `routing_strategy`: a policy in place of the pool's.
pub use crate::domain::pool::Policy as RoutingStrategy;
use crate::domain::{ledger::Spending, priority::Priority, provider::ProviderKind};

/// What may become of answers that are kept to be given again (`docs/api.md`, kept answers).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Keeping {
    /// As the pool wants it.
    #[default]
    Allowed,
    /// The answer is to be made, and may be kept.
    Anew,
    /// Neither is one given that was kept, nor is this one.
    Forbidden,
}

/// What a request asks of routing beside its body: it holds for every call made for the request, those of a chain's steps
/// included (`docs/api.md`, choosing where a request goes).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RouteScope {
    /// Only this pool, by id or name.
    pub pool: Option<String>,
    /// Only these kinds of backend; the only way, beside a model's name, into a cloud.
    pub providers: Vec<ProviderKind>,
    /// Labels every backend must carry that gets to see the request.
    pub require: BTreeMap<String, String>,
    /// What requests have in common that should meet the same backend.
    pub session: Option<String>,
    /// How one of the usable backends is chosen, whatever the chain or the pool says.
    pub strategy: Option<RoutingStrategy>,
    /// How urgent it is; `None` = as the route of the API says.
    pub priority: Option<Priority>,
    /// When nobody will want the answer any more.
    pub deadline: Option<Instant>,
    /// Whether answers that are kept will do.
    pub keeping: Keeping,
    /// Where it is written down what its calls cost.
    pub spending: Spending,
}

/// The models and backends that may serve one call.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ModelRoute {
    /// What the model must be able to do.
    pub capability: Capability,
    /// Where it may go, the preferred way first; empty = the default model in its default pool.
    pub targets: Vec<RouteTarget>,
    /// Whether a call that failed on one target goes on to the next, as an alias promises; otherwise a later target serves
    /// only calls for which the earlier ones have no usable backend.
    pub falls_back: bool,
    /// Labels that every backend must carry that gets to see the call, beside those its pool requires.
    pub require: BTreeMap<String, String>,
    /// What calls have in common that should meet the same backend; `None` = what they begin with.
    pub session: Option<String>,
    /// How one of the usable backends is chosen; `None` = as the pool says.
    pub strategy: Option<RoutingStrategy>,
    /// Tokens of the call, where they were counted: models with a smaller known context are skipped.
    pub tokens: Option<u64>,
    /// Before whom it is served when slots are scarce.
    pub priority: Priority,
    /// After which it is not begun, and given up.
    pub deadline: Option<Instant>,
    /// Whether an answer that is kept will do.
    pub keeping: Keeping,
    /// Where it is written down what it costs.
    pub spending: Spending,
}

/// One way a call may go.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct RouteTarget {
    /// The model; `None` = the default model of the providers, or any of theirs that can do it.
    pub model: Option<String>,
    /// Wanted kinds of backend; empty = the local ones. Nothing goes to a cloud unless its kind is named here.
    pub providers: Vec<ProviderKind>,
    /// Only this pool, by id or by name; `None` = any.
    pub pool: Option<String>,
}

impl RouteTarget {
    /// This model on local backends.
    pub fn model(name: impl Into<String>) -> Self {
        Self { model: Some(name.into()), ..Self::default() }
    }

    fn narrow(&mut self, scope: &RouteScope) -> Result<(), String> {
        if !scope.providers.is_empty() {
            let own = std::mem::take(&mut self.providers);
            self.providers =
                scope.providers.iter().copied().filter(|kind| own.is_empty() || own.contains(kind)).collect();
            if self.providers.is_empty() {
                let names =
                    |kinds: &[ProviderKind]| kinds.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(", ");
                return Err(format!(
                    "X-Penstock-Provider allows {}, wanted is {}",
                    names(&scope.providers),
                    names(&own)
                ));
            }
        }
        match (&self.pool, &scope.pool) {
            (Some(own), Some(allowed)) if own != allowed => {
                Err(format!("X-Penstock-Pool allows pool '{allowed}', wanted is '{own}'"))
            }
            (None, Some(allowed)) => {
                self.pool = Some(allowed.clone());
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl ModelRoute {
    /// The default model of this capability.
    pub const fn default_model(capability: Capability) -> Self {
        Self {
            capability,
            targets: Vec::new(),
            falls_back: false,
            require: BTreeMap::new(),
            session: None,
            strategy: None,
            tokens: None,
            priority: Priority::Standard,
            deadline: None,
            keeping: Keeping::Allowed,
            spending: Spending::UNCOUNTED,
        }
    }

    /// These models on these kinds of backend; without models the default model of the kinds, without either the default
    /// model (`docs/workflow-spec.md`, which model).
    pub fn of(capability: Capability, names: &[String], providers: &[ProviderKind]) -> Self {
        let target = |model: Option<&String>| RouteTarget {
            model: model.cloned(),
            providers: providers.to_vec(),
            ..RouteTarget::default()
        };
        let targets = match names {
            [] if providers.is_empty() => Vec::new(),
            [] => vec![target(None)],
            names => names.iter().map(|name| target(Some(name))).collect(),
        };
        Self { targets, ..Self::default_model(capability) }
    }

    /// Wants this model where none is named yet.
    pub fn prefer(&mut self, model: String) {
        match self.targets.as_mut_slice() {
            [] => self.targets.push(RouteTarget::model(model)),
            [only] if only.model.is_none() => only.model = Some(model),
            _ => {}
        }
    }

    /// Wants all of it in this pool.
    pub fn hold_to(&mut self, pool: &str) {
        if self.targets.is_empty() {
            self.targets.push(RouteTarget::default());
        }
        self.targets.iter_mut().for_each(|target| target.pool = Some(pool.to_owned()));
    }

    /// Narrows the route to what the request allows; never widens it, but for the cloud kinds that the request names where
    /// the route names none.
    ///
    /// # Errors
    /// What of both excludes the other, in words for the caller: then the call may go nowhere.
    pub fn narrow(&mut self, scope: &RouteScope) -> Result<(), String> {
        for (label, value) in &scope.require {
            let wanted = self.require.entry(label.clone()).or_insert_with(|| value.clone());
            if wanted != value {
                return Err(format!("label '{label}' is wanted as '{wanted}' and as '{value}'"));
            }
        }
        if self.session.is_none() {
            self.session.clone_from(&scope.session);
        }
        if !self.spending.is_counted() {
            self.spending = scope.spending.clone();
        }
        self.strategy = scope.strategy.or(self.strategy);
        self.priority = scope.priority.unwrap_or(self.priority);
        self.keeping = self.keeping.max(scope.keeping);
        self.deadline = [self.deadline, scope.deadline].into_iter().flatten().min();
        if self.targets.is_empty() && (scope.pool.is_some() || !scope.providers.is_empty()) {
            self.targets.push(RouteTarget::default());
        }
        let mut excluded = None;
        self.targets.retain_mut(|target| {
            let narrowed = target.narrow(scope);
            if let Err(why) = narrowed {
                excluded.get_or_insert(why);
                return false;
            }
            true
        });
        match excluded {
            Some(why) if self.targets.is_empty() => Err(why),
            _ => Ok(()),
        }
    }

    /// The wanted models by name, the preferred one first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.targets.iter().filter_map(|target| target.model.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strategies_are_read_in_any_case() {
        for strategy in RoutingStrategy::ALL {
            assert_eq!(RoutingStrategy::parse(&strategy.as_str().to_uppercase()), Some(strategy));
        }
        assert_eq!(RoutingStrategy::parse("fastest"), None);
    }

    #[test]
    fn the_policy_of_the_request_comes_before_that_of_the_chain() {
        let chains =
            ModelRoute { strategy: Some(RoutingStrategy::Auto), ..ModelRoute::default_model(Capability::Chat) };
        for (wanted, expected) in
            [(None, RoutingStrategy::Auto), (Some(RoutingStrategy::Random), RoutingStrategy::Random)]
        {
            let mut route = chains.clone();
            route.narrow(&RouteScope { strategy: wanted, ..RouteScope::default() }).unwrap();
            assert_eq!(route.strategy, Some(expected));
        }
    }
}
