//! Where the calls of a chain's tasks go, whatever the chain, its tasks and the request require: driven through the machine
//! as a run drives it.
#![cfg(test)]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::{backend_plan, dispatcher, pool_plan, world::*};
use crate::{
    domain::{
        chain::Chain,
        ids::{PoolId, RequestId, RunId},
        message::Served,
        provider::ProviderKind,
        route::RouteScope,
        time::Timestamp,
        value::Value,
    },
    engine::{self, Effect, EngineSettings, Event, Machine, RunInfo},
    runtime::{directory::Directory, dispatch::Dispatcher},
};

/// What a task asks for.
#[derive(Debug, Clone)]
struct TaskPlan {
    model: Option<&'static str>,
    provider: Option<ProviderKind>,
    pool: Option<usize>,
    require: BTreeMap<String, String>,
    fallback: Option<(&'static str, Option<ProviderKind>)>,
    handler: Handler,
}

#[derive(Debug, Clone, Copy)]
enum Handler {
    Prompt,
    Embedding,
}

fn pool_text(at: usize) -> String {
    if at.is_multiple_of(2) { format!("pool-{at}") } else { format!("name-{at}") }
}

fn some_labels() -> impl Strategy<Value = BTreeMap<String, String>> {
    prop::collection::vec(0..LABELS.len(), 0..=1).prop_map(|chosen| labels(&chosen))
}

fn task_plan() -> impl Strategy<Value = TaskPlan> {
    let model = || prop::sample::select(vec!["m0:1b", "m1:1b", "M2:1B", "absent"]);
    let kind = || prop::option::weighted(0.5, prop::sample::select(ProviderKind::ALL.to_vec()));
    (
        prop::option::of(model()),
        kind(),
        prop::option::of(0usize..4),
        some_labels(),
        prop::option::of((model(), kind())),
        prop::sample::select(vec![Handler::Prompt, Handler::Prompt, Handler::Embedding]),
    )
        .prop_map(|(model, provider, pool, require, fallback, handler)| TaskPlan {
            model,
            provider,
            pool,
            require,
            fallback,
            handler,
        })
}

fn scope() -> impl Strategy<Value = RouteScope> {
    (
        prop::option::weighted(0.3, 0usize..4),
        prop::collection::vec(prop::sample::select(ProviderKind::ALL.to_vec()), 0..=1),
        some_labels(),
    )
        .prop_map(|(pool, providers, require)| RouteScope {
            pool: pool.map(pool_text),
            providers,
            require,
            ..RouteScope::default()
        })
}

fn chain(require: &BTreeMap<String, String>, tasks: &[TaskPlan]) -> Chain {
    let kind = |kind: Option<ProviderKind>| kind.map_or("", ProviderKind::as_str);
    let tasks: Vec<Json> = tasks
        .iter()
        .enumerate()
        .map(|(at, plan)| {
            let handler = match plan.handler {
                Handler::Prompt => "raw_string",
                Handler::Embedding => "embedding",
            };
            let next = if at + 1 < tasks.len() { format!("t{}", at + 1) } else { String::new() };
            let fallbacks = plan.fallback.map(|(model, provider)| json!({"model": model, "provider": kind(provider)}));
            json!({"id": format!("t{at}"), "handler": handler, "prompt_template": "hi",
                "execute_config": {"model": plan.model.unwrap_or_default(), "provider": kind(plan.provider),
                    "pool": plan.pool.map(pool_text).unwrap_or_default(), "require": plan.require,
                    "fallback_models": fallbacks.into_iter().collect::<Vec<_>>()},
                "transition": {"on_failure": next, "branches": [{"operator": "default", "goto": next}]}})
        })
        .collect();
    serde_json::from_value(json!({"tasks": tasks, "require": require})).expect("a chain")
}

/// Carries out the effects of a run one by one. `asked`: told of the task after each of its calls.
async fn run(chain: &Chain, scope: &RouteScope, dispatcher: &Dispatcher, mut asked: impl FnMut(usize)) {
    let settings = EngineSettings {
        default_system_instruction: String::new(),
        max_output_tokens: 8,
        default_step_timeout: Duration::from_secs(60),
        counts_exactly: false,
    };
    let info = RunInfo { run_id: RunId::random(), request_id: RequestId::new("r"), started_at: Timestamp::ZERO };
    let program = Arc::new(engine::compile(chain).expect("a program"));
    let mut machine = Machine::new(program, Value::Int(1), info, Arc::new(settings));
    let mut effects = machine.start(Timestamp::ZERO);
    let elapsed = Duration::ZERO;
    loop {
        let task = machine.current().map(|current| current.task);
        let at = task.and_then(|id| id.strip_prefix('t')?.parse::<usize>().ok()).unwrap_or(0);
        let mut event = None;
        for effect in effects {
            event = Some(match effect {
                Effect::AskModel { step, call, route, .. } => {
                    let outcome = match dispatcher.narrowed(route, scope) {
                        Ok(route) => dispatcher.generate(&route, &call).await,
                        Err(refused) => Err(refused),
                    };
                    match outcome {
                        Ok((completion, served)) => Event::Answered { step, completion, served: Some(served), elapsed },
                        Err(error) => {
                            let served = error.served.map(|served: Box<Served>| *served);
                            Event::Failed { step, failure: error.failure, served, elapsed }
                        }
                    }
                }
                Effect::Embed { step, text, route, .. } => {
                    let outcome = match dispatcher.narrowed(route, scope) {
                        Ok(route) => dispatcher.embed(&route, &crate::domain::embedding::EmbedCall::of(text)).await,
                        Err(refused) => Err(refused),
                    };
                    match outcome {
                        Ok((_, served)) => Event::Embedded { step, vector: vec![1.0], served: Some(served), elapsed },
                        Err(error) => {
                            let served = error.served.map(|served: Box<Served>| *served);
                            Event::Failed { step, failure: error.failure, served, elapsed }
                        }
                    }
                }
                Effect::Wait { step, .. } => Event::Waited { step },
                Effect::Finish(_) => return,
                _ => continue,
            });
        }
        asked(at);
        effects = match event {
            Some(event) => machine.on_event(event, Timestamp::ZERO),
            None => machine.resume(Timestamp::ZERO),
        };
    }
}

/// Whether the backend is in this pool, which lets it serve.
fn is_in(seen: &Seen, pool: &str, directory: &Directory) -> bool {
    let by_id = directory.pool(&PoolId::new(pool));
    let found = by_id.or_else(|| directory.pools().iter().find(|cell| cell.table().pool.name == pool).cloned());
    found.is_some_and(|cell| {
        let table = cell.table();
        let mut required = table.pool.require_labels.iter();
        table.members.iter().any(|member| member.id == seen.backend.id)
            && required.all(|(label, value)| seen.backend.labels.get(label) == Some(value))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn no_task_asks_a_backend_without_the_labels_and_the_pool_that_chain_task_and_request_want(
        backends in prop::collection::vec(backend_plan(), 1..6),
        pools in prop::collection::vec(pool_plan(), 1..4),
        of_chain in some_labels(),
        tasks in prop::collection::vec(task_plan(), 1..4),
        scope in scope(),
    ) {
        let chain = chain(&of_chain, &tasks);
        let contradicts = |plan: &TaskPlan| {
            plan.require.iter().any(|(label, value)| of_chain.get(label).is_some_and(|of_chain| of_chain != value))
        };
        prop_assert_eq!(engine::compile(&chain).is_err(), tasks.iter().any(contradicts));
        if tasks.iter().any(contradicts) {
            return Ok(());
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let (directory, world, wrong) = runtime.block_on(async {
            let (directory, world) = fleet(&backends, &pools);
            let dispatcher = dispatcher(&directory, None);
            let (mut looked, mut wrong) = (0, Vec::new());
            run(&chain, &scope, &dispatcher, |at| {
                let (plan, seen) = (&tasks[at], world.seen.lock().unwrap());
                for call in &seen[looked..] {
                    let mut required = of_chain.iter().chain(&plan.require).chain(&scope.require);
                    let has_labels = required.all(|(label, value)| call.backend.labels.get(label) == Some(value));
                    let wanted = plan.pool.map(pool_text).into_iter().chain(scope.pool.clone());
                    let is_in_pools = wanted.into_iter().all(|pool| is_in(call, &pool, &directory));
                    let kind = call.backend.kind;
                    let own = [plan.provider, plan.fallback.and_then(|(_, provider)| provider)];
                    let is_named = own.contains(&Some(kind)) || scope.providers.contains(&kind);
                    let kind_is_allowed = (is_named || !call.backend.is_cloud())
                        && (scope.providers.is_empty() || scope.providers.contains(&kind));
                    if !(has_labels && is_in_pools && kind_is_allowed) {
                        wrong.push(format!("task {at} {plan:?} asked {:?} of {kind:?}", call.backend.labels));
                    }
                }
                looked = seen.len();
            })
            .await;
            world.comes_to_rest().await;
            (directory, world, wrong)
        });
        prop_assert!(wrong.is_empty(), "{wrong:?} of {:?}", directory.pools().len());
        prop_assert!(world.is_idle(), "a slot or a place in a queue is lost");
    }
}
