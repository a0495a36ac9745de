//! What the actors publish for everybody else to read without asking: one cell a backend, one a pool.
//!
//! Cells are owned by the process. They outlive a crash of their actor, so running calls keep their slots and route
//! tables stay readable while the successor starts. The hot path reads here and nowhere else.

mod backend_cell;
mod pool_cell;

use std::{collections::BTreeMap, sync::Arc};

use arc_swap::ArcSwap;

pub use self::{
    backend_cell::{BackendCell, BackendView, DEFAULT_CONCURRENCY, DownloadJob, Health, SlotSnapshot},
    pool_cell::{PoolCell, RouteTable},
};
use crate::domain::ids::{BackendId, PoolId};

/// All cells. Written by the fleet, read by everybody.
#[derive(Default)]
pub struct Directory {
    backends: ArcSwap<BTreeMap<BackendId, Arc<BackendCell>>>,
    /// Oldest pool first: the order in which a request without a pool looks for one.
    pools: ArcSwap<Vec<Arc<PoolCell>>>,
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

    /// Nobody lives behind any cell any more.
    pub(super) fn vacate(&self) {
        self.backends().values().for_each(|cell| cell.handle.detach());
        self.pools().iter().for_each(|cell| cell.handle.detach());
    }

    pub(super) fn replace(&self, backends: BTreeMap<BackendId, Arc<BackendCell>>, pools: Vec<Arc<PoolCell>>) {
        self.backends.store(Arc::new(backends));
        self.pools.store(Arc::new(pools));
    }
}
