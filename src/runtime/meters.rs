//! What backends and pools count of their calls, for Prometheus: handles that live as long as they do
//! (`docs/operations.md`, metrics).

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use metrics::{Counter, Histogram};

use super::directory::PoolCell;
use crate::{
    domain::{
        chat::Usage,
        ids::{BackendId, PoolId},
        model::Capability,
        pool::Policy,
        priority::Priority,
        provider::ProviderKind,
    },
    providers::ProviderErrorKind,
    telemetry::{Memo, families as f, stages::Stages},
};

/// Models of one backend that are told apart; the others are `other`.
const MOST_MODELS: usize = 256;
/// The name of those.
const OTHER: &str = "other";

/// What came of one call on one backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CallOutcome {
    Ok,
    /// Given up, by us or by the client.
    Left,
    Failed(ProviderErrorKind),
}

/// One call that is over.
pub(super) struct EndedCall<'a> {
    pub(super) kind: ProviderKind,
    pub(super) model: &'a str,
    pub(super) operation: Operation,
    pub(super) outcome: CallOutcome,
    pub(super) took: Duration,
    /// Of a stream.
    pub(super) first_words: Option<Duration>,
    pub(super) usage: Usage,
}

/// What is asked of a model, by OpenTelemetry's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Chat,
    TextCompletion,
    Embeddings,
}

impl Operation {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::TextCompletion => "text_completion",
            Self::Embeddings => "embeddings",
        }
    }
}

impl From<Capability> for Operation {
    fn from(capability: Capability) -> Self {
        match capability {
            Capability::Chat => Self::Chat,
            Capability::Prompt => Self::TextCompletion,
            Capability::Embed => Self::Embeddings,
        }
    }
}

/// Of one backend.
pub(super) struct BackendMeters {
    ok: Counter,
    left: Counter,
    failed: [Counter; ProviderErrorKind::ALL.len()],
    duration: Histogram,
    connect: Histogram,
    first_token: Histogram,
    next_token: Histogram,
    input: Counter,
    output: Counter,
    pub(super) probes_ok: Counter,
    pub(super) probes_failed: Counter,
    pub(super) probes_late: Counter,
    pub(super) limit_up: Counter,
    pub(super) limit_down: Counter,
    pub(super) downloads_ok: Counter,
    pub(super) downloads_failed: Counter,
    pub(super) downloads_cancelled: Counter,
    models: Memo<String, ModelMeters>,
    others: OnceLock<Arc<ModelMeters>>,
}

impl BackendMeters {
    pub(super) fn of(id: &BackendId) -> Self {
        let id = id.as_str();
        let calls = |outcome| f::BACKEND_CALLS.count(&[id, outcome]);
        let probes = |outcome| f::BACKEND_PROBES.count(&[id, outcome]);
        let downloads = |outcome| f::BACKEND_DOWNLOADS.count(&[id, outcome]);
        Self {
            ok: calls("ok"),
            left: calls("left"),
            failed: ProviderErrorKind::ALL.map(|kind| calls(kind.as_str())),
            duration: f::BACKEND_DURATION.spread(&[id]),
            connect: f::BACKEND_CONNECT.spread(&[id]),
            first_token: f::BACKEND_FIRST_TOKEN.spread(&[id]),
            next_token: f::BACKEND_NEXT_TOKEN.spread(&[id]),
            input: f::BACKEND_TOKENS.count(&[id, "input"]),
            output: f::BACKEND_TOKENS.count(&[id, "output"]),
            probes_ok: probes("ok"),
            probes_failed: probes("failed"),
            probes_late: probes("late"),
            limit_up: f::BACKEND_LIMIT_CHANGES.count(&[id, "up"]),
            limit_down: f::BACKEND_LIMIT_CHANGES.count(&[id, "down"]),
            downloads_ok: downloads("ok"),
            downloads_failed: downloads("failed"),
            downloads_cancelled: downloads("cancelled"),
            models: Memo::of_at_most(MOST_MODELS),
            others: OnceLock::new(),
        }
    }

    /// It is another server now.
    pub(super) fn forget_models(&self) {
        self.models.retain(|_| false);
    }

    /// The wire of a call was seen.
    pub(super) fn seen(&self, stages: Stages) {
        if let Some(took) = stages.connect {
            self.connect.record(took);
        }
    }

    /// A call is over.
    pub(super) fn ended(&self, call: &EndedCall<'_>) {
        let Usage { input_tokens, output_tokens, .. } = call.usage;
        match call.outcome {
            CallOutcome::Ok => {
                self.ok.increment(1);
                self.duration.record(call.took);
            }
            CallOutcome::Left => self.left.increment(1),
            CallOutcome::Failed(kind) => self.failed[kind.index()].increment(1),
        }
        if let Some(first) = call.first_words {
            self.first_token.record(first);
            // The first one came with them.
            if let Some(further) = output_tokens.and_then(|tokens| tokens.checked_sub(1)).filter(|further| *further > 0)
                && call.outcome == CallOutcome::Ok
            {
                self.next_token.record(call.took.saturating_sub(first).as_secs_f64() / further as f64);
            }
        }
        self.input.increment(input_tokens.unwrap_or(0));
        self.output.increment(output_tokens.unwrap_or(0));
        let made = || ModelMeters::of(call.kind, call.model);
        let of_others = || Arc::clone(self.others.get_or_init(|| Arc::new(ModelMeters::of(call.kind, OTHER))));
        self.models.get(call.model, made).unwrap_or_else(of_others).ended(call);
    }
}

