//! Bounded mailboxes: ractor's own queues have no bound, so every message carries a permit of its actor's budget.
//!
//! A permit comes back when the envelope is dropped: handled, discarded at a stop or lost in a crash alike. Control
//! messages (facts from own tasks, commands of supervisors) draw from a lane of their own, so data can never lock them
//! out. An [`Address`] outlives its actor: after a restart it points at the successor.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use ractor::{ActorRef, Message, MessagingErr};
use serde::Serialize;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use utoipa::ToSchema;

/// A message and the permit that bounds how many there can be.
pub(super) struct Envelope<M> {
    /// What is said.
    pub(super) message: M,
    _permit: OwnedSemaphorePermit,
    _watched: Option<WatchedMessage>,
}

/// How full one mailbox is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MailboxSnapshot {
    /// Messages of callers' work that wait or are being handled.
    pub data: usize,
    /// How many of them there may be.
    pub data_capacity: usize,
    /// Messages of the system itself that wait or are being handled.
    pub control: usize,
    /// How many of them there may be.
    pub control_capacity: usize,
    /// For how long a message has waited or been handled, in milliseconds: that of an actor that hangs grows. One message at a
    /// time is watched, so an older one may be there.
    pub age_ms: u64,
}

/// One message at a time, from when it was sent until it has been handled.
struct Watch {
    origin: Instant,
    /// Milliseconds from the origin, and one; 0 while none is watched.
    since: AtomicU64,
}

impl Watch {
    fn new() -> Arc<Self> {
        Arc::new(Self { origin: Instant::now(), since: AtomicU64::new(0) })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
    }

    /// Watches a message that is about to be sent, unless another is watched.
    fn begin(watch: &Arc<Self>) -> Option<WatchedMessage> {
        if watch.since.load(Ordering::Relaxed) != 0 {
            return None;
        }
        let mine = watch.since.compare_exchange(0, watch.now(), Ordering::Relaxed, Ordering::Relaxed).is_ok();
        mine.then(|| WatchedMessage(Arc::clone(watch)))
    }

    fn age(&self) -> Duration {
        match self.since.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since => Duration::from_millis(self.now().saturating_sub(since)),
        }
    }
}

/// The message that is watched; dropped with it.
struct WatchedMessage(Arc<Watch>);

impl Drop for WatchedMessage {
    fn drop(&mut self) {
        self.0.since.store(0, Ordering::Relaxed);
    }
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
    bounds: Bounds,
    watch: Arc<Watch>,
}

impl<M> Mailbox<M> {
    fn wrap(&self, message: M, permit: OwnedSemaphorePermit) -> Envelope<M> {
        Envelope { message, _permit: permit, _watched: Watch::begin(&self.watch) }
    }

    fn snapshot(&self) -> MailboxSnapshot {
        let Bounds { data, control } = self.bounds;
        MailboxSnapshot {
            data: data - self.data.available_permits().min(data),
            data_capacity: data,
            control: control - self.control.available_permits().min(control),
            control_capacity: control,
            age_ms: u64::try_from(self.watch.age().as_millis()).unwrap_or(u64::MAX),
        }
    }

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
            bounds,
            watch: Watch::new(),
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
        mailbox.actor.cast(mailbox.wrap(message, permit)).map_err(|_| SendError::Gone)
    }

    /// How full its mailbox is; `None` where nobody lives.
    pub(super) fn snapshot(&self) -> Option<MailboxSnapshot> {
        self.mailbox.load().as_ref().map(|mailbox| mailbox.snapshot())
    }

    /// The same for what must not be lost on the way: gives back what was not delivered. What is lost with an actor that
    /// ends is dropped, as it would be in its mailbox.
    pub(super) fn try_hand(&self, lane: Lane, message: M) -> Result<(), M> {
        let guard = self.mailbox.load();
        let Some(mailbox) = guard.as_ref() else { return Err(message) };
        let Ok(permit) = Arc::clone(mailbox.budget(lane)).try_acquire_owned() else { return Err(message) };
        match mailbox.actor.cast(mailbox.wrap(message, permit)) {
            Err(MessagingErr::SendErr(envelope)) => Err(envelope.message),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Delivers as soon as there is room: backpressure for tasks, never used inside a handler.
    pub(super) async fn send(&self, lane: Lane, message: M) -> Result<(), SendError> {
        let mailbox = self.mailbox.load_full().ok_or(SendError::Gone)?;
        let permit = Arc::clone(mailbox.budget(lane)).acquire_owned().await.map_err(|_| SendError::Gone)?;
        mailbox.actor.cast(mailbox.wrap(message, permit)).map_err(|_| SendError::Gone)
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

    #[tokio::test(start_paused = true)]
    async fn a_mailbox_says_how_full_it_is_and_for_how_long_a_message_has_been_in_it() {
        let (address, gate, mut sees) = gated(Bounds { data: 3, control: 1 }).await;
        assert_eq!(
            address.snapshot(),
            Some(MailboxSnapshot { data_capacity: 3, control_capacity: 1, ..Default::default() })
        );
        address.try_send(Lane::Data, 1).unwrap();
        tokio::time::advance(Duration::from_secs(2)).await;
        address.try_send(Lane::Data, 2).unwrap();
        address.try_send(Lane::Control, 3).unwrap();
        let full = address.snapshot().unwrap();
        assert_eq!((full.data, full.control, full.age_ms), (2, 1, 2_000));
        for message in 1..=3 {
            gate.notify_one();
            assert_eq!(sees.recv().await, Some(message));
        }
        // Its permit and its watch fall with the envelope, a moment after its handler has told us.
        while address.snapshot().unwrap().control > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(address.snapshot().unwrap().age_ms, 0);
        address.detach();
        assert_eq!(address.snapshot(), None);
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
