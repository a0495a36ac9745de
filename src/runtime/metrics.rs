//! What Prometheus is told: the slots of backends and the queues of pools, read from what is published when it asks
//! (`docs/operations.md`, metrics). Nothing is counted for it in between.

use metrics::{gauge, with_local_recorder};
use metrics_exporter_prometheus::PrometheusBuilder;

use super::directory::Directory;

/// One family of gauges: its name, and what it says.
pub type Family = (&'static str, &'static str);

const SLOTS_LIMIT: Family =
    ("penstock_backend_slots_limit", "Calls that may run on the backend at once: set, or found by watching it");
const SLOTS_IN_USE: Family = ("penstock_backend_slots_in_use", "Slots of the backend that are taken");
const SLOTS_SETTLING: Family =
    ("penstock_backend_slots_settling", "Those of them whose call was given up a moment ago");
const BACKEND_WAITING: Family = ("penstock_backend_waiting_requests", "Requests that wait for a slot of the backend");
const POOL_WAITING: Family = ("penstock_pool_waiting_requests", "Requests that wait in the pool's queue");
const POOL_OLDEST: Family =
    ("penstock_pool_oldest_wait_seconds", "How long the oldest of them has waited, 0 where none waits");
const POOL_SHARING: Family = ("penstock_pool_sharing_requests", "Requests that share a call which is made for another");
const POOL_CAPACITY: Family = ("penstock_pool_queue_capacity", "Requests that may wait in the pool's queue");

/// All of them.
pub const FAMILIES: [Family; 8] = [
    SLOTS_LIMIT,
    SLOTS_IN_USE,
    SLOTS_SETTLING,
    BACKEND_WAITING,
    POOL_WAITING,
    POOL_OLDEST,
    POOL_SHARING,
    POOL_CAPACITY,
];

/// Everything in Prometheus' text format. Labels are ids and classes, never what a request says.
pub fn render(directory: &Directory) -> String {
    // New each time, so that what has gone since the last time is not told any more.
    let recorder = PrometheusBuilder::new().build_recorder();
    let told = recorder.handle();
    with_local_recorder(&recorder, || {
        for (name, says) in FAMILIES {
            metrics::describe_gauge!(name, says);
        }
        for (id, backend) in directory.backends().iter() {
            let labels = [("backend", id.as_str().to_owned())];
            let slots = backend.slots();
            gauge!(SLOTS_LIMIT.0, &labels).set(slots.limit);
            gauge!(SLOTS_IN_USE.0, &labels).set(slots.in_use);
            gauge!(SLOTS_SETTLING.0, &labels).set(slots.settling);
            gauge!(BACKEND_WAITING.0, &labels).set(slots.waiters);
        }
        for pool in directory.pools().iter() {
            let snapshot = pool.snapshot();
            let id = pool.id.as_str();
            let waiting = snapshot.waiting;
            for (class, count) in
                [("interactive", waiting.interactive), ("standard", waiting.standard), ("batch", waiting.batch)]
            {
                let labels = [("pool", id.to_owned()), ("class", class.to_owned())];
                gauge!(POOL_WAITING.0, &labels).set(count as f64);
            }
            let labels = [("pool", id.to_owned())];
            gauge!(POOL_OLDEST.0, &labels).set(snapshot.oldest_wait_ms as f64 / 1000.0);
            gauge!(POOL_SHARING.0, &labels).set(snapshot.sharing as f64);
            gauge!(POOL_CAPACITY.0, &labels).set(snapshot.capacity);
        }
    });
    told.render()
}
