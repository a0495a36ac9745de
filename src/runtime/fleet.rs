//! All backends and pools: makes, configures, restarts and removes their actors as the stored intent says.
//!
//! Owns: which of them are alive, what each was last told, how often each has crashed. Children: `BackendActor`,
//! `PoolActor`. Supervisor: `Root`.
//! Mailbox: control messages only, 1,024 permits: one intent per reconcile and one restart per crashed child.
//! On crash: its children end with it; `Root` starts it again and reconcile makes them anew on their old cells, so that
//! running calls keep their slots.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};
use tokio::time::Instant;
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use super::{
    ask::{CONTROL_DEADLINE, Reply, answer, ask},
    backend::{BackendActor, BackendArgs, BackendDeps, BackendGoal, DeclaredModel},
    directory::{BackendCell, Directory, PoolCell, RouteTable},
    mailbox::{Address, Bounds, Envelope, Lane, SendError},
    pool::{PoolActor, PoolArgs},
    restart::{CrashHistory, RestartPolicy, Restarts, Verdict},
};
use crate::domain::{
    ids::{BackendId, PoolId},
    intent::{BackendIntent, BackendMembership, Intent, ModelMembership},
    model::{Model, with_tag},
    pool::Pool,
    time::Timestamp,
};
use crate::faults::fault;

pub(super) const BOUNDS: Bounds = Bounds { data: 1, control: 1024 };

/// Talks to the fleet, across its restarts.
#[derive(Clone)]
pub(super) struct FleetHandle {
    pub(super) address: Address<FleetMsg>,
}

impl FleetHandle {
    pub(super) fn vacant() -> Self {
        Self { address: Address::vacant() }
    }

    /// Puts an intent in force; returns when every actor has been made, told or stopped.
    pub(super) async fn apply(&self, intent: Intent) -> Result<(), String> {
        ask(&self.address, CONTROL_DEADLINE, |reply| FleetMsg::Apply { intent: Box::new(intent), reply })
            .await
            .map_err(|error| error.to_string())?
            .map_err(|error| error.to_string())
    }
}

/// What the actor is told.
#[cfg_attr(feature = "faults", derive(strum::IntoStaticStr, strum::VariantNames))]
#[cfg_attr(feature = "faults", strum(prefix = "fleet.", serialize_all = "snake_case"))]
pub(super) enum FleetMsg {
    /// From reconcile. MUST be answered when the intent is in force, or when an actor did not take its part of it.
    Apply { intent: Box<Intent>, reply: Reply<Result<(), SendError>> },
    /// From the timer behind a crash.
    RestartDue { crash: Crash },
}

pub(super) struct FleetArgs {
    pub(super) handle: FleetHandle,
    pub(super) directory: Arc<Directory>,
    pub(super) deps: BackendDeps,
    pub(super) restarts: Restarts,
    pub(super) tasks: TaskTracker,
}

pub(super) struct FleetActor;

struct BackendChild {
    cell: Arc<BackendCell>,
    goal: BackendGoal,
    crashes: CrashHistory,
}

struct PoolChild {
    cell: Arc<PoolCell>,
    crashes: CrashHistory,
}

/// Counts the crashes of all children: a timer is for one of them, and not for a child of the same name that came later.
type Crash = u64;

#[derive(Clone)]
enum ChildKey {
    Backend(BackendId),
    Pool(PoolId),
}

pub(super) struct FleetState {
    args: FleetArgs,
    backends: BTreeMap<BackendId, BackendChild>,
    pools: BTreeMap<PoolId, PoolChild>,
    /// Living actors.
    actors: HashMap<ActorId, ChildKey>,
    /// Children that have crashed, until they are back.
    down: HashMap<Crash, ChildKey>,
    crashes: Crash,
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
}

impl FleetState {
    /// In an order in which no request ever sees a half of it: backends, then the pools that route to them, then the
    /// directory that names both.
    async fn apply(
        &mut self,
        myself: &ActorRef<Envelope<FleetMsg>>,
        intent: Intent,
    ) -> Result<Result<(), SendError>, ActorProcessingErr> {
        let mut told = Ok(());
        self.remove_absent(myself, &intent);
        for goal in backend_goals(&intent) {
            told = told.and(self.apply_backend(myself, goal).await);
        }
        fault!("fleet.backends_told");
        for pool in &intent.pools {
            self.make_pool(myself, pool).await;
        }
        fault!("fleet.pools_made");
        self.connect(&intent);
        fault!("fleet.connected");
        for table in self.route_tables(&intent) {
            if let Some(child) = self.pools.get(&table.pool.id) {
                child.cell.publish(table);
            }
        }
        fault!("fleet.tables_published");
        self.publish_directory(&intent);
        Ok(told)
    }

