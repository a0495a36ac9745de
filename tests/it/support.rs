//! What the tests share: a server in its own folder, a client that shows what it got, waiting for events.

pub mod adapters;
pub mod calls;
mod client;
mod cuttable;
pub mod dialects;
mod events;
pub mod one_backend;
mod process;
pub mod raw;
mod scene;
mod server;
pub mod shape;

use std::{future::Future, time::Duration};

pub use client::{Answer, Client};
pub use cuttable::Cuttable;
pub use events::{EventStream, StreamEvent};
pub use process::{Process, left, spawn_chain, spawn_command};
pub use scene::{EMBED, README_CHAIN, Scene, TASKS, in_background};
pub use server::TestServer;

/// Longest wait for anything that should happen at once.
const PATIENCE: Duration = Duration::from_secs(20);

/// Asks again and again until the answer is there; panics with the last look when it never is. The only place that
/// sleeps: what is waited for lies behind HTTP or in another process and cannot be subscribed to.
pub async fn eventually<T, F>(what: &str, mut look: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, String>>,
{
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        match look().await {
            Ok(seen) => return seen,
            Err(last) if tokio::time::Instant::now() >= deadline => panic!("{what} never happened; last seen: {last}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

/// Waits for a future that should not take long.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} took longer than {PATIENCE:?}"),
    }
}
