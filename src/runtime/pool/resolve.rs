//! Which backends of a pool can serve a model (`docs/api.md`, routing): a pure look at published views.

use std::sync::Arc;

use super::super::directory::{BackendCell, BackendView, RouteTable};
use crate::{
    domain::{
        model::{Capability, normalised, with_tag},
        provider::ProviderKind,
    },
    providers::Provider,
};

/// What a request needs of a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ModelQuery<'a> {
    /// The model by name; `None` takes any capable one.
    pub(crate) model: Option<&'a str>,
    /// What it must be able to do.
    pub(crate) capability: Capability,
    /// Only these kinds; empty: local backends of any kind.
    pub(crate) providers: &'a [ProviderKind],
    /// Tokens that must fit where the context length is known.
    pub(crate) tokens: Option<u64>,
}

/// How names are compared: exactly, or leniently when no exact match exists anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Matching {
    /// Equal, reading a missing tag as `:latest`.
    Exact,
    /// Equal after normalising.
    Normalised,
}

/// A backend that can serve a request, and under which name.
#[derive(Clone)]
pub(crate) struct Candidate {
    pub(crate) backend: Arc<BackendCell>,
    pub(crate) provider: Arc<dyn Provider>,
    /// The model's name on that backend.
    pub(crate) model: String,
    /// Tokens of context, 0 = unknown.
    pub(crate) context_length: i64,
    pub(crate) tier: u32,
}

impl Candidate {
    /// Whether the backend may still take new work of this pool. While a request waited it may have failed, been
    /// disabled, left the pool or lost a label.
    pub(crate) fn is_usable(&self, table: &RouteTable) -> bool {
        let view = self.backend.view();
        let is_member = table.members.iter().any(|member| Arc::ptr_eq(member, &self.backend));
        is_member && view.is_usable() && has_labels(table, &view)
    }
}

/// All candidates of a pool, in the order of its members.
pub(crate) fn resolve(table: &RouteTable, query: &ModelQuery<'_>, matching: Matching) -> Vec<Candidate> {
    table.members.iter().filter_map(|cell| candidate(table, cell, query, matching)).collect()
}

fn candidate(
    table: &RouteTable,
    cell: &Arc<BackendCell>,
    query: &ModelQuery<'_>,
    matching: Matching,
) -> Option<Candidate> {
    let view = cell.view();
    if !view.is_usable() || !may_go_to(table, &view, query.providers) {
        return None;
    }
    let fits = |at: usize| fitting(table, &view, at, query).map(|context| (at, context));
    let (at, context_length) = match (query.model, matching) {
        (Some(name), Matching::Exact) => fits(*view.by_name.get(with_tag(name).as_ref())?)?,
        (Some(name), Matching::Normalised) => fits(*view.by_normalised.get(&normalised(name))?)?,
        (None, _) => (0..view.observed.len()).find_map(fits)?,
    };
    Some(Candidate {
        backend: Arc::clone(cell),
        provider: Arc::clone(view.provider.as_ref()?),
        model: view.observed[at].name.clone(),
        context_length,
        tier: view.backend.tier,
    })
}

/// Labels the pool requires, and the kinds of backend asked for. Nothing goes to a cloud unless its kind is named.
fn may_go_to(table: &RouteTable, view: &BackendView, providers: &[ProviderKind]) -> bool {
    let backend = &view.backend;
    let is_asked_for = if providers.is_empty() { !backend.is_cloud() } else { providers.contains(&backend.kind) };
    has_labels(table, view) && is_asked_for
}

fn has_labels(table: &RouteTable, view: &BackendView) -> bool {
    table.pool.require_labels.iter().all(|(name, value)| view.backend.labels.get(name) == Some(value))
}

/// The context length of an observed model (0 = unknown), if the pool serves it and it can do what is asked.
fn fitting(table: &RouteTable, view: &BackendView, at: usize, query: &ModelQuery<'_>) -> Option<i64> {
    let observed = &view.observed[at];
    let tagged = with_tag(&observed.name);
    let declared = table.models.get(tagged.as_ref());
    let serves = match view.backend.kind {
        ProviderKind::Ollama => declared.is_some(),
        ProviderKind::Vllm | ProviderKind::Openai | ProviderKind::Gemini => {
            declared.is_some() || !table.declared.contains(tagged.as_ref())
        }
    };
    let capabilities = declared.and_then(|model| model.capabilities).unwrap_or(observed.capabilities);
    let context = declared.map(|model| model.context_length).filter(|tokens| *tokens > 0);
    let context = context.unwrap_or(observed.context_length);
    let too_long = |tokens: u64| context > 0 && i64::try_from(tokens).map_or(true, |tokens| tokens > context);
    (serves && query.capability.served_by(capabilities) && !query.tokens.is_some_and(too_long)).then_some(context)
}