    fn remove_absent(&mut self, myself: &ActorRef<Envelope<FleetMsg>>, intent: &Intent) {
        let backends: HashSet<&BackendId> = intent.backends.iter().map(|entry| &entry.backend.id).collect();
        let pools: HashSet<&PoolId> = intent.pools.iter().map(|pool| &pool.id).collect();
        self.backends.retain(|id, child| {
            let stays = backends.contains(id);
            if !stays {
                child.cell.handle.detach();
                child.cell.retire();
                tracing::info!(backend = %id, "backend removed");
            }
            stays
        });
        self.pools.retain(|id, child| {
            let stays = pools.contains(id);
            if !stays {
                child.cell.handle.detach();
                tracing::info!(pool = %id, "pool removed");
            }
            stays
        });
        let is_gone = |key: &ChildKey| match key {
            ChildKey::Backend(id) => !self.backends.contains_key(id),
            ChildKey::Pool(id) => !self.pools.contains_key(id),
        };
        let gone: HashSet<ActorId> = self.actors.iter().filter(|(_, key)| is_gone(key)).map(|(id, _)| *id).collect();
        // Forgotten before they stop, so that their end is not taken for a crash.
        self.actors.retain(|id, _| !gone.contains(id));
        self.down.retain(|_, key| !is_gone(key));
        for child in myself.get_children().into_iter().filter(|child| gone.contains(&child.get_id())) {
            child.stop(None);
        }
    }

    async fn apply_backend(
        &mut self,
        myself: &ActorRef<Envelope<FleetMsg>>,
        goal: BackendGoal,
    ) -> Result<(), SendError> {
        let id = goal.backend.id.clone();
        if let Some(child) = self.backends.get_mut(&id) {
            if child.goal != goal {
                // Remembered only once it is told, so that the next intent tells it again.
                child.cell.handle.adopt(goal.clone())?;
                child.goal = goal;
            }
            return Ok(());
        }
        // After a crash of the fleet the cell is still there, with the slots of running calls.
        let cell = self.args.directory.backend(&id);
        let cell = cell.unwrap_or_else(|| BackendCell::new(goal.backend.clone(), self.args.tasks.clone()));
        let child = BackendChild { cell, goal, crashes: CrashHistory::default() };
        self.backends.insert(id.clone(), child);
        self.start(myself, ChildKey::Backend(id)).await;
        Ok(())
    }

    /// Starts a child. One that does not start has crashed.
    async fn start(&mut self, myself: &ActorRef<Envelope<FleetMsg>>, key: ChildKey) {
        let started = match &key {
            ChildKey::Backend(id) => self.start_backend(myself, id).await,
            ChildKey::Pool(id) => self.start_pool(myself, id).await,
        };
        match started {
            Ok(Some(actor)) => {
                self.actors.insert(actor, key);
            }
            Ok(None) => {}
            Err(error) => self.crashed(key, &error.to_string()),
        }
    }

    async fn start_backend(
        &self,
        myself: &ActorRef<Envelope<FleetMsg>>,
        id: &BackendId,
    ) -> Result<Option<ActorId>, SpawnErr> {
        let Some(child) = self.backends.get(id) else { return Ok(None) };
        let generation = child.cell.next_generation();
        let args = BackendArgs {
            cell: Arc::clone(&child.cell),
            goal: child.goal.clone(),
            generation,
            deps: self.args.deps.clone(),
        };
        // Starting an actor of ours waits for nothing outside: `pre_start` only fills memory.
        let (actor, _) = Actor::spawn_linked(None, BackendActor, args, myself.get_cell()).await?;
        tracing::debug!(backend = %id, generation, "backend actor started");
        Ok(Some(actor.get_id()))
    }

