//! What is made again and what is not, call by call, in virtual time.
#![cfg(test)]

use std::time::Duration;

use super::{
    world::{Deed, SLOW},
    *,
};

const EVERYTHING: RetryBudget = RetryBudget { ratio: 1.0, min_per_second: 100 };
const NOTHING: RetryBudget = RetryBudget { ratio: 0.0, min_per_second: 0 };

fn paid_by(retry_budget: RetryBudget) -> CallSettings {
    CallSettings { retry_budget, ..CallSettings::default() }
}

fn hedged(after_ms: u64) -> CallSettings {
    CallSettings { hedging: Hedging { after_ms, max_tokens: 8 }, ..paid_by(EVERYTHING) }
}

fn that(deeds: &[Deed]) -> Vec<BackendPlan> {
    let plan = |(tier, deed): (u32, &Deed)| BackendPlan::that(*deed).in_tier(tier);
    (0..).zip(deeds).map(plan).collect()
}

/// One pool with such backends, each in a tier of its own.
fn scene(backends: &[BackendPlan], calls: CallSettings) -> (Dispatcher, Arc<World>) {
    let (directory, world) = fleet(backends, &[PoolPlan::of(backends.len(), calls)]);
    (dispatcher(&directory, None), world)
}

fn route() -> ModelRoute {
    ModelRoute::of(Capability::Chat, &[MODELS[0].to_owned()], &[])
}

async fn ask(dispatcher: &Dispatcher) -> Result<(Completion, Served), DispatchError> {
    dispatcher.generate(&route(), &short_call()).await
}

const BAD: Deed = Deed::Fail(ProviderErrorKind::Transient);

#[tokio::test(start_paused = true)]
async fn a_late_call_is_made_again_elsewhere_and_the_loser_is_given_up_with_its_slot() {
    let (dispatcher, world) = scene(&that(&[Deed::Dawdle, Deed::Answer]), hedged(200));
    let began = Instant::now();
    let (completion, served) = ask(&dispatcher).await.unwrap();
    assert_eq!((completion.text.as_str(), served.attempts, began.elapsed()), ("b1", 2, Duration::from_millis(200)));
    assert_eq!(world.given_up.load(Ordering::SeqCst), 1);
    assert!(world.comes_to_rest().await);
    let view = world.cell(0).access.latency();
    assert!(view.millis >= 200.0, "that it was late is known: {view:?}");
}

