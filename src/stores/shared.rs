//! What instances share while they work, and what may be lost at any time: answers, leases of slots; rates are in
//! `domain::shared_rates`, for they are asked for at the door.
//!
//! Nobody waits long for any of it. `None` is the answer of a server that is away or slow: whoever asks then does without, as an
//! instance by itself would.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::domain::ids::BackendId;

/// Answers that may be given again.
#[async_trait]
pub trait AnswerCache: Send + Sync {
    /// What was kept under this key, if it is still there.
    async fn get(&self, key: &[u8; 32]) -> Option<Bytes>;
    /// Keeps it for so long. It happens soon, if the server is there.
    fn put(&self, key: [u8; 32], answer: Bytes, time: Duration);
}

/// What an instance has got of the few slots of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotTurn {
    /// One of the slots, until the time is over for which it was asked.
    Held,
    /// It has one, and others have waited long enough for it: no further call may begin.
    HandOver,
    /// All are others'.
    Waiting,
}

/// Slots of backends that have fewer of them than there are instances.
#[async_trait]
pub trait SlotLeases: Send + Sync {
    /// Asks for one of the `slots` of a backend, or to keep the one it has, for so long. Whoever asks again and again gets one
    /// in the order of asking; whoever needs none keeps what it has until others ask.
    async fn claim(&self, backend: &BackendId, slots: u16, time: Duration, is_needed: bool) -> Option<SlotTurn>;
    /// Gives it back, or waits no longer.
    async fn release(&self, backend: &BackendId);
}
