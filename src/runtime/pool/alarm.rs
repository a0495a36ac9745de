//! The one timer of a pool's actor: tells it when the next waiting request will have waited too long.

use tokio::{sync::watch, time::Instant};
use tokio_util::task::TaskTracker;

use super::{PoolHandle, PoolMsg};
use crate::runtime::mailbox::Lane;

/// A tracked task that ends with the actor, and what it waits for.
pub(super) struct Alarm {
    due: watch::Sender<Option<Instant>>,
}

impl Alarm {
    /// Starts the task.
    pub(super) fn start(handle: PoolHandle, tasks: &TaskTracker) -> Self {
        let (due, sees) = watch::channel(None);
        tasks.spawn(ring(handle, sees));
        Self { due }
    }

    /// Makes it ring at this time at the latest. One that rings too early, because who it was set for has gone, costs a look.
    pub(super) fn set_for(&self, next: Option<Instant>) {
        self.due.send_if_modified(|due| {
            let is_earlier = next.is_some_and(|next| due.is_none_or(|due| next < due));
            if is_earlier {
                *due = next;
            }
            is_earlier
        });
    }

    /// It has rung.
    pub(super) fn clear(&self) {
        self.due.send_if_modified(|due| {
            *due = None;
            false
        });
    }
}

async fn ring(handle: PoolHandle, mut due: watch::Receiver<Option<Instant>>) {
    loop {
        let at = *due.borrow_and_update();
        let rings = async {
            match at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = due.changed() => if changed.is_err() { return },
            () = rings => {
                if let Err(error) = handle.address.send(Lane::Control, PoolMsg::ExpiryDue).await {
                    tracing::debug!(%error, "an alarm outlived its pool");
                    return;
                }
                if due.changed().await.is_err() {
                    return;
                }
            }
        }
    }
}
