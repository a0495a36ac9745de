//! The composition root: opens what a server is made of, from the store up to the socket, and closes it the other way.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    api::{Api, ChainPrograms},
    config::{Config, DefaultsConfig, DrainConfig, ListenConfig, NatsConfig, StoreConfig, ValkeyConfig},
    domain::{
        ids::{InstanceId, PoolId},
        model::Capabilities,
        pool::{EMBED_POOL, TASKS_POOL},
    },
    engine::EngineSettings,
    http::{HttpConfig, Service, listener},
    providers::{ProviderError, TokenizerService, Transport, TransportConfig},
    runtime::{RootEnded, Runtime, RuntimeDeps, dispatch::RouteDefaults},
    shutdown::{Drain, DrainTimes},
    stores::{
        bus::{Bus, in_process::Hub},
        catalog::{CatalogStore, SeedModel, SeedPool, StoreError},
        embedded::{self, EmbeddedSettings},
        nats::{NatsBus, NatsSettings},
        postgres::{self, AddressError, DatabaseAddress, PostgresSettings},
        sql::{Changes, OpenError, SecretKey, SqlStore, Transfer},
        valkey::{Valkey, ValkeyBus, ValkeyError, ValkeySettings},
    },
};

/// Longest time of one chain attempt whose task sets no timeout.
const DEFAULT_STEP_TIMEOUT: Duration = Duration::from_secs(300);
/// What clients get for the last words of answers that the drain has ended.
const NOTICE_TIME: Duration = Duration::from_millis(750);
/// What actors and their tasks get after the last request.
const ACTOR_STOP_TIME: Duration = Duration::from_secs(1);

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The database's address: a setting that cannot be used.
    #[error("DATABASE_URL: {0}")]
    Address(#[from] AddressError),
    /// The pools and models that must exist.
    #[error("the default pools and models could not be stored: {0}")]
    Seed(#[source] StoreError),
    /// The client of Valkey.
    #[error(transparent)]
    Valkey(#[from] ValkeyError),
    /// The HTTP client.
    #[error("the HTTP client could not be set up: {0}")]
    Transport(#[source] reqwest::Error),
    /// The tokenizer service's address.
    #[error("TOKENIZER_SERVICE_URL: {0}")]
    Tokenizer(#[source] ProviderError),
    /// The actors.
    #[error(transparent)]
    Runtime(#[from] RootEnded),
    /// The listening socket.
    #[error("cannot listen on {address}: {source}; set PORT, ADDR or METRICS_ADDR, or stop what uses it")]
    Listen {
        /// The wanted address and port.
        address: ListenConfig,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
}

/// How a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// As it was told to, every request answered.
    Drained,
    /// As it was told to, with this many requests that were not finished when the time for work was over. They were told
    /// so, as far as they took it.
    Cut(usize),
    /// By itself: an actor at the top could not live. Requests that ran have been answered, as in a stop.
    Failed,
}

/// A running server.
pub struct App {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Where it serves metrics, if apart from everything else.
    pub metrics_addr: Option<SocketAddr>,
    /// The live side, for tests and for those who embed the server.
    pub runtime: Runtime,
    store: Arc<SqlStore>,
    stopping: CancellationToken,
    server: JoinHandle<usize>,
    root: JoinHandle<RootEnded>,
}

impl App {
    /// Starts a server; when this returns, it answers.
    ///
    /// # Errors
    /// The first part that cannot be opened, in one line that says what to do.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let database = address_of(&config.store)?;
        // The socket is opened early, so that a taken port is told before anything is written, and served last.
        let bind = |address: &ListenConfig| {
            listener::bind(address).map_err(|source| StartError::Listen { address: address.clone(), source })
        };
        let listener = bind(&config.listen)?;
        let metrics_listener = config.metrics.as_ref().map(bind).transpose()?;
        let store = open_store(config.store, database).await?;
        let (pools, models) = seeds(&config.defaults);
        store.seed(pools, models).await.map_err(StartError::Seed)?;
        let transport = Transport::new(TransportConfig {
            connect: config.upstream.connect_timeout,
            first_byte: config.upstream.first_byte_timeout,
            idle: config.upstream.idle_timeout,
            total: config.upstream.request_timeout,
        })
        .map_err(StartError::Transport)?;
        let tokenizer = config.upstream.tokenizer_service_url.as_deref();
        let tokenizer = tokenizer.map(|url| TokenizerService::new(url, transport.clone())).transpose();
        let tokenizer = tokenizer.map_err(StartError::Tokenizer)?;
        let instance = InstanceId::new(&uuid::Uuid::new_v4().simple().to_string()[..8]);
        let valkey = config.shared.valkey.map(|config| valkey_settings(config, store.cluster()));
        let bus = open_bus(config.shared.nats, valkey.as_ref(), store.cluster(), &instance)?;
        let shared = match &valkey {
            Some(settings) => Some(Valkey::start(settings, instance.clone()).await?),
            None => None,
        };
        let catalog: Arc<dyn CatalogStore> = Arc::clone(&store) as _;
        let (runtime, root) = Runtime::start(RuntimeDeps {
            store: Arc::clone(&catalog),
            leases: Arc::clone(&store) as _,
            instance: instance.clone(),
            bus,
            turns: shared.as_ref().map(|shared| Arc::clone(&shared.turns)),
            answers: shared.as_ref().map(|shared| Arc::clone(&shared.answers)),
            transport,
            tokenizer,
            defaults: RouteDefaults {
                task_model: config.defaults.task_model.clone(),
                embed_model: config.defaults.embed_model.clone(),
                task_provider: config.defaults.task_provider,
                embed_provider: config.defaults.embed_provider,
            },
            model_sync: config.defaults.model_sync,
            engine: EngineSettings {
                default_system_instruction: config.defaults.system_instruction.clone(),
                max_output_tokens: config.defaults.max_output_tokens,
                default_step_timeout: DEFAULT_STEP_TIMEOUT,
                counts_exactly: false,
            },
            max_runs: config.limits.max_runs,
        })
        .await?;
        // The first request finds the pools and backends that are stored.
        if let Err(error) = runtime.reconcile.apply().await {
            tracing::warn!(%error, "the stored pools and backends are not in force yet; trying again");
        }
        let api = Api {
            store: catalog,
            runtime: runtime.clone(),
            defaults: Arc::new(config.defaults),
            upstream: Arc::new(config.upstream),
            programs: ChainPrograms::default(),
            is_protected: config.auth.token.is_some(),
            instance,
        };
        let (stopping, drain) = (CancellationToken::new(), Drain::default());
        let http = HttpConfig {
            auth: config.auth,
            limits: config.limits,
            rates: config.rates,
            deadlines: config.deadlines,
            access_log: config.access_log,
        };
        let service = Service::new(api, http, drain.clone(), shared.map(|shared| shared.rates));
        let address = config.listen;
        let at = |listener: &TcpListener| {
            listener.local_addr().map_err(|source| StartError::Listen { address: address.clone(), source })
        };
        let addr = at(&listener)?;
        let metrics_addr = metrics_listener.as_ref().map(at).transpose()?;
        let tasks = TaskTracker::new();
        let DrainConfig { settle, timeout: deadline } = config.drain;
        let (stop, times) = (stopping.clone(), DrainTimes { settle, deadline, notice: NOTICE_TIME });
        let server = tasks.spawn(async move {
            tokio::select! {
                () = serve(listener, metrics_listener, service, &drain) => drain.ended(),
                never = drain.conduct(stop, times) => never,
            }
        });
        let root = tasks.spawn(root);
        let heeding = heed_others(store.changes(), runtime.clone());
        tasks.spawn(stopping.clone().run_until_cancelled_owned(heeding));
        Ok(Self { addr, metrics_addr, runtime, store, stopping, server, root })
    }

    /// Cancelling it stops the server: no new work, running requests finish.
    pub fn stopper(&self) -> CancellationToken {
        self.stopping.clone()
    }

    /// Waits until the server has ended, and closes everything in order: requests, actors, store.
    pub async fn ended(mut self) -> Ended {
        let served = tokio::select! {
            served = &mut self.server => match served {
                Ok(unfinished) => Some(unfinished),
                Err(error) => {
                    tracing::error!(%error, "the listener failed");
                    None
                }
            },
            ended = &mut self.root => {
                if let Ok(ended) = ended {
                    tracing::error!(error = %ended, "the server cannot go on");
                }
                // What runs needs no actor, and gets its answer.
                self.stopping.cancel();
                if let Err(error) = (&mut self.server).await {
                    tracing::error!(%error, "the listener failed");
                }
                None
            }
        };
        self.runtime.stop(ACTOR_STOP_TIME).await;
        self.store.close().await;
        match served {
            None => Ended::Failed,
            Some(0) => Ended::Drained,
            Some(unfinished) => Ended::Cut(unfinished),
        }
    }
}

/// Serves everything at one door, or metrics at another.
async fn serve(listener: TcpListener, metrics: Option<TcpListener>, service: Service, drain: &Drain) {
    match metrics {
        None => listener::serve(listener, service, drain).await,
        Some(metrics) => {
            let (service, of_metrics) = service.with_metrics_apart();
            tokio::join!(listener::serve(listener, service, drain), listener::serve(metrics, of_metrics, drain));
        }
    }
}

/// Opens the store that is configured.
async fn open_store(config: StoreConfig, address: Option<DatabaseAddress>) -> Result<Arc<SqlStore>, StartError> {
    match settings_of(config, address) {
        StoreSettings::Postgres(settings) => Ok(postgres::open(*settings).await?),
        StoreSettings::Embedded(settings) => blocking(move || embedded::open(&settings)).await,
    }
}

/// Opens the configured store to take everything out of it.
///
/// # Errors
/// As [`App::start`].
pub async fn open_for_export(config: StoreConfig) -> Result<Transfer, StartError> {
    let address = address_of(&config)?;
    match settings_of(config, address) {
        StoreSettings::Postgres(settings) => Ok(postgres::open_for_export(*settings).await?),
        StoreSettings::Embedded(settings) => blocking(move || embedded::open_for_export(&settings)).await,
    }
}

/// Opens the configured store to put everything into it.
///
/// # Errors
/// As [`App::start`].
pub async fn open_for_import(config: StoreConfig) -> Result<Transfer, StartError> {
    let address = address_of(&config)?;
    match settings_of(config, address) {
        StoreSettings::Postgres(settings) => Ok(postgres::open_for_import(*settings).await?),
        StoreSettings::Embedded(settings) => blocking(move || embedded::open_for_import(&settings)).await,
    }
}

/// Which store it is, with all that it needs.
enum StoreSettings {
    Postgres(Box<PostgresSettings>),
    Embedded(EmbeddedSettings),
}

fn address_of(config: &StoreConfig) -> Result<Option<DatabaseAddress>, StartError> {
    Ok(config.database.as_ref().map(|database| database.url.parse()).transpose()?)
}

fn settings_of(config: StoreConfig, address: Option<DatabaseAddress>) -> StoreSettings {
    let secret_key = config.secret_key.map(SecretKey::new);
    let previous_key = config.previous_key.map(SecretKey::new);
    if let (Some(database), Some(address)) = (config.database, address) {
        let key_file = config.data_dir.join("secret.key");
        let settings = PostgresSettings { address, secret_key, previous_key, key_file, wait: database.wait };
        return StoreSettings::Postgres(Box::new(settings));
    }
    StoreSettings::Embedded(EmbeddedSettings { data_dir: config.data_dir, secret_key, previous_key })
}

/// Opening an embedded store touches the disk.
async fn blocking<T: Send + 'static>(
    open: impl FnOnce() -> Result<T, OpenError> + Send + 'static,
) -> Result<T, StartError> {
    let opened = tokio::task::spawn_blocking(open).await;
    Ok(opened.map_err(|error| OpenError::System { reason: std::io::Error::other(error) })??)
}

fn valkey_settings(config: ValkeyConfig, cluster: &str) -> ValkeySettings {
    let ValkeyConfig { host, port, password } = config;
    ValkeySettings { host, port, password, cluster: cluster.to_owned() }
}

/// The bus between instances: NATS where it is set, else Valkey, else there is nobody to talk to.
fn open_bus(
    nats: Option<NatsConfig>,
    valkey: Option<&ValkeySettings>,
    cluster: &str,
    me: &InstanceId,
) -> Result<Arc<dyn Bus>, StartError> {
    Ok(match (nats, valkey) {
        (Some(NatsConfig { url, user, password }), _) => {
            let cluster = cluster.to_owned();
            Arc::new(NatsBus::start(NatsSettings { url, user, password, cluster }, me.clone()))
        }
        (None, Some(settings)) => Arc::new(ValkeyBus::start(settings, me.clone())?),
        (None, None) => Arc::new(Hub::default().join(me.clone())),
    })
}

/// Puts in force what other instances change.
async fn heed_others(mut changes: Changes, runtime: Runtime) {
    loop {
        changes.next().await;
        runtime.reconcile.poke();
    }
}

/// The pools and models that exist from the first start on (`docs/operations.md`, created at startup).
fn seeds(defaults: &DefaultsConfig) -> (Vec<SeedPool>, Vec<SeedModel>) {
    let pool = |id: &str, name: &str, purpose: &str| SeedPool {
        id: PoolId::new(id),
        name: name.to_owned(),
        purpose_type: purpose.to_owned(),
    };
    let pools = vec![pool(EMBED_POOL, "Embedder", "Internal Embeddings"), pool(TASKS_POOL, "Tasks", "Internal Tasks")];
    let models = vec![
        SeedModel {
            name: defaults.embed_model.clone(),
            context_length: defaults.embed_context_length,
            capabilities: Capabilities::EMBED,
            pool: PoolId::new(EMBED_POOL),
        },
        SeedModel {
            name: defaults.task_model.clone(),
            context_length: defaults.task_context_length,
            capabilities: Capabilities::GENERATE,
            pool: PoolId::new(TASKS_POOL),
        },
    ];
    (pools, models)
}
