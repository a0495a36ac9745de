//! A fleet for tests of the dispatch: cells without backend actors, and providers that do as they are told and write down
//! who asked them.
#![cfg(test)]

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio_util::task::TaskTracker;

use crate::{
    dialect::Dialect,
    domain::{
        backend::Backend,
        chat::{ChatCall, ChatReply, Finish, Usage},
        embedding::{EmbedCall, Embedded},
        ids::{BackendId, PoolId},
        message::Completion,
        model::{Model, ObservedModel},
        pool::{CallSettings, Policy, Pool, QueueLimits, TASKS_POOL},
        provider::ProviderKind,
        time::Timestamp,
    },
    providers::{Provider, ProviderError, ProviderErrorKind, ReplyStream},
    runtime::directory::{BackendCell, BackendView, Directory, Health, PoolCell, RouteTable},
};

pub(super) const MODELS: [&str; 3] = ["m0:1b", "m1:1b", "m2:1b"];
pub(super) const LABELS: [(&str, &str); 3] = [("zone", "on-prem"), ("zone", "abroad"), ("gpu", "big")];
/// What a slow answer takes.
pub(super) const SLOW: Duration = Duration::from_secs(10);

/// What a backend does with its next call.
#[derive(Debug, Clone, Copy)]
pub(super) enum Deed {
    Answer,
    /// Answers, but only after [`SLOW`].
    Dawdle,
    Fail(ProviderErrorKind),
    /// 429, with the seconds it wants to be left alone for.
    Rest(u64),
    /// Fails, and the backend of this number loses its labels meanwhile.
    Disturb(usize),
}

/// One call as it reached a backend, which looked like this then.
pub(super) struct Seen {
    pub(super) backend: Backend,
    pub(super) was_usable: bool,
    pub(super) model: String,
}

/// What all backends write down.
#[derive(Default)]
pub(super) struct World {
    pub(super) seen: Mutex<Vec<Seen>>,
    pub(super) cells: Mutex<Vec<Arc<BackendCell>>>,
    /// Calls that were given up before their answer.
    pub(super) given_up: AtomicUsize,
    /// Whether any backend ever ran more calls than it may.
    pub(super) overrun: AtomicUsize,
}

impl World {
    /// Which backends were asked, by their numbers.
    pub(super) fn asked(&self) -> Vec<String> {
        self.seen.lock().unwrap().iter().map(|seen| seen.backend.id.as_str().to_owned()).collect()
    }

    pub(super) fn cell(&self, number: usize) -> Arc<BackendCell> {
        Arc::clone(&self.cells.lock().unwrap()[number])
    }

    /// The same when the backends have noticed which calls were given up.
    pub(super) async fn comes_to_rest(&self) -> bool {
        tokio::time::sleep(Duration::from_secs(1)).await;
        self.is_idle()
    }

    /// Whether every slot is free again and nobody waits.
    pub(super) fn is_idle(&self) -> bool {
        let idle = |cell: &Arc<BackendCell>| cell.slots().in_use == 0 && cell.slots().waiters == 0;
        self.cells.lock().unwrap().iter().all(idle)
    }
}

struct Scripted {
    number: usize,
    /// The next one last.
    deeds: Mutex<Vec<Deed>>,
    /// What it does when these are done.
    usually: Deed,
    running: AtomicUsize,
    world: Arc<World>,
}

/// A call that runs; dropped before its end it was given up.
struct Running<'a>(&'a Scripted, bool);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
        self.0.world.given_up.fetch_add(usize::from(!self.1), Ordering::SeqCst);
    }
}

fn refused(kind: ProviderErrorKind) -> ProviderError {
    ProviderError::new(kind, "scripted")
}

