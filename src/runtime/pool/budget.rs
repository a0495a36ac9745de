//! How many calls of a pool may be made again: one budget for retries, failovers and hedges (`docs/operations.md`, what
//! is tried again). Every call pays a part of a repeat in, every repeat takes one out; an empty budget means that a failure
//! is told as it is, so that trouble is not multiplied by those who try again.
//!
//! [`Balance`] is pure: time is an argument. [`Budget`] keeps it in one atomic word. What was paid in is worth less the
//! older it is, so that hours without trouble buy no storm; and the balance tends to what the least rate gives within
//! that time, so that a pool with few calls can repeat some of them.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;

use crate::domain::pool::RetryBudget;

/// Seconds in which what was paid in loses all but 1/e of its worth.
const MEMORY_SECONDS: f32 = 10.0;
/// Milliseconds of a tick of the clock beside the balance.
const TICK_MILLIS: u64 = 16;

/// Repeats that can be paid for, at one instant.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Balance {
    repeats: f32,
    tick: u32,
}

impl Balance {
    /// That of a pool that has done nothing yet.
    fn first(terms: RetryBudget, tick: u32) -> Self {
        Self { repeats: at_rest(terms), tick }
    }

    /// A word of 0 was never written: the tick of every balance is above 0.
    fn unpack(word: u64, terms: RetryBudget) -> Self {
        let half = |shift: u32| u32::try_from(word >> shift & u64::from(u32::MAX)).unwrap_or(0);
        if word == 0 { Self::first(terms, 0) } else { Self { repeats: f32::from_bits(half(32)), tick: half(0) } }
    }

    fn pack(self) -> u64 {
        u64::from(self.repeats.to_bits()) << 32 | u64::from(self.tick)
    }

    /// The balance at a later time.
    fn at(self, tick: u32, terms: RetryBudget) -> Self {
        let ticks = tick.wrapping_sub(self.tick);
        // A clock that seems to go backwards is another thread that has read it a moment earlier.
        if ticks == 0 || ticks > u32::MAX / 2 {
            return self;
        }
        let seconds = ticks as f32 * TICK_MILLIS as f32 / 1_000.0;
        let rest = at_rest(terms);
        Self { repeats: rest + (self.repeats - rest) * (-seconds / MEMORY_SECONDS).exp(), tick }
    }

    fn deposited(self, tick: u32, terms: RetryBudget) -> Self {
        let now = self.at(tick, terms);
        Self { repeats: now.repeats + terms.ratio as f32, ..now }
    }

    fn spent(self, tick: u32, terms: RetryBudget) -> Option<Self> {
        let mut now = self.at(tick, terms);
        if terms.ratio == 0.0 {
            // What calls paid in under other terms is not wanted any more.
            now.repeats = now.repeats.min(at_rest(terms));
        }
        // Fifths add up to a little less than a whole.
        (now.repeats >= 0.999).then(|| Self { repeats: (now.repeats - 1.0).max(0.0), ..now })
    }
}

/// What the balance tends to: an empty one gains the least rate in a second.
fn at_rest(terms: RetryBudget) -> f32 {
    terms.min_per_second as f32 * MEMORY_SECONDS
}

/// The balance as all calls of a pool share it.
#[derive(Debug)]
pub(in crate::runtime) struct Budget {
    born: Instant,
    word: AtomicU64,
}

impl Budget {
    pub(in crate::runtime) fn new() -> Self {
        Self { born: Instant::now(), word: AtomicU64::new(0) }
    }

