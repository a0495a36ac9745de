//! Everything the process is told from outside, read once at start and checked before any socket opens.
//!
//! Owned by `app`, which hands each component its own part; nothing below knows the whole.

mod duration;
mod env;
mod log_filter;

use std::{net::IpAddr, num::NonZeroU64, path::PathBuf, time::Duration};

pub use self::log_filter::LogFilter;
use crate::domain::provider::ProviderKind;
pub use env::{ConfigError, client_token, from_env, from_process, passphrase};

/// The whole configuration (`README.md`, configuration table).
#[derive(Clone)]
pub struct Config {
    /// Where to listen.
    pub listen: ListenConfig,
    /// Who may call.
    pub auth: AuthConfig,
    /// Limits of a request and of the connection it comes on.
    pub limits: LimitConfig,
    /// How long answers are wanted, where the request does not say it.
    pub deadlines: DeadlineConfig,
    /// What a caller may use.
    pub rates: RateConfig,
    /// Where everything that is configured is kept.
    pub store: StoreConfig,
    /// What instances share beside it.
    pub shared: SharedConfig,
    /// Default models and pools.
    pub defaults: DefaultsConfig,
    /// Calls to backends.
    pub upstream: UpstreamConfig,
    /// What the process writes about itself.
    pub log: LogConfig,
    /// Which requests are written to the log.
    pub access_log: AccessLogConfig,
    /// Where metrics are served apart from everything else, if anywhere.
    pub metrics: Option<ListenConfig>,
    /// The way out.
    pub drain: DrainConfig,
}

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenConfig {
    /// `None`: all interfaces, IPv6 and IPv4.
    pub address: Option<IpAddr>,
    /// 0 takes a free one.
    pub port: u16,
}

impl std::fmt::Display for ListenConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.address {
            Some(address) => write!(f, "{}", std::net::SocketAddr::new(address, self.port)),
            None => write!(f, "port {} of all interfaces", self.port),
        }
    }
}

/// Who may call.
#[derive(Clone, Default)]
pub struct AuthConfig {
    /// Required of every request but the health probes; `None`: everybody may.
    pub token: Option<String>,
}

/// Limits of a request and of the connection it comes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitConfig {
    /// Bytes of a request body.
    pub max_body_bytes: usize,
    /// Bytes of all bodies that are held at once; more are refused. 0: as many as come.
    pub max_held_bytes: usize,
    /// Time for a request's headers, which is also the idle time of a kept connection.
    pub header_timeout: Duration,
    /// Time for a request's body.
    pub body_timeout: Duration,
    /// Connections at once; more wait in the kernel's backlog.
    pub max_connections: usize,
    /// Requests that ask a model, at once; more are refused. 0: as many as come.
    pub max_in_flight: usize,
    /// Chain runs at once; more are refused.
    pub max_runs: usize,
}

impl Default for LimitConfig {
    fn default() -> Self {
        Self {
            max_body_bytes: 10 * 1024 * 1024,
            max_held_bytes: 1024 * 1024 * 1024,
            header_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(60),
            max_connections: 16_384,
            // Half of the connections: the others can still be told that there is too much, and be asked how it is going.
            max_in_flight: 8_192,
            max_runs: 4_096,
        }
    }
}

/// What a caller may use; what is `None` is not bounded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RateConfig {
    /// Requests that ask a model.
    pub requests_per_minute: Option<NonZeroU64>,
    /// Of these at once; `None`: those of a minute.
    pub request_burst: Option<NonZeroU64>,
    /// Tokens of prompts and answers, counted when the answer is there.
    pub tokens_per_minute: Option<NonZeroU64>,
}

/// How long answers are wanted from the arrival of a request that does not say it (`docs/api.md`, priorities and deadlines);
/// `None`: for as long as it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DeadlineConfig {
    /// Answers to prompts.
    pub prompts: Option<Duration>,
    /// Answers to chats.
    pub chats: Option<Duration>,
    /// Vectors.
    pub embeddings: Option<Duration>,
    /// Ends of task chains.
    pub tasks: Option<Duration>,
}

/// Which requests are written to the log (`docs/operations.md`, logs).
#[derive(Debug, Clone, PartialEq)]
pub struct AccessLogConfig {
    /// The part of all requests that gets a line, from 0 to 1.
    pub sample: f64,
    /// Those that take so long get one in any case; `None`: they do not.
    pub slow: Option<Duration>,
}

impl Default for AccessLogConfig {
    fn default() -> Self {
        // Long answers of slow models take so long, and who waits longer will ask why.
        Self { sample: 0.0, slow: Some(Duration::from_secs(60)) }
    }
}

/// What happens after a stop signal (`docs/operations.md`, draining).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrainConfig {
    /// How long the process is not ready and serves all the same.
    pub settle: Duration,
    /// How long work may go on, from the signal.
    pub timeout: Duration,
}

