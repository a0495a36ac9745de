//! Which secret opens this store: found, made or refused at start, before the first key is needed; and how it changes.
//!
//! Owns the check value in `meta`: a known text, sealed. The key that opens it is the one *in force*: with it all are
//! sealed, by every process that uses the store. A process may know two, the one that is to be in force and the former
//! one; [`rotate`] seals everything with the first and puts that in force. As long as no key is stored nothing can be
//! lost, and any secret is taken over. Called when a store is opened, and by the resource files that seal.

use crate::{
    domain::backend::ApiKey,
    stores::{
        catalog::StoreError,
        sql::{
            backends,
            errors::{Cause, OpenError, SqlError},
            providers,
            secrets::{Key, KeyFile, Keys, Place, Sealer, SecretKey},
            session::{Connection, Session, Statements, Step},
        },
    },
};

const CHECK_NAME: &str = "secret_check";
const CHECK_TEXT: &[u8] = b"penstock";
const CHECK_PLACE: Place<'static> = Place { table: "meta", row: CHECK_NAME };

/// The secrets that a process was given.
pub(in crate::stores) struct Given<'a> {
    /// `SECRET_KEY`; without it the key file counts.
    pub(in crate::stores) secret: Option<&'a SecretKey>,
    /// `SECRET_KEY_PREVIOUS`.
    pub(in crate::stores) previous: Option<&'a SecretKey>,
    /// Where the key file is, or would be made.
    pub(in crate::stores) file: &'a KeyFile,
}

impl Given<'_> {
    /// The keys, and how to name where they came from; a key file is made if it may be.
    fn keys(&self, store: &str, holds_keys: bool) -> Result<(Keys, &'static str), OpenError> {
        let from_secrets =
            |secret| -> Keys { [Some(secret), self.previous].into_iter().flatten().map(Key::from_secret).collect() };
        match (self.secret.map(from_secrets), self.file.read()) {
            (Some(keys), _) => Ok((keys, "SECRET_KEY")),
            (None, Err(error)) => Err(error),
            (None, Ok(Some(keys))) => Ok((keys, "the key file")),
            // A new key file would only hide what is missing.
            (None, Ok(None)) if holds_keys => {
                Err(OpenError::MissingSecret { store: store.to_owned(), key_file: self.file.path().to_owned() })
            }
            (None, Ok(None)) => Ok((self.file.create()?, "the key file")),
        }
    }
}

/// The keys that were given, whatever they open: for who only reads.
pub(in crate::stores) fn given_keys(given: &Given<'_>) -> Result<Sealer, OpenError> {
    let keys = match given.secret {
        Some(secret) => [Some(secret), given.previous].into_iter().flatten().map(Key::from_secret).collect(),
        None => given.file.read()?.unwrap_or_default(),
    };
    Ok(Sealer::new(keys, None))
}

/// The sealer of this store's keys.
pub(in crate::stores) fn unlock(conn: &dyn Connection, store: &str, given: &Given<'_>) -> Result<Sealer, OpenError> {
    let outcome = agree(conn, store, given);
    conn.rest();
    outcome
}

fn agree(conn: &dyn Connection, store: &str, given: &Given<'_>) -> Result<Sealer, OpenError> {
    let failed = |error| OpenError::database(store, error);
    conn.step(Step::BeginWriting).map_err(failed)?;
    let sql = "SELECT 1 FROM provider_keys UNION ALL SELECT 1 FROM backends WHERE api_key IS NOT NULL LIMIT 1";
    let holds_keys = conn.exists(sql, ()).map_err(failed)?;
    let (keys, from) = given.keys(store, holds_keys)?;
    let check = check(conn).map_err(failed)?;
    if check.is_none_or(|check| in_force(&keys, &check).is_none()) {
        if holds_keys {
            return Err(OpenError::WrongSecret { given: from, store: store.to_owned() });
        }
        let first = keys.first().ok_or_else(|| OpenError::system(Cause::Encrypt))?;
        put_check(conn, first.seal(CHECK_PLACE, CHECK_TEXT).map_err(OpenError::system)?).map_err(failed)?;
    }
    conn.step(Step::Commit).map_err(failed)?;
    let is_given = given.secret.is_some();
    Ok(Sealer::new(keys, (!is_given).then(|| given.file.clone())))
}

fn check(conn: &dyn Connection) -> Result<Option<Vec<u8>>, SqlError> {
    conn.value("SELECT value FROM meta WHERE name = ?1", (CHECK_NAME,))
}

fn put_check(conn: &dyn Connection, check: Vec<u8>) -> Result<(), SqlError> {
    let sql = "INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    conn.execute(sql, (CHECK_NAME, check)).map(drop)
}

