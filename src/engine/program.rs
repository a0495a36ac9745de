//! A chain ready to run: checked, templates and durations parsed, ids resolved to places.
//!
//! A [`Program`] exists only of a valid chain, so the machine never meets an unknown target or a bad operator.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::{
    domain::{
        chain::HookCall,
        failure::FailureClass,
        provider::ProviderKind,
        route::{Capability, ModelRoute, RoutingStrategy},
    },
    engine::{
        compose::Strategy, condition::Conditions, form::Form, handler::Handler, path::Path, retry::Retry,
        schema::Schema, streamed::Streamed, template::Template, transition::Operator,
    },
};

/// A compiled chain. Made by [`compile`](crate::engine::compile), shared by all its runs.
#[derive(Debug)]
pub struct Program {
    pub(crate) debug: bool,
    pub(crate) token_limit: Option<u64>,
    pub(crate) strategy: Option<RoutingStrategy>,
    pub(crate) bounds: Bounds,
    pub(crate) input_schema: Option<Schema>,
    /// The variable that is the result; `None` = the last task's output.
    pub(crate) output_var: Option<String>,
    /// Whether `last_error` is the engine's: no task is called so.
    pub(crate) sets_last_error: bool,
    /// At least one; the first is where a run starts.
    pub(crate) steps: Vec<Step>,
    /// For each step whether it may be told while it is made.
    pub(crate) streamed: Vec<Option<Streamed>>,
}

/// What one run may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Tasks executed; attempts do not count.
    pub(crate) max_steps: u32,
    /// From its start to its end.
    pub(crate) timeout: Option<Duration>,
    /// Of all its calls, input and output.
    pub(crate) tokens: Option<u64>,
}

/// One task.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) id: Arc<str>,
    /// `<id>_error`: the variable of its failure; `None` where a task is called so.
    pub(crate) error_id: Option<Arc<str>>,
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
    pub(crate) retry: Retry,
    /// How often one run may come here.
    pub(crate) max_visits: Option<u32>,
    /// Tried in order, before `on_failure`.
    pub(crate) catches: Vec<Catch>,
    pub(crate) on_failure: Option<usize>,
    pub(crate) on_failure_alert: Option<String>,
    /// What branches look at; `None` = the task's own transition value.
    pub(crate) variable: Option<Path>,
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
    /// Asks for JSON.
    ParseJson {
        /// What it must be; `None` = any JSON.
        schema: Option<Schema>,
        /// How often the model is asked to mend a reply.
        repairs: u32,
        /// Whether the reply may be forced into the schema.
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
    /// Asked in order when the wanted models have failed.
    pub(crate) fallbacks: Vec<Fallback>,
    /// Only this pool, fallbacks included.
    pub(crate) pool: Option<String>,
    /// Labels that every backend must carry, those that the chain requires included.
    pub(crate) require: Arc<BTreeMap<String, String>>,
}

/// A model to ask when others have failed.
#[derive(Debug)]
pub(crate) struct Fallback {
    pub(crate) model: String,
    /// `None` = the local backends.
    pub(crate) provider: Option<ProviderKind>,
}

/// Where failures of some classes lead.
#[derive(Debug)]
pub(crate) struct Catch {
    /// Empty = all.
    pub(crate) classes: Vec<FailureClass>,
    pub(crate) goto: usize,
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

impl Step {
    /// Whether it calls a model, so that another model may do what one could not.
    pub(crate) const fn asks_a_model(&self) -> bool {
        match self.work {
            Work::RawString
            | Work::ConditionKey { .. }
            | Work::Parse { .. }
            | Work::ParseJson { .. }
            | Work::Embedding
            | Work::ModelExecution => true,
            Work::ParseTransition
            | Work::RaiseError
            | Work::Noop
            | Work::ConvertToOpenaiChatResponse { .. }
            | Work::Hook(_) => false,
        }
    }

    /// Where a failure of this class leads.
    pub(crate) fn after(&self, class: FailureClass) -> Option<usize> {
        let caught = |catch: &&Catch| catch.classes.is_empty() || catch.classes.contains(&class);
        self.catches.iter().find(caught).map(|catch| catch.goto).or(self.on_failure)
    }
}

impl ModelChoice {
    /// The route of a call under a chain's strategy. `choice`: 0 = the wanted models, then the fallbacks in order.
    pub(crate) fn route(
        &self,
        choice: usize,
        capability: Capability,
        program: &Program,
        tokens: Option<u64>,
    ) -> ModelRoute {
        let fallback = choice.checked_sub(1).and_then(|at| self.fallbacks.get(at));
        let mut route = match fallback {
            None => ModelRoute::of(capability, &self.names, &self.providers),
            Some(fallback) => {
                let providers = fallback.provider.as_slice();
                ModelRoute::of(capability, std::slice::from_ref(&fallback.model), providers)
            }
        };
        if let Some(pool) = &self.pool {
            route.hold_to(pool);
        }
        ModelRoute { require: BTreeMap::clone(&self.require), strategy: program.strategy, tokens, ..route }
    }
}
