//! Live events of model downloads, fanned out to every listener of `GET /queue/inProgress`.
//!
//! Owns: the list of listeners. Children: none. Supervisor: `Root`.
//! Mailbox: 1,024 data permits, because downloads of all backends report here and progress is worth dropping rather
//! than waiting for; 256 control permits for the ends of downloads and new listeners.
//! On crash: listeners' streams end and clients connect again; downloads go on.

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::mpsc;

use super::{
    mailbox::{Address, Bounds, Envelope, Lane, SendError},
    peers::Peers,
};
use crate::{
    domain::{cluster::ClusterEvent, download::DownloadEvent},
    faults::fault,
};

pub(super) const BOUNDS: Bounds = Bounds { data: 1024, control: 256 };
/// Events a listener may be behind.
const LISTENER_BUFFER: usize = 256;
/// The part of it that only ends of downloads may fill, so that a slow listener misses steps but never an end.
const RESERVED_FOR_ENDS: usize = 64;

/// Publishes and listens.
#[derive(Clone)]
pub struct EventsHandle {
    pub(super) address: Address<EventsMsg>,
    peers: Peers,
}

impl EventsHandle {
    pub(super) fn vacant(peers: Peers) -> Self {
        Self { address: Address::vacant(), peers }
    }

    /// Tells every listener of a step, here and elsewhere, or drops it when the actor is behind.
    pub(super) fn step(&self, event: DownloadEvent) {
        self.peers.tell(ClusterEvent::Download(event.clone()));
        self.show(event);
    }

    /// Tells every listener here of what has happened anywhere.
    pub(super) fn show(&self, event: DownloadEvent) {
        if let Err(error) = self.address.try_send(Lane::Data, EventsMsg::Publish(Box::new(event))) {
            tracing::debug!(%error, "a download step was not shown");
        }
    }

    /// Tells every listener of an end, here and elsewhere, waiting for room here if it must.
    pub(super) async fn end(&self, event: DownloadEvent) {
        self.peers.tell(ClusterEvent::Download(event.clone()));
        if let Err(error) = self.address.send(Lane::Control, EventsMsg::Publish(Box::new(event))).await {
            tracing::warn!(%error, "the end of a download was not shown");
        }
    }

    /// A stream of all events from now on. It ends when the listener is too far behind even for ends of downloads, or
    /// when the process stops.
    ///
    /// # Errors
    /// When the actor is being restarted.
    pub fn listen(&self) -> Result<mpsc::Receiver<DownloadEvent>, SendError> {
        let (sender, receiver) = mpsc::channel(LISTENER_BUFFER);
        self.address.try_send(Lane::Control, EventsMsg::Listen(sender))?;
        Ok(receiver)
    }
}

/// What the actor is told.
#[cfg_attr(feature = "faults", derive(strum::IntoStaticStr, strum::VariantNames))]
#[cfg_attr(feature = "faults", strum(prefix = "events.", serialize_all = "snake_case"))]
pub(super) enum EventsMsg {
    /// From a download task. Nothing is answered.
    Publish(Box<DownloadEvent>),
    /// From a new listener; its channel gets everything that follows.
    Listen(mpsc::Sender<DownloadEvent>),
}

pub(super) struct EventsActor;

#[derive(Default)]
pub(super) struct EventsState {
    listeners: Vec<mpsc::Sender<DownloadEvent>>,
}

impl EventsState {
    fn publish(&mut self, event: &DownloadEvent) {
        let is_end = event.is_end();
        self.listeners.retain(|listener| {
            if !is_end && listener.capacity() <= RESERVED_FOR_ENDS {
                return !listener.is_closed();
            }
            listener.try_send(event.clone()).is_ok()
        });
    }
}

impl Actor for EventsActor {
    type Msg = Envelope<EventsMsg>;
    type State = EventsState;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Self::Msg>, (): ()) -> Result<EventsState, ActorProcessingErr> {
        fault!("events.start");
        Ok(EventsState::default())
    }

    async fn handle(
        &self,
        _: ActorRef<Self::Msg>,
        envelope: Self::Msg,
        state: &mut EventsState,
    ) -> Result<(), ActorProcessingErr> {
        fault!(before envelope.message => stage);
        match envelope.message {
            EventsMsg::Publish(event) => state.publish(&event),
            EventsMsg::Listen(listener) => {
                state.listeners.retain(|known| !known.is_closed());
                state.listeners.push(listener);
            }
        }
        fault!(after stage);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(status: &str) -> DownloadEvent {
        DownloadEvent {
            status: status.to_owned(),
            digest: String::new(),
            total: 0,
            completed: 0,
            model: "m".to_owned(),
            base_url: "http://b".to_owned(),
        }
    }

    #[test]
    fn a_slow_listener_misses_steps_but_never_an_end() {
        let (sender, mut receiver) = mpsc::channel(LISTENER_BUFFER);
        let mut state = EventsState { listeners: vec![sender] };
        for _ in 0..1000 {
            state.publish(&event("pulling ab"));
        }
        state.publish(&event("success"));
        let mut seen = Vec::new();
        while let Ok(event) = receiver.try_recv() {
            seen.push(event.status);
        }
        assert_eq!(seen.len(), LISTENER_BUFFER - RESERVED_FOR_ENDS + 1);
        assert_eq!(seen.last().map(String::as_str), Some("success"));
    }

    #[test]
    fn a_listener_that_cannot_even_take_ends_is_let_go() {
        let (sender, _receiver) = mpsc::channel(LISTENER_BUFFER);
        let mut state = EventsState { listeners: vec![sender] };
        for _ in 0..=LISTENER_BUFFER {
            state.publish(&event("success"));
        }
        assert!(state.listeners.is_empty());
    }
}