    /// Makes sure that a pool has a place and an actor; its table follows.
    async fn make_pool(&mut self, myself: &ActorRef<Envelope<FleetMsg>>, pool: &Pool) {
        if self.pools.contains_key(&pool.id) {
            return;
        }
        let cell = self.args.directory.pool(&pool.id).unwrap_or_else(|| PoolCell::new(pool.clone()));
        self.pools.insert(pool.id.clone(), PoolChild { cell, crashes: CrashHistory::default() });
        self.start(myself, ChildKey::Pool(pool.id.clone())).await;
    }

    async fn start_pool(
        &self,
        myself: &ActorRef<Envelope<FleetMsg>>,
        id: &PoolId,
    ) -> Result<Option<ActorId>, SpawnErr> {
        let Some(child) = self.pools.get(id) else { return Ok(None) };
        let args = PoolArgs { cell: Arc::clone(&child.cell), tasks: self.args.tasks.clone() };
        let (actor, _) = Actor::spawn_linked(None, PoolActor, args, myself.get_cell()).await?;
        tracing::debug!(pool = %id, "pool actor started");
        Ok(Some(actor.get_id()))
    }

    fn route_tables(&self, intent: &Intent) -> Vec<RouteTable> {
        let declared: Arc<HashSet<String>> =
            Arc::new(intent.models.iter().map(|model| with_tag(&model.name).into_owned()).collect());
        let by_id: HashMap<&str, &Model> = intent.models.iter().map(|model| (model.id.as_str(), model)).collect();
        let members = |pool: &PoolId| {
            let here = intent.backend_members.iter().filter(|member| member.pool == *pool);
            here.filter_map(|member| Some(Arc::clone(&self.backends.get(&member.backend)?.cell))).collect()
        };
        let models = |pool: &PoolId| {
            let here = intent.model_members.iter().filter(|member| member.pool == *pool);
            here.filter_map(|member| by_id.get(member.model.as_str()))
                .map(|model| (with_tag(&model.name).into_owned(), Model::clone(model)))
                .collect()
        };
        let table = |pool: &crate::domain::pool::Pool| RouteTable {
            members: members(&pool.id),
            models: models(&pool.id),
            declared: Arc::clone(&declared),
            pool: pool.clone(),
        };
        intent.pools.iter().map(table).collect()
    }

    /// Tells backends which pools wait on them.
    fn connect(&self, intent: &Intent) {
        for (id, child) in &self.backends {
            let pools = intent.backend_members.iter().filter(|member| member.backend == *id);
            let pools = pools.filter_map(|member| Some(Arc::downgrade(&self.pools.get(&member.pool)?.cell)));
            child.cell.set_pools(pools.collect());
        }
    }

    /// Publishes who exists.
    fn publish_directory(&self, intent: &Intent) {
        let backends = self.backends.iter().map(|(id, child)| (id.clone(), Arc::clone(&child.cell))).collect();
        let pools = intent.pools.iter().filter_map(|pool| Some(Arc::clone(&self.pools.get(&pool.id)?.cell)));
        let aliases = intent.aliases.iter().map(|alias| (alias.name.clone(), Arc::new(alias.clone())));
        self.args.directory.replace(backends, pools.collect(), aliases.collect());
        let tokens = intent.tokens.iter().map(|known| (known.hash, Arc::new(known.token.clone())));
        self.args.directory.replace_tokens(tokens.collect());
    }

    /// A child has ended. One we stopped ourselves is not known any more; all others have crashed.
    fn on_child_ended(&mut self, child: ActorId, why: &str) {
        if let Some(key) = self.actors.remove(&child) {
            self.crashed(key, why);
        }
    }

    /// A child is down; it is started again later.
    fn crashed(&mut self, key: ChildKey, why: &str) {
        let crashes = match &key {
            ChildKey::Backend(id) => self.backends.get_mut(id).map(|child| {
                child.cell.handle.detach();
                &mut child.crashes
            }),
            ChildKey::Pool(id) => self.pools.get_mut(id).map(|child| {
                child.cell.handle.detach();
                &mut child.crashes
            }),
        };
        let Some(crashes) = crashes else { return };
        let name = match &key {
            ChildKey::Backend(id) => format!("backend {id}"),
            ChildKey::Pool(id) => format!("pool {id}"),
        };
        // One that crashes again and again rests for a while; the others are not to suffer for it.
        let delay = match crashes.on_crash(RestartPolicy::STANDARD, Instant::now(), fastrand::f64()) {
            Verdict::RestartAfter(delay) => delay,
            Verdict::Escalate => RestartPolicy::STANDARD.window,
        };
        let restarts = match &key {
            ChildKey::Backend(_) => &self.args.restarts.backends,
            ChildKey::Pool(_) => &self.args.restarts.pools,
        };
        restarts.increment(1);
        tracing::error!(actor = %name, error = why, ?delay, "actor crashed and will be restarted");
        self.crashes += 1;
        let crash = self.crashes;
        self.down.insert(crash, key);
        let (handle, stop) = (self.args.handle.clone(), self.stop.clone());
        self.args.tasks.spawn(async move {
            let work = async {
                tokio::time::sleep(delay).await;
                if let Err(error) = handle.address.send(Lane::Control, FleetMsg::RestartDue { crash }).await {
                    tracing::debug!(%error, "a restart outlived the fleet");
                }
            };
            stop.run_until_cancelled(work).await;
        });
    }

