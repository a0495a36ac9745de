//! A whole server in this process, and a simulated backend behind it where one is wanted.

use loadtest::sim::{Routes, Rule, SimBackend};
use penstock::{
    app::App,
    config,
    domain::{ids::BackendId, pool::TASKS_POOL},
};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

/// The model of the backend, which is the server's default.
pub(crate) const MODEL: &str = "chat:1b";

/// A server on a free port, its data in a folder of its own.
pub(crate) async fn start() -> (App, TempDir) {
    drop(rustls::crypto::ring::default_provider().install_default());
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap().to_owned();
    let variables = [("PORT", "0"), ("ADDR", "127.0.0.1"), ("DATA_DIR", &data), ("TASK_MODEL", MODEL)];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let (config, _) = config::from_env(variables).unwrap();
    (App::start(config).await.unwrap(), folder)
}

/// Ends it in order.
pub(crate) async fn end(app: App) {
    app.stopper().cancel();
    app.ended().await;
}

/// A backend that answers at once, with so many words, registered as one of the default pool.
pub(crate) async fn backend_behind(app: &App, words: usize) -> SimBackend {
    let sim = SimBackend::vllm().model(MODEL).count_only().start().await.unwrap();
    sim.script(Rule::on(Routes::CALLS).reply("word ".repeat(words)));
    let http = reqwest::Client::new();
    let post = async |path: &str, body: Json| {
        let request = http.post(format!("http://{}{path}", app.addr)).header("content-type", "application/json");
        request.body(body.to_string()).send().await.unwrap().error_for_status().unwrap().text().await.unwrap()
    };
    let backend = json!({"name": "sim", "baseUrl": sim.url(), "type": "vllm", "maxConcurrency": 1000});
    let created: Json = serde_json::from_str(&post("/backends", backend).await).unwrap();
    let id = created["id"].as_str().unwrap();
    post(&format!("/backend-associations/{TASKS_POOL}/backends/{id}"), Json::Null).await;
    // What is stored is in force behind this.
    app.runtime.reconcile.apply().await.unwrap();
    let cell = app.runtime.directory.backend(&BackendId::new(id)).unwrap();
    cell.wait_until(|view| view.in_pool && view.observed.iter().any(|model| model.name == MODEL)).await;
    sim
}
