//! Which secret opens this store: found, made or refused at start, before the first key is needed.
//!
//! Owns the check value in `meta`: a known text, sealed, so that a wrong secret is noticed without any stored key. As
//! long as no key is stored nothing can be lost, and any secret is taken over. Called by `EmbeddedStore::open`.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension};

use crate::stores::embedded::{
    errors::OpenError,
    secrets::{Place, Sealer, SecretKey},
};

const CHECK_NAME: &str = "secret_check";
const CHECK_TEXT: &[u8] = b"penstock";
const CHECK_PLACE: Place<'static> = Place { table: "meta", row: CHECK_NAME };

/// The sealer of this store's keys.
pub(super) fn unlock(
    conn: &Connection,
    database: &Path,
    key_file: &Path,
    secret: Option<&SecretKey>,
) -> Result<Sealer, OpenError> {
    let failed = |error| OpenError::database(database, error);
    let holds_keys: bool = conn
        .query_row(
            "SELECT EXISTS (SELECT 1 FROM provider_keys)
                 OR EXISTS (SELECT 1 FROM backends WHERE api_key IS NOT NULL)",
            (),
            |row| row.get(0),
        )
        .map_err(failed)?;
    let (sealer, given) = match secret {
        Some(secret) => (Sealer::from_secret(secret), "SECRET_KEY"),
        None => match Sealer::from_file(key_file)? {
            Some(sealer) => (sealer, "the key file"),
            // A new key file would only hide what is missing.
            None if holds_keys => {
                return Err(OpenError::MissingSecret { database: database.to_owned(), key_file: key_file.to_owned() });
            }
            None => (Sealer::create_file(key_file)?, "the key file"),
        },
    };

    let check: Option<Vec<u8>> = conn
        .query_row("SELECT value FROM meta WHERE name = ?1", (CHECK_NAME,), |row| row.get(0))
        .optional()
        .map_err(failed)?;
    if check.is_some_and(|check| sealer.open(CHECK_PLACE, &check).is_some_and(|text| text == CHECK_TEXT)) {
        return Ok(sealer);
    }
    if holds_keys {
        return Err(OpenError::WrongSecret { given, path: database.to_owned() });
    }
    let check = sealer.seal(CHECK_PLACE, CHECK_TEXT).map_err(OpenError::system)?;
    conn.execute("INSERT OR REPLACE INTO meta (name, value) VALUES (?1, ?2)", (CHECK_NAME, check)).map_err(failed)?;
    Ok(sealer)
}
