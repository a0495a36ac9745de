//! Rows of `chains`, `chain_versions` and `deleted_chains`: stored task chains, every version of each.
//!
//! Owns the tables' SQL and how rows become a [`StoredChain`]. Called by `catalog`.

use crate::{
    domain::{
        chain::Chain,
        ids::ChainId,
        page::Page,
        stored_chain::{ChainVersion, NamedChain, StoredChain},
        time::Timestamp,
    },
    stores::{
        catalog::{MAX_CHAIN_PAGE_BYTES, MAX_CHAIN_VERSIONS, StoreError},
        sql::{
            columns::{bounds, json, time, to_json},
            errors::SqlError,
            session::{Session, Statements, Table},
            value::{Row, named},
        },
    },
};

/// One version with its chain: `?1` is the id, `?2` the version or NULL for the latest.
const ONE: &str = "FROM chains
    JOIN chain_versions AS versions ON versions.chain_id = chains.id AND versions.version = COALESCE(?2, chains.version)
    WHERE chains.id = ?1";

pub(super) fn put(session: &Session, chain: Chain, draft: bool) -> Result<StoredChain, StoreError> {
    let id = ChainId::new(chain.id.as_str());
    match latest(session, &id)? {
        Some(place) => write(session, chain, draft, place.next(session)),
        None => {
            let created_at = session.admit(Table::Chains)?;
            let ended_at = "DELETE FROM deleted_chains WHERE id = ?1 RETURNING version";
            let ended_at = session.value::<i64>(ended_at, (id.as_str(),))?;
            let place = Place { version: ended_at.unwrap_or(0) + 1, created_at, written_at: created_at };
            let sql = "INSERT INTO chains (id, version, created_at) VALUES (?1, ?2, ?3)";
            session.execute(sql, (id.as_str(), place.version, created_at))?;
            write(session, chain, draft, place)
        }
    }
}

pub(super) fn update(session: &Session, chain: Chain, draft: bool) -> Result<StoredChain, StoreError> {
    let id = ChainId::new(chain.id.as_str());
    let place = latest(session, &id)?.ok_or_else(|| not_found(&id))?;
    write(session, chain, draft, place.next(session))
}

pub(super) fn delete(session: &Session, id: &ChainId) -> Result<(), StoreError> {
    let sql = "DELETE FROM chains WHERE id = ?1 RETURNING version";
    let version = session.value::<i64>(sql, (id.as_str(),))?.ok_or_else(|| not_found(id))?;
    session.execute("INSERT INTO deleted_chains (id, version) VALUES (?1, ?2)", (id.as_str(), version))?;
    // As many are remembered as there may be chains; whoever deletes more than that has lost count, too.
    let cap = i64::try_from(session.max_rows()).unwrap_or(i64::MAX);
    let oldest = "DELETE FROM deleted_chains WHERE place <= (SELECT MAX(place) FROM deleted_chains) - ?1";
    session.execute(oldest, (cap,))?;
    Ok(())
}

pub(super) fn get(session: &Session, id: &ChainId, version: Option<u64>) -> Result<StoredChain, StoreError> {
    let sql = format!(
        "SELECT chains.created_at, versions.version, versions.draft, versions.created_at AS written_at, versions.chain {ONE}"
    );
    found(session, id, version, session.find(&sql, (id.as_str(), number(version)), from_row)?)
}

pub(super) fn version(session: &Session, id: &ChainId, version: Option<u64>) -> Result<ChainVersion, StoreError> {
    let sql = format!("SELECT versions.version, versions.draft, versions.created_at AS written_at {ONE}");
    found(session, id, version, session.find(&sql, (id.as_str(), number(version)), version_from_row)?)
}

pub(super) fn versions(session: &Session, id: &ChainId) -> Result<Vec<ChainVersion>, StoreError> {
    let sql = "SELECT version, draft, created_at AS written_at FROM chain_versions
        WHERE chain_id = ?1 ORDER BY version DESC";
    let versions = session.list(sql, (id.as_str(),), version_from_row)?;
    // A chain has at least one.
    if versions.is_empty() { Err(not_found(id)) } else { Ok(versions) }
}

/// The latest version of each chain of a page.
const PAGE: &str = "FROM (SELECT * FROM chains WHERE created_at < ?1 ORDER BY created_at DESC LIMIT ?2) AS chains
    JOIN chain_versions AS versions ON versions.chain_id = chains.id AND versions.version = chains.version";

pub(super) fn names(session: &Session, page: Page) -> Result<Vec<NamedChain>, StoreError> {
    let sql = format!(
        "SELECT chains.id, chains.created_at, versions.draft, versions.created_at AS written_at
         {PAGE} ORDER BY chains.created_at DESC"
    );
    Ok(session.list(&sql, bounds(page), |row| {
        Ok(NamedChain {
            id: ChainId::new(row.get::<String>("id")?),
            draft: row.get("draft")?,
            created_at: time(row, "created_at")?,
            updated_at: time(row, "written_at")?,
        })
    })?)
}

