//! What a test holds: a builder, the running backend, and the controls every simulated server has.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    ops::Deref,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use crate::sim::{
    capacity::Capacity,
    desk::{Desk, UnderLoad},
    dialect::Dialect,
    gate::{Gates, HoldGate},
    gemini::Gemini,
    library::{Library, Naming},
    model::SimModel,
    ollama::Ollama,
    openai::{Flavour, OpenAi},
    profile::Profile,
    pull::Puller,
    record::{Record, Recorder},
    route::Routes,
    script::{Rule, Script, Scripted},
    server::Listening,
    wait::{PATIENCE, WaitError},
};

/// A simulated backend before it starts.
pub struct SimBuilder {
    kind: Kind,
    models: Vec<SimModel>,
    catalog: Vec<SimModel>,
    key: Option<String>,
    port: u16,
    pull_interval: Duration,
    keep_requests: bool,
    page_size: usize,
    slots: Option<usize>,
    load: Option<Profile>,
}

/// Which protocol is spoken.
#[derive(Clone, Copy)]
enum Kind {
    Ollama,
    OpenAi(Flavour),
    Gemini,
}

impl SimBuilder {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            models: Vec::new(),
            catalog: Vec::new(),
            key: None,
            port: 0,
            pull_interval: Duration::ZERO,
            keep_requests: true,
            page_size: usize::MAX,
            slots: None,
            load: None,
        }
    }

    /// Serves this model: a name, or a [`SimModel`] with details.
    pub fn model(mut self, model: impl Into<SimModel>) -> Self {
        self.models.push(model.into());
        self
    }

    /// Models that can be pulled (Ollama).
    pub fn catalog<M: Into<SimModel>>(mut self, models: impl IntoIterator<Item = M>) -> Self {
        self.catalog.extend(models.into_iter().map(Into::into));
        self
    }

    /// Demands this key: as a bearer token (OpenAI-compatible servers) or in Google's header (Gemini). Ollama has no keys.
    pub fn api_key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Which OpenAI-compatible server to be; an Ollama and a Gemini stay what they are.
    pub fn flavour(mut self, flavour: Flavour) -> Self {
        if let Kind::OpenAi(own) = &mut self.kind {
            *own = flavour;
        }
        self
    }

    /// Lists at most so many models in one page (Gemini).
    pub fn page_size(mut self, models: usize) -> Self {
        self.page_size = models;
        self
    }

    /// Works on so many calls at once and lets the others wait; llama.cpp tells it at `/slots`, vLLM in `/metrics`.
    pub fn slots(mut self, slots: usize) -> Self {
        self.slots = Some(slots);
        self
    }

    /// Behaves like this under load: calls are answered by the profile, and not by rules.
    pub fn under_load(mut self, profile: Profile) -> Self {
        self.load = Some(profile);
        self
    }

    /// Listens on this port instead of a free one.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Time between two progress lines of a pull; none unless set.
    pub fn pull_interval(mut self, interval: Duration) -> Self {
        self.pull_interval = interval;
        self
    }

    /// Counts requests without keeping them: for long runs under load.
    pub fn count_only(mut self) -> Self {
        self.keep_requests = false;
        self
    }

    /// Starts to listen on 127.0.0.1.
    pub async fn start(self) -> io::Result<SimBackend> {
        let naming = match self.kind {
            Kind::Ollama => Naming::Tagged,
            Kind::OpenAi(Flavour::LlamaCpp) => Naming::Any,
            Kind::OpenAi(_) | Kind::Gemini => Naming::Exact,
        };
        let library = Library::new(naming, self.models, self.catalog);
        let gates = Arc::new(Gates::default());
        let capacity = Capacity::new(self.slots);
        let dialect: Arc<dyn Dialect> = match self.kind {
            Kind::Ollama => {
                let (library, gates) = (Arc::clone(&library), Arc::clone(&gates));
                let puller = Puller { library: Arc::clone(&library), gates, interval: self.pull_interval };
                Arc::new(Ollama::new(library, puller))
            }
            Kind::OpenAi(flavour) => {
                Arc::new(OpenAi::new(Arc::clone(&library), flavour, self.key, Arc::clone(&capacity)))
            }
            Kind::Gemini => Arc::new(Gemini::new(Arc::clone(&library), self.key, self.page_size)),
        };
        let load = self.load.map(UnderLoad::new);
        let server = SimServer::open(self.port, dialect, gates, capacity, load, self.keep_requests).await?;
        Ok(SimBackend { server, library })
    }
}

/// A running simulated LLM backend; dropping it closes its port and connections. Controls: [`SimServer`].
pub struct SimBackend {
    server: SimServer,
    library: Arc<Library>,
}

impl SimBackend {
    /// An Ollama, without models at first.
    pub fn ollama() -> SimBuilder {
        SimBuilder::new(Kind::Ollama)
    }

    /// An OpenAI-compatible server, without models at first; [`SimBuilder::flavour`] chooses which.
    pub fn openai() -> SimBuilder {
        SimBuilder::new(Kind::OpenAi(Flavour::OpenAi))
    }

    /// A vLLM server, without models at first.
    pub fn vllm() -> SimBuilder {
        Self::openai().flavour(Flavour::Vllm)
    }

