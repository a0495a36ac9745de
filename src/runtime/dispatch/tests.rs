//! Where calls go, whatever the fleet and the request look like: on backends that only write down who was asked.
#![cfg(test)]

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use proptest::prelude::*;
use tokio_util::task::TaskTracker;

use super::*;
use crate::{
    dialect::Dialect,
    domain::{
        backend::Backend,
        chat::{ChatReply, ChatTurn, Finish, Usage},
        ids::BackendId,
        model::{Model, ObservedModel},
        pool::{Policy, Pool, QueueLimits},
        route::{RouteTarget, RoutingStrategy},
        time::Timestamp,
    },
    providers::ReplyStream,
    runtime::directory::{BackendCell, BackendView, Health, PoolCell, RouteTable},
};

const MODELS: [&str; 3] = ["m0:1b", "m1:1b", "m2:1b"];
const LABELS: [(&str, &str); 3] = [("zone", "on-prem"), ("zone", "abroad"), ("gpu", "big")];

/// What a backend does with its next call.
#[derive(Debug, Clone, Copy)]
enum Deed {
    Answer,
    Fail(ProviderErrorKind),
    /// Fails, and the backend of this number loses its labels meanwhile.
    Disturb(usize),
}

/// One call as it reached a backend, which looked like this then.
struct Seen {
    backend: Backend,
    was_usable: bool,
    model: String,
}

#[derive(Default)]
struct World {
    seen: Mutex<Vec<Seen>>,
    cells: Mutex<Vec<Arc<BackendCell>>>,
}

struct Scripted {
    number: usize,
    deeds: Mutex<Vec<Deed>>,
    world: Arc<World>,
}

fn refused(kind: ProviderErrorKind) -> ProviderError {
    ProviderError::new(kind, "scripted")
}

#[async_trait]
impl Provider for Scripted {
    fn dialect(&self) -> Dialect {
        Dialect::Openai
    }

    async fn probe(&self) -> Result<Vec<ObservedModel>, ProviderError> {
        Err(refused(ProviderErrorKind::Connect))
    }

    async fn generate(&self, model: &str, _: &ChatCall) -> Result<Completion, ProviderError> {
        let cells = self.world.cells.lock().unwrap().clone();
        let view = cells[self.number].view();
        let was_usable = view.backend.enabled && !matches!(view.health, Health::Failing(_));
        let seen = Seen { backend: view.backend.clone(), was_usable, model: model.to_owned() };
        self.world.seen.lock().unwrap().push(seen);
        let deed = self.deeds.lock().unwrap().pop().unwrap_or(Deed::Answer);
        match deed {
            Deed::Answer => Ok(Completion {
                text: "hi".to_owned(),
                role: "assistant".to_owned(),
                finish: Finish::Stop,
                usage: Usage::default(),
            }),
            Deed::Fail(kind) => Err(refused(kind)),
            Deed::Disturb(number) => {
                let cell = &cells[number % cells.len()];
                let mut stripped = cell.view().backend.clone();
                stripped.labels.clear();
                cell.publish(view_of(stripped, &cell.view()));
                Err(refused(ProviderErrorKind::Transient))
            }
        }
    }

    async fn converse(&self, _: &str, _: &ChatCall) -> Result<ChatReply, ProviderError> {
        Err(refused(ProviderErrorKind::Reply))
    }

    async fn stream(&self, _: &str, _: &ChatCall) -> Result<ReplyStream, ProviderError> {
        Err(refused(ProviderErrorKind::Reply))
    }

    async fn embed(&self, _: &str, _: &EmbedCall) -> Result<Embedded, ProviderError> {
        Err(refused(ProviderErrorKind::Reply))
    }
}

/// The same view of a changed record.
fn view_of(backend: Backend, old: &BackendView) -> BackendView {
    let mut view = BackendView::new(backend, old.generation);
    view.health = old.health.clone();
    view.in_pool = old.in_pool;
    view.provider.clone_from(&old.provider);
    view.observe(old.observed.clone());
    view
}

#[derive(Debug, Clone)]
struct BackendPlan {
    kind: ProviderKind,
    cloud: Option<bool>,
    labels: Vec<usize>,
    models: Vec<usize>,
    enabled: bool,
    fails: bool,
    deeds: Vec<Deed>,
}

#[derive(Debug, Clone)]
struct PoolPlan {
    members: Vec<usize>,
    labels: Vec<usize>,
    models: Vec<usize>,
    policy: Policy,
}

fn labels(chosen: &[usize]) -> BTreeMap<String, String> {
    chosen.iter().map(|at| (LABELS[*at].0.to_owned(), LABELS[*at].1.to_owned())).collect()
}

