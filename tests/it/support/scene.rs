//! Scenes that many tests begin with: a server with one Ollama behind it, requests that run meanwhile, slots to wait for.

use std::future::Future;

use loadtest::sim::SimBackend;
use penstock::{
    domain::ids::{BackendId, PoolId},
    runtime::directory::SlotSnapshot,
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use super::{Answer, TestServer, eventually};

/// The two pools that exist from the start.
pub const TASKS: &str = "internal_tasks_pool";
pub const EMBED: &str = "internal_embed_pool";

/// The chain of the README, with the one line that is no strict YAML.
pub const README_CHAIN: &str = include_str!("readme_chain.txt");

/// A server and one simulated Ollama with both default models, in both default pools, ready for calls.
pub struct Scene {
    pub server: TestServer,
    pub sim: SimBackend,
    pub id: String,
}

impl Scene {
    pub async fn start(settings: &[(&str, &str)]) -> Self {
        Self::with(settings, json!({})).await
    }

    /// The same with further fields of the backend.
    pub async fn with(settings: &[(&str, &str)], fields: Value) -> Self {
        let server = TestServer::start(settings).await;
        let sim = SimBackend::ollama().model("chat:1b").model("embed:1b").start().await.unwrap();
        let mut body = json!({"name": "a", "baseUrl": sim.url(), "type": "ollama"});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let id = server.register_as(body, &[TASKS, EMBED]).await;
        server.wait_for_model(&id, "chat:1b").await;
        // An assignment is answered before it is in force.
        server.wait_for_member(EMBED, &id).await;
        Self { server, sim, id }
    }
}

impl TestServer {
    /// Registers a backend in the pool of tasks and waits until it has the default model.
    pub async fn ready(&self, name: &str, kind: &str, sim: &SimBackend) -> String {
        let id = self.register(name, kind, sim, &[TASKS]).await;
        self.wait_for_model(&id, "chat:1b").await;
        id
    }

    /// Waits until requests of this pool see the backend as a member.
    pub async fn wait_for_member(&self, pool: &str, id: &str) {
        eventually("the assignment in force", || async {
            let table = self.runtime.directory.pool(&PoolId::new(pool)).ok_or("no such pool")?.table();
            if table.members.iter().any(|member| member.id.as_str() == id) {
                Ok(())
            } else {
                Err("no member".to_owned())
            }
        })
        .await;
    }

    /// Asks the default model without waiting for the answer. Aborting the task hangs up.
    pub fn execute_later(&self, prompt: &str) -> JoinHandle<Answer> {
        let (client, body) = ((**self).clone(), json!({"prompt": prompt}));
        in_background(async move { client.post("/execute", body).await })
    }

    /// Lets calls go everywhere again, as if none had failed.
    pub fn forget_failures(&self) {
        self.runtime.directory.backends().values().for_each(|backend| backend.reset_breaker());
    }

    /// Waits until a backend is as busy as wanted.
    pub async fn wait_for_slots(&self, id: &str, what: &str, is_wanted: impl Fn(SlotSnapshot) -> bool) {
        let id = BackendId::new(id);
        eventually(what, || async {
            // One that was just registered need not be there yet.
            let backend = self.runtime.directory.backend(&id).ok_or("no such backend")?;
            let slots = backend.slots();
            if is_wanted(slots) { Ok(()) } else { Err(format!("{slots:?}")) }
        })
        .await;
    }

    /// Waits until so many requests wait for a slot of this backend.
    pub async fn wait_for_waiters(&self, id: &str, count: u32) {
        self.wait_for_slots(id, &format!("{count} waiting requests"), |slots| slots.waiters == count).await;
    }

    /// Waits until no slot is taken and nobody waits: no lease has leaked.
    pub async fn wait_until_idle(&self, id: &str) {
        self.wait_for_slots(id, "an idle backend", |slots| slots.in_use == 0 && slots.waiters == 0).await;
    }
}

/// Runs a future beside the test.
pub fn in_background<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    TaskTracker::new().spawn(future)
}
