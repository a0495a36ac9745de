//! The latest alerts of all chains: written to the log when they are raised, kept in a bounded list.

use std::{collections::VecDeque, sync::Arc};

use arc_swap::ArcSwap;
use metrics::Counter;

use super::{
    feed::{Feed, Happening},
    peers::Peers,
};
use crate::{
    domain::{alert::Alert, cluster::ClusterEvent},
    telemetry::families::ALERTS,
};

/// Alerts that are kept.
pub const KEPT: usize = 100;

/// The list; cheap to clone. Alerts are rare, so each replaces the list rather than locking it.
#[derive(Clone)]
pub struct AlertLog {
    latest: Arc<ArcSwap<VecDeque<Arc<Alert>>>>,
    peers: Peers,
    feed: Feed,
    raised: Counter,
}

impl AlertLog {
    pub(super) fn new(peers: Peers, feed: Feed) -> Self {
        Self { latest: Arc::default(), peers, feed, raised: ALERTS.count(&[]) }
    }

    /// Logs an alert, keeps it and tells the other instances.
    pub(super) fn raise(&self, alert: Alert) {
        let Alert { id, message, request_id, metadata, .. } = &alert;
        tracing::warn!(alert = %id, %request_id, ?metadata, "{message}");
        self.raised.increment(1);
        self.peers.tell(ClusterEvent::Alert(alert.clone()));
        self.keep(alert);
    }

    /// Keeps an alert, whoever has raised it.
    pub(super) fn keep(&self, alert: Alert) {
        let alert = Arc::new(alert);
        self.feed.tell(Happening::Alert(Arc::clone(&alert)));
        self.latest.rcu(|list| {
            let mut list = VecDeque::clone(list);
            list.push_front(Arc::clone(&alert));
            list.truncate(KEPT);
            list
        });
    }

    /// The latest alerts, newest first.
    pub fn latest(&self) -> Vec<Arc<Alert>> {
        self.latest.load().iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{ids::RequestId, time::Timestamp};

    #[test]
    fn the_latest_hundred_are_kept_newest_first() {
        let log = AlertLog::new(Peers::alone(), Feed::new(crate::domain::ids::InstanceId::new("me")));
        for number in 0..150 {
            log.raise(Alert {
                id: number.to_string(),
                message: "m".to_owned(),
                request_id: RequestId::new("r"),
                metadata: std::collections::BTreeMap::new(),
                timestamp: Timestamp::ZERO,
            });
        }
        let latest = log.latest();
        assert_eq!((latest.len(), latest[0].id.as_str(), latest[99].id.as_str()), (100, "149", "50"));
    }
}
