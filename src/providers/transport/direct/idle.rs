//! Connections that wait for their next request, by the server they go to; the last one back is the first one out.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Waker},
};

use hyper::http::uri::Authority;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::connection::Connection;
use crate::providers::transport::{POOL_IDLE, POOL_IDLE_CONNECTIONS};

/// See the module.
#[derive(Default)]
pub(super) struct IdleConnections {
    shelf: Mutex<Shelf>,
}

#[derive(Default)]
struct Shelf {
    /// The oldest first.
    origins: HashMap<Authority, Vec<Idle>>,
    /// Whether a task closes those that have waited too long: there is one while any waits.
    is_swept: bool,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

impl Idle {
    fn is_fresh(&self) -> bool {
        self.since.elapsed() < POOL_IDLE
    }
}

impl IdleConnections {
    /// One that is ready for a request.
    pub(super) fn take(&self, origin: &Authority, context: &mut Context<'_>) -> Option<Connection> {
        loop {
            let mut idle = self.lock().origins.get_mut(origin)?.pop()?;
            if idle.is_fresh() && idle.connection.is_ready(context) {
                return Some(idle.connection);
            }
        }
    }

    /// Keeps one whose answer has been read to its end, if it can take another request.
    pub(super) fn keep(self: &Arc<Self>, origin: &Authority, mut connection: Connection) {
        // Nobody is woken for what happens on it while it waits.
        if !connection.is_ready(&mut Context::from_waker(Waker::noop())) {
            return;
        }
        let mut shelf = self.lock();
        let kept = match shelf.origins.get_mut(origin) {
            Some(kept) => kept,
            None => shelf.origins.entry(origin.clone()).or_default(),
        };
        if kept.len() < POOL_IDLE_CONNECTIONS {
            kept.push(Idle { connection, since: Instant::now() });
        }
        if !std::mem::replace(&mut shelf.is_swept, true) {
            TaskTracker::new().spawn(sweep(Arc::downgrade(self)));
        }
    }

    /// Closes those that have waited too long; whether any is left.
    fn close_old(&self) -> bool {
        let mut closed = Vec::new();
        let mut shelf = self.lock();
        shelf.origins.retain(|_, kept| {
            let fresh = kept.partition_point(|idle| !idle.is_fresh());
            closed.extend(kept.drain(..fresh));
            !kept.is_empty()
        });
        shelf.is_swept = !shelf.origins.is_empty();
        shelf.is_swept
    }

    fn lock(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs until nothing waits any more.
async fn sweep(idle: Weak<IdleConnections>) {
    loop {
        tokio::time::sleep(POOL_IDLE).await;
        if !idle.upgrade().is_some_and(|idle| idle.close_old()) {
            return;
        }
    }
}