/// The key that opens the check.
fn in_force<'k>(keys: &'k Keys, check: &[u8]) -> Option<&'k Key> {
    keys.iter().find(|key| key.open(CHECK_PLACE, check).is_some_and(|text| text == CHECK_TEXT))
}

/// Encrypts a key for its place, with the secret in force: all who use the store can read it.
pub(super) fn seal(session: &Session, place: Place<'_>, key: &ApiKey) -> Result<Vec<u8>, StoreError> {
    seal_bytes(session, place, key.expose().as_bytes())
}

/// The same for what is no text.
pub(super) fn seal_bytes(session: &Session, place: Place<'_>, plain: &[u8]) -> Result<Vec<u8>, StoreError> {
    let check = check(session.conn())?.ok_or_else(|| Cause::Encrypt.internal())?;
    let keys = session.sealer.keys();
    // Another process has put a secret in force that this one was not given.
    let in_force = in_force(&keys, &check).ok_or_else(|| {
        StoreError::Invalid(
            "the secret that encrypts stored keys is another by now: start this server with the SECRET_KEY of the \
             others, then send the key again"
                .to_owned(),
        )
    })?;
    in_force.seal(place, plain).map_err(Cause::internal)
}

/// The key behind a sealed value.
pub(super) fn open(session: &Session, place: Place<'_>, sealed: &[u8]) -> Result<ApiKey, Cause> {
    let plain = session.sealer.open(place, sealed).ok_or(Cause::Decrypt)?;
    Ok(ApiKey::new(String::from_utf8(plain).map_err(|_| Cause::Decrypt)?))
}

/// Encrypts everything that is stored with a new key, and puts that in force; how many values that were. The new key is the
/// first one that this process knows, or, where a key file counts, one that is made now. A value that cannot be decrypted
/// refuses the whole: it would be lost with the former secret. [`forget_former`] must follow when this is durable.
pub(super) fn rotate(session: &Session) -> Result<u64, StoreError> {
    let sealer = &session.sealer;
    let check = check(session.conn())?.ok_or_else(|| Cause::Decrypt.internal())?;
    let is_in_force = |key: &Key| key.open(CHECK_PLACE, &check).is_some();
    if sealer.keys().first().is_some_and(is_in_force) {
        let Some(file) = sealer.file() else {
            return Err(StoreError::Invalid(
                "SECRET_KEY is the secret in force: start all servers with a new one in SECRET_KEY and this one in \
                 SECRET_KEY_PREVIOUS, then rotate"
                    .to_owned(),
            ));
        };
        // The former one may still be there from a change that was not seen to its end.
        let added = file.keep_first().and_then(|()| file.add());
        sealer.replace(added.map_err(|error| StoreError::Unavailable(Box::new(error)))?);
    }
    let keys = sealer.keys();
    let first = keys.first().ok_or_else(|| Cause::Encrypt.internal())?;
    let sealed_anew = |place: Place<'_>, sealed: &[u8]| -> Result<Vec<u8>, StoreError> {
        let plain = session.sealer.open(place, sealed).ok_or_else(|| {
            StoreError::Invalid(format!(
                "the key stored for '{}' cannot be decrypted with any secret that this server was given; nothing has been \
                 changed: store it again or remove it, then rotate",
                place.row
            ))
        })?;
        first.seal(place, &plain).map_err(Cause::internal)
    };
    let mut rotated = 0;
    for (table, id, place) in [
        ("backends", "id", backends::key_place as fn(&str) -> Place<'_>),
        ("provider_keys", "provider", providers::key_place),
    ] {
        let stored = session.list(
            &format!("SELECT {id} AS row_id, api_key FROM {table} WHERE api_key IS NOT NULL"),
            (),
            |row| Ok((row.get::<String>("row_id")?, row.get::<Vec<u8>>("api_key")?)),
        )?;
        for (row, sealed) in stored {
            let sealed = sealed_anew(place(&row), &sealed)?;
            session.execute(&format!("UPDATE {table} SET api_key = ?2 WHERE {id} = ?1"), (&row, sealed))?;
            rotated += 1;
        }
    }
    put_check(session.conn(), first.seal(CHECK_PLACE, CHECK_TEXT).map_err(Cause::internal)?)?;
    Ok(rotated)
}

/// Removes the former key from the key file: nothing is encrypted with it any more.
pub(super) fn forget_former(session: &Session) -> Result<(), StoreError> {
    let Some(file) = session.sealer.file() else { return Ok(()) };
    file.keep_first().map_err(|error| StoreError::Unavailable(Box::new(error)))?;
    let first = session.sealer.keys().iter().take(1).cloned().collect();
    session.sealer.replace(first);
    Ok(())
}
