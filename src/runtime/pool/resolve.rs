//! Which backends of a pool can serve a model (`docs/api.md`, routing): a pure look at published views.

use std::{collections::BTreeMap, sync::Arc};

use super::super::directory::{BackendCell, BackendView, RouteTable};
use crate::{
    domain::{
        ids::{BackendId, PoolId},
        model::{Capabilities, Capability, normalised, with_tag},
        provider::ProviderKind,
        time::Timestamp,
    },
    providers::Provider,
};

/// What a request needs of a backend. Owned, because a waiting request is asked about again when the world changes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ModelQuery {
    /// The model; `None` takes any capable one.
    pub(crate) key: Option<ModelKey>,
    /// What it must be able to do.
    pub(crate) capability: Capability,
    /// Only these kinds; empty: local backends of any kind.
    pub(crate) providers: Vec<ProviderKind>,
    /// Labels the backend must carry, beside those of the pool.
    pub(crate) require: Arc<BTreeMap<String, String>>,
    /// Tokens that must fit where the context length is known.
    pub(crate) tokens: Option<u64>,
    /// Backends that have failed the request already.
    pub(crate) tried: Vec<BackendId>,
}

/// A model's name as it is looked up, made once a call: exactly, or leniently when no exact match exists anywhere.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum ModelKey {
    /// With its tag, a missing one read as `:latest`.
    Exact(String),
    /// Normalised.
    Normalised(String),
}

impl ModelKey {
    pub(crate) fn exact(name: &str) -> Self {
        Self::Exact(with_tag(name).into_owned())
    }

    pub(crate) fn normalised(name: &str) -> Self {
        Self::Normalised(normalised(name))
    }

    /// The text of it.
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Exact(name) | Self::Normalised(name) => name,
        }
    }
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
    /// Its share under weighted policies.
    pub(crate) weight: u32,
    /// Whether the model is in its memory, as far as is known.
    pub(crate) is_warm: bool,
}

/// All candidates of a pool, in the order of its members.
pub(crate) fn resolve(table: &RouteTable, query: &ModelQuery) -> Vec<Candidate> {
    let untried = table.members.iter().filter(|cell| !query.tried.contains(&cell.id));
    untried.filter_map(|cell| candidate(table, cell, query)).collect()
}

fn candidate(table: &RouteTable, cell: &Arc<BackendCell>, query: &ModelQuery) -> Option<Candidate> {
    let view = cell.view();
    if !view.is_usable() || !may_go_to(table, &view, query) {
        return None;
    }
    let fits = |at: usize| fitting(table, &view, at, query).map(|context| (at, context));
    let (at, context_length) = match &query.key {
        Some(ModelKey::Exact(name)) => fits(*view.by_name.get(name)?)?,
        Some(ModelKey::Normalised(name)) => view.by_normalised.get(name)?.iter().find_map(|at| fits(*at))?,
        None => (0..view.observed.len()).find_map(fits)?,
    };
    Some(Candidate {
        backend: Arc::clone(cell),
        provider: Arc::clone(view.provider.as_ref()?),
        model: view.observed[at].name.clone(),
        context_length,
        tier: view.backend.tier,
        weight: view.backend.weight,
        is_warm: view.observed[at].is_warm,
    })
}

/// Labels the pool and the request require, and the kinds of backend asked for. Nothing goes to a cloud unless its kind is
/// named.
fn may_go_to(table: &RouteTable, view: &BackendView, query: &ModelQuery) -> bool {
    let (backend, providers) = (&view.backend, &query.providers);
    let is_asked_for = if providers.is_empty() { !backend.is_cloud() } else { providers.contains(&backend.kind) };
    is_asked_for && has_labels(table, view, &query.require)
}

fn has_labels(table: &RouteTable, view: &BackendView, require: &BTreeMap<String, String>) -> bool {
    let mut required = table.pool.require_labels.iter().chain(require);
    required.all(|(name, value)| view.backend.labels.get(name) == Some(value))
}

/// The context length of an observed model (0 = unknown), if the pool serves it and it can do what is asked.
fn fitting(table: &RouteTable, view: &BackendView, at: usize, query: &ModelQuery) -> Option<i64> {
    let (capabilities, context) = service(table, view, at)?;
    let too_long = |tokens: u64| context > 0 && i64::try_from(tokens).map_or(true, |tokens| tokens > context);
    (query.capability.served_by(capabilities) && !query.tokens.is_some_and(too_long)).then_some(context)
}

/// What the pool lets an observed model do, and its context length, if it serves it at all.
fn service(table: &RouteTable, view: &BackendView, at: usize) -> Option<(Capabilities, i64)> {
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
    serves.then(|| (capabilities, context.unwrap_or(observed.context_length)))
}

/// A model that a backend of a pool serves now.
pub struct ServedModel {
    /// The pool.
    pub pool: PoolId,
    /// The backend's view; `at` is the model's place in what it observed.
    pub view: Arc<BackendView>,
    /// See `view`.
    pub at: usize,
    /// What the pool lets it do.
    pub capabilities: Capabilities,
    /// Tokens of context, 0 = unknown.
    pub context_length: i64,
    /// When it was declared in the pool, if it was.
    pub declared_at: Option<Timestamp>,
}

/// All models that a pool serves now on backends with these labels, in the order of its members.
pub(crate) fn served(table: &RouteTable, require: &BTreeMap<String, String>) -> Vec<ServedModel> {
    let mut all = Vec::new();
    for view in table.members.iter().map(|cell| cell.view()) {
        if !view.is_usable() || !has_labels(table, &view, require) {
            continue;
        }
        for at in 0..view.observed.len() {
            if let Some((capabilities, context_length)) = service(table, &view, at) {
                let declared = table.models.get(with_tag(&view.observed[at].name).as_ref());
                all.push(ServedModel {
                    pool: table.pool.id.clone(),
                    view: Arc::clone(&view),
                    at,
                    capabilities,
                    context_length,
                    declared_at: declared.map(|model| model.created_at),
                });
            }
        }
    }
    all
}