    fn tick(&self) -> u32 {
        // Wraps after two years, and is compared accordingly.
        let ticks = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX) / TICK_MILLIS;
        u32::try_from(ticks & u64::from(u32::MAX)).unwrap_or(0).max(1)
    }

    /// A call begins.
    pub(in crate::runtime) fn deposit(&self, terms: RetryBudget) {
        let tick = self.tick();
        self.update(|word| Some(Balance::unpack(word, terms).deposited(tick, terms)));
    }

    /// Pays for one repeat; false when the budget is empty.
    pub(in crate::runtime) fn spend(&self, terms: RetryBudget) -> bool {
        let tick = self.tick();
        self.update(|word| Balance::unpack(word, terms).spent(tick, terms))
    }

    fn update(&self, step: impl Fn(u64) -> Option<Balance>) -> bool {
        let step = |word| step(word).map(|balance| Balance { tick: balance.tick.max(1), ..balance }.pack());
        self.word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn terms(ratio: f64, min_per_second: u32) -> RetryBudget {
        RetryBudget { ratio, min_per_second }
    }

    /// How many repeats are paid for at once.
    fn all_of(budget: &Budget, terms: RetryBudget) -> usize {
        (0..100_000).take_while(|_| budget.spend(terms)).count()
    }

    #[tokio::test(start_paused = true)]
    async fn a_fifth_for_each_call_pays_for_one_repeat_in_five() {
        let (budget, terms) = (Budget::new(), terms(0.2, 0));
        assert!(!budget.spend(terms), "nothing was paid in");
        for _ in 0..100 {
            budget.deposit(terms);
        }
        assert_eq!(all_of(&budget, terms), 20);
        assert!(!budget.spend(terms));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pool_without_calls_has_its_least_rate_in_each_second() {
        let (budget, terms) = (Budget::new(), terms(0.0, 5));
        assert_eq!(all_of(&budget, terms), 50, "ten seconds' worth at first");
        let mut later = 0;
        for _ in 0..10 {
            tokio::time::advance(Duration::from_secs(1)).await;
            later += all_of(&budget, terms);
        }
        assert!((44..=50).contains(&later), "{later}");
        tokio::time::advance(Duration::from_secs(3_600)).await;
        assert_eq!(all_of(&budget, terms), 50);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_paid_in_long_ago_is_worth_nothing() {
        let (budget, terms) = (Budget::new(), terms(1.0, 0));
        for _ in 0..1_000 {
            budget.deposit(terms);
        }
        tokio::time::advance(Duration::from_secs(10)).await;
        let left = all_of(&budget, terms);
        assert!((360..=370).contains(&left), "{left}");
        for _ in 0..1_000 {
            budget.deposit(terms);
        }
        tokio::time::advance(Duration::from_secs(120)).await;
        assert_eq!(all_of(&budget, terms), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn no_ratio_and_no_least_rate_is_no_repeat() {
        let (budget, terms) = (Budget::new(), terms(0.0, 0));
        for _ in 0..1_000 {
            budget.deposit(terms);
            assert!(!budget.spend(terms));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn new_terms_hold_from_now_on() {
        let budget = Budget::new();
        assert_eq!(all_of(&budget, terms(0.0, 1)), 10);
        tokio::time::advance(Duration::from_secs(600)).await;
        assert_eq!(all_of(&budget, terms(0.0, 3)), 30);
        for _ in 0..100 {
            budget.deposit(terms(1.0, 3));
        }
        assert!(!budget.spend(terms(0.0, 0)), "nothing means nothing, at once");
    }

    proptest! {
        #[test]
        fn repeats_never_exceed_what_calls_and_time_have_paid_for(
            steps in prop::collection::vec((any::<bool>(), 0u32..200), 1..400),
            ratio in 0.0f64..=1.0, least in 0u32..20,
        ) {
            let terms = terms(ratio, least);
            let (mut balance, mut tick) = (Balance::first(terms, 1), 1u32);
            let (mut paid, mut repeats) = (f64::from(at_rest(terms)), 0.0);
            for (is_call, later) in steps {
                tick += later;
                paid += f64::from(later) * TICK_MILLIS as f64 / 1_000.0 * f64::from(least);
                if is_call {
                    balance = balance.deposited(tick, terms);
                    paid += ratio;
                } else if let Some(after) = balance.spent(tick, terms) {
                    (balance, repeats) = (after, repeats + 1.0);
                }
                prop_assert!(repeats <= paid * 1.001 + 0.01, "{repeats} of {paid}");
                prop_assert!(balance.repeats >= 0.0);
                prop_assert_eq!(Balance::unpack(balance.pack(), terms), balance);
            }
        }
    }
}
