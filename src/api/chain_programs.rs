//! Compiled chains, kept in memory, so that a chain that runs often is compiled once.
//!
//! Owns the caches. The program of a stored chain is kept under its id, version and time of writing, that of a chain that was
//! sent to be run under its very bytes: what a program means never changes later, so nothing here can be out of date. What a
//! write has superseded is dropped for its memory only. Used by `chain_chat` and `tasks` to run chains, and by `taskchains`
//! when it writes.

use std::sync::Arc;

use quick_cache::{Weighter, sync::Cache};

use super::{diagnostics, run::Runnable};
use crate::{
    domain::{ids::ChainId, stored_chain::StoredChain, time::Timestamp},
    engine::{InvalidChain, Program},
    error::Error,
    stores::catalog::CatalogStore,
};

/// JSON of all stored chains whose programs are kept, and of all sent ones; a program takes a few times the space of its
/// chain.
const MAX_CHAIN_BYTES: u64 = 16 * 1024 * 1024;
/// What the smallest chain counts as, so that the number of programs is bounded, too.
const LEAST_CHAIN_BYTES: u64 = 4 * 1024;

/// Larger chains that are sent are compiled each time: few are, and they would drive the others out.
const LARGEST_SENT_BYTES: usize = 64 * 1024;

/// Programs by chain and version, and by the bytes of chains that were sent. Cheap to clone.
#[derive(Clone)]
pub struct ChainPrograms {
    stored: Arc<Cache<Key, Compiled, ByChain>>,
    sent: Arc<Cache<Box<[u8]>, Runnable, ByText>>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    id: ChainId,
    version: u64,
    written_at: Timestamp,
}

#[derive(Clone)]
struct Compiled {
    program: Arc<Program>,
    bytes: u64,
}

#[derive(Clone)]
struct ByChain;

impl Weighter<Key, Compiled> for ByChain {
    fn weight(&self, _: &Key, compiled: &Compiled) -> u64 {
        compiled.bytes.max(LEAST_CHAIN_BYTES)
    }
}

#[derive(Clone)]
struct ByText;

impl Weighter<Box<[u8]>, Runnable> for ByText {
    fn weight(&self, chain: &Box<[u8]>, _: &Runnable) -> u64 {
        (chain.len() as u64).max(LEAST_CHAIN_BYTES)
    }
}

impl Default for ChainPrograms {
    fn default() -> Self {
        // So few expected programs make one shard of all the space: a large chain fits in.
        Self {
            stored: Arc::new(Cache::with_weighter(32, MAX_CHAIN_BYTES, ByChain)),
            sent: Arc::new(Cache::with_weighter(32, MAX_CHAIN_BYTES, ByText)),
        }
    }
}

impl ChainPrograms {
    /// The program of a stored chain's version, or of its latest. Requests that want one that is being compiled wait for it.
    ///
    /// # Errors
    /// Of the store, and what `refuse` makes of a chain that cannot run.
    pub(super) async fn get(
        &self,
        store: &dyn CatalogStore,
        id: &ChainId,
        version: Option<u64>,
        refuse: impl FnOnce(InvalidChain) -> Error,
    ) -> Result<Arc<Program>, Error> {
        let wanted = store.chain_version(id, version).await?;
        let key = Key { id: id.clone(), version: wanted.version, written_at: wanted.created_at };
        let compiled = self.stored.get_or_insert_async(&key, async {
            let StoredChain { chain, .. } = store.chain(id, Some(wanted.version)).await?;
            let bytes = serde_json::to_vec(&chain).map_or(0, |json| json.len());
            let (_, compiled) = diagnostics::compiled(chain, bytes).await?;
            let program = Arc::new(compiled.map_err(refuse)?);
            Ok::<_, Error>(Compiled { program, bytes: u64::try_from(bytes).unwrap_or(u64::MAX) })
        });
        Ok(compiled.await?.program)
    }

    /// Drops a chain's programs: the latest has changed.
    pub(super) fn forget(&self, id: &ChainId) {
        self.stored.retain(|key, _| key.id != *id);
    }

    /// The program of a chain that was sent before in the same bytes.
    pub(super) fn sent(&self, chain: &[u8]) -> Option<Runnable> {
        self.sent.get(chain)
    }

    /// Keeps the program of a chain that was sent in these bytes.
    pub(super) fn keep_sent(&self, chain: &[u8], compiled: &Runnable) {
        if chain.len() <= LARGEST_SENT_BYTES {
            self.sent.insert(chain.into(), compiled.clone());
        }
    }

    /// Programs of stored chains that are kept.
    pub fn count(&self) -> usize {
        self.stored.len()
    }
}
