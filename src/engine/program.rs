//! A chain ready to run: checked, templates and durations parsed, ids resolved to places.
//!
//! A [`Program`] exists only of a valid chain, so the machine never meets an unknown target or a bad operator.

use std::{sync::Arc, time::Duration};

use crate::{
    domain::{
        chain::HookCall,
        provider::ProviderKind,
        route::{Capability, ModelRoute, RoutingStrategy},
    },
    engine::{
        compose::Strategy, condition::Conditions, form::Form, handler::Handler, template::Template,
        transition::Operator,
    },
};

/// A compiled chain. Made by [`compile`](crate::engine::compile), shared by all its runs.
#[derive(Debug)]
pub struct Program {
    pub(crate) debug: bool,
    pub(crate) token_limit: Option<u64>,
    pub(crate) strategy: Option<RoutingStrategy>,
    /// At least one; the first is where a run starts.
    pub(crate) steps: Vec<Step>,
}

/// One task.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) id: Arc<str>,
    /// `<id>_composed`: the variable of its composed output.
    pub(crate) composed_id: Arc<str>,
    pub(crate) handler: Handler,
    pub(crate) work: Work,
    pub(crate) model: ModelChoice,
    pub(crate) system_instruction: String,
    pub(crate) prompt: Option<Template>,
    pub(crate) input_var: Option<String>,
    pub(crate) print: Option<Template>,
    pub(crate) compose: Option<Compose>,
    /// Of one attempt; `None` = the server's limit.
    pub(crate) timeout: Option<Duration>,
    /// At least 1.
    pub(crate) attempts: u32,
    pub(crate) on_failure: Option<usize>,
    pub(crate) on_failure_alert: Option<String>,
    pub(crate) branches: Vec<Branch>,
}

/// What a task does, with what only that handler needs.
#[derive(Debug)]
pub(crate) enum Work {
    RawString,
    ConditionKey {
        conditions: Conditions,
        /// Whether the reply may be forced into one of the keys.
        constrain: bool,
    },
    /// Asks for a number or a range.
    Parse {
        form: Form,
        /// Whether the reply may be forced into the form.
        constrain: bool,
    },
    ParseTransition,
    Embedding,
    RaiseError,
    Noop,
    ModelExecution,
    ConvertToOpenaiChatResponse {
        /// Shown instead of the conversation's own.
        model: Option<String>,
    },
    Hook(Arc<HookCall>),
}

/// Which model a task asks, and how it draws its reply.
#[derive(Debug)]
pub(crate) struct ModelChoice {
    pub(crate) names: Vec<String>,
    pub(crate) providers: Vec<ProviderKind>,
    pub(crate) temperature: Option<f64>,
    pub(crate) max_tokens: Option<u32>,
}

/// How a task's output is joined with a variable.
#[derive(Debug)]
pub(crate) struct Compose {
    pub(crate) with_var: String,
    pub(crate) strategy: Strategy,
}

/// A way out of a task.
#[derive(Debug)]
pub(crate) struct Branch {
    pub(crate) operator: Operator,
    /// `None` = the end.
    pub(crate) goto: Option<usize>,
    pub(crate) alert: Option<String>,
}

impl ModelChoice {
    /// The route of a call under a chain's strategy.
    pub(crate) fn route(&self, capability: Capability, program: &Program, tokens: Option<u64>) -> ModelRoute {
        ModelRoute {
            capability,
            names: self.names.clone(),
            providers: self.providers.clone(),
            strategy: program.strategy,
            tokens,
        }
    }
}
