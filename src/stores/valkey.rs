//! Valkey or Redis (fred): state that instances share and that may be lost.
//!
//! Owns the connections. It is an accelerator: every command has a timeout, nothing is queued without a bound, and whoever
//! uses it does without while it is away.

mod answers;
mod bus;
mod client;
mod rates;
#[cfg(test)]
mod tests;
mod turns;

use std::{sync::Arc, time::Duration};

use fred::{
    interfaces::ClientLike,
    prelude::{Builder, Config, Error, ReconnectPolicy, ServerConfig},
    types::{
        RespVersion,
        config::{ConnectionConfig, PerformanceConfig, TcpConfig, UnresponsiveConfig},
    },
};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use self::{answers::ValkeyAnswers, client::ValkeyClient, rates::ValkeyRates, turns::ValkeyTurns};
use crate::{
    domain::{ids::InstanceId, shared_rates::SharedRates},
    stores::shared::{AnswerCache, SlotLeases},
};

pub use bus::ValkeyBus;

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(3);
/// The same at a start.
const FIRST_CONNECT: Duration = Duration::from_secs(1);
/// Longest wait for the answer to a command.
const COMMAND: Duration = Duration::from_millis(500);
/// Silence after which a connection with a command on it is given up.
const SILENCE: Duration = Duration::from_secs(2);
/// Commands that may wait for a connection.
const WAITING_COMMANDS: usize = 1024;
/// Shortest and longest rest between two attempts to connect, in milliseconds.
const RETRY_MILLIS: (u32, u32) = (50, 2_000);

/// Which server.
#[derive(Clone)]
pub struct ValkeySettings {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Its password, where it wants one.
    pub password: Option<String>,
    /// What all instances of one database have in common, and no others.
    pub cluster: String,
}

impl ValkeySettings {
    /// A builder of clients that never wait long.
    fn builder(&self) -> Builder {
        let config = Config {
            server: ServerConfig::new_centralized(self.host.clone(), self.port),
            password: self.password.clone(),
            version: RespVersion::RESP3,
            // A server that is not there yet is as good as one that is not there any more.
            fail_fast: false,
            ..Config::default()
        };
        let mut builder = Builder::from_config(config);
        builder
            .set_policy(ReconnectPolicy::new_exponential(0, RETRY_MILLIS.0, RETRY_MILLIS.1, 2))
            .set_connection_config(ConnectionConfig {
                connection_timeout: CONNECT,
                internal_command_timeout: CONNECT,
                max_command_attempts: 1,
                max_command_buffer_len: WAITING_COMMANDS,
                reconnect_on_auth_error: true,
                unresponsive: UnresponsiveConfig { max_timeout: Some(SILENCE), interval: Duration::from_millis(500) },
                tcp: TcpConfig { nodelay: Some(true), ..TcpConfig::default() },
                ..ConnectionConfig::default()
            })
            .set_performance_config(PerformanceConfig {
                default_command_timeout: COMMAND,
                broadcast_channel_capacity: WAITING_COMMANDS,
                ..PerformanceConfig::default()
            });
        builder
    }
}

/// The client could not be set up: a fault of the settings.
#[derive(Debug, thiserror::Error)]
#[error("the client of Valkey could not be set up: {0}")]
pub struct ValkeyError(#[from] Error);

/// What instances share on a Valkey, but for the bus.
#[derive(Clone)]
pub struct Valkey {
    /// Rates of callers.
    pub rates: Arc<dyn SharedRates>,
    /// Answers that may be given again.
    pub answers: Arc<dyn AnswerCache>,
    /// Slots of backends that have few.
    pub turns: Arc<dyn SlotLeases>,
}

impl Valkey {
    /// Connects; it does not wait long for it, for who is not there yet may come.
    ///
    /// # Errors
    /// When the settings make no sense to the client.
    pub async fn start(settings: &ValkeySettings, me: InstanceId) -> Result<Self, ValkeyError> {
        let client = ValkeyClient::start(settings)?;
        if !matches!(timeout(FIRST_CONNECT, client.client().wait_for_connect()).await, Ok(Ok(()))) {
            tracing::warn!("Valkey does not answer yet: this instance goes on by itself until it does");
        }
        Ok(Self {
            rates: Arc::new(ValkeyRates::new(client.clone())),
            answers: Arc::new(ValkeyAnswers::new(client.clone())),
            turns: Arc::new(ValkeyTurns::new(client, me)),
        })
    }
}

/// Ends a client's own tasks with ours.
struct Ended<C: ClientLike + 'static>(C);

impl<C: ClientLike + 'static> Drop for Ended<C> {
    fn drop(&mut self) {
        let client = self.0.clone();
        TaskTracker::new().spawn(async move { drop(client.quit().await) });
    }
}
