//! Which other instances are there: those that say so in the store, and those that are heard of on the bus.
//!
//! Owns what the store said last. One tracked task says and asks it every two seconds; without a bus that is all there is, and
//! while the store is away what it said last counts, for too many is better than too few where slots are divided.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use arc_swap::ArcSwap;

use super::peers::Peers;
use crate::{domain::ids::InstanceId, stores::leases::LeaseStore};

/// Between two words.
const SAY: Duration = Duration::from_secs(2);
/// How long a word counts.
const TIME: Duration = Duration::from_secs(7);

/// The other instances. Cheap to clone.
#[derive(Clone)]
pub(super) struct Presence {
    me: InstanceId,
    store: Option<Arc<dyn LeaseStore>>,
    peers: Peers,
    /// Written by the task, read by everybody.
    stored: Arc<ArcSwap<Vec<InstanceId>>>,
}

impl Presence {
    /// Of an instance with others, if there can be any.
    pub(super) fn new(store: Arc<dyn LeaseStore>, me: InstanceId, peers: Peers) -> Self {
        let store = store.is_shared().then_some(store);
        Self { me, store, peers, stored: Arc::default() }
    }

    /// This one.
    pub(super) const fn me(&self) -> &InstanceId {
        &self.me
    }

    /// All others.
    pub(super) fn others(&self) -> BTreeSet<InstanceId> {
        let stored = self.stored.load();
        stored.iter().cloned().chain(self.peers.live()).filter(|other| *other != self.me).collect()
    }

    /// Says that this instance is there, and asks who else is.
    pub(super) async fn say(&self) {
        let Some(store) = &self.store else { return };
        match store.be_present(&self.me, TIME).await {
            Ok(others) => self.stored.store(Arc::new(others)),
            Err(error) => tracing::debug!(%error, "the store does not say which instances are there"),
        }
    }

    /// The same for ever.
    pub(super) async fn keep(self) {
        loop {
            tokio::time::sleep(SAY).await;
            self.say().await;
        }
    }

    /// Says that it is not there any more.
    pub(super) async fn leave(&self) {
        if let Some(store) = &self.store
            && let Err(error) = store.leave(&self.me).await
        {
            tracing::debug!(%error, "the store was not told that this instance leaves; it finds out");
        }
    }
}
