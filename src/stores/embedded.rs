//! The embedded store: SQLite in the data folder, the default when no database is configured.
//!
//! Owns the folder while it is open: `penstock.db`, `secret.key` and the lock (`docs/operations.md`, data folder). Opened
//! and closed by the composition root, used through [`CatalogStore`](crate::stores::catalog::CatalogStore).

pub(super) mod connection;
mod folder;
mod schema;

#[cfg(test)]
pub(super) mod tests;

use std::{path::PathBuf, sync::Arc};

use crate::stores::{
    catalog::MAX_ROWS,
    sql::{
        OpenError, SecretKey, SqlStore, Surroundings, Transfer,
        identity::identity,
        migrations,
        secrets::{KeyFile, Sealer},
        session::Session,
        unlock::{Given, given_keys, unlock},
    },
};
use connection::{SqliteConnection, connect_reader, connect_writer};
use folder::DataFolder;

/// Configuration is small and read rarely: one thread would do, the second keeps short reads from waiting for a long
/// one.
const READERS: usize = 2;

/// Where the store lives and what encrypts the keys in it.
#[derive(Clone)]
pub struct EmbeddedSettings {
    /// The folder, made on first start.
    pub data_dir: PathBuf,
    /// `SECRET_KEY`; without it a key file in the folder, made on first start.
    pub secret_key: Option<SecretKey>,
    /// `SECRET_KEY_PREVIOUS`, with which stored keys may still be encrypted.
    pub previous_key: Option<SecretKey>,
}

/// Opens or makes the store and brings its schema up to date. Blocks: it touches the disk.
///
/// # Errors
/// One line that says what is wrong and what to do. Nothing has been overwritten then.
pub fn open(settings: &EmbeddedSettings) -> Result<Arc<SqlStore>, OpenError> {
    open_with_cap(settings, MAX_ROWS)
}

/// As [`open`] with another cap on the rows of a table.
fn open_with_cap(settings: &EmbeddedSettings, max_rows: u64) -> Result<Arc<SqlStore>, OpenError> {
    let Opened { folder, path, store, conn, sealer } = prepare(settings)?;
    let failed = |error| OpenError::database(&store, error);
    let cluster = identity(&conn, &store)?;
    let reader = || Ok(Session::new(Box::new(connect_reader(&path)?), Arc::clone(&sealer), max_rows));
    let readers = (0..READERS).map(|_| reader()).collect::<rusqlite::Result<_>>().map_err(failed)?;
    let writer = Session::new(Box::new(conn), Arc::clone(&sealer), max_rows);
    let surroundings = Surroundings { keeps: Box::new(folder.into_lock()), changes: None, patience: None, cluster };
    Ok(Arc::new(SqlStore::start(readers, writer, surroundings)?))
}

/// Opens the store to take everything out of it, which a server that uses it does not notice.
///
/// # Errors
/// As [`open`]; also when the schema is another version's, or there is no store.
pub fn open_for_export(settings: &EmbeddedSettings) -> Result<Transfer, OpenError> {
    let path = settings.data_dir.join("penstock.db");
    let store = path.display().to_string();
    let conn = connect_reader(&path).map_err(|error| OpenError::database(&store, error))?;
    migrations::check(&conn, &store, &schema::HISTORY)?;
    let file = KeyFile::new(settings.data_dir.join("secret.key"));
    let sealer = Arc::new(given_keys(&settings.given(&file))?);
    Ok(Transfer::new(Session::new(Box::new(conn), sealer, MAX_ROWS), Box::new(())))
}

/// Opens or makes the store to put everything into it. No server may use it meanwhile.
///
/// # Errors
/// As [`open`].
pub fn open_for_import(settings: &EmbeddedSettings) -> Result<Transfer, OpenError> {
    let Opened { folder, conn, sealer, .. } = prepare(settings)?;
    Ok(Transfer::new(Session::new(Box::new(conn), sealer, MAX_ROWS), Box::new(folder.into_lock())))
}

impl EmbeddedSettings {
    fn given<'a>(&'a self, file: &'a KeyFile) -> Given<'a> {
        Given { secret: self.secret_key.as_ref(), previous: self.previous_key.as_ref(), file }
    }
}

/// A store that is ours, with this binary's schema.
struct Opened {
    folder: DataFolder,
    path: PathBuf,
    store: String,
    conn: SqliteConnection,
    sealer: Arc<Sealer>,
}

fn prepare(settings: &EmbeddedSettings) -> Result<Opened, OpenError> {
    let folder = DataFolder::claim(&settings.data_dir)?;
    let path = folder.database()?;
    let store = path.display().to_string();
    let failed = |error| OpenError::database(&store, error);
    let conn = connect_writer(&path).map_err(failed)?;
    if let Some(damage) = conn.damage().map_err(failed)? {
        return Err(OpenError::Damaged { store, damage });
    }
    migrations::migrate(&conn, &store, &schema::HISTORY, |version| {
        let copy = folder.copy_before(version)?;
        conn.copy_into(&copy.unfinished).map_err(failed)?;
        copy.finish()
    })?;
    let file = KeyFile::new(folder.key_file());
    let sealer = Arc::new(unlock(&conn, &store, &settings.given(&file))?);
    Ok(Opened { folder, path, store, conn, sealer })
}
