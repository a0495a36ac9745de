//! A whole server in this process, on a free port and in a folder of its own.

use std::{net::SocketAddr, ops::Deref, path::Path};

use loadtest::sim::SimBackend;
use penstock::{
    app::{App, Ended, StartError},
    config::{self, Config},
    runtime::{
        Runtime,
        directory::{BackendView, SlotSnapshot},
    },
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Client, soon};

/// A running server; stopped when dropped.
pub struct TestServer {
    client: Client,
    /// Where it listens, for raw connections.
    pub addr: SocketAddr,
    /// The live side, for looking at what the API does not show.
    pub runtime: Runtime,
    stop: CancellationToken,
    ended: tokio::task::JoinHandle<Ended>,
    folder: Option<TempDir>,
}

impl TestServer {
    /// Starts with these settings on top of a free port and an empty folder. The default models are `chat:1b` and
    /// `embed:1b`, unless set.
    pub async fn start(settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut server = Self::start_in(folder.path(), settings).await;
        server.folder = Some(folder);
        server
    }

    /// The same with what no setting can say.
    pub async fn start_tuned(settings: &[(&str, &str)], tune: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut server = Self::start_whole(folder.path(), settings, tune).await;
        server.folder = Some(folder);
        server
    }

    /// The same in a folder that outlives the server.
    pub async fn start_in(folder: &Path, settings: &[(&str, &str)]) -> Self {
        Self::start_whole(folder, settings, |_| {}).await
    }

    /// The same, where it may fail.
    #[cfg_attr(not(feature = "faults"), expect(dead_code, reason = "for tests/failpoints.rs"))]
    pub async fn try_start_in(folder: &Path, settings: &[(&str, &str)]) -> Result<Self, StartError> {
        Self::start_as(Self::config(folder, settings)).await
    }

    async fn start_whole(folder: &Path, settings: &[(&str, &str)], tune: impl FnOnce(&mut Config)) -> Self {
        let mut config = Self::config(folder, settings);
        tune(&mut config);
        Self::start_as(config).await.unwrap()
    }

    fn config(folder: &Path, settings: &[(&str, &str)]) -> Config {
        let folder = folder.to_str().unwrap();
        let standard = [
            ("PORT", "0"),
            ("ADDR", "127.0.0.1"),
            ("DATA_DIR", folder),
            ("TASK_MODEL", "chat:1b"),
            ("EMBED_MODEL", "embed:1b"),
        ];
        let all = standard.iter().chain(settings).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        config::from_env(all).unwrap().0
    }

    async fn start_as(config: Config) -> Result<Self, StartError> {
        // The TLS provider is installed with the first client.
        let early = Client::new(String::new());
        // One recorder for all servers of this process: what they count apart has labels that no other has.
        penstock::telemetry::install().unwrap();
        let app = App::start(config).await?;
        drop(early);
        Ok(Self {
            client: Client::new(format!("http://{}", app.addr)),
            addr: app.addr,
            runtime: app.runtime.clone(),
            stop: app.stopper(),
            ended: TaskTracker::new().spawn(app.ended()),
            folder: None,
        })
    }

    /// Waits until the server has ended by itself, however long that takes.
    #[cfg_attr(not(feature = "faults"), expect(dead_code, reason = "for tests/failpoints.rs"))]
    pub async fn ended(mut self) -> Ended {
        (&mut self.ended).await.unwrap()
    }

    /// Tells the server to stop without waiting.
    pub fn begin_stop(&self) {
        self.stop.cancel();
    }

    /// Stops the server and waits until everything is closed.
    pub async fn stop(mut self) -> Ended {
        self.stop.cancel();
        soon("the stop", &mut self.ended).await.unwrap()
    }

    /// Registers a simulated backend of this type and assigns it to these pools; returns its id.
    pub async fn register(&self, name: &str, kind: &str, sim: &SimBackend, pools: &[&str]) -> String {
        let body = json!({"name": name, "baseUrl": sim.url(), "type": kind});
        self.register_as(body, pools).await
    }

    /// The same with all fields chosen by the test.
    pub async fn register_as(&self, body: Value, pools: &[&str]) -> String {
        let answer = self.post("/backends", body).await.expect(201);
        let id = answer.json()["id"].as_str().unwrap().to_owned();
        for pool in pools {
            self.post(&format!("/backend-associations/{pool}/backends/{id}"), json!(null)).await.expect(201);
        }
        id
    }

    /// Waits until a backend's published view is as wanted.
    pub async fn wait_for_backend(&self, id: &str, what: &str, is_wanted: impl Fn(&BackendView) -> bool + Send) {
        let id = penstock::domain::ids::BackendId::new(id);
        let cell = super::eventually("the backend's place", || async {
            self.runtime.directory.backend(&id).ok_or_else(|| "no such backend".to_owned())
        })
        .await;
        soon(what, cell.wait_until(is_wanted)).await;
    }

    /// Waits until the backend has this model, and all that was asked for before is in force.
    pub async fn wait_for_model(&self, id: &str, model: &str) {
        self.runtime.reconcile.apply().await.unwrap();
        let has_model = |view: &BackendView| view.observed.iter().any(|seen| seen.name == model);
        self.wait_for_backend(id, &format!("model {model} on {id}"), has_model).await;
    }

    /// How busy a backend is.
    pub fn slots(&self, id: &str) -> SlotSnapshot {
        self.runtime.directory.backend(&penstock::domain::ids::BackendId::new(id)).unwrap().slots()
    }
}

impl Deref for TestServer {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
