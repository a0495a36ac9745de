//! Where calls go, whatever the fleet and the request look like and whatever fails: through failovers, hedges, open
//! breakers, rests and queues.
#![cfg(test)]

mod batches;
mod chains;
mod flights;
mod repeats;
mod world;

use std::{collections::BTreeMap, sync::atomic::Ordering};

use proptest::prelude::*;
use ractor::Actor;

use self::world::{BackendPlan, Deed, LABELS, MODELS, PoolPlan, Seen, World, fleet, labels};
use super::{
    repeat::{MAX_ATTEMPTS, MAX_ATTEMPTS_IN_ALL},
    *,
};
use crate::{
    domain::{
        chat::{ChatTurn, Sampling},
        pool::{Hedging, Policy, QueueLimits, RetryBudget},
        route::{RouteTarget, RoutingStrategy},
    },
    providers::ProviderErrorKind,
    runtime::{
        directory::PoolCell,
        pool::{PoolActor, PoolArgs},
    },
};

fn pool_args(cell: &Arc<PoolCell>) -> PoolArgs {
    PoolArgs { cell: Arc::clone(cell), tasks: TaskTracker::new() }
}

fn deed() -> impl Strategy<Value = Deed> {
    use ProviderErrorKind::{Auth, Caller, Connect, ContextLength, RateLimited, Server, Timeout, Transient};
    let kinds = vec![Auth, Caller, Connect, ContextLength, RateLimited, Server, Timeout, Transient];
    prop_oneof![
        Just(Deed::Answer),
        Just(Deed::Dawdle),
        prop::sample::select(kinds).prop_map(Deed::Fail),
        (0u64..40).prop_map(Deed::Rest),
        (0usize..6).prop_map(Deed::Disturb)
    ]
}

fn backend_plan() -> impl Strategy<Value = BackendPlan> {
    let some = |of: usize| prop::collection::vec(0..of, 0..=2);
    let looks = (
        prop::sample::select(ProviderKind::ALL.to_vec()),
        prop::option::of(any::<bool>()),
        some(LABELS.len()),
        prop::collection::vec(0..MODELS.len(), 0..=3),
        prop::bool::weighted(0.9),
        prop::bool::weighted(0.1),
    );
    let state = (
        1u32..3,
        0u32..2,
        prop::collection::vec(deed(), 0..4),
        prop::bool::weighted(0.2),
        prop::option::weighted(0.2, 1u64..60),
    );
    (looks, state).prop_map(
        |((kind, cloud, labels, models, enabled, fails), (slots, tier, deeds, is_broken, rests))| {
            let usually = Deed::Answer;
            BackendPlan { kind, cloud, labels, models, enabled, fails, slots, tier, deeds, usually, is_broken, rests }
        },
    )
}