impl Scripted {
    async fn play(&self, model: &str) -> Result<(), ProviderError> {
        let cell = self.world.cell(self.number);
        let view = cell.view();
        let was_usable = view.backend.enabled && !matches!(view.health, Health::Failing(_));
        let seen = Seen { backend: view.backend.clone(), was_usable, model: model.to_owned() };
        self.world.seen.lock().unwrap().push(seen);
        let before = self.running.fetch_add(1, Ordering::SeqCst);
        self.world.overrun.fetch_add(usize::from(before >= usize::from(cell.slots().limit)), Ordering::SeqCst);
        let mut running = Running(self, false);
        let deed = self.deeds.lock().unwrap().pop().unwrap_or(self.usually);
        let outcome = match deed {
            Deed::Answer => Ok(()),
            Deed::Dawdle => {
                tokio::time::sleep(SLOW).await;
                Ok(())
            }
            Deed::Fail(kind) => Err(refused(kind)),
            Deed::Rest(seconds) => {
                let mut error = refused(ProviderErrorKind::RateLimited);
                (error.status, error.retry_after) = (Some(429), Some(Duration::from_secs(seconds)));
                Err(error)
            }
            Deed::Disturb(number) => {
                let cells = self.world.cells.lock().unwrap().clone();
                let cell = &cells[number % cells.len()];
                let mut stripped = cell.view().backend.clone();
                stripped.labels.clear();
                cell.publish(view_of(stripped, &cell.view()));
                Err(refused(ProviderErrorKind::Transient))
            }
        };
        running.1 = true;
        outcome
    }
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
        self.play(model).await?;
        Ok(Completion {
            text: format!("b{}", self.number),
            role: "assistant".to_owned(),
            finish: Finish::Stop,
            usage: Usage::default(),
        })
    }

    async fn converse(&self, _: &str, _: &ChatCall) -> Result<ChatReply, ProviderError> {
        Err(refused(ProviderErrorKind::Reply))
    }

    async fn stream(&self, _: &str, _: &ChatCall) -> Result<ReplyStream, ProviderError> {
        Err(refused(ProviderErrorKind::Reply))
    }

    async fn embed(&self, model: &str, _: &EmbedCall) -> Result<Embedded, ProviderError> {
        self.play(model).await?;
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
pub(super) struct BackendPlan {
    pub(super) kind: ProviderKind,
    pub(super) cloud: Option<bool>,
    pub(super) labels: Vec<usize>,
    pub(super) models: Vec<usize>,
    pub(super) enabled: bool,
    pub(super) fails: bool,
    pub(super) slots: u32,
    pub(super) tier: u32,
    /// The next one last.
    pub(super) deeds: Vec<Deed>,
    pub(super) usually: Deed,
    /// Its breaker is open.
    pub(super) is_broken: bool,
    /// It has asked to be left alone for so many seconds.
    pub(super) rests: Option<u64>,
}

impl BackendPlan {
    /// One that has every model and always does this.
    pub(super) fn that(usually: Deed) -> Self {
        Self {
            kind: ProviderKind::Openai,
            cloud: Some(false),
            labels: Vec::new(),
            models: vec![0, 1, 2],
            enabled: true,
            fails: false,
            slots: 4,
            tier: 0,
            deeds: Vec::new(),
            usually,
            is_broken: false,
            rests: None,
        }
    }

    /// The same with a tier of its own, so that the order of attempts is known.
    pub(super) fn in_tier(self, tier: u32) -> Self {
        Self { tier, ..self }
    }
}

#[derive(Debug, Clone)]
pub(super) struct PoolPlan {
    pub(super) members: Vec<usize>,
    pub(super) labels: Vec<usize>,
    pub(super) models: Vec<usize>,
    pub(super) policy: Policy,
    pub(super) calls: CallSettings,
    pub(super) queue: QueueLimits,
}

impl PoolPlan {
    /// One with all of the first `members` backends.
    pub(super) fn of(members: usize, calls: CallSettings) -> Self {
        Self {
            members: (0..members).collect(),
            labels: Vec::new(),
            models: Vec::new(),
            policy: Policy::LeastLoaded,
            calls,
            queue: QueueLimits::default(),
        }
    }
}

pub(super) fn labels(chosen: &[usize]) -> BTreeMap<String, String> {
    chosen.iter().map(|at| (LABELS[*at].0.to_owned(), LABELS[*at].1.to_owned())).collect()
}

fn record(number: usize, plan: &BackendPlan) -> Backend {
    Backend {
        id: BackendId::new(format!("b{number}")),
        name: format!("b{number}"),
        base_url: format!("http://b{number}"),
        kind: plan.kind,
        api_key_set: false,
        max_concurrency: Some(plan.slots),
        weight: 1,
        tier: plan.tier,
        cloud: plan.cloud,
        enabled: plan.enabled,
        labels: labels(&plan.labels),
        created_at: Timestamp::ZERO,
        updated_at: Timestamp::ZERO,
    }
}

/// The directory of such a fleet, without any actor.
pub(super) fn fleet(backends: &[BackendPlan], pools: &[PoolPlan]) -> (Arc<Directory>, Arc<World>) {
    let world = Arc::new(World::default());
    let mut cells = Vec::new();
    for (number, plan) in backends.iter().enumerate() {
        let cell = BackendCell::new(record(number, plan), TaskTracker::new());
        let mut view = BackendView::new(record(number, plan), 1);
        view.health = if plan.fails { Health::Failing("down".to_owned()) } else { Health::Healthy };
        view.in_pool = true;
        let provider = Scripted {
            number,
            deeds: Mutex::new(plan.deeds.clone()),
            usually: plan.usually,
            running: AtomicUsize::new(0),
            world: Arc::clone(&world),
        };
        view.provider = Some(Arc::new(provider));
        view.observe(plan.models.iter().map(|at| ObservedModel::named(MODELS[*at])).collect());
        cell.publish(view);
        cell.access.bring_into(plan.is_broken, plan.rests.map(Duration::from_secs));
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
    let mut pool_cells = Vec::new();
    for (number, plan) in pools.iter().enumerate() {
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
        pool_cells.push(cell);
    }
    for cell in &cells {
        let has = |pool: &&Arc<PoolCell>| pool.table().members.iter().any(|member| member.id == cell.id);
        cell.set_pools(pool_cells.iter().filter(has).map(Arc::downgrade).collect::<Vec<Weak<PoolCell>>>());
    }
    let directory = Directory::default();
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
        queue: plan.queue,
        calls: plan.calls,
        require_labels: labels(&plan.labels),
        created_at: Timestamp::ZERO,
        updated_at: Timestamp::ZERO,
    }
}