    async fn restart(&mut self, myself: &ActorRef<Envelope<FleetMsg>>, crash: Crash) {
        if let Some(key) = self.down.remove(&crash) {
            self.start(myself, key).await;
        }
    }
}

/// What each backend should be and do.
fn backend_goals(intent: &Intent) -> Vec<BackendGoal> {
    let by_id: HashMap<&str, &Model> = intent.models.iter().map(|model| (model.id.as_str(), model)).collect();
    let mut models_of: HashMap<&PoolId, Vec<&ModelMembership>> = HashMap::new();
    for member in &intent.model_members {
        models_of.entry(&member.pool).or_default().push(member);
    }
    let mut pools_of: HashMap<&BackendId, Vec<&BackendMembership>> = HashMap::new();
    for member in &intent.backend_members {
        pools_of.entry(&member.backend).or_default().push(member);
    }
    let goal = |entry: &BackendIntent| {
        let memberships = pools_of.get(&entry.backend.id).map_or(&[][..], Vec::as_slice);
        let mut since_of: BTreeMap<&str, Timestamp> = BTreeMap::new();
        for membership in memberships {
            for assigned in models_of.get(&membership.pool).into_iter().flatten() {
                let Some(model) = by_id.get(assigned.model.as_str()) else { continue };
                let since = model.created_at.max(assigned.created_at).max(membership.created_at);
                let known = since_of.entry(&model.name).or_insert(since);
                *known = since.max(*known);
            }
        }
        let declared = since_of.into_iter().map(|(name, since)| DeclaredModel { name: name.to_owned(), since });
        BackendGoal {
            backend: entry.backend.clone(),
            api_key: entry.api_key.clone(),
            in_pool: !memberships.is_empty(),
            declared: declared.collect(),
        }
    };
    intent.backends.iter().map(goal).collect()
}

impl Actor for FleetActor {
    type Msg = Envelope<FleetMsg>;
    type State = FleetState;
    type Arguments = FleetArgs;

    async fn pre_start(&self, myself: ActorRef<Self::Msg>, args: FleetArgs) -> Result<FleetState, ActorProcessingErr> {
        args.handle.address.attach(myself, BOUNDS);
        fault!("fleet.start");
        let stop = CancellationToken::new();
        Ok(FleetState {
            args,
            backends: BTreeMap::new(),
            pools: BTreeMap::new(),
            actors: HashMap::new(),
            down: HashMap::new(),
            crashes: 0,
            _stop_on_drop: stop.clone().drop_guard(),
            stop,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        envelope: Self::Msg,
        state: &mut FleetState,
    ) -> Result<(), ActorProcessingErr> {
        fault!(before envelope.message => stage);
        match envelope.message {
            FleetMsg::Apply { intent, reply } => {
                answer(reply, state.apply(&myself, *intent).await?);
            }
            FleetMsg::RestartDue { crash } => state.restart(&myself, crash).await,
        }
        fault!(after stage);
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<Self::Msg>,
        event: SupervisionEvent,
        state: &mut FleetState,
    ) -> Result<(), ActorProcessingErr> {
        if !matches!(event, SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_)) {
            fault!("fleet.child_ended");
        }
        match event {
            SupervisionEvent::ActorFailed(who, error) => state.on_child_ended(who.get_id(), &error.to_string()),
            SupervisionEvent::ActorTerminated(who, _, reason) => {
                state.on_child_ended(who.get_id(), reason.as_deref().unwrap_or("stopped"))
            }
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => {}
        }
        Ok(())
    }
}
