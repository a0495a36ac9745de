//! Which models may serve a call: what a chain, a request or the defaults ask of the fleet (`docs/workflow-spec.md`,
//! which model). Made by the engine and by `api`, read by the dispatch.

pub use crate::domain::model::Capability;
use crate::domain::{pool::Policy, provider::ProviderKind};

/// A chain's `routing_strategy`: how one of several usable backends is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RoutingStrategy {
    /// Uniformly at random.
    Random,
    /// In turn.
    RoundRobin,
    /// At random, in proportion to the backends' weights.
    Weighted,
    /// Fewest running calls.
    LeastLoaded,
    /// The same beginning of a conversation to the same backend.
    PrefixAffinity,
    /// Backends that have the model in memory first.
    WarmFirst,
    /// Largest context first.
    Auto,
    /// Largest context first.
    LowLatency,
}

impl RoutingStrategy {
    /// Every strategy that a chain may name in this version.
    pub const ALL: [Self; 8] = [
        Self::Random,
        Self::RoundRobin,
        Self::Weighted,
        Self::LeastLoaded,
        Self::PrefixAffinity,
        Self::WarmFirst,
        Self::Auto,
        Self::LowLatency,
    ];

    /// Its name in a chain.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::RoundRobin => "round-robin",
            Self::Weighted => "weighted",
            Self::LeastLoaded => "least-loaded",
            Self::PrefixAffinity => "prefix-affinity",
            Self::WarmFirst => "warm-first",
            Self::Auto => "auto",
            Self::LowLatency => "low-latency",
        }
    }

    /// Reads a name in any case; `None` for an unknown one.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|strategy| strategy.as_str().eq_ignore_ascii_case(text.trim()))
    }

    /// The pool policy of the same name, where this version has it.
    pub fn policy(self) -> Option<Policy> {
        Policy::parse(self.as_str())
    }
}

/// The models and backends that may serve one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelRoute {
    /// What the model must be able to do.
    pub capability: Capability,
    /// Wanted models, the preferred one first; empty = the default model.
    pub names: Vec<String>,
    /// Wanted kinds of backend; empty = the local ones.
    pub providers: Vec<ProviderKind>,
    /// How one of the usable backends is chosen; `None` = as the pool says.
    pub strategy: Option<RoutingStrategy>,
    /// Tokens of the call, where they were counted: models with a smaller known context are skipped.
    pub tokens: Option<u64>,
}

impl ModelRoute {
    /// The default model of this capability.
    pub const fn default_model(capability: Capability) -> Self {
        Self { capability, names: Vec::new(), providers: Vec::new(), strategy: None, tokens: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strategies_are_read_in_any_case_and_every_policy_is_one() {
        for strategy in RoutingStrategy::ALL {
            assert_eq!(RoutingStrategy::parse(&strategy.as_str().to_uppercase()), Some(strategy));
        }
        for policy in Policy::ALL {
            assert_eq!(RoutingStrategy::parse(policy.as_str()).and_then(RoutingStrategy::policy), Some(policy));
        }
        assert_eq!(RoutingStrategy::parse("fastest"), None);
    }
}
