//! What Prometheus is told of the runtime: what is true now is read from what is published when it asks, what only ever rises was
//! counted when it happened (`docs/operations.md`, metrics).

use std::collections::BTreeMap;

use super::{
    Runtime,
    directory::{BackendCell, BreakerPosition, Health, PoolCell},
};
use crate::{
    domain::time::Timestamp,
    telemetry::{Now, families as f},
};

impl Runtime {
    /// Everything about backends, pools, runs and actors.
    pub fn tell(&self, now: &mut Now) {
        for (id, cell) in self.directory.backends().iter() {
            backend(now, id.as_str(), cell);
        }
        for cell in self.directory.pools().iter() {
            pool(now, cell);
        }
        let ours = if self.duty.is_ours() { 1.0 } else { 0.0 };
        now.is(&f::SYNC_DUTY, &[], ours);
        now.is(&f::RUNS_ACTIVE, &[], self.runs.active() as f64);
        now.is(&f::RUNS_LIMIT, &[], self.max_runs as f64);
        let bus = self.peers.bus_standing();
        now.is(&f::BUS_UP, &[bus.kind], truth(bus.is_connected));
        now.is(&f::INSTANCES, &[], (self.presence.others().len() + 1) as f64);
        self.tell_actors(now);
    }

    fn tell_actors(&self, now: &mut Now) {
        #[derive(Default)]
        struct OfKind {
            live: usize,
            messages: usize,
            capacity: usize,
            age_ms: u64,
        }
        let mut kinds: BTreeMap<&'static str, OfKind> = BTreeMap::new();
        for actor in self.actors() {
            let kind = kinds.entry(actor.actor).or_default();
            let Some(mailbox) = actor.mailbox else { continue };
            kind.live += 1;
            kind.messages = kind.messages.max(mailbox.data + mailbox.control);
            kind.capacity = mailbox.data_capacity + mailbox.control_capacity;
            kind.age_ms = kind.age_ms.max(mailbox.age_ms);
        }
        kinds.entry("run").or_default().live = self.runs.active();
        for (actor, OfKind { live, messages, capacity, age_ms }) in kinds {
            now.is(&f::ACTORS, &[actor], live as f64);
            if capacity > 0 {
                now.is(&f::ACTOR_DEPTH, &[actor], messages as f64);
                now.is(&f::ACTOR_CAPACITY, &[actor], capacity as f64);
                now.is(&f::ACTOR_AGE, &[actor], age_ms as f64 / 1e3);
            }
        }
    }
}

fn backend(now: &mut Now, id: &str, cell: &BackendCell) {
    let view = cell.view();
    now.is(&f::BACKEND_INFO, &[id, &view.backend.name, view.backend.kind.as_str()], 1.0);
    match view.health {
        Health::Healthy => now.is(&f::BACKEND_UP, &[id], 1.0),
        Health::Failing(_) => now.is(&f::BACKEND_UP, &[id], 0.0),
        Health::Unknown => {}
    }
    let breaker = cell.breaker();
    for state in [BreakerPosition::Closed, BreakerPosition::Open, BreakerPosition::HalfOpen] {
        now.is(&f::BACKEND_BREAKER, &[id, state.as_str()], truth(breaker.state == state));
    }
    now.is(&f::BACKEND_BREAKER_OPENED, &[id], f64::from(breaker.opened));
    let rests = cell.rests_until().map_or(0.0, |until| until.since(Timestamp::now()).as_secs_f64());
    now.is(&f::BACKEND_RESTS, &[id], rests);
    let slots = cell.slots();
    now.is(&f::SLOTS_LIMIT, &[id], f64::from(slots.limit));
    now.is(&f::SLOTS_IN_USE, &[id], f64::from(slots.in_use));
    now.is(&f::SLOTS_SETTLING, &[id], f64::from(slots.settling));
    now.is(&f::BACKEND_WAITING, &[id], f64::from(slots.waiters));
    if let Some(millis) = cell.latency_ms() {
        now.is(&f::BACKEND_LATENCY, &[id], f64::from(millis) / 1e3);
    }
    now.is(&f::BACKEND_SHARED, &[id], cell.shared_calls() as f64);
    let missing = view.models.iter().filter(|model| !view.has(model)).count();
    for (state, models) in [("observed", view.observed.len()), ("declared", view.models.len()), ("missing", missing)] {
        now.is(&f::BACKEND_MODELS, &[id, state], models as f64);
    }
    now.is(&f::BACKEND_DOWNLOADS_WAITING, &[id], view.queue.len() as f64);
    now.is(&f::BACKEND_DOWNLOADS_RUNNING, &[id], truth(view.downloading.is_some()));
}

fn pool(now: &mut Now, cell: &PoolCell) {
    let (id, table, snapshot) = (cell.id.as_str(), cell.table(), cell.snapshot());
    now.is(&f::POOL_INFO, &[id, &table.pool.name, table.pool.policy.as_str()], 1.0);
    let waiting = snapshot.waiting;
    for (class, count) in
        [("interactive", waiting.interactive), ("standard", waiting.standard), ("batch", waiting.batch)]
    {
        now.is(&f::POOL_WAITING, &[id, class], count as f64);
    }
    now.is(&f::POOL_OLDEST, &[id], snapshot.oldest_wait_ms as f64 / 1e3);
    now.is(&f::POOL_SHARING, &[id], snapshot.sharing as f64);
    now.is(&f::POOL_CAPACITY, &[id], f64::from(snapshot.capacity));
}

const fn truth(is_true: bool) -> f64 {
    if is_true { 1.0 } else { 0.0 }
}
