//! Leases: what only one instance at a time may do.
//!
//! A lease has an end, by the database's clock, and an epoch, which rises whenever it gets another holder: who has held it
//! and was asleep since finds that it is not his any more.

use std::time::Duration;

use async_trait::async_trait;

use crate::{domain::ids::InstanceId, stores::catalog::StoreError};

/// Where leases are kept. Every method is atomic.
#[async_trait]
pub trait LeaseStore: Send + Sync + 'static {
    /// Takes a lease, or holds it for longer; its epoch, or `None` while another instance holds it.
    async fn hold_lease(&self, name: &str, holder: &InstanceId, time: Duration) -> Result<Option<u64>, StoreError>;
    /// Whether the lease is still the holder's, as of this epoch.
    async fn holds_lease(&self, name: &str, holder: &InstanceId, epoch: u64) -> Result<bool, StoreError>;
    /// Gives a lease back, if it is the holder's: others need not wait for its end.
    async fn release_lease(&self, name: &str, holder: &InstanceId) -> Result<(), StoreError>;
    /// Says that an instance is there for so long, and which others are.
    async fn be_present(&self, me: &InstanceId, time: Duration) -> Result<Vec<InstanceId>, StoreError>;
    /// Says that it is not there any more.
    async fn leave(&self, me: &InstanceId) -> Result<(), StoreError>;
    /// Whether there can be other instances.
    fn is_shared(&self) -> bool;
}
