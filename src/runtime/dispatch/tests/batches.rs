//! Embeddings that wait for a slot in one call with others, in virtual time: whose deadline passes is told what a call of
//! its own would be told.
#![cfg(test)]

use std::time::Duration;

use ractor::ActorRef;

use super::{world::Deed, *};
use crate::{
    domain::{embedding::Embedded, model::ObservedModel, pool::Batching},
    runtime::{backend::Way, directory::BackendView, lease::Lease, mailbox::Envelope, pool::PoolMsg},
};

/// A pool of one backend with one slot that puts embeddings together.
struct Batched {
    dispatcher: Dispatcher,
    world: Arc<World>,
    actor: ActorRef<Envelope<PoolMsg>>,
}

impl Batched {
    async fn start() -> Self {
        let batching = Batching { window_ms: 2.0, max_inputs: 32 };
        let calls = CallSettings { batching, ..CallSettings::default() };
        let backend = BackendPlan { slots: 1, ..BackendPlan::that(Deed::Dawdle) };
        let queue = QueueLimits { max_wait_ms: 1_000_000, ..QueueLimits::default() };
        let (directory, world) = fleet(&[backend], &[PoolPlan { queue, ..PoolPlan::of(1, calls) }]);
        let cell = world.cell(0);
        let mut view = BackendView::new(cell.view().backend.clone(), 1);
        view.provider.clone_from(&cell.view().provider);
        (view.health, view.in_pool) = (cell.view().health.clone(), true);
        let mut model = ObservedModel::named(MODELS[0]);
        model.capabilities.can_embed = true;
        view.observe(vec![model]);
        cell.publish(view);
        let (actor, _) = Actor::spawn(None, PoolActor, pool_args(&directory.pools()[0])).await.unwrap();
        Self { dispatcher: dispatcher(&directory, None), world, actor }
    }

    async fn asks_within(&self, millis: u64) -> Result<(Embedded, Served), DispatchError> {
        let deadline = Some((Instant::now() + Duration::from_millis(millis)).into_std());
        let route = ModelRoute { deadline, ..ModelRoute::of(Capability::Embed, &[MODELS[0].to_owned()], &[]) };
        self.dispatcher.embed(&route, &EmbedCall::of("hi")).await
    }
}

/// A call of a batch of its own.
fn alone(dimensions: u32) -> EmbedCall {
    EmbedCall { dimensions: Some(dimensions), ..EmbedCall::of("hi") }
}

impl Drop for Batched {
    fn drop(&mut self) {
        self.actor.stop(None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_passes_while_the_batch_waits_for_a_slot_is_a_refusal() {
    let batched = Batched::start().await;
    let slot = Lease::try_acquire(&batched.world.cell(0), Way::Usual).unwrap();
    let began = Instant::now();
    for within in [500, 0] {
        let refused = batched.asks_within(within).await.unwrap_err();
        assert_eq!(refused.failure.refusal, Some(RefusalReason::Deadline), "within {within} ms: {refused}");
    }
    assert_eq!(began.elapsed().as_millis(), 500);
    drop(slot);
    assert!(batched.world.comes_to_rest().await);
    assert!(batched.world.asked().is_empty(), "nobody wants it any more");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_passes_while_the_batch_is_made_is_a_call_that_took_too_long() {
    let batched = Batched::start().await;
    let late = batched.asks_within(500).await.unwrap_err();
    assert_eq!((late.failure.class, late.failure.refusal), (FailureClass::Timeout, None));
    assert_eq!(batched.world.asked(), ["b0"]);
    assert!(batched.world.comes_to_rest().await, "it was given up");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_out_of_the_batchs_reach_is_refused_at_once() {
    let batched = Batched::start().await;
    let tasks = TaskTracker::new();
    let route = ModelRoute::of(Capability::Embed, &[MODELS[0].to_owned()], &[]);
    let asks = |call: EmbedCall| {
        let (dispatcher, route) = (batched.dispatcher.clone(), route.clone());
        tasks.spawn(async move { dispatcher.embed(&route, &call).await.map(drop) })
    };
    let mut others: Vec<_> = (1..=12).map(|at| asks(alone(at))).collect();
    // The queue has seen enough of them go by, one every ten seconds. Two are left, and one has its slot.
    for other in others.drain(..9) {
        // What it is told is no matter here.
        drop(other.await.unwrap());
    }
    tokio::task::yield_now().await;
    let began = Instant::now();
    let refused = batched.asks_within(15_000).await.unwrap_err().failure;
    assert!(
        refused.refusal == Some(RefusalReason::Deadline) && refused.message.contains("out of reach"),
        "{refused:?}"
    );
    // The window of its batch, but not the fifteen seconds.
    assert!(began.elapsed() < Duration::from_millis(100), "{:?}", began.elapsed());
    for other in others {
        drop(other.await.unwrap());
    }
    assert!(batched.world.comes_to_rest().await);
    assert_eq!(batched.world.asked().len(), 12);
}
