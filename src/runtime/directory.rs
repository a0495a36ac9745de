//! What the actors publish for everybody else to read without asking: one cell a backend, one a pool.
//!
//! Cells are owned by the process. They outlive a crash of their actor, so running calls keep their slots and route
//! tables stay readable while the successor starts. The hot path reads here and nowhere else.

mod backend_cell;
mod known;
mod pool_cell;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use arc_swap::ArcSwap;

pub use self::{
    backend_cell::{BackendCell, BackendView, DownloadJob, Health, SlotSnapshot},
    known::Known,
    pool_cell::{PoolCell, PoolSnapshot, RouteTable, WaitingByClass},
};
use super::pool::served;
pub use super::{
    backend::{BreakerPosition, BreakerSnapshot},
    pool::ServedModel,
};
use crate::domain::{
    alias::{Alias, alias_key},
    ids::{BackendId, PoolId},
    token::{Token, TokenHash},
};

/// All cells. Written by the fleet, read by everybody.
#[derive(Default)]
pub struct Directory {
    backends: ArcSwap<BTreeMap<BackendId, Arc<BackendCell>>>,
    /// Oldest pool first: the order in which a request without a pool looks for one.
    pools: ArcSwap<Vec<Arc<PoolCell>>>,
    /// By name; one immutable snapshot, so that no request asks the store.
    aliases: ArcSwap<BTreeMap<String, Arc<Alias>>>,
    /// By hash, for the same reason.
    tokens: ArcSwap<HashMap<TokenHash, Arc<Token>>>,
}

impl Directory {
    /// All backends by id.
    pub fn backends(&self) -> Arc<BTreeMap<BackendId, Arc<BackendCell>>> {
        self.backends.load_full()
    }

    /// One backend.
    pub fn backend(&self, id: &BackendId) -> Option<Arc<BackendCell>> {
        self.backends.load().get(id).cloned()
    }

    /// All pools, oldest first.
    pub fn pools(&self) -> Arc<Vec<Arc<PoolCell>>> {
        self.pools.load_full()
    }

    /// One pool.
    pub fn pool(&self, id: &PoolId) -> Option<Arc<PoolCell>> {
        self.pools.load().iter().find(|pool| pool.id == *id).cloned()
    }

    /// A pool by its id, else by its name, as requests and aliases write it.
    pub fn pool_named(&self, wanted: &str) -> Option<Arc<PoolCell>> {
        let pools = self.pools.load();
        let by_id = pools.iter().find(|pool| pool.id.as_str() == wanted);
        by_id.or_else(|| pools.iter().find(|pool| pool.table().pool.name == wanted)).cloned()
    }

    /// All models that are served now on backends with these labels, pool by pool.
    pub fn served(&self, require: &BTreeMap<String, String>) -> Vec<ServedModel> {
        self.pools.load().iter().flat_map(|pool| served(&pool.table(), require)).collect()
    }

    /// All aliases by name.
    pub fn aliases(&self) -> Arc<BTreeMap<String, Arc<Alias>>> {
        self.aliases.load_full()
    }

    /// What this name stands for, with or without `:latest` behind it.
    pub fn alias(&self, name: &str) -> Option<Arc<Alias>> {
        let aliases = self.aliases.load();
        if aliases.is_empty() { None } else { aliases.get(alias_key(name)).cloned() }
    }

    /// All API tokens by their hashes.
    pub fn tokens(&self) -> Arc<HashMap<TokenHash, Arc<Token>>> {
        self.tokens.load_full()
    }

    pub(super) fn replace_tokens(&self, tokens: HashMap<TokenHash, Arc<Token>>) {
        self.tokens.store(Arc::new(tokens));
    }

    /// Nobody lives behind any cell any more.
    pub(super) fn vacate(&self) {
        self.backends().values().for_each(|cell| cell.handle.detach());
        self.pools().iter().for_each(|cell| cell.handle.detach());
    }

    pub(super) fn replace(
        &self,
        backends: BTreeMap<BackendId, Arc<BackendCell>>,
        pools: Vec<Arc<PoolCell>>,
        aliases: BTreeMap<String, Arc<Alias>>,
    ) {
        self.aliases.store(Arc::new(aliases));
        self.backends.store(Arc::new(backends));
        self.pools.store(Arc::new(pools));
    }
}
