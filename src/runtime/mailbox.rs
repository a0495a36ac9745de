//! Bounded mailboxes: ractor's own queues have no bound, so every message carries a permit of its actor's budget.
//!
//! A permit comes back when the envelope is dropped: handled, discarded at a stop or lost in a crash alike. Control
//! messages (facts from own tasks, commands of supervisors) draw from a lane of their own, so data can never lock them
//! out. An [`Address`] outlives its actor: after a restart it points at the successor.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use ractor::{ActorRef, Message, MessagingErr};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A message and the permit that bounds how many there can be.
pub(super) struct Envelope<M> {
    /// What is said.
    pub(super) message: M,
    _permit: OwnedSemaphorePermit,
}

/// Which budget a message draws from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// Work that callers bring; refused when full.
    Data,
    /// What the system must be able to say at all times.
    Control,
}

/// Why a message was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The lane's budget is used up.
    #[error("the mailbox is full")]
    Full,
    /// Nobody is there: stopped, or about to be restarted.
    #[error("the actor is not running")]
    Gone,
}

/// How many messages of each lane may be waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) data: usize,
    pub(super) control: usize,
}

/// Where to reach an actor, across its restarts.
pub(super) struct Address<M> {
    mailbox: Arc<ArcSwapOption<Mailbox<M>>>,
}

impl<M> Clone for Address<M> {
    fn clone(&self) -> Self {
        Self { mailbox: Arc::clone(&self.mailbox) }
    }
}

struct Mailbox<M> {
    actor: ActorRef<Envelope<M>>,
    data: Arc<Semaphore>,
    control: Arc<Semaphore>,
}

impl<M> Mailbox<M> {
    fn budget(&self, lane: Lane) -> &Arc<Semaphore> {
        match lane {
            Lane::Data => &self.data,
            Lane::Control => &self.control,
        }
    }
}