impl Default for DrainConfig {
    fn default() -> Self {
        // The shortest patience of the usual process managers is 10 seconds (`docker stop`).
        Self { settle: Duration::ZERO, timeout: Duration::from_secs(8) }
    }
}

/// Where everything that is configured is kept.
#[derive(Clone)]
pub struct StoreConfig {
    /// A PostgreSQL database; `None`: the embedded store in the folder.
    pub database: Option<DatabaseConfig>,
    /// Folder of the embedded store and of the key file.
    pub data_dir: PathBuf,
    /// Encrypts stored keys; `None`: a key file in the folder.
    pub secret_key: Option<String>,
    /// The secret before it, which stored keys may still be encrypted with.
    pub previous_key: Option<String>,
}

/// What instances share beside the database.
#[derive(Clone, Default)]
pub struct SharedConfig {
    /// A Valkey or Redis server.
    pub valkey: Option<ValkeyConfig>,
    /// A NATS server.
    pub nats: Option<NatsConfig>,
}

/// A Valkey or Redis server.
#[derive(Clone)]
pub struct ValkeyConfig {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Its password, where it wants one.
    pub password: Option<String>,
}

/// A NATS server, or several of one cluster.
#[derive(Clone)]
pub struct NatsConfig {
    /// Their URLs, with commas between them.
    pub url: String,
    /// The user, where they want one.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<String>,
}

/// A PostgreSQL database.
#[derive(Clone)]
pub struct DatabaseConfig {
    /// Its URL, with the password in it.
    pub url: String,
    /// How long a start waits for it.
    pub wait: Duration,
}

/// Whether models that nobody declared are deleted from Ollama servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ModelSync {
    /// Only ever adds.
    #[default]
    Additive,
    /// Deletes what is present but not declared.
    Mirror,
}

impl ModelSync {
    /// Its name in the setting.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Additive => "additive",
            Self::Mirror => "mirror",
        }
    }
}

/// Default models, what is asked of them, and how models are kept in sync.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefaultsConfig {
    /// Default embedding model.
    pub embed_model: String,
    /// Default prompt and chat model.
    pub task_model: String,
    /// Only backends of this kind serve the default embedding model; `None`: local ones.
    pub embed_provider: Option<ProviderKind>,
    /// Only backends of this kind serve the default task model; `None`: local ones.
    pub task_provider: Option<ProviderKind>,
    /// Tokens of context of the default embedding model, 0 = discovered.
    pub embed_context_length: i64,
    /// Tokens of context of the default task model, 0 = discovered.
    pub task_context_length: i64,
    /// Bound on a reply's tokens where the caller gives none.
    pub max_output_tokens: u32,
    /// Sent with `/execute` and by tasks that parse replies; empty sends none.
    pub system_instruction: String,
    /// What the sync may delete.
    pub model_sync: ModelSync,
}

/// Told to models when the caller is a program that wants the answer alone.
const DEFAULT_SYSTEM_INSTRUCTION: &str =
    "Your reply is read by another program. Answer directly and briefly. Give only the answer.";

impl Default for DefaultsConfig {
    fn default() -> Self {
        Self {
            embed_model: "nomic-embed-text:latest".to_owned(),
            task_model: "qwen3:4b".to_owned(),
            embed_provider: None,
            task_provider: None,
            embed_context_length: 0,
            task_context_length: 0,
            max_output_tokens: 512,
            system_instruction: DEFAULT_SYSTEM_INSTRUCTION.to_owned(),
            model_sync: ModelSync::Additive,
        }
    }
}

/// Calls to backends: a timeout for each phase, and where the cloud providers are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamConfig {
    /// Until a connection stands.
    pub connect_timeout: Duration,
    /// Until the answer begins; for a call that does not stream this is the whole generation.
    pub first_byte_timeout: Duration,
    /// Between two pieces of an answer.
    pub idle_timeout: Duration,
    /// For everything.
    pub request_timeout: Duration,
    /// Base URL of the OpenAI provider's backend.
    pub openai_base_url: String,
    /// Base URL of the Gemini provider's backend.
    pub gemini_base_url: String,
    /// Base URL of the service that counts tokens; `None`: backends that can, else the built-in vocabulary.
    pub tokenizer_service_url: Option<String>,
}

impl Default for UpstreamConfig {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            first_byte_timeout: Duration::from_secs(300),
            idle_timeout: Duration::from_secs(60),
            request_timeout: Duration::from_secs(600),
            openai_base_url: "https://api.openai.com/v1".to_owned(),
            gemini_base_url: "https://generativelanguage.googleapis.com".to_owned(),
            tokenizer_service_url: None,
        }
    }
}

/// Form of the log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What the process writes about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// `None`: text on a terminal, else JSON.
    pub format: Option<LogFormat>,
    /// What is written at the start.
    pub filter: LogFilter,
}
