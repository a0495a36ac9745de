//! Rates of callers that are counted over all instances, where they share them (`docs/operations.md`, Valkey): who is asked at
//! the door does not wait long, and whoever has no answer counts by himself.

use std::time::Duration;

use async_trait::async_trait;

/// A bucket that fills evenly, as time (ITU-T I.371): what one unit costs, and what a full bucket holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SharedBucket {
    /// In which one unit comes.
    pub unit: Duration,
    /// In which an empty bucket is full.
    pub window: Duration,
}

/// The buckets of one caller, those that are bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SharedBuckets<'a> {
    /// Whose they are.
    pub caller: &'a str,
    /// Of requests.
    pub requests: Option<SharedBucket>,
    /// Of tokens.
    pub tokens: Option<SharedBucket>,
}

/// What all instances together say to one request. Times are until the bucket is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it may come.
    pub outcome: SharedOutcome,
    /// Of the bucket of requests.
    pub requests_lacking: Duration,
    /// Of the bucket of tokens.
    pub tokens_lacking: Duration,
}

/// Whether a request may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SharedOutcome {
    /// One request has been taken.
    Taken,
    /// Not yet; nothing has been taken.
    NoRequests(Duration),
    /// Not yet; nothing has been taken.
    NoTokens(Duration),
}

/// Rates of callers, counted over all instances.
#[async_trait]
pub trait SharedRates: Send + Sync {
    /// Takes a request, if there is one, and tokens are not owed.
    async fn take(&self, buckets: SharedBuckets<'_>) -> Option<Verdict>;
    /// Takes tokens that have been used. It happens soon, if the server is there.
    fn charge(&self, caller: &str, bucket: SharedBucket, tokens: u64);
}
