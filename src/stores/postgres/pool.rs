//! The connections of a process, lent to those who work (deadpool): how many, how long anybody waits for one, and what is
//! told while there is none.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use deadpool_postgres::{Hook, HookError, Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{address::DatabaseAddress, connection::STATEMENT_TIME};
use crate::stores::sql::{OpenError, errors::SqlError};

/// Longest wait for a connection that others use.
const WAIT: Duration = Duration::from_secs(5);
/// Longest wait for a new one.
const CREATE: Duration = if cfg!(test) { Duration::from_secs(1) } else { Duration::from_secs(3) };
/// Longest wait until a used one is fit again.
const RECYCLE: Duration = Duration::from_secs(3);
/// Longest silence of a client in the middle of a transaction, as the server counts it: a client that has died.
const IDLE_IN_TRANSACTION: Duration = Duration::from_secs(10);
/// How long nobody asks again after a failure: who comes meanwhile is told the same at once.
const REST: Duration = Duration::from_millis(300);
/// Longest wait for the system until it gives an unreachable server up.
const UNREACHABLE: Duration = Duration::from_secs(10);

/// Lends connections. Cheap to clone.
#[derive(Clone)]
pub(super) struct Lender {
    pool: Pool,
    trouble: Arc<Mutex<Option<Trouble>>>,
}

/// Why there was no connection a moment ago.
struct Trouble {
    since: Instant,
    reason: Arc<str>,
}

/// What others are told of it.
#[derive(Debug)]
struct StillInTrouble(Arc<str>);

impl fmt::Display for StillInTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StillInTrouble {}

impl Lender {
    /// Connections to one database, at most this many. None is made yet.
    pub(super) fn new(address: &DatabaseAddress, tls: MakeRustlsConnect, most: usize) -> Result<Self, OpenError> {
        let mut config = address.config.clone();
        config.connect_timeout(CREATE).keepalives_idle(UNREACHABLE).tcp_user_timeout(UNREACHABLE);
        let settings = format!(
            "SET statement_timeout = {}; SET idle_in_transaction_session_timeout = {}; SET client_min_messages = warning",
            STATEMENT_TIME.as_millis(),
            IDLE_IN_TRANSACTION.as_millis()
        );
        let prepare = Hook::async_fn(move |client: &mut deadpool_postgres::ClientWrapper, _| {
            let settings = settings.clone();
            Box::pin(async move { client.batch_execute(&settings).await.map_err(HookError::Backend) })
        });
        let manager = Manager::from_config(config, tls, ManagerConfig { recycling_method: RecyclingMethod::Fast });
        let pool = Pool::builder(manager)
            .max_size(most)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(WAIT))
            .create_timeout(Some(CREATE))
            .recycle_timeout(Some(RECYCLE))
            .post_create(prepare)
            .build()
            .map_err(|error| OpenError::database(&address.to_string(), SqlError::Broken(Box::new(error))))?;
        Ok(Self { pool, trouble: Arc::default() })
    }

    /// A connection, waiting for it as long as that makes sense.
    pub(super) async fn lend(&self) -> Result<Object, SqlError> {
        if let Some(trouble) = self.lock().as_ref().filter(|trouble| trouble.since.elapsed() < REST) {
            return Err(SqlError::Unavailable(Box::new(StillInTrouble(Arc::clone(&trouble.reason)))));
        }
        let lent = self.pool.get().await.map_err(|error| match error {
            // Whatever a server says instead of letting us in, it may say something else when it is set right.
            PoolError::Backend(error) => SqlError::Unavailable(Box::new(error)),
            PoolError::PostCreateHook(HookError::Backend(error)) => SqlError::Unavailable(Box::new(error)),
            other => SqlError::Unavailable(Box::new(other)),
        });
        match &lent {
            Ok(_) => *self.lock() = None,
            Err(error) => self.note(error),
        }
        lent
    }

    /// Something has shown that the server is in trouble.
    pub(super) fn note(&self, error: &SqlError) {
        let reason = crate::stores::sql::errors::with_causes(error).into();
        *self.lock() = Some(Trouble { since: Instant::now(), reason });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Trouble>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
