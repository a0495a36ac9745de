//! Who keeps the models of backends in sync: one instance at a time, by a lease in the store.
//!
//! Owns what is known of the lease. One tracked task holds it, or tries to; the actors of backends only look. Without other
//! instances it is always ours. A holder that cannot reach the store stops before the lease ends there, and before anything is
//! deleted the store is asked whether it is still ours.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use tokio::time::Instant;

use crate::{domain::ids::InstanceId, stores::leases::LeaseStore};

const LEASE: &str = "model_sync";
/// How long the lease is held without another word.
const TIME: Duration = Duration::from_secs(5);
/// By so much earlier the holder takes it for ended: what the way to the store may take.
const MARGIN: Duration = Duration::from_secs(1);
/// Between two words.
const RENEW: Duration = Duration::from_secs(1);

/// The duty. Cheap to clone.
#[derive(Clone)]
pub(super) struct SyncDuty(Option<Arc<Leased>>);

struct Leased {
    store: Arc<dyn LeaseStore>,
    me: InstanceId,
    held: ArcSwapOption<Held>,
}

#[derive(Clone, Copy)]
struct Held {
    epoch: u64,
    until: Instant,
}

impl SyncDuty {
    /// Of an instance with others, if there can be any.
    pub(super) fn new(store: Arc<dyn LeaseStore>, me: InstanceId) -> Self {
        let is_shared = store.is_shared();
        Self(is_shared.then(|| Arc::new(Leased { store, me, held: ArcSwapOption::empty() })))
    }

    /// Of an instance that is alone.
    #[cfg(test)]
    pub(super) fn alone() -> Self {
        Self(None)
    }

    /// Whether it is ours at this moment.
    pub(super) fn is_ours(&self) -> bool {
        self.0.as_ref().is_none_or(|leased| leased.current().is_some())
    }

    /// The same as the store has it.
    pub(super) async fn is_confirmed(&self) -> bool {
        let Some(leased) = &self.0 else { return true };
        let Some(Held { epoch, .. }) = leased.current() else { return false };
        // Who cannot ask does not know.
        leased.store.holds_lease(LEASE, &leased.me, epoch).await.unwrap_or(false)
    }

    /// Takes it, if it is nobody's; holds it for longer, if it is ours.
    pub(super) async fn renew(&self) {
        let Some(leased) = &self.0 else { return };
        let asked_at = Instant::now();
        match leased.store.hold_lease(LEASE, &leased.me, TIME).await {
            Ok(Some(epoch)) => {
                let former = leased.held.swap(Some(Arc::new(Held { epoch, until: asked_at + TIME - MARGIN })));
                if former.is_none_or(|former| former.epoch != epoch) {
                    tracing::info!(epoch, "this instance keeps the models of backends in sync");
                }
            }
            Ok(None) => {
                if leased.held.swap(None).is_some() {
                    tracing::info!("another instance keeps the models of backends in sync");
                }
            }
            Err(error) => tracing::debug!(%error, "the lease of the model sync was not renewed"),
        }
    }

    /// Holds it, or tries to, for ever.
    pub(super) async fn keep(self) {
        loop {
            tokio::time::sleep(RENEW).await;
            self.renew().await;
        }
    }

    /// Gives it back, if it is ours.
    pub(super) async fn give_back(&self) {
        let Some(leased) = &self.0 else { return };
        if leased.held.swap(None).is_some()
            && let Err(error) = leased.store.release_lease(LEASE, &leased.me).await
        {
            tracing::debug!(%error, "the lease of the model sync was not given back; it ends by itself");
        }
    }
}

impl Leased {
    fn current(&self) -> Option<Held> {
        let held = self.held.load();
        held.as_deref().copied().filter(|held| Instant::now() < held.until)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use async_trait::async_trait;

    use super::*;
    use crate::stores::{
        catalog::StoreError,
        embedded::{self, EmbeddedSettings},
        sql::SqlStore,
    };

    /// A store that others use too, and that can be out of reach.
    struct Shared {
        store: Arc<SqlStore>,
        is_away: AtomicBool,
        _folder: tempfile::TempDir,
    }

    #[async_trait]
    impl LeaseStore for Shared {
        async fn hold_lease(&self, name: &str, me: &InstanceId, time: Duration) -> Result<Option<u64>, StoreError> {
            if self.is_away.load(Ordering::Relaxed) {
                return Err(StoreError::Unavailable("away".into()));
            }
            self.store.hold_lease(name, me, time).await
        }

        async fn holds_lease(&self, name: &str, me: &InstanceId, epoch: u64) -> Result<bool, StoreError> {
            if self.is_away.load(Ordering::Relaxed) {
                return Err(StoreError::Unavailable("away".into()));
            }
            self.store.holds_lease(name, me, epoch).await
        }

        async fn release_lease(&self, name: &str, me: &InstanceId) -> Result<(), StoreError> {
            self.store.release_lease(name, me).await
        }

        async fn be_present(&self, me: &InstanceId, time: Duration) -> Result<Vec<InstanceId>, StoreError> {
            self.store.be_present(me, time).await
        }

        async fn leave(&self, me: &InstanceId) -> Result<(), StoreError> {
            self.store.leave(me).await
        }

        fn is_shared(&self) -> bool {
            true
        }
    }

    fn shared() -> Arc<Shared> {
        let folder = tempfile::tempdir().unwrap();
        let settings = EmbeddedSettings { data_dir: folder.path().to_owned(), secret_key: None, previous_key: None };
        let store = embedded::open(&settings).unwrap();
        Arc::new(Shared { store, is_away: AtomicBool::new(false), _folder: folder })
    }

    #[tokio::test]
    async fn one_has_it_and_the_other_gets_it_when_it_is_given_back() {
        let store = shared();
        let duty = |name| SyncDuty::new(Arc::clone(&store) as _, InstanceId::new(name));
        let (one, other) = (duty("one"), duty("other"));
        for _ in 0..2 {
            one.renew().await;
            other.renew().await;
        }
        assert!(one.is_ours() && one.is_confirmed().await);
        assert!(!other.is_ours() && !other.is_confirmed().await);
        one.give_back().await;
        other.renew().await;
        assert!(!one.is_ours() && other.is_ours());
    }

    #[tokio::test]
    async fn who_was_asleep_while_another_took_it_is_not_confirmed() {
        let store = shared();
        let one = SyncDuty::new(Arc::clone(&store) as _, InstanceId::new("one"));
        one.renew().await;
        // Its time has passed in the store, of which it knows nothing.
        store.store.release_lease(LEASE, &InstanceId::new("one")).await.unwrap();
        assert!(one.is_ours() && !one.is_confirmed().await);
        let other = SyncDuty::new(Arc::clone(&store) as _, InstanceId::new("other"));
        other.renew().await;
        assert!(other.is_confirmed().await && !one.is_confirmed().await);
        one.renew().await;
        assert!(!one.is_ours());
    }

    #[tokio::test]
    async fn who_cannot_reach_the_store_stops_before_the_lease_ends() {
        let store = shared();
        let duty = SyncDuty::new(Arc::clone(&store) as _, InstanceId::new("one"));
        duty.renew().await;
        store.is_away.store(true, Ordering::Relaxed);
        assert!(duty.is_ours() && !duty.is_confirmed().await);
        tokio::time::pause();
        duty.renew().await;
        tokio::time::advance(TIME - MARGIN).await;
        assert!(!duty.is_ours());
    }

    #[tokio::test]
    async fn who_is_alone_has_it_always() {
        let alone = SyncDuty::alone();
        alone.renew().await;
        assert!(alone.is_ours() && alone.is_confirmed().await);
    }
}
