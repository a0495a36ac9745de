//! Calls that wait for slots, from the dispatch to the backend and back, in virtual time: real actors, real leases, and engines
//! that notice a hang-up late.
#![cfg(test)]

mod chaos;
mod waits;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use ractor::Actor;
use tokio::{task::JoinHandle, time::Instant};
use tokio_util::task::TaskTracker;

use super::{PoolActor, PoolArgs};
use crate::{
    dialect::Dialect,
    domain::{
        backend::Backend,
        chat::{ChatCall, ChatReply, ChatTurn, Finish, Usage},
        embedding::{EmbedCall, Embedded},
        failure::Failure,
        ids::{BackendId, PoolId},
        message::Completion,
        model::{Capability, ObservedModel},
        pool::{CallSettings, Policy, Pool, QueueLimits},
        priority::Priority,
        provider::ProviderKind,
        route::{ModelRoute, RouteTarget},
        time::Timestamp,
    },
    providers::{Provider, ProviderError, ProviderErrorKind, ReplyStream},
    runtime::{
        backend::sample,
        directory::{BackendCell, BackendView, Directory, Health, PoolCell, RouteTable, SlotSnapshot},
        dispatch::{Dispatcher, RouteDefaults},
    },
};

/// How long an engine goes on with a call after it was hung up on.
const NOTICES_AFTER: Duration = Duration::from_millis(100);

/// What one backend does, and has done.
#[derive(Default)]
struct Engine {
    running: AtomicUsize,
    /// Most calls at once, those included that it has not noticed the end of.
    most: AtomicUsize,
    /// The prompts in the order in which they came.
    served: Mutex<Vec<String>>,
    zombies: TaskTracker,
}

/// A call that an engine works at.
struct Working<'a> {
    engine: &'a Arc<Engine>,
    is_done: bool,
}

impl<'a> Working<'a> {
    fn begin(engine: &'a Arc<Engine>, prompt: &str) -> Self {
        engine.served.lock().unwrap().push(prompt.to_owned());
        let running = engine.running.fetch_add(1, Ordering::SeqCst) + 1;
        engine.most.fetch_max(running, Ordering::SeqCst);
        Self { engine, is_done: false }
    }
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        let engine = Arc::clone(self.engine);
        let is_done = self.is_done;
        let end = async move {
            if !is_done {
                tokio::time::sleep(NOTICES_AFTER).await;
            }
            engine.running.fetch_sub(1, Ordering::SeqCst);
        };
        if is_done {
            self.engine.running.fetch_sub(1, Ordering::SeqCst);
        } else {
            self.engine.zombies.spawn(end);
        }
    }
}

struct EngineProvider(Arc<Engine>);

fn not_here() -> ProviderError {
    ProviderError::new(ProviderErrorKind::Reply, "not in this test")
}

#[async_trait]
impl Provider for EngineProvider {
    fn dialect(&self) -> Dialect {
        Dialect::Openai
    }

    async fn probe(&self) -> Result<Vec<ObservedModel>, ProviderError> {
        Err(not_here())
    }

    /// A prompt says how many milliseconds it takes, and then whatever it likes.
    async fn generate(&self, _: &str, call: &ChatCall) -> Result<Completion, ProviderError> {
        let prompt = call.messages[0].parts[0].as_text().unwrap().to_owned();
        let mut working = Working::begin(&self.0, &prompt);
        let millis = prompt.split(' ').next().unwrap().parse().unwrap();
        tokio::time::sleep(Duration::from_millis(millis)).await;
        working.is_done = true;
        let (role, usage) = ("assistant".to_owned(), Usage::default());
        Ok(Completion { text: prompt, role, finish: Finish::Stop, usage })
    }

    async fn converse(&self, _: &str, _: &ChatCall) -> Result<ChatReply, ProviderError> {
        Err(not_here())
    }

    async fn stream(&self, _: &str, _: &ChatCall) -> Result<ReplyStream, ProviderError> {
        Err(not_here())
    }

    async fn embed(&self, _: &str, _: &EmbedCall) -> Result<Embedded, ProviderError> {
        Err(not_here())
    }
}

/// Backends and pools without a fleet.
struct World {
    engines: Vec<Arc<Engine>>,
    backends: Vec<Arc<BackendCell>>,
    pools: Vec<Arc<PoolCell>>,
    dispatcher: Dispatcher,
    tasks: TaskTracker,
}

fn backend(number: usize, limit: u32) -> Backend {
    let (id, name) = (BackendId::new(format!("b{number}")), format!("b{number}"));
    Backend { id, name, kind: ProviderKind::Vllm, max_concurrency: Some(limit), ..sample() }
}