    /// A Gemini, without models at first.
    pub fn gemini() -> SimBuilder {
        SimBuilder::new(Kind::Gemini)
    }

    /// The base URL OpenAI clients take: with `/v1`.
    pub fn v1_url(&self) -> String {
        format!("{}/v1", self.url())
    }

    /// Installs a model, or replaces the one of that name.
    pub fn add_model(&self, model: impl Into<SimModel>) {
        self.library.install(model.into());
    }

    /// Puts a model into memory, as a call of it does.
    pub fn load_model(&self, name: &str) {
        self.library.load(&self.library.full_name(name));
    }

    /// Makes a model available to pulls.
    pub fn add_to_catalog(&self, model: impl Into<SimModel>) {
        self.library.offer(model.into());
    }

    /// Removes an installed model; false if there is none of that name.
    pub fn remove_model(&self, name: &str) -> bool {
        self.library.remove(name)
    }

    /// Names of the installed models, the newest first.
    pub fn models(&self) -> Vec<String> {
        self.library.installed().iter().map(|model| model.name.clone()).collect()
    }

    /// Holds pulls behind their first progress line at or past this percentage (lines come at every tenth).
    pub fn hold_pulls_at(&self, percent: u8) -> HoldGate {
        self.server.desk.gates.in_pulls(percent)
    }
}

impl Deref for SimBackend {
    type Target = SimServer;

    fn deref(&self) -> &SimServer {
        &self.server
    }
}

/// The controls of every simulated server.
pub struct SimServer {
    desk: Arc<Desk>,
    addr: SocketAddr,
    listening: Mutex<Option<Listening>>,
}

impl SimServer {
    pub(crate) async fn open(
        port: u16,
        dialect: Arc<dyn Dialect>,
        gates: Arc<Gates>,
        capacity: Arc<Capacity>,
        load: Option<UnderLoad>,
        keep_requests: bool,
    ) -> io::Result<Self> {
        let (recorder, script, down) = (Recorder::new(keep_requests), Script::default(), AtomicU16::new(0));
        let desk = Arc::new(Desk { dialect, recorder, script, gates, capacity, load, down });
        let listening = Listening::open(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), Arc::clone(&desk)).await?;
        Ok(Self { desk, addr: listening.addr(), listening: Mutex::new(Some(listening)) })
    }

    /// Where it listens; the same after a restart.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `http://127.0.0.1:PORT`, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Adds a rule behind those that are there.
    pub fn script(&self, rule: Rule) -> Scripted {
        self.desk.script.add(rule)
    }

    /// Forgets all rules; answers that have begun keep theirs.
    pub fn clear_script(&self) {
        self.desk.script.clear();
    }

    /// Holds every model call ([`Routes::CALLS`]) that arrives from now on.
    pub fn hold(&self) -> HoldGate {
        self.hold_on(Routes::CALLS)
    }

    /// Holds the requests of these routes that arrive from now on.
    pub fn hold_on(&self, routes: impl Into<Routes>) -> HoldGate {
        self.desk.gates.at_arrival(routes.into())
    }

    /// Answers everything with this status and the dialect's error; rules and gates do not apply meanwhile.
    pub fn set_down(&self, status: u16) {
        self.desk.down.store(status, Ordering::Relaxed);
    }

    /// Ends [`SimServer::set_down`].
    pub fn set_healthy(&self) {
        self.desk.down.store(0, Ordering::Relaxed);
    }

    /// Closes the port and every connection; requests in flight are recorded as broken. Models, rules and record stay.
    pub async fn stop(&self) {
        let listening = self.listening.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(listening) = listening {
            listening.close().await;
        }
    }

    /// Listens again on the same port.
    pub async fn restart(&self) -> io::Result<()> {
        self.stop().await;
        let listening = Listening::open(self.addr, Arc::clone(&self.desk)).await?;
        *self.listening.lock().unwrap_or_else(PoisonError::into_inner) = Some(listening);
        Ok(())
    }

    /// Connections that were opened so far, those of probes included.
    pub fn connections(&self) -> usize {
        self.desk.recorder.connections()
    }

    /// Bytes of answers that connections have taken so far: what of a large answer nobody reads is not among them.
    pub fn bytes_taken(&self) -> u64 {
        self.desk.recorder.taken()
    }

    /// What it has seen so far.
    pub fn record(&self) -> Record {
        self.desk.recorder.snapshot()
    }

    /// Waits until this many requests have arrived in all.
    pub async fn wait_for_requests(&self, count: usize) -> Result<(), WaitError> {
        self.wait_until(&format!("{count} requests"), |record| record.arrived >= count).await
    }

    /// Waits until this many clients have gone before their answer ended.
    pub async fn wait_for_aborts(&self, count: usize) -> Result<(), WaitError> {
        self.wait_until(&format!("{count} aborted requests"), |record| record.aborted >= count).await
    }

    /// Waits until the record is as wanted, at most ten seconds; `wanted` is for the error's text. The predicate runs at
    /// every change under the record's lock: it must be short and must not call back into this server.
    pub async fn wait_until(&self, wanted: &str, reached: impl FnMut(&Record) -> bool) -> Result<(), WaitError> {
        self.desk.recorder.until(PATIENCE, wanted, reached).await
    }
}
