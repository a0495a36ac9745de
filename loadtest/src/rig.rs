//! Everything that is up during a measurement: the simulated backends in a process of their own, and a server of each target
//! before them.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use reqwest::Client;
use serde_json::{Value, json};

use crate::{
    fleet::Places,
    process::Process,
    scenario::{Question, Scenario},
    served::{PATIENCE, Served},
    target::{Target, What},
};

/// Concurrent calls of a backend that has no bound of its own: no more than are ever asked.
const NO_BOUND: usize = 60_000;
/// Names of the models where any will do.
const CHAT_MODEL: &str = "chat:1b";
const EMBED_MODEL: &str = "embed:1b";
/// The same model to Penstock, and another text: its name must be put into the body, as it is for clients who use aliases.
const CHAT_ALIAS: &str = "Chat:1B";
/// The pools of Penstock that requests go to which name none: for texts, and for vectors.
const POOLS: [&str; 2] = ["internal_tasks_pool", "internal_embed_pool"];

/// The backends and the servers of the targets, until dropped.
pub(crate) struct Rig {
    pub(crate) backends: Served,
    pub(crate) servers: Vec<Server>,
}

/// One target's server.
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    pub(crate) host: String,
    /// Nothing where nobody knows it.
    pub(crate) process: Option<Process>,
    /// What the chat model and the embedding model are called there.
    pub(crate) models: (String, String),
    pub(crate) is_penstock: bool,
    /// Ends with this value.
    _served: Option<Served>,
}

impl Rig {
    /// Starts everything that these scenarios need, which must be able to share it, and waits until it answers.
    pub(crate) async fn start(scenario: &Scenario, file: &Path, targets: &[Target], port: u16) -> Result<Self> {
        let (backends, line) = Served::fleet(file, port).await.context("the simulated backends do not start")?;
        let fleet: Places = serde_json::from_str(&line).context("the simulated backends do not tell where they are")?;
        let mut rig = Self { backends, servers: Vec::new() };
        for target in targets {
            let server = server(scenario, target, &fleet).await;
            rig.servers.push(server.with_context(|| format!("target {}", target.name))?);
        }
        Ok(rig)
    }
}

/// Starts a target's server before these backends, unless it is there already.
async fn server(scenario: &Scenario, target: &Target, fleet: &Places) -> Result<Server> {
    let first = fleet.members.first().context("there is no backend")?;
    let known = |served: Served| {
        let (address, process) = (address_of(&served.url)?, served.process()?);
        Ok::<_, anyhow::Error>((address, Some(process), Some(served)))
    };
    let (address, process, served) = match &target.what {
        What::Penstock(binary) => {
            let binary = binary.clone().map_or_else(penstock_beside_this, Ok)?;
            let settings: Vec<(&str, &str)> =
                scenario.server.environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let served = Served::penstock(&binary, &settings).await?;
            register(&served.url, fleet, scenario).await?;
            known(served)?
        }
        What::Floor => known(Served::floor(&first.url).await?)?,
        What::Direct => (address_of(&first.url)?, None, None),
        What::Server { address, process, .. } => (*address, *process, None),
    };
    let host = match &target.what {
        What::Server { host, .. } => host.clone(),
        _ => address.to_string(),
    };
    let is_penstock = matches!(target.what, What::Penstock(_));
    let chat_model = if is_penstock { CHAT_ALIAS } else { CHAT_MODEL };
    let models = (chat_model.to_owned(), EMBED_MODEL.to_owned());
    Ok(Server { name: target.name.clone(), address, host, process, models, is_penstock, _served: served })
}

impl Server {
    /// Whether it can be asked this.
    pub(crate) fn takes(&self, question: &Question) -> bool {
        self.is_penstock || !question.is_of_penstock_alone()
    }
}

fn address_of(url: &str) -> Result<SocketAddr> {
    url.trim_start_matches("http://").parse().with_context(|| format!("{url} is no address"))
}

/// The server's binary in the folder of this program, where both are built.
fn penstock_beside_this() -> Result<PathBuf> {
    let beside = std::env::current_exe()?.with_file_name("penstock");
    ensure!(beside.exists(), "{} is not there: build it with the same profile, or say --server FILE", beside.display());
    Ok(beside)
}

/// Makes the backends and the hook known to a Penstock, and waits until it answers what is asked.
async fn register(server: &str, fleet: &Places, scenario: &Scenario) -> Result<()> {
    let api = Api { http: Client::new(), server: server.to_owned() };
    for member in &fleet.members {
        let slots = member.slots.unwrap_or(NO_BOUND);
        let backend = json!({"name": member.name, "baseUrl": member.url, "type": member.kind, "maxConcurrency": slots});
        let created = api.send("POST", "/backends", Some(&backend)).await?;
        let id = created["id"].as_str().context("a backend has no id")?;
        for pool in POOLS {
            api.send("POST", &format!("/backend-associations/{pool}/backends/{id}"), None).await?;
        }
    }
    let hook = json!({"name": "echo", "endpointUrl": fleet.hook, "method": "POST", "timeoutMs": 10_000});
    api.send("POST", "/hooks/remote", Some(&hook)).await?;
    if let Some(pool) = &scenario.server.pool {
        api.send("PUT", &format!("/pools/{}", POOLS[0]), Some(&Value::Object(pool.clone()))).await?;
    }
    for question in &scenario.questions {
        let body: Value = serde_json::from_str(&question.body(CHAT_ALIAS, EMBED_MODEL))?;
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = api.send("POST", question.path(), Some(&body)).await {
            if Instant::now() > deadline {
                return Err(error.context("what the scenario asks is not answered"));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(())
}

struct Api {
    http: Client,
    server: String,
}

impl Api {
    async fn send(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let method = method.parse()?;
        let mut request = self.http.request(method, format!("{}{path}", self.server));
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = request.send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        if !status.is_success() {
            bail!("{path} is answered {status}: {text}");
        }
        Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
    }
}
