//! PostgreSQL, for production and for several instances that share everything stored.
//!
//! Owns the connections: a pool of them for reads and writes, and one more that listens for changes made by others. Opened
//! and closed by the composition root, used through [`CatalogStore`](crate::stores::catalog::CatalogStore).

mod address;
mod connection;
mod listener;
mod pool;
mod schema;
mod tls;

#[cfg(test)]
mod tests;

use std::{
    error::Error,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{runtime::Handle, sync::watch};
use tokio_postgres::error::SqlState;
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::stores::{
    catalog::MAX_ROWS,
    sql::{
        OpenError, SecretKey, SqlStore, Surroundings, Transfer,
        errors::{SqlError, with_causes},
        identity::identity,
        migrations,
        secrets::{KeyFile, Sealer},
        session::{Connection, Session},
        unlock::{Given, given_keys, unlock},
    },
};
use connection::PostgresConnection;
use listener::Listener;
use pool::Lender;

pub use address::{AddressError, DatabaseAddress};

/// Threads that read, each on at most one connection: a read is over in a millisecond, what is slow is the network.
const READERS: usize = 6;
/// One more than those who work, so that nobody waits for a connection that is just being given back.
const CONNECTIONS: usize = READERS + 2;
/// What a caller waits for at most, whatever is in trouble: more than a statement and a connection take.
const PATIENCE: Duration = Duration::from_secs(9);
/// Between two attempts at the start.
const RETRY: Duration = Duration::from_millis(500);

/// Where the store lives and what encrypts the keys in it.
#[derive(Clone)]
pub struct PostgresSettings {
    /// The database.
    pub address: DatabaseAddress,
    /// `SECRET_KEY`; without it a key file.
    pub secret_key: Option<SecretKey>,
    /// `SECRET_KEY_PREVIOUS`, with which stored keys may still be encrypted.
    pub previous_key: Option<SecretKey>,
    /// The key file, made on first start where no secret is given.
    pub key_file: PathBuf,
    /// How long to wait for a database that does not answer yet.
    pub wait: Duration,
}

/// Waits for the database, brings its schema up to date and listens for changes.
///
/// # Errors
/// One line that says what is wrong and what to do.
pub async fn open(settings: PostgresSettings) -> Result<Arc<SqlStore>, OpenError> {
    open_with_cap(settings, MAX_ROWS).await
}

/// As [`open`] with another cap on the rows of a table.
async fn open_with_cap(settings: PostgresSettings, max_rows: u64) -> Result<Arc<SqlStore>, OpenError> {
    let config = settings.address.config.clone();
    let Opened { connections, tls, sealer, cluster } = prepare(settings).await?;
    let (changes, told) = watch::channel(0);
    let stop = CancellationToken::new();
    let listener = Listener { config, tls, process: connections.process.clone(), changes };
    TaskTracker::new().spawn(stop.clone().run_until_cancelled_owned(listener.listen()));
    let session = || Session::new(Box::new(connections.connection()), Arc::clone(&sealer), max_rows);
    let surroundings =
        Surroundings { keeps: Box::new(stop.drop_guard()), changes: Some(told), patience: Some(PATIENCE), cluster };
    let readers = (0..READERS).map(|_| session()).collect();
    Ok(Arc::new(SqlStore::start(readers, session(), surroundings)?))
}

/// Opens the store to take everything out of it, which nobody who uses it notices. What is done with it blocks, and must not
/// be done on a thread of the runtime, which must go on meanwhile.
///
/// # Errors
/// As [`open`]; also when the schema is an earlier version's.
pub async fn open_for_export(settings: PostgresSettings) -> Result<Transfer, OpenError> {
    let (connections, _) = connect(&settings).await?;
    let conn = connections.connection();
    let opening = move || {
        migrations::check(&conn, &settings.address.to_string(), &schema::HISTORY)?;
        conn.rest();
        let file = KeyFile::new(settings.key_file);
        let (secret, previous) = (settings.secret_key.as_ref(), settings.previous_key.as_ref());
        let sealer = Arc::new(given_keys(&Given { secret, previous, file: &file })?);
        Ok(Transfer::new(Session::new(Box::new(conn), sealer, MAX_ROWS), Box::new(())))
    };
    let opened = tokio::task::spawn_blocking(opening).await;
    opened.map_err(|error| OpenError::System { reason: std::io::Error::other(error) })?
}

/// Opens the store to put everything into it, whoever uses it meanwhile: they are told. It blocks as for an export.
///
/// # Errors
/// As [`open`].
pub async fn open_for_import(settings: PostgresSettings) -> Result<Transfer, OpenError> {
    let Opened { connections, sealer, .. } = prepare(settings).await?;
    Ok(Transfer::new(Session::new(Box::new(connections.connection()), sealer, MAX_ROWS), Box::new(())))
}

/// Makes connections that know each other as one process's.
#[derive(Clone)]
struct Connections {
    lender: Lender,
    process: String,
    runtime: Handle,
}

impl Connections {
    fn connection(&self) -> PostgresConnection {
        PostgresConnection::new(self.lender.clone(), self.runtime.clone(), &self.process)
    }
}

/// A store with this binary's schema.
struct Opened {
    connections: Connections,
    tls: MakeRustlsConnect,
    sealer: Arc<Sealer>,
    cluster: String,
}

/// A server that lets us in.
async fn connect(settings: &PostgresSettings) -> Result<(Connections, MakeRustlsConnect), OpenError> {
    let store = settings.address.to_string();
    let tls = tls::connector(&settings.address.trust, &store)?;
    let lender = Lender::new(&settings.address, tls.clone(), CONNECTIONS)?;
    wait_for(&lender, &store, settings.wait).await?;
    let process = uuid::Uuid::new_v4().simple().to_string();
    Ok((Connections { lender, process, runtime: Handle::current() }, tls))
}

async fn prepare(settings: PostgresSettings) -> Result<Opened, OpenError> {
    let (connections, tls) = connect(&settings).await?;
    let store = settings.address.to_string();
    let conn = connections.connection();
    let opening = move || -> Result<(Sealer, String), OpenError> {
        let conn: &dyn Connection = &conn;
        migrations::migrate(conn, &store, &schema::HISTORY, |_| Ok(()))?;
        let file = KeyFile::new(settings.key_file);
        let (secret, previous) = (settings.secret_key.as_ref(), settings.previous_key.as_ref());
        let sealer = unlock(conn, &store, &Given { secret, previous, file: &file })?;
        Ok((sealer, identity(conn, &store)?))
    };
    let opened = tokio::task::spawn_blocking(opening).await;
    let opened = opened.map_err(|error| OpenError::System { reason: std::io::Error::other(error) })?;
    let (sealer, cluster) = opened?;
    Ok(Opened { connections, tls, sealer: Arc::new(sealer), cluster })
}

/// Returns when the database lets us in; not for longer than `patience`, and not when waiting will not help.
async fn wait_for(lender: &Lender, store: &str, patience: Duration) -> Result<(), OpenError> {
    let began = Instant::now();
    loop {
        let error = match lender.lend().await {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        let (reason, waited) = (with_causes(&error), began.elapsed());
        if is_final(&error) {
            return Err(OpenError::Refused { store: store.to_owned(), reason });
        }
        if is_of_trust(&error) {
            return Err(OpenError::Untrusted { store: store.to_owned(), reason });
        }
        if waited + RETRY >= patience {
            return Err(OpenError::Unreachable { store: store.to_owned(), seconds: patience.as_secs(), reason });
        }
        tracing::warn!(store, error = %reason, waited = ?waited, longest = ?patience, "waiting for the database");
        tokio::time::sleep(RETRY).await;
    }
}

/// Whether the server has understood and said no: a wrong password, no such user, no such database.
fn is_final(error: &SqlError) -> bool {
    let code = causes(error).find_map(|cause| cause.downcast_ref::<tokio_postgres::Error>()?.code());
    code.is_some_and(|said| said.code().starts_with("28") || *said == SqlState::INVALID_CATALOG_NAME)
}

/// Whether the server has shown a certificate that will not do: it will show the same one again.
fn is_of_trust(error: &SqlError) -> bool {
    let tls = |cause: &(dyn Error + 'static)| {
        let within = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        matches!(within.and_then(|error| error.downcast_ref()), Some(rustls::Error::InvalidCertificate(_)))
    };
    causes(error).any(tls)
}

/// The error, and what is behind it.
fn causes(error: &SqlError) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(Some(error as &(dyn Error + 'static)), |cause| Error::source(*cause))
}