fn deed() -> impl Strategy<Value = Deed> {
    use ProviderErrorKind::{Auth, Caller, Connect, ContextLength, RateLimited, Server, Timeout, Transient};
    let kinds = vec![Auth, Caller, Connect, ContextLength, RateLimited, Server, Timeout, Transient];
    prop_oneof![
        Just(Deed::Answer),
        prop::sample::select(kinds).prop_map(Deed::Fail),
        (0usize..6).prop_map(Deed::Disturb)
    ]
}

fn backend_plan() -> impl Strategy<Value = BackendPlan> {
    let some = |of: usize| prop::collection::vec(0..of, 0..=2);
    (
        prop::sample::select(ProviderKind::ALL.to_vec()),
        prop::option::of(any::<bool>()),
        some(LABELS.len()),
        prop::collection::vec(0..MODELS.len(), 0..=3),
        prop::bool::weighted(0.9),
        prop::bool::weighted(0.1),
        prop::collection::vec(deed(), 0..3),
    )
        .prop_map(|(kind, cloud, labels, models, enabled, fails, deeds)| BackendPlan {
            kind,
            cloud,
            labels,
            models,
            enabled,
            fails,
            deeds,
        })
}

fn pool_plan() -> impl Strategy<Value = PoolPlan> {
    (
        prop::collection::vec(0usize..6, 0..6),
        prop::collection::vec(0..LABELS.len(), 0..=1),
        prop::collection::vec(0..MODELS.len(), 0..=3),
        prop::sample::select(Policy::ALL.to_vec()),
    )
        .prop_map(|(members, labels, models, policy)| PoolPlan { members, labels, models, policy })
}

fn target() -> impl Strategy<Value = RouteTarget> {
    (
        // A name that only normalising finds, too.
        prop::option::of(prop::sample::select(vec!["m0:1b", "m1:1b", "M2:1B", "absent"])),
        prop::collection::vec(prop::sample::select(ProviderKind::ALL.to_vec()), 0..=2),
        // One that does not exist, too.
        prop::option::of(0usize..5),
    )
        .prop_map(|(model, providers, pool)| RouteTarget {
            model: model.map(str::to_owned),
            providers,
            pool: pool.map(|at| if at.is_multiple_of(2) { format!("pool-{at}") } else { format!("name-{at}") }),
        })
}

fn route() -> impl Strategy<Value = ModelRoute> {
    (
        prop::collection::vec(target(), 0..5),
        any::<bool>(),
        prop::collection::vec(0..LABELS.len(), 0..=2),
        prop::option::of(Just("session".to_owned())),
        prop::option::of(prop::sample::select(RoutingStrategy::ALL.to_vec())),
    )
        .prop_map(|(targets, falls_back, require, session, strategy)| ModelRoute {
            targets,
            falls_back,
            require: labels(&require),
            session,
            strategy,
            ..ModelRoute::default_model(Capability::Chat)
        })
}

fn record(number: usize, plan: &BackendPlan) -> Backend {
    Backend {
        id: BackendId::new(format!("b{number}")),
        name: format!("b{number}"),
        base_url: format!("http://b{number}"),
        kind: plan.kind,
        api_key_set: false,
        max_concurrency: None,
        weight: 1,
        tier: u32::from(number.is_multiple_of(2)),
        cloud: plan.cloud,
        enabled: plan.enabled,
        labels: labels(&plan.labels),
        created_at: Timestamp::ZERO,
        updated_at: Timestamp::ZERO,
    }
}

/// The directory of such a fleet, without any actor.
fn fleet(backends: &[BackendPlan], pools: &[PoolPlan]) -> (Arc<Directory>, Arc<World>) {
    let world = Arc::new(World::default());
    let mut cells = Vec::new();
    for (number, plan) in backends.iter().enumerate() {
        let cell = BackendCell::new(record(number, plan), TaskTracker::new());
        let mut view = BackendView::new(record(number, plan), 1);
        view.health = if plan.fails { Health::Failing("down".to_owned()) } else { Health::Healthy };
        view.in_pool = true;
        let provider = Scripted { number, deeds: Mutex::new(plan.deeds.clone()), world: Arc::clone(&world) };
        view.provider = Some(Arc::new(provider));
        view.observe(plan.models.iter().map(|at| ObservedModel::named(MODELS[*at])).collect());
        cell.publish(view);
        cells.push(cell);
    }
    let model = |at: &usize| {
        let model = Model {
            id: MODELS[*at].to_owned(),
            name: MODELS[*at].to_owned(),
            context_length: 0,
            capabilities: None,
            created_at: Timestamp::ZERO,
            updated_at: Timestamp::ZERO,
        };
        (MODELS[*at].to_owned(), model)
    };
    let declared = Arc::new(pools.iter().flat_map(|pool| &pool.models).map(|at| MODELS[*at].to_owned()).collect());
    let pool_cells = pools.iter().enumerate().map(|(number, plan)| {
        let mut members: Vec<usize> = plan.members.iter().map(|at| at % backends.len()).collect();
        members.sort_unstable();
        members.dedup();
        let pool = stored_pool(number, plan);
        let cell = PoolCell::new(pool.clone());
        cell.publish(RouteTable {
            pool,
            members: members.iter().map(|at| Arc::clone(&cells[*at])).collect(),
            models: plan.models.iter().map(model).collect::<HashMap<_, _>>(),
            declared: Arc::clone(&declared),
        });
        cell
    });
    let directory = Directory::default();
    let pool_cells: Vec<Arc<PoolCell>> = pool_cells.collect();
    let by_id = cells.iter().map(|cell| (cell.id.clone(), Arc::clone(cell))).collect();
    directory.replace(by_id, pool_cells, BTreeMap::new());
    *world.cells.lock().unwrap() = cells;
    (Arc::new(directory), world)
}

