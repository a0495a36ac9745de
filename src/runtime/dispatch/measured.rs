//! The steps of a call one by one, for `benches/`: finding its backend, taking a slot there, waiting for one while all are
//! taken. The code is the dispatch's own, on a pool of backends that nobody probes; nothing in the server calls it.
//!
//! Owns: the backends' cells. Children: the pool's actor, which nobody supervises; it ends with its runtime.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    sync::Arc,
};

use ractor::Actor;
use tokio_util::task::TaskTracker;

use super::{
    Dispatcher, RouteDefaults,
    admission::{Choice, Plan},
    repeat::Spent,
};
use crate::{
    domain::{
        backend::Backend,
        ids::{BackendId, PoolId},
        model::{Capability, ObservedModel},
        pool::{CallSettings, Policy, Pool, QueueLimits, TASKS_POOL},
        provider::ProviderKind,
        route::ModelRoute,
        time::Timestamp,
    },
    providers::Provider,
    runtime::{
        backend::Way,
        directory::{BackendCell, BackendView, Directory, Health, PoolCell, RouteTable},
        lease::Lease,
        pool::{PoolActor, PoolArgs},
    },
};

const MODEL: &str = "m:1b";

/// One pool of backends that are always well.
pub struct Steps {
    dispatcher: Dispatcher,
    route: ModelRoute,
    backends: Vec<Arc<BackendCell>>,
}

/// A slot and the right to use it; dropping it gives it back, as a call does that was not begun.
#[must_use]
pub struct Slot {
    _lease: Lease,
}

impl Steps {
    /// A pool under this policy, of so many backends with so many slots each, which are called through `provider`. Its actor
    /// lives on the runtime that this is called on.
    ///
    /// # Errors
    /// When the actor cannot be started.
    pub async fn start(policy: Policy, backends: usize, slots: u32, provider: Arc<dyn Provider>) -> io::Result<Self> {
        let tasks = TaskTracker::new();
        let pool = PoolCell::new(pool(policy));
        let cells = (0..backends).map(|at| {
            let cell = BackendCell::new(backend(at, slots), tasks.clone());
            cell.set_pools(vec![Arc::downgrade(&pool)]);
            cell.publish(view(backend(at, slots), &provider));
            cell
        });
        let cells: Vec<Arc<BackendCell>> = cells.collect();
        let table = RouteTable {
            pool: self::pool(policy),
            members: cells.clone(),
            models: HashMap::new(),
            declared: Arc::default(),
        };
        pool.publish(table);
        let args = PoolArgs { cell: Arc::clone(&pool), tasks: tasks.clone() };
        Actor::spawn(None, PoolActor, args).await.map_err(io::Error::other)?;
        let directory = Arc::new(Directory::default());
        let by_id = cells.iter().map(|cell| (cell.id.clone(), Arc::clone(cell))).collect();
        directory.replace(by_id, vec![pool], BTreeMap::new());
        let defaults = RouteDefaults {
            task_model: MODEL.to_owned(),
            embed_model: MODEL.to_owned(),
            task_provider: None,
            embed_provider: None,
        };
        let dispatcher = Dispatcher::new(directory, defaults, tasks);
        Ok(Self { dispatcher, route: ModelRoute::default_model(Capability::Chat), backends: cells })
    }

    /// Where a call would go first, by the route table and the policy. `prefix`: what it begins with, as a number.
    pub fn pick(&self, prefix: u64) -> Option<BackendId> {
        let (mut plan, choice) = self.plan(prefix)?;
        let found = plan.found.take()?;
        let ranked = plan.ranked(found.candidates, choice);
        ranked.first().map(|candidate| candidate.backend.id.clone())
    }

    /// A slot of this backend, if one is free.
    pub fn lease(&self, backend: usize) -> Option<Slot> {
        Lease::try_acquire(self.backends.get(backend)?, Way::Usual).map(|lease| Slot { _lease: lease })
    }

    /// All that a call goes through before its backend is asked: the pick, and a slot or the wait for one.
    pub async fn admit(&self, prefix: u64) -> Option<Slot> {
        let (mut plan, choice) = self.plan(prefix)?;
        let admitted = plan.admit(choice, &Spent::default()).await.ok()?;
        Some(Slot { _lease: admitted.grant.lease })
    }

    fn plan(&self, prefix: u64) -> Option<(Plan, Choice)> {
        let plan = self.dispatcher.plan(&self.route, 0).ok()?;
        let choice = Choice::of(&plan.pool, None, None, || prefix);
        Some((plan, choice))
    }
}

fn pool(policy: Policy) -> Pool {
    Pool {
        id: PoolId::new(TASKS_POOL),
        name: "Tasks".to_owned(),
        purpose_type: String::new(),
        policy,
        queue: QueueLimits::default(),
        calls: CallSettings::default(),
        require_labels: BTreeMap::new(),
        created_at: Timestamp::ZERO,
        updated_at: Timestamp::ZERO,
    }
}

fn backend(at: usize, slots: u32) -> Backend {
    let name = format!("backend-{at}");
    Backend {
        id: BackendId::new(name.clone()),
        base_url: format!("http://127.0.0.1:{}", at + 1),
        name,
        kind: ProviderKind::Vllm,
        api_key_set: false,
        max_concurrency: Some(slots),
        weight: 1,
        tier: 0,
        cloud: None,
        enabled: true,
        labels: BTreeMap::new(),
        created_at: Timestamp::ZERO,
        updated_at: Timestamp::ZERO,
    }
}

fn view(backend: Backend, provider: &Arc<dyn Provider>) -> BackendView {
    let mut view = BackendView::new(backend, 1);
    view.health = Health::Healthy;
    view.in_pool = true;
    view.provider = Some(Arc::clone(provider));
    view.observe(vec![ObservedModel::named(MODEL)]);
    view
}