fn pool(number: usize) -> Pool {
    Pool {
        id: PoolId::new(format!("p{number}")),
        name: format!("pool {number}"),
        purpose_type: String::new(),
        policy: Policy::LeastLoaded,
        queue: QueueLimits::default(),
        calls: CallSettings::default(),
        require_labels: BTreeMap::new(),
        created_at: Timestamp::ZERO,
        updated_at: Timestamp::ZERO,
    }
}

fn view(backend: Backend, engine: &Arc<Engine>) -> BackendView {
    let mut view = BackendView::new(backend, 1);
    view.health = Health::Healthy;
    view.in_pool = true;
    view.provider = Some(Arc::new(EngineProvider(Arc::clone(engine))));
    view.observe(vec![ObservedModel::named("m:1b")]);
    view
}

impl World {
    /// Backends with these limits, and pools of these of them.
    async fn new(limits: &[u32], members: &[&[usize]]) -> Self {
        let tasks = TaskTracker::new();
        let engines: Vec<Arc<Engine>> = limits.iter().map(|_| Arc::default()).collect();
        let backends: Vec<Arc<BackendCell>> =
            limits.iter().enumerate().map(|(at, limit)| BackendCell::new(backend(at, *limit), tasks.clone())).collect();
        let pools: Vec<Arc<PoolCell>> = (0..members.len()).map(|at| PoolCell::new(pool(at))).collect();
        for (at, cell) in backends.iter().enumerate() {
            let mine = pools.iter().enumerate().filter(|(pool, _)| members[*pool].contains(&at));
            cell.set_pools(mine.map(|(_, pool)| Arc::downgrade(pool)).collect());
            cell.publish(view(backend(at, limits[at]), &engines[at]));
        }
        let directory = Arc::new(Directory::default());
        let by_id = backends.iter().map(|cell| (cell.id.clone(), Arc::clone(cell))).collect();
        directory.replace(by_id, pools.clone(), BTreeMap::new());
        let defaults = RouteDefaults {
            task_model: "m:1b".to_owned(),
            embed_model: "m:1b".to_owned(),
            task_provider: None,
            embed_provider: None,
        };
        let dispatcher = Dispatcher::new(directory, defaults, tasks.clone());
        let world = Self { engines, backends, pools, dispatcher, tasks };
        for (at, members) in members.iter().enumerate() {
            world.route(at, members, QueueLimits::default());
            world.start_pool(at).await;
        }
        world
    }

    /// Puts a route table in force.
    fn route(&self, at: usize, members: &[usize], queue: QueueLimits) {
        self.pools[at].publish(RouteTable {
            pool: Pool { queue, ..pool(at) },
            members: members.iter().map(|backend| Arc::clone(&self.backends[*backend])).collect(),
            models: HashMap::new(),
            declared: Arc::default(),
        });
    }

    async fn start_pool(&self, at: usize) {
        let args = PoolArgs { cell: Arc::clone(&self.pools[at]), tasks: self.tasks.clone() };
        Actor::spawn(None, PoolActor, args).await.unwrap();
    }

    fn limit(&self, at: usize, limit: u32) {
        self.backends[at].publish(view(backend(at, limit), &self.engines[at]));
    }

    /// A call of this prompt in this pool, made by a task of its own. Aborting the task is a client that hangs up.
    fn call(&self, prompt: &str, wish: Wish) -> JoinHandle<Result<String, Failure>> {
        let mut route = ModelRoute::default_model(Capability::Chat);
        let target = RouteTarget { pool: Some(format!("p{}", wish.pool)), ..RouteTarget::model("m:1b") };
        route.targets = vec![target];
        route.priority = wish.class;
        route.deadline = wish.time.map(|time| (Instant::now() + time).into_std());
        let call = ChatCall { messages: vec![ChatTurn::text("user", prompt)], ..ChatCall::default() };
        let dispatcher = self.dispatcher.clone();
        self.tasks.spawn(async move {
            let outcome = dispatcher.generate(&route, &call).await;
            outcome.map(|(completion, _)| completion.text).map_err(|error| error.failure)
        })
    }

    fn slots(&self, at: usize) -> SlotSnapshot {
        self.backends[at].slots()
    }

    fn served(&self, at: usize) -> Vec<String> {
        self.engines[at].served.lock().unwrap().clone()
    }

    /// Lets everything happen that needs no time.
    async fn pause(&self) {
        tokio::time::sleep(Duration::from_micros(1_000)).await;
    }
}

/// What a call wants.
#[derive(Debug, Clone, Copy)]
struct Wish {
    pool: usize,
    class: Priority,
    time: Option<Duration>,
}

impl Wish {
    const STANDARD: Self = Self { pool: 0, class: Priority::Standard, time: None };

    fn of(class: Priority) -> Self {
        Self { class, ..Self::STANDARD }
    }

    fn within(millis: u64) -> Self {
        Self { time: Some(Duration::from_millis(millis)), ..Self::STANDARD }
    }

    fn in_pool(pool: usize) -> Self {
        Self { pool, ..Self::STANDARD }
    }
}
