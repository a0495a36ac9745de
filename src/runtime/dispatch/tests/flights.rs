//! Calls that are made once for several, in virtual time: who gets which answer, and who waits how long.
#![cfg(test)]

use std::time::Duration;

use ractor::ActorRef;
use tokio::task::JoinHandle;

use super::{
    world::{Deed, SLOW},
    *,
};
use crate::{domain::priority::Priority, runtime::pool::PoolMsg};

type Answered = Result<(Completion, Served), DispatchError>;

/// A pool of one backend that shares calls, with its queue.
struct Shared {
    dispatcher: Dispatcher,
    world: Arc<World>,
    pool: Arc<PoolCell>,
    actor: ActorRef<crate::runtime::mailbox::Envelope<PoolMsg>>,
    requests: TaskTracker,
}

impl Shared {
    async fn start(backend: BackendPlan, queue: QueueLimits) -> Self {
        let calls = CallSettings { single_flight: true, ..CallSettings::default() };
        let (directory, world) = fleet(&[backend], &[PoolPlan { queue, ..PoolPlan::of(1, calls) }]);
        let pool = Arc::clone(&directory.pools()[0]);
        let (actor, _) = Actor::spawn(None, PoolActor, pool_args(&pool)).await.unwrap();
        let requests = TaskTracker::new();
        Self { dispatcher: dispatcher(&directory, None), world, pool, actor, requests }
    }

    /// One that always does this, one call at a time.
    async fn one_slot(usually: Deed, max_wait_ms: u64) -> Self {
        let queue = QueueLimits { max_wait_ms, ..QueueLimits::default() };
        Self::start(BackendPlan { slots: 1, ..BackendPlan::that(usually) }, queue).await
    }

    /// A request with these words, that is about to begin.
    fn asks_with(&self, words: &str, route: ModelRoute) -> JoinHandle<Answered> {
        let sampling = Sampling { temperature: Some(0.0), ..Sampling::default() };
        let call = ChatCall { messages: vec![ChatTurn::text("user", words)], sampling, ..ChatCall::default() };
        let dispatcher = self.dispatcher.clone();
        self.requests.spawn(async move { dispatcher.generate(&route, &call).await })
    }

    /// One that has begun.
    async fn asks(&self, words: &str) -> JoinHandle<Answered> {
        let asked = self.asks_with(words, route());
        tokio::task::yield_now().await;
        asked
    }

    /// So many that have begun at once.
    async fn many_ask(&self, count: usize) -> Vec<JoinHandle<Answered>> {
        let asked = (0..count).map(|_| self.asks_with("hi", route())).collect();
        tokio::task::yield_now().await;
        asked
    }

    /// All slots are free, nobody waits, and nothing is remembered of calls that are over.
    async fn is_idle(&self) -> bool {
        self.world.comes_to_rest().await
            && self.pool.snapshot().sharing == 0
            && self.dispatcher.flights.is_empty().await
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.actor.stop(None);
    }
}

fn route() -> ModelRoute {
    ModelRoute::of(Capability::Chat, &[MODELS[0].to_owned()], &[])
}

fn within(millis: u64) -> ModelRoute {
    ModelRoute { deadline: Some((Instant::now() + Duration::from_millis(millis)).into_std()), ..route() }
}

fn refusal(answered: Answered) -> Option<RefusalReason> {
    answered.unwrap_err().failure.refusal
}

