//! The bus of instances in one process: for a server that is alone, and for tests.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::broadcast;

use super::{BEHIND, Bus, BusStanding, Heard, Listening, on_the_way};
use crate::domain::{
    cluster::{ClusterEvent, Told},
    ids::InstanceId,
};

/// Where the instances of one process meet. Cheap to clone.
#[derive(Clone, Default)]
pub struct Hub(Arc<Mutex<Vec<Member>>>);

type Member = (InstanceId, broadcast::Sender<Heard>);

impl Hub {
    /// The bus of one of them.
    pub fn join(&self, me: InstanceId) -> InProcessBus {
        let (heard, _) = broadcast::channel(BEHIND);
        self.members().push((me.clone(), heard.clone()));
        InProcessBus { me, hub: self.clone(), heard, lost: AtomicU64::new(0), told: AtomicU64::new(0) }
    }

    fn members(&self) -> MutexGuard<'_, Vec<Member>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The bus of one instance.
pub struct InProcessBus {
    me: InstanceId,
    hub: Hub,
    heard: broadcast::Sender<Heard>,
    lost: AtomicU64,
    told: AtomicU64,
}

impl Bus for InProcessBus {
    fn tell(&self, event: ClusterEvent) {
        let members = self.hub.members();
        let mut others = members.iter().filter(|(other, _)| *other != self.me).peekable();
        if others.peek().is_none() {
            return;
        }
        let number = self.told.fetch_add(1, Ordering::Relaxed) + 1;
        let told = Told { from: self.me.clone(), number, event };
        // It has the bounds of every bus.
        if on_the_way(&told).is_none() {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let told = Arc::new(told);
        for (_, heard) in others {
            // That nobody listens is no fault.
            drop(heard.send(Heard::Told(Arc::clone(&told))));
        }
    }

    fn listen(&self) -> Listening {
        Listening(self.heard.subscribe())
    }

    fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    fn standing(&self) -> BusStanding {
        BusStanding { kind: "in_process", is_connected: true }
    }

    fn has_others(&self) -> bool {
        self.hub.members().len() > 1
    }
}

impl Drop for InProcessBus {
    fn drop(&mut self) {
        self.hub.members().retain(|(other, _)| *other != self.me);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stores::bus_suite::Wire;

    impl Wire for Hub {
        async fn join(&self, name: &str) -> Arc<dyn Bus> {
            Arc::new(Hub::join(self, InstanceId::new(name)))
        }
    }

    fn hub() -> Option<Hub> {
        Some(Hub::default())
    }

    bus_suite!(crate::stores::bus::in_process::tests::hub);
}
