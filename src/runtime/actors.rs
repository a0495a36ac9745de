//! Every actor that lives, as it can be seen without asking it: for `GET /debug/actors` and for Prometheus.

use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{MailboxSnapshot, Runtime, root::SystemActor};
use crate::domain::ids::RunId;

/// One actor.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ActorSnapshot {
    /// Its kind: `root`, `fleet`, `reconcile`, `events`, `runs`, `backend`, `pool` or `run`.
    pub actor: &'static str,
    /// Of what, where there are several of the kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// How full its mailbox is; absent while it is being restarted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mailbox: Option<MailboxSnapshot>,
    /// What it publishes.
    #[schema(value_type = Object)]
    pub state: Value,
}

impl Runtime {
    /// Every actor but those of runs, system first.
    pub fn actors(&self) -> Vec<ActorSnapshot> {
        let one = |actor, mailbox, state| ActorSnapshot { actor, id: None, mailbox, state };
        let (backends, pools) = (self.directory.backends(), self.directory.pools());
        let runs = json!({"active": self.runs.active(), "limit": self.max_runs});
        let mut all = vec![
            one("root", self.root.snapshot(), json!({})),
            one(
                SystemActor::Fleet.as_str(),
                self.fleet.address.snapshot(),
                json!({"backends": backends.len(), "pools": pools.len()}),
            ),
            one(SystemActor::Reconcile.as_str(), self.reconcile.address.snapshot(), json!({})),
            one(SystemActor::Events.as_str(), self.events.address.snapshot(), json!({})),
            one(SystemActor::Runs.as_str(), self.runs.address.snapshot(), runs),
        ];
        all.extend(backends.iter().map(|(id, cell)| {
            let view = cell.view();
            let state = json!({
                "name": view.backend.name,
                "generation": view.generation,
                "error": view.error(),
                "inPool": view.in_pool,
                "models": view.observed.len(),
                "downloading": view.downloading,
                "downloadsWaiting": view.queue.len(),
                "slots": cell.slots(),
                "breaker": cell.breaker(),
                "restsUntil": cell.rests_until(),
            });
            ActorSnapshot { actor: "backend", id: Some(id.to_string()), mailbox: cell.handle.mailbox(), state }
        }));
        all.extend(pools.iter().map(|cell| {
            let table = cell.table();
            let state = json!({
                "name": table.pool.name,
                "policy": table.pool.policy,
                "backends": table.members.len(),
                "queue": cell.snapshot(),
            });
            ActorSnapshot {
                actor: "pool",
                id: Some(cell.id.to_string()),
                mailbox: cell.handle.address.snapshot(),
                state,
            }
        }));
        all
    }

    /// The actors of runs, as far as their supervisor tells them.
    pub async fn run_actors(&self) -> Vec<ActorSnapshot> {
        let live = self.runs.live().await.unwrap_or_default();
        let shown = live.iter().map(|run| {
            let report = run.report();
            let state =
                json!({"chain": report.chain, "task": report.task, "steps": report.steps, "calls": report.calls});
            ActorSnapshot { actor: "run", id: Some(RunId::to_string(&run.id)), mailbox: run.mailbox(), state }
        });
        shown.collect()
    }
}