#[tokio::test(start_paused = true)]
async fn identical_calls_are_made_once_and_answered_to_each() {
    let shared = Shared::one_slot(Deed::Dawdle, 30_000).await;
    let mut is_shared = Vec::new();
    for asked in shared.many_ask(100).await {
        let (completion, served) = asked.await.unwrap().unwrap();
        assert_eq!(completion.text, "b0");
        is_shared.push(served.is_shared);
    }
    assert_eq!(shared.world.asked().len(), 1);
    assert_eq!(is_shared.iter().filter(|shared| !**shared).count(), 1, "one call was made for somebody");
    assert_eq!(shared.world.cell(0).shared_calls(), 99);
    assert!(shared.is_idle().await);
    // What is over is not remembered.
    shared.asks("hi").await.await.unwrap().unwrap();
    assert_eq!(shared.world.asked().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_call_goes_on_when_the_first_leaves_and_is_given_up_when_the_last_does() {
    let shared = Shared::one_slot(Deed::Dawdle, 30_000).await;
    let asked = shared.many_ask(3).await;
    asked[0].abort();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(shared.world.given_up.load(Ordering::SeqCst), 0);
    asked[1].abort();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(shared.world.given_up.load(Ordering::SeqCst), 0);
    asked[2].abort();
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(shared.world.given_up.load(Ordering::SeqCst), 1);
    assert!(shared.is_idle().await);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_to_each_once() {
    let shared = Shared::one_slot(Deed::Fail(ProviderErrorKind::ContextLength), 30_000).await;
    for asked in shared.many_ask(20).await {
        let error = asked.await.unwrap().unwrap_err();
        assert_eq!(error.failure.class, FailureClass::ContextLength);
        assert_eq!(error.served.unwrap().attempts, 1);
    }
    assert!(shared.is_idle().await);
    assert_eq!(shared.world.asked().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_deadline_of_one_is_nobody_elses() {
    let shared = Shared::one_slot(Deed::Dawdle, 30_000).await;
    let began = Instant::now();
    let hurried = shared.asks_with("hi", within(1_000));
    let patient = shared.asks("hi").await;
    let hurried_too = shared.asks_with("hi", within(2_000));
    assert_eq!(hurried.await.unwrap().unwrap_err().failure, given_up());
    assert_eq!(began.elapsed(), Duration::from_secs(1));
    assert_eq!(hurried_too.await.unwrap().unwrap_err().failure, given_up());
    assert_eq!(began.elapsed(), Duration::from_secs(2));
    patient.await.unwrap().unwrap();
    assert_eq!((began.elapsed(), shared.world.asked().len()), (SLOW, 1));
    assert!(shared.is_idle().await);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_passes_in_the_queue_is_a_refusal() {
    let shared = Shared::one_slot(Deed::Dawdle, 30_000).await;
    let other = shared.asks("another").await;
    let hurried = shared.asks_with("hi", within(1_000));
    let patient = shared.asks("hi").await;
    assert_eq!(refusal(hurried.await.unwrap()), Some(RefusalReason::Deadline));
    other.await.unwrap().unwrap();
    patient.await.unwrap().unwrap();
    assert_eq!(shared.world.asked().len(), 2);
    assert!(shared.is_idle().await);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_out_of_reach_is_refused_at_once_to_whoever_leads_or_joins_and_to_nobody_else() {
    let shared = Shared::one_slot(Deed::Dawdle, 1_000_000).await;
    let mut others = Vec::new();
    for at in 0..12 {
        others.push(shared.asks(&format!("another {at}")).await);
    }
    // The queue has seen enough of them go by, one every ten seconds. Two are left, and one has its slot.
    for other in others.drain(..9) {
        other.await.unwrap().unwrap();
    }
    tokio::task::yield_now().await;
    let began = Instant::now();
    let told = |answered: Answered| {
        let failure = answered.unwrap_err().failure;
        assert!(failure.message.contains("out of reach"), "{failure:?}");
        failure.refusal
    };
    // It would lead, and takes nothing along with it.
    let hurried = shared.asks_with("hi", within(15_000));
    assert_eq!(told(hurried.await.unwrap()), Some(RefusalReason::Deadline));
    let patient = shared.asks("hi").await;
    let hurried_too = shared.asks_with("hi", within(15_000));
    let in_time = shared.asks_with("hi", within(50_000));
    assert_eq!(told(hurried_too.await.unwrap()), Some(RefusalReason::Deadline));
    assert_eq!(began.elapsed(), Duration::ZERO);
    for other in others {
        other.await.unwrap().unwrap();
    }
    // The call has its slot: whether a deadline is kept is for the backend to say.
    let late = shared.asks_with("hi", within(5_000));
    assert_eq!(late.await.unwrap().unwrap_err().failure, given_up());
    patient.await.unwrap().unwrap();
    in_time.await.unwrap().unwrap();
    assert_eq!(shared.world.asked().len(), 13);
    assert!(shared.is_idle().await);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_has_passed_is_a_refusal_and_nobody_is_asked() {
    let shared = Shared::one_slot(Deed::Answer, 30_000).await;
    assert_eq!(refusal(shared.asks_with("hi", within(0)).await.unwrap()), Some(RefusalReason::Deadline));
    assert!(shared.world.asked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn each_waits_for_a_slot_as_long_as_it_may_itself() {
    let shared = Shared::one_slot(Deed::Dawdle, 4_000).await;
    let began = Instant::now();
    let other = shared.asks("another").await;
    let first = shared.asks("hi").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let second = shared.asks("hi").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let third = shared.asks("hi").await;
    assert_eq!(refusal(first.await.unwrap()), Some(RefusalReason::QueueTimeout));
    assert_eq!(began.elapsed(), Duration::from_secs(4));
    // The call is made for one of the others now, and the one with less time does not wait longer for that.
    assert_eq!(refusal(second.await.unwrap()), Some(RefusalReason::QueueTimeout));
    assert_eq!(began.elapsed(), Duration::from_secs(5));
    assert_eq!(refusal(third.await.unwrap()), Some(RefusalReason::QueueTimeout));
    assert_eq!(began.elapsed(), Duration::from_secs(7));
    other.await.unwrap().unwrap();
    assert!(shared.is_idle().await);
}

#[tokio::test(start_paused = true)]
async fn who_has_more_time_than_the_first_is_answered() {
    let shared = Shared::one_slot(Deed::Dawdle, 6_000).await;
    let other = shared.asks("another").await;
    let first = shared.asks("hi").await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let later = shared.many_ask(10).await;
    assert_eq!(refusal(first.await.unwrap()), Some(RefusalReason::QueueTimeout));
    other.await.unwrap().unwrap();
    for asked in later {
        asked.await.unwrap().unwrap();
    }
    assert_eq!(shared.world.asked().len(), 2, "all of them have waited for one call again");
    assert!(shared.is_idle().await);
}

#[tokio::test(start_paused = true)]
async fn a_crowd_takes_one_place_in_the_queue() {
    let queue = QueueLimits { capacity: 2, ..QueueLimits::default() };
    let shared = Shared::start(BackendPlan { slots: 1, ..BackendPlan::that(Deed::Dawdle) }, queue).await;
    let other = shared.asks("another").await;
    let crowd = shared.many_ask(50).await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!((shared.pool.queue_depth(), shared.pool.snapshot().sharing), (1, 49));
    other.await.unwrap().unwrap();
    for asked in crowd {
        asked.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_is_told_to_each_at_once() {
    let queue = QueueLimits { capacity: 0, ..QueueLimits::default() };
    let shared = Shared::start(BackendPlan { slots: 1, ..BackendPlan::that(Deed::Dawdle) }, queue).await;
    let other = shared.asks("another").await;
    let began = Instant::now();
    for asked in shared.many_ask(50).await {
        assert_eq!(refusal(asked.await.unwrap()), Some(RefusalReason::QueueFull));
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
    other.await.unwrap().unwrap();
    assert!(shared.is_idle().await);
}

#[tokio::test(start_paused = true)]
async fn only_calls_of_one_class_are_shared() {
    let shared = Shared::start(BackendPlan::that(Deed::Dawdle), QueueLimits::default()).await;
    let mut asked = Vec::new();
    for priority in [Priority::Batch, Priority::Interactive, Priority::Batch, Priority::Interactive] {
        asked.push(shared.asks_with("hi", ModelRoute { priority, ..route() }));
    }
    for asked in asked {
        asked.await.unwrap().unwrap();
    }
    assert_eq!(shared.world.asked().len(), 2);
}