/// The first pool is that of tasks, where the default model is.
fn stored_pool(number: usize, plan: &PoolPlan) -> Pool {
    let id = if number == 0 { TASKS_POOL.to_owned() } else { format!("pool-{number}") };
    Pool {
        id: PoolId::new(id),
        name: format!("name-{number}"),
        purpose_type: String::new(),
        policy: plan.policy,
        queue: QueueLimits::default(),
        calls: crate::domain::pool::CallSettings::default(),
        require_labels: labels(&plan.labels),
        created_at: Timestamp::ZERO,
        updated_at: Timestamp::ZERO,
    }
}

/// Whether the call may have gone there for this target: some pool that the target allows holds the backend, which has all
/// labels of both; a cloud was named.
fn is_allowed(seen: &Seen, target: &RouteTarget, route: &ModelRoute, directory: &Directory) -> bool {
    let has = |wanted: &BTreeMap<String, String>| {
        wanted.iter().all(|(name, value)| seen.backend.labels.get(name) == Some(value))
    };
    let kind_is_named = target.providers.contains(&seen.backend.kind);
    let kind_is_allowed = if target.providers.is_empty() { !seen.backend.is_cloud() } else { kind_is_named };
    let model_is_wanted = target.model.as_ref().is_none_or(|model| model.eq_ignore_ascii_case(&seen.model));
    let in_pool = directory.pools().iter().any(|cell| {
        let table = cell.table();
        let is_named = |pool: &String| table.pool.id.as_str() == pool || table.pool.name == *pool;
        target.pool.as_ref().is_none_or(is_named)
            && table.members.iter().any(|member| member.id == seen.backend.id)
            && has(&table.pool.require_labels)
    });
    kind_is_allowed && model_is_wanted && in_pool && has(&route.require)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_call_goes_where_pool_labels_and_kinds_do_not_allow_it(
        backends in prop::collection::vec(backend_plan(), 1..6),
        pools in prop::collection::vec(pool_plan(), 1..4),
        route in route(),
        default_provider in prop::option::weighted(0.2, prop::sample::select(ProviderKind::ALL.to_vec())),
    ) {
        let (directory, world) = fleet(&backends, &pools);
        let defaults = RouteDefaults {
            task_model: MODELS[0].to_owned(),
            embed_model: MODELS[1].to_owned(),
            task_provider: default_provider,
            embed_provider: None,
        };
        let dispatcher = Dispatcher::new(Arc::clone(&directory), defaults);
        let call = ChatCall { messages: vec![ChatTurn::text("user", "hi")], ..ChatCall::default() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let outcome = runtime.block_on(dispatcher.generate(&route, &call));

        let seen = world.seen.lock().unwrap();
        // What the configuration names for calls that name nothing.
        let mut targets = route.targets.clone();
        let by_default = |pool: Option<String>| RouteTarget {
            model: Some(MODELS[0].to_owned()),
            providers: default_provider.into_iter().collect(),
            pool,
        };
        if targets.is_empty() {
            targets.push(by_default(Some(TASKS_POOL.to_owned())));
        }
        let unnamed = targets.iter().filter(|target| target.model.is_none() && target.providers.is_empty());
        let unnamed: Vec<RouteTarget> = unnamed.map(|target| by_default(target.pool.clone())).collect();
        targets.extend(unnamed);
        for seen in seen.iter() {
            prop_assert!(seen.was_usable);
            prop_assert!(
                targets.iter().any(|target| is_allowed(seen, target, &route, &directory)),
                "{} with {:?} of {:?} for {route:?}", seen.backend.id, seen.backend.labels, seen.backend.kind
            );
        }
        prop_assert!(seen.len() <= MAX_ATTEMPTS_IN_ALL as usize);
        if !route.falls_back {
            prop_assert!(seen.len() <= MAX_ATTEMPTS);
        }
        match outcome {
            Ok((_, served)) => {
                prop_assert_eq!(served.attempts as usize, seen.len());
                prop_assert_eq!(&served.backend, &seen.last().unwrap().backend.id);
            }
            Err(error) => prop_assert_eq!(error.served.is_some(), !seen.is_empty()),
        }
    }
}