pub(super) fn list(session: &Session, page: Page) -> Result<Vec<StoredChain>, StoreError> {
    session.at_one_time(|| {
        let size = format!("SELECT COALESCE(SUM(OCTET_LENGTH(versions.chain)), 0) {PAGE}");
        let bytes = session.value::<i64>(&size, bounds(page))?.unwrap_or(0);
        if bytes.unsigned_abs() > MAX_CHAIN_PAGE_BYTES {
            let most = MAX_CHAIN_PAGE_BYTES >> 20;
            let message = format!("the chains of this page are together larger than {most} MiB; ask for a lower 'limit'");
            return Err(StoreError::Invalid(message));
        }
        let sql = format!(
            "SELECT chains.created_at, versions.version, versions.draft, versions.created_at AS written_at, versions.chain
             {PAGE} ORDER BY chains.created_at DESC"
        );
        Ok(session.list(&sql, bounds(page), from_row)?)
    })
}

/// Where a version stands among those of its chain.
struct Place {
    version: i64,
    created_at: i64,
    written_at: i64,
}

impl Place {
    /// The one behind it, written now.
    fn next(self, session: &Session) -> Self {
        Self { version: self.version + 1, written_at: session.now().max(self.written_at), ..self }
    }
}

fn latest(session: &Session, id: &ChainId) -> Result<Option<Place>, StoreError> {
    let sql = format!("SELECT versions.version, chains.created_at, versions.created_at AS written_at {ONE}");
    let place = |row: &Row<'_>| {
        Ok(Place {
            version: row.get("version")?,
            created_at: row.get("created_at")?,
            written_at: row.get("written_at")?,
        })
    };
    Ok(session.find(&sql, (id.as_str(), None::<i64>), place)?)
}

/// Adds a version to a chain that has a row, and forgets the ones beyond those that are kept.
fn write(session: &Session, chain: Chain, draft: bool, place: Place) -> Result<StoredChain, StoreError> {
    session.execute("UPDATE chains SET version = ?2 WHERE id = ?1", (chain.id.as_str(), place.version))?;
    session.execute(
        "INSERT INTO chain_versions (chain_id, version, draft, created_at, chain)
         VALUES (:id, :version, :draft, :written_at, :chain)",
        named! {
            ":id": &chain.id,
            ":version": place.version,
            ":draft": draft,
            ":written_at": place.written_at,
            ":chain": to_json(&chain)?,
        },
    )?;
    let kept = i64::try_from(MAX_CHAIN_VERSIONS).unwrap_or(i64::MAX);
    let sql = "DELETE FROM chain_versions WHERE chain_id = ?1 AND version <= ?2";
    session.execute(sql, (chain.id.as_str(), place.version - kept))?;
    Ok(StoredChain {
        chain,
        version: place.version.unsigned_abs(),
        draft,
        created_at: Timestamp::from_micros(place.created_at),
        updated_at: Timestamp::from_micros(place.written_at),
    })
}

/// A version as SQLite counts; one beyond 64 bits exists nowhere.
fn number(version: Option<u64>) -> Option<i64> {
    version.map(|version| i64::try_from(version).unwrap_or(i64::MAX))
}

fn from_row(row: &Row<'_>) -> Result<StoredChain, SqlError> {
    let ChainVersion { version, draft, created_at } = version_from_row(row)?;
    let chain = json(row, "chain")?;
    Ok(StoredChain { chain, version, draft, created_at: time(row, "created_at")?, updated_at: created_at })
}

/// Whether a row of `chain_versions` holds a chain.
pub(super) fn check_version(row: &Row<'_>) -> Result<(), SqlError> {
    json::<Chain>(row, "chain").map(drop)
}

fn version_from_row(row: &Row<'_>) -> Result<ChainVersion, SqlError> {
    let version: i64 = row.get("version")?;
    Ok(ChainVersion { version: version.unsigned_abs(), draft: row.get("draft")?, created_at: time(row, "written_at")? })
}

/// What was found, or which of both is missing: the chain or the version.
fn found<T>(session: &Session, id: &ChainId, version: Option<u64>, found: Option<T>) -> Result<T, StoreError> {
    let Some(version) = version else { return found.ok_or_else(|| not_found(id)) };
    match found {
        Some(found) => Ok(found),
        None if session.exists("SELECT 1 FROM chains WHERE id = ?1", (id.as_str(),))? => {
            Err(StoreError::NotFound(format!("version {version} of task chain '{id}' not found")))
        }
        None => Err(not_found(id)),
    }
}

fn not_found(id: &ChainId) -> StoreError {
    StoreError::NotFound(format!("task chain '{id}' not found"))
}