#[tokio::test(start_paused = true)]
async fn the_first_call_wins_where_the_second_is_later_still() {
    let mut backends = that(&[Deed::Dawdle, Deed::Dawdle]);
    let (dispatcher, world) = scene(&backends, hedged(200));
    let began = Instant::now();
    let (completion, served) = ask(&dispatcher).await.unwrap();
    assert_eq!((completion.text.as_str(), served.attempts, began.elapsed()), ("b0", 2, SLOW));
    assert!(world.comes_to_rest().await && world.given_up.load(Ordering::SeqCst) == 1);

    // A second call that fails is no reason to give the first one up.
    backends[1].usually = BAD;
    let (dispatcher, world) = scene(&backends, hedged(200));
    let (completion, served) = ask(&dispatcher).await.unwrap();
    assert_eq!((completion.text.as_str(), served.attempts), ("b0", 2));
    assert_eq!(world.given_up.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_may_be_long_or_has_no_budget_or_no_slot_elsewhere_is_not_hedged() {
    let long = ChatCall { messages: short_call().messages, ..ChatCall::default() };
    let (dispatcher, world) = scene(&that(&[Deed::Dawdle, Deed::Answer]), hedged(200));
    assert_eq!(dispatcher.generate(&route(), &long).await.unwrap().1.attempts, 1);
    assert_eq!(world.asked(), ["b0"]);

    let broke = CallSettings { retry_budget: NOTHING, ..hedged(200) };
    let (dispatcher, world) = scene(&that(&[Deed::Dawdle, Deed::Answer]), broke);
    assert_eq!(ask(&dispatcher).await.unwrap().1.attempts, 1);
    assert!(world.comes_to_rest().await);

    let (dispatcher, _) = scene(&that(&[Deed::Dawdle]), hedged(200));
    assert_eq!(ask(&dispatcher).await.unwrap().1.attempts, 1);

    let (dispatcher, _) = scene(&that(&[Deed::Dawdle, Deed::Answer]), paid_by(EVERYTHING));
    assert_eq!(ask(&dispatcher).await.unwrap().1.attempts, 1, "hedging is off unless it is asked for");
}

#[tokio::test(start_paused = true)]
async fn embeddings_are_hedged_whatever_their_texts() {
    let (dispatcher, world) = scene(&that(&[Deed::Dawdle, Deed::Answer]), hedged(200));
    let route = ModelRoute::of(Capability::Embed, &[MODELS[0].to_owned()], &[]);
    // The scripted backends have no vectors to give; who was asked is what counts.
    world.cells.lock().unwrap().iter().for_each(|cell| {
        let mut view = crate::runtime::directory::BackendView::new(cell.view().backend.clone(), 1);
        view.provider.clone_from(&cell.view().provider);
        (view.health, view.in_pool) = (cell.view().health.clone(), true);
        let mut model = crate::domain::model::ObservedModel::named(MODELS[0]);
        model.capabilities.can_embed = true;
        view.observe(vec![model]);
        cell.publish(view);
    });
    dispatcher.embed(&route, &EmbedCall::of("long ".repeat(1_000))).await.unwrap_err();
    assert_eq!(world.asked(), ["b0", "b1"]);
}

#[tokio::test(start_paused = true)]
async fn an_empty_budget_tells_the_failure_as_it_is() {
    let fifth = RetryBudget { ratio: 0.2, min_per_second: 0 };
    let (dispatcher, world) = scene(&that(&[Deed::Fail(ProviderErrorKind::RateLimited), Deed::Answer]), paid_by(fifth));
    let mut answered = 0;
    for _ in 0..20 {
        // What was found is forgotten: each call begins at the first backend again.
        world.cell(0).access.reset();
        answered += usize::from(ask(&dispatcher).await.is_ok());
    }
    assert_eq!((answered, world.asked().len()), (4, 24));
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_nobody_can_take_over_costs_no_budget() {
    let once = RetryBudget { ratio: 0.0, min_per_second: 1 };
    let (dispatcher, world) = scene(&that(&[BAD]), paid_by(once));
    for _ in 0..50 {
        ask(&dispatcher).await.unwrap_err();
        world.cell(0).access.reset();
    }
    let budget = &dispatcher.directory.pools()[0].budget;
    let left = (0..100).take_while(|_| budget.spend(once)).count();
    assert_eq!(left, 10, "as at the beginning");
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_rests_longer_than_the_call_can_wait_takes_nothing_over_and_costs_no_budget() {
    let once = RetryBudget { ratio: 0.0, min_per_second: 1 };
    for (rests, costs) in [(600, false), (5, true)] {
        let mut backends = that(&[BAD, Deed::Answer]);
        backends[1].rests = Some(rests);
        let (dispatcher, world) = scene(&backends, paid_by(once));
        ask(&dispatcher).await.unwrap_err();
        assert_eq!(world.asked(), ["b0"]);
        let budget = &dispatcher.directory.pools()[0].budget;
        let left = (0..100).take_while(|_| budget.spend(once)).count();
        assert_eq!(left, if costs { 9 } else { 10 }, "a rest of {rests} s");
    }
}

#[tokio::test(start_paused = true)]
async fn five_failures_keep_calls_out_until_a_trial_has_gone_well() {
    let mut backends = that(&[Deed::Answer, Deed::Answer]);
    backends[0].deeds = vec![BAD; 6];
    let (dispatcher, world) = scene(&backends, paid_by(EVERYTHING));
    for _ in 0..5 {
        assert_eq!(ask(&dispatcher).await.unwrap().1.attempts, 2);
    }
    for _ in 0..5 {
        assert_eq!(ask(&dispatcher).await.unwrap().1.attempts, 1);
    }
    assert_eq!(world.asked().iter().filter(|id| *id == "b0").count(), 5);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(ask(&dispatcher).await.unwrap().1.attempts, 2, "the trial fails, too");
    tokio::time::advance(Duration::from_millis(999)).await;
    assert_eq!(ask(&dispatcher).await.unwrap().1.backend.as_str(), "b1", "and it is out for longer");
    tokio::time::advance(Duration::from_millis(1_001)).await;
    for _ in 0..2 {
        assert_eq!(ask(&dispatcher).await.unwrap().1.backend.as_str(), "b0");
    }
    assert!(world.cell(0).access.breaker().state == crate::runtime::directory::BreakerPosition::Closed);
}

#[tokio::test(start_paused = true)]
async fn when_all_breakers_are_open_the_least_bad_backend_is_tried_and_no_other() {
    let mut backends = that(&[BAD, BAD, BAD]);
    backends.iter_mut().for_each(|backend| backend.is_broken = true);
    let (dispatcher, world) = scene(&backends, paid_by(EVERYTHING));
    // The later it opened, the longer it is to be left alone.
    for number in [1, 0] {
        tokio::time::advance(Duration::from_millis(200)).await;
        world.cell(number).access.reset();
        world.cell(number).access.bring_into(true, None);
    }
    let failed = ask(&dispatcher).await.unwrap_err();
    assert_eq!((world.asked(), failed.failure.refusal), (vec!["b2".to_owned()], None));

    // One that may take the call is better than any of them.
    world.cell(0).access.reset();
    ask(&dispatcher).await.unwrap_err();
    assert_eq!(world.asked(), ["b2", "b0"]);
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_answers_in_spite_of_its_breaker_is_back() {
    let mut backends = that(&[Deed::Answer]);
    backends[0].is_broken = true;
    let (dispatcher, world) = scene(&backends, paid_by(NOTHING));
    for _ in 0..3 {
        ask(&dispatcher).await.unwrap();
    }
    assert_eq!(world.cell(0).access.breaker().state, crate::runtime::directory::BreakerPosition::Closed);
}

#[tokio::test(start_paused = true)]
async fn calls_are_refused_while_all_backends_rest_longer_than_they_can_wait() {
    let mut backends = that(&[Deed::Answer, Deed::Answer]);
    (backends[0].rests, backends[1].rests) = (Some(50), Some(40));
    let (dispatcher, world) = scene(&backends, paid_by(EVERYTHING));
    let refused = ask(&dispatcher).await.unwrap_err().failure;
    assert_eq!(refused.refusal, Some(RefusalReason::CoolingDown));
    assert_eq!(refused.retry_after, Some(Duration::from_secs(40)));
    assert!(refused.message.contains("40 s"), "{refused}");
    assert!(world.asked().is_empty());
    tokio::time::advance(Duration::from_secs(40)).await;
    assert_eq!(ask(&dispatcher).await.unwrap().1.backend.as_str(), "b1");
}

#[tokio::test(start_paused = true)]
async fn a_rate_limited_backend_rests_and_the_others_go_on() {
    let mut backends = that(&[Deed::Answer, Deed::Answer]);
    backends[0].deeds = vec![Deed::Rest(7)];
    let (dispatcher, world) = scene(&backends, paid_by(EVERYTHING));
    assert_eq!(ask(&dispatcher).await.unwrap().1.attempts, 2);
    for _ in 0..5 {
        assert_eq!(ask(&dispatcher).await.unwrap().1.attempts, 1);
    }
    assert_eq!(world.asked().iter().filter(|id| *id == "b0").count(), 1);
    assert_eq!(world.cell(0).access.breaker().opened, 0, "a wish to wait is no trouble");
    tokio::time::advance(Duration::from_secs(7)).await;
    assert_eq!(ask(&dispatcher).await.unwrap().1.backend.as_str(), "b0");
}

#[tokio::test(start_paused = true)]
async fn a_target_whose_backends_are_out_is_passed_over_for_the_next() {
    let mut backends = that(&[Deed::Answer, Deed::Answer]);
    (backends[0].models, backends[1].models) = (vec![0], vec![1]);
    backends[0].is_broken = true;
    let (dispatcher, world) = scene(&backends, paid_by(NOTHING));
    let names = [MODELS[0].to_owned(), MODELS[1].to_owned()];
    for falls_back in [true, false] {
        let route = ModelRoute { falls_back, ..ModelRoute::of(Capability::Chat, &names, &[]) };
        assert_eq!(dispatcher.generate(&route, &short_call()).await.unwrap().1.attempts, 1);
    }
    assert_eq!(world.asked(), ["b1", "b1"], "and it costs nothing");
}

#[tokio::test(start_paused = true)]
async fn going_on_to_the_next_target_is_paid_for_unless_the_failure_says_nothing_of_the_load() {
    for (kind, goes_on) in
        [(ProviderErrorKind::ContextLength, true), (ProviderErrorKind::Auth, true), (ProviderErrorKind::Server, false)]
    {
        let mut backends = that(&[Deed::Fail(kind), Deed::Answer]);
        (backends[0].models, backends[1].models) = (vec![0], vec![1]);
        let (dispatcher, _) = scene(&backends, paid_by(NOTHING));
        let names = [MODELS[0].to_owned(), MODELS[1].to_owned()];
        let route = ModelRoute { falls_back: true, ..ModelRoute::of(Capability::Chat, &names, &[]) };
        assert_eq!(dispatcher.generate(&route, &short_call()).await.is_ok(), goes_on, "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_tried_again_after_the_deadline() {
    let mut backends = that(&[Deed::Dawdle, Deed::Answer]);
    backends[0].deeds = vec![BAD];
    let (dispatcher, world) = scene(&backends, paid_by(EVERYTHING));
    let route = ModelRoute { deadline: Some(Instant::now().into_std()), ..route() };
    // Whether it is begun at all is for the queue to say.
    dispatcher.generate(&route, &short_call()).await.unwrap_err();
    assert!(world.asked().len() <= 1);
}

#[tokio::test(start_paused = true)]
async fn no_open_breaker_is_broken_for_a_call_that_somebody_has_failed_already() {
    let mut backends = that(&[BAD, Deed::Answer, Deed::Answer]);
    (backends[1].rests, backends[2].is_broken) = (Some(600), true);
    let (dispatcher, world) = scene(&backends, paid_by(EVERYTHING));
    let failed = ask(&dispatcher).await.unwrap_err().failure;
    assert_eq!((world.asked(), failed.refusal), (vec!["b0".to_owned()], None), "what it said is told");

    let mut backends = that(&[BAD, Deed::Answer]);
    (backends[0].models, backends[1].models) = (vec![0], vec![1]);
    backends[1].is_broken = true;
    let (dispatcher, world) = scene(&backends, paid_by(EVERYTHING));
    let names = [MODELS[0].to_owned(), MODELS[1].to_owned()];
    let route = ModelRoute { falls_back: true, ..ModelRoute::of(Capability::Chat, &names, &[]) };
    let failed = dispatcher.generate(&route, &short_call()).await.unwrap_err().failure;
    assert_eq!((world.asked(), failed.refusal), (vec!["b0".to_owned()], None));
}

#[tokio::test(start_paused = true)]
async fn a_trial_whose_client_leaves_makes_room_for_another() {
    let mut backends = that(&[Deed::Answer, Deed::Answer]);
    (backends[0].is_broken, backends[0].slots, backends[0].deeds) = (true, 20, vec![Deed::Dawdle; 9]);
    let (dispatcher, world) = scene(&backends, paid_by(EVERYTHING));
    tokio::time::advance(Duration::from_secs(1)).await;
    for _ in 0..9 {
        tokio::time::timeout(Duration::from_millis(1), ask(&dispatcher)).await.unwrap_err();
    }
    assert_eq!(world.asked(), vec!["b0"; 9]);
    assert_eq!(ask(&dispatcher).await.unwrap().1.backend.as_str(), "b0");
    assert!(world.comes_to_rest().await);
}

#[tokio::test(start_paused = true)]
async fn a_slot_of_a_backend_that_has_lost_its_label_meanwhile_is_not_used() {
    let mut backends = that(&[Deed::Answer]);
    (backends[0].slots, backends[0].labels) = (2, vec![0]);
    // Two calls run; two wait and are given both slots at once, and the first of them finds the label and loses it.
    backends[0].deeds = vec![Deed::Answer, Deed::Disturb(0), Deed::Dawdle, Deed::Dawdle];
    let (directory, world) = fleet(&backends, &[PoolPlan::of(1, paid_by(NOTHING))]);
    let (actor, ended) = Actor::spawn(None, PoolActor, pool_args(&directory.pools()[0])).await.unwrap();
    let (dispatcher, call) = (dispatcher(&directory, None), short_call());
    let route = ModelRoute { require: labels(&[0]), ..route() };
    let outcomes = futures_util::future::join_all((0..4).map(|_| dispatcher.generate(&route, &call))).await;
    actor.stop(None);
    ended.await.unwrap();
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 2);
    let refused = outcomes[3].as_ref().unwrap_err();
    assert_eq!((world.asked().len(), refused.failure.refusal), (3, Some(RefusalReason::NoBackend)));
}