/// Of one model on one backend; those of the same kind of backend count together.
struct ModelMeters {
    kind: ProviderKind,
    model: String,
    chat: OnceLock<OperationMeters>,
    completion: OnceLock<OperationMeters>,
    embeddings: OnceLock<OperationMeters>,
}

impl ModelMeters {
    fn of(kind: ProviderKind, model: &str) -> Self {
        let [chat, completion, embeddings] = [const { OnceLock::new() }; 3];
        Self { kind, model: model.to_owned(), chat, completion, embeddings }
    }

    fn ended(&self, call: &EndedCall<'_>) {
        let place = match call.operation {
            Operation::Chat => &self.chat,
            Operation::TextCompletion => &self.completion,
            Operation::Embeddings => &self.embeddings,
        };
        place.get_or_init(|| OperationMeters::of(call.operation, self.kind, &self.model)).ended(call);
    }
}

/// Of one kind of call of one model.
struct OperationMeters {
    labels: [String; 3],
    ok: Histogram,
    left: OnceLock<Histogram>,
    failed: [OnceLock<Histogram>; ProviderErrorKind::ALL.len()],
    first_chunk: Histogram,
    input: Histogram,
    output: Histogram,
}

impl OperationMeters {
    fn of(operation: Operation, kind: ProviderKind, model: &str) -> Self {
        let (operation, provider) = (operation.as_str(), provider_name(kind));
        let usage = |kind| f::TOKEN_USAGE.spread(&[operation, provider, model, kind]);
        Self {
            ok: f::OPERATION_DURATION.spread(&[operation, provider, model, ""]),
            left: OnceLock::new(),
            failed: [const { OnceLock::new() }; ProviderErrorKind::ALL.len()],
            first_chunk: f::OPERATION_FIRST_CHUNK.spread(&[operation, provider, model]),
            input: usage("input"),
            output: usage("output"),
            labels: [operation, provider, model].map(str::to_owned),
        }
    }

    fn ended(&self, call: &EndedCall<'_>) {
        let failed = |why| {
            let [operation, provider, model] = &self.labels;
            f::OPERATION_DURATION.spread(&[operation, provider, model, why])
        };
        match call.outcome {
            CallOutcome::Ok => self.ok.record(call.took),
            CallOutcome::Left => self.left.get_or_init(|| failed("left")).record(call.took),
            CallOutcome::Failed(kind) => {
                self.failed[kind.index()].get_or_init(|| failed(kind.as_str())).record(call.took);
            }
        }
        if let Some(first) = call.first_words {
            self.first_chunk.record(first);
        }
        let Usage { input_tokens, output_tokens, .. } = call.usage;
        for (tokens, spread) in [(input_tokens, &self.input), (output_tokens, &self.output)] {
            if let Some(tokens) = tokens {
                spread.record(tokens as f64);
            }
        }
    }
}

/// OpenTelemetry's name where it has one.
const fn provider_name(kind: ProviderKind) -> &'static str {
    match kind {
        ProviderKind::Ollama | ProviderKind::Vllm | ProviderKind::Openai => kind.as_str(),
        ProviderKind::Gemini => "gcp.gemini",
    }
}

/// Of one pool.
pub(super) struct PoolMeters {
    waits: [Histogram; Priority::ALL.len()],
    pub(super) granted: Counter,
    pub(super) full: Counter,
    pub(super) timeout: Counter,
    pub(super) deadline: Counter,
    pub(super) lost: Counter,
    pub(super) left: Counter,
    picks: [Counter; Policy::ALL.len()],
    pub(super) failovers: Counter,
    pub(super) hedges: Counter,
    pub(super) fallbacks: Counter,
    pub(super) denied: Counter,
    pub(super) kept_hits: Counter,
    pub(super) kept_misses: Counter,
}

impl PoolMeters {
    pub(super) fn of(id: &PoolId) -> Self {
        let id = id.as_str();
        let waits = |outcome| f::POOL_WAITS.count(&[id, outcome]);
        let repeats = |kind| f::POOL_REPEATS.count(&[id, kind]);
        Self {
            waits: Priority::ALL.map(|class| f::POOL_WAIT.spread(&[id, class.as_str()])),
            granted: waits("granted"),
            full: waits("full"),
            timeout: waits("timeout"),
            deadline: waits("deadline"),
            lost: waits("lost"),
            left: waits("left"),
            picks: Policy::ALL.map(|policy| f::POOL_PICKS.count(&[id, policy.as_str()])),
            failovers: repeats("failover"),
            hedges: repeats("hedge"),
            fallbacks: repeats("fallback"),
            denied: f::POOL_REPEATS_DENIED.count(&[id]),
            kept_hits: f::POOL_KEPT.count(&[id, "hit"]),
            kept_misses: f::POOL_KEPT.count(&[id, "miss"]),
        }
    }

    /// A request of this class has stopped waiting.
    pub(super) fn waited(&self, class: Priority, time: Duration) {
        self.waits[class.index()].record(time);
    }

    /// A backend was chosen.
    pub(super) fn picked(&self, policy: Policy) {
        self.picks[policy.index()].increment(1);
    }
}

/// Pays for a call that is made again, or counts that it was not.
pub(super) fn paid(pool: &PoolCell, kind: impl FnOnce(&PoolMeters) -> &Counter) -> bool {
    let pays = pool.budget.spend(pool.calls().retry_budget);
    let counter = if pays { kind(&pool.meters) } else { &pool.meters.denied };
    counter.increment(1);
    pays
}