impl<M: Send + 'static> Address<M>
where
    Envelope<M>: Message,
{
    /// An address nobody lives at yet.
    pub(super) fn vacant() -> Self {
        Self { mailbox: Arc::new(ArcSwapOption::empty()) }
    }

    /// Points the address at an actor, with a fresh budget.
    pub(super) fn attach(&self, actor: ActorRef<Envelope<M>>, bounds: Bounds) {
        self.mailbox.store(Some(Arc::new(Mailbox {
            actor,
            data: Arc::new(Semaphore::new(bounds.data)),
            control: Arc::new(Semaphore::new(bounds.control)),
        })));
    }

    /// Leaves the address vacant.
    pub(super) fn detach(&self) {
        self.mailbox.store(None);
    }

    /// Delivers at once or not at all; the only way for one actor to talk to another.
    pub(super) fn try_send(&self, lane: Lane, message: M) -> Result<(), SendError> {
        let guard = self.mailbox.load();
        let mailbox = guard.as_ref().ok_or(SendError::Gone)?;
        let permit = Arc::clone(mailbox.budget(lane)).try_acquire_owned().map_err(|_| SendError::Full)?;
        mailbox.actor.cast(Envelope { message, _permit: permit }).map_err(|_| SendError::Gone)
    }

    /// The same for what must not be lost on the way: gives back what was not delivered. What is lost with an actor that
    /// ends is dropped, as it would be in its mailbox.
    pub(super) fn try_hand(&self, lane: Lane, message: M) -> Result<(), M> {
        let guard = self.mailbox.load();
        let Some(mailbox) = guard.as_ref() else { return Err(message) };
        let Ok(permit) = Arc::clone(mailbox.budget(lane)).try_acquire_owned() else { return Err(message) };
        match mailbox.actor.cast(Envelope { message, _permit: permit }) {
            Err(MessagingErr::SendErr(envelope)) => Err(envelope.message),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Delivers as soon as there is room: backpressure for tasks, never used inside a handler.
    pub(super) async fn send(&self, lane: Lane, message: M) -> Result<(), SendError> {
        let mailbox = self.mailbox.load_full().ok_or(SendError::Gone)?;
        let permit = Arc::clone(mailbox.budget(lane)).acquire_owned().await.map_err(|_| SendError::Gone)?;
        mailbox.actor.cast(Envelope { message, _permit: permit }).map_err(|_| SendError::Gone)
    }

    /// Ends the actor after the message it is handling, and its children with it.
    pub(super) fn stop(&self) {
        if let Some(mailbox) = self.mailbox.load().as_ref() {
            mailbox.actor.stop(None);
        }
    }

    /// Ends the actor as a crash would; its supervisor brings it back.
    pub(super) fn kill(&self) {
        if let Some(mailbox) = self.mailbox.load().as_ref() {
            mailbox.actor.kill();
        }
    }
}

#[cfg(test)]
mod tests {
    use ractor::{Actor, ActorProcessingErr};
    use tokio::sync::{Notify, mpsc};

    use super::*;

    /// Takes one message per notification and reports it.
    struct Gated {
        gate: Arc<Notify>,
        seen: mpsc::UnboundedSender<u32>,
    }

    impl Actor for Gated {
        type Msg = Envelope<u32>;
        type State = ();
        type Arguments = ();

        async fn pre_start(&self, _: ActorRef<Self::Msg>, (): ()) -> Result<(), ActorProcessingErr> {
            Ok(())
        }

        async fn handle(
            &self,
            _: ActorRef<Self::Msg>,
            envelope: Envelope<u32>,
            (): &mut (),
        ) -> Result<(), ActorProcessingErr> {
            self.gate.notified().await;
            self.seen.send(envelope.message)?;
            Ok(())
        }
    }

    async fn gated(bounds: Bounds) -> (Address<u32>, Arc<Notify>, mpsc::UnboundedReceiver<u32>) {
        let (gate, (seen, sees)) = (Arc::new(Notify::new()), mpsc::unbounded_channel());
        let (actor, _) = Actor::spawn(None, Gated { gate: Arc::clone(&gate), seen }, ()).await.unwrap();
        let address = Address::vacant();
        address.attach(actor, bounds);
        (address, gate, sees)
    }

    #[tokio::test]
    async fn a_full_data_lane_refuses_data_and_still_takes_control() {
        let (address, gate, mut sees) = gated(Bounds { data: 2, control: 1 }).await;
        assert_eq!(address.try_send(Lane::Data, 1), Ok(()));
        assert_eq!(address.try_send(Lane::Data, 2), Ok(()));
        assert_eq!(address.try_send(Lane::Data, 3), Err(SendError::Full));
        assert_eq!(address.try_send(Lane::Control, 4), Ok(()));
        gate.notify_one();
        assert_eq!(sees.recv().await, Some(1));
        address.send(Lane::Data, 5).await.unwrap();
    }

    #[tokio::test]
    async fn what_is_handed_over_comes_back_when_it_cannot_be_taken() {
        let (address, _gate, mut sees) = gated(Bounds { data: 1, control: 1 }).await;
        assert_eq!(Address::vacant().try_hand(Lane::Data, 1_u32), Err(1));
        assert_eq!(address.try_hand(Lane::Data, 1), Ok(()));
        assert_eq!(address.try_hand(Lane::Data, 2), Err(2), "there is no room");
        address.kill();
        assert_eq!(sees.recv().await, None, "the actor and its channel are gone");
        assert_eq!(address.try_hand(Lane::Control, 3), Err(3));
    }

    #[tokio::test]
    async fn permits_come_back_when_the_actor_dies() {
        let (address, _gate, mut sees) = gated(Bounds { data: 2, control: 1 }).await;
        let budget = Arc::clone(&address.mailbox.load().as_ref().unwrap().data);
        address.try_send(Lane::Data, 1).unwrap();
        address.try_send(Lane::Data, 2).unwrap();
        address.kill();
        assert_eq!(sees.recv().await, None, "the actor and its channel are gone");
        let both = budget.acquire_many(2).await.unwrap();
        assert_eq!(address.try_send(Lane::Control, 3), Err(SendError::Gone));
        drop(both);
    }
}