fn pool_plan() -> impl Strategy<Value = PoolPlan> {
    (
        prop::collection::vec(0usize..6, 0..6),
        prop::collection::vec(0..LABELS.len(), 0..=1),
        prop::collection::vec(0..MODELS.len(), 0..=3),
        prop::sample::select(Policy::ALL.to_vec()),
        prop::sample::select(vec![0u64, 0, 50]),
        (prop::sample::select(vec![0.0, 0.2, 1.0]), prop::sample::select(vec![0u32, 10])),
    )
        .prop_map(|(members, labels, models, policy, after_ms, (ratio, min_per_second))| PoolPlan {
            members,
            labels,
            models,
            policy,
            calls: CallSettings {
                retry_budget: RetryBudget { ratio, min_per_second },
                hedging: Hedging { after_ms, ..Hedging::default() },
                ..CallSettings::default()
            },
            queue: QueueLimits { capacity: 4, max_wait_ms: 15_000 },
        })
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

/// The targets of a route, with what the configuration names for calls that name nothing.
fn all_targets(route: &ModelRoute, default_provider: Option<ProviderKind>) -> Vec<RouteTarget> {
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
    targets
}

fn dispatcher(directory: &Arc<Directory>, default_provider: Option<ProviderKind>) -> Dispatcher {
    let defaults = RouteDefaults {
        task_model: MODELS[0].to_owned(),
        embed_model: MODELS[1].to_owned(),
        task_provider: default_provider,
        embed_provider: None,
    };
    Dispatcher::new(Arc::clone(directory), defaults, TaskTracker::new())
}

/// A call whose answer is short.
fn short_call() -> ChatCall {
    let sampling = Sampling { max_tokens: Some(8), ..Sampling::default() };
    ChatCall { messages: vec![ChatTurn::text("user", "hi")], sampling, ..ChatCall::default() }
}

/// How many attempts a call has cost.
fn attempts(outcome: &Result<(Completion, Served), DispatchError>) -> usize {
    match outcome {
        Ok((_, served)) => served.attempts as usize,
        Err(error) => error.served.as_ref().map_or(0, |served| served.attempts as usize),
    }
}

fn check_seen(
    world: &World,
    directory: &Directory,
    route: &ModelRoute,
    default_provider: Option<ProviderKind>,
) -> Result<(), TestCaseError> {
    let targets = all_targets(route, default_provider);
    for seen in world.seen.lock().unwrap().iter() {
        prop_assert!(seen.was_usable);
        prop_assert!(
            targets.iter().any(|target| is_allowed(seen, target, route, directory)),
            "{} with {:?} of {:?} for {route:?}",
            seen.backend.id,
            seen.backend.labels,
            seen.backend.kind
        );
    }
    prop_assert!(world.is_idle(), "a slot or a place in a queue is lost");
    prop_assert_eq!(world.overrun.load(Ordering::SeqCst), 0);
    Ok(())
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
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let (directory, world, outcome) = runtime.block_on(async {
            let (directory, world) = fleet(&backends, &pools);
            let outcome = dispatcher(&directory, default_provider).generate(&route, &short_call()).await;
            world.comes_to_rest().await;
            (directory, world, outcome)
        });
        check_seen(&world, &directory, &route, default_provider)?;
        let asked = world.asked();
        prop_assert!(asked.len() <= MAX_ATTEMPTS_IN_ALL as usize);
        if !route.falls_back {
            prop_assert!(asked.len() <= MAX_ATTEMPTS);
        }
        prop_assert_eq!(attempts(&outcome), asked.len());
        match outcome {
            Ok((completion, served)) => {
                prop_assert_eq!(served.backend.as_str(), completion.text);
                prop_assert!(asked.contains(&served.backend.as_str().to_owned()));
            }
            Err(error) => prop_assert_eq!(error.served.is_some(), !asked.is_empty()),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// The same for calls that come at once and have to wait for each other.
    #[test]
    fn no_call_that_waits_goes_where_it_may_not_and_all_come_to_an_end(
        backends in prop::collection::vec(backend_plan(), 1..5),
        pools in prop::collection::vec(pool_plan(), 1..3),
        route in route(),
        calls in 2usize..12,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let (directory, world, outcomes) = runtime.block_on(async {
            let (directory, world) = fleet(&backends, &pools);
            let mut actors = Vec::new();
            for pool in directory.pools().iter() {
                actors.push(Actor::spawn(None, PoolActor, pool_args(pool)).await.unwrap());
            }
            let (dispatcher, call) = (dispatcher(&directory, None), short_call());
            let outcomes = futures_util::future::join_all((0..calls).map(|_| dispatcher.generate(&route, &call))).await;
            world.comes_to_rest().await;
            for (actor, ended) in actors {
                actor.stop(None);
                ended.await.unwrap();
            }
            (directory, world, outcomes)
        });
        check_seen(&world, &directory, &route, None)?;
        prop_assert_eq!(outcomes.iter().map(attempts).sum::<usize>(), world.asked().len());
    }
}
