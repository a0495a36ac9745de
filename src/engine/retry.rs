//! Whether and when a failed attempt is made again (`docs/workflow-spec.md`, errors and retries). Pure: a delay is a range,
//! and whoever waits draws from it.

use std::time::Duration;

use crate::domain::failure::{Failure, FailureClass};

/// Nobody waits longer than this for one attempt, whatever a server asks for.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);

/// What is tried again where a policy does not say.
pub(crate) const USUAL_CLASSES: [FailureClass; 4] =
    [FailureClass::RateLimit, FailureClass::ServerError, FailureClass::Connection, FailureClass::Timeout];

/// How a task is tried again.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Retry {
    /// Attempts on each model, the first included; at least 1.
    pub(crate) attempts: u32,
    /// `None`: at once, whatever the failure (`retry_on_failure`).
    pub(crate) backoff: Option<Backoff>,
}

/// The delays of a `retry_policy`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Backoff {
    pub(crate) initial: Duration,
    /// At least 1.
    pub(crate) rate: f64,
    pub(crate) longest: Duration,
    /// The part that is drawn, 0 to 1.
    pub(crate) jitter: f64,
    /// What is tried again.
    pub(crate) classes: Vec<FailureClass>,
}

/// What follows a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    /// No further attempt.
    No,
    /// One more.
    AtOnce,
    /// One more, after a delay between these.
    After { least: Duration, most: Duration },
}

/// Whether failures of this class are ever tried again: what somebody stopped, and what a bound of the run forbids, is not.
pub(crate) const fn is_final(class: FailureClass) -> bool {
    use FailureClass::{Budget, Cancelled, MaxSteps, MaxVisits};
    matches!(class, Budget | Cancelled | MaxSteps | MaxVisits)
}

/// Whether failures of this class end the run, so that no task can take over.
pub(crate) const fn ends_the_run(class: FailureClass) -> bool {
    matches!(class, FailureClass::Cancelled | FailureClass::MaxSteps)
}

impl Retry {
    /// Of `retry_on_failure`.
    pub(crate) const fn at_once(more: u32) -> Self {
        Self { attempts: more + 1, backoff: None }
    }

    /// What follows the `failed`-th attempt on a model. `left`: of the run's time, where it is bounded; a delay that does
    /// not fit is not begun.
    pub(crate) fn again(&self, failed: u32, failure: &Failure, left: Option<Duration>) -> Again {
        if failed >= self.attempts || is_final(failure.class) {
            return Again::No;
        }
        let Some(backoff) = &self.backoff else { return Again::AtOnce };
        if !backoff.classes.contains(&failure.class) {
            return Again::No;
        }
        let floor = failure.retry_after.unwrap_or_default();
        let (least, most) = backoff.delay(failed);
        let (least, most) = (least.max(floor), most.max(floor));
        if floor > LONGEST_WAIT || left.is_some_and(|left| least >= left) {
            return Again::No;
        }
        Again::After { least, most: left.map_or(most, |left| most.min(left)) }
    }
}

impl Backoff {
    /// The shortest and the longest delay after the `failed`-th attempt.
    fn delay(&self, failed: u32) -> (Duration, Duration) {
        let grown = self.initial.as_secs_f64() * self.rate.powi(i32::try_from(failed - 1).unwrap_or(i32::MAX));
        // Beyond the cap it may be infinite.
        let most = Duration::try_from_secs_f64(grown).map_or(self.longest, |delay| delay.min(self.longest));
        (most.mul_f64(1.0 - self.jitter).min(most), most)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn policy(jitter: f64) -> Retry {
        let (initial, longest) = (millis(500), Duration::from_secs(30));
        let classes = USUAL_CLASSES.to_vec();
        Retry { attempts: 101, backoff: Some(Backoff { initial, rate: 2.0, longest, jitter, classes }) }
    }

    fn failure(class: FailureClass) -> Failure {
        Failure::new(class, "broken")
    }

    #[test]
    fn delays_grow_to_the_cap_and_the_jitter_is_the_part_that_is_drawn() {
        let after = |jitter, failed| policy(jitter).again(failed, &failure(FailureClass::Timeout), None);
        for (failed, most) in [(1, 500), (2, 1000), (3, 2000), (6, 16_000), (7, 30_000), (100, 30_000)] {
            let most = millis(most);
            assert_eq!(after(1.0, failed), Again::After { least: Duration::ZERO, most }, "{failed}");
            assert_eq!(after(0.0, failed), Again::After { least: most, most }, "{failed}");
            assert_eq!(after(0.25, failed), Again::After { least: most.mul_f64(0.75), most }, "{failed}");
        }
        assert_eq!(after(0.0, 101), Again::No);
    }

    #[test]
    fn only_the_classes_of_the_policy_are_tried_again() {
        for class in FailureClass::ALL {
            let again = policy(0.0).again(1, &failure(class), None) != Again::No;
            assert_eq!(again, USUAL_CLASSES.contains(&class), "{}", class.as_str());
            assert_eq!(Retry::at_once(1).again(1, &failure(class), None) == Again::AtOnce, !is_final(class));
        }
        assert_eq!(Retry::at_once(0).again(1, &failure(FailureClass::Timeout), None), Again::No);
        let mut all = policy(0.0);
        if let Some(backoff) = &mut all.backoff {
            backoff.classes = FailureClass::ALL.to_vec();
        }
        assert_eq!(all.again(1, &failure(FailureClass::Cancelled), None), Again::No);
        assert_ne!(all.again(1, &failure(FailureClass::Internal), None), Again::No);
    }

    #[test]
    fn the_servers_word_is_a_floor_and_what_does_not_fit_is_not_waited_for() {
        let slow =
            |seconds| Failure { retry_after: Some(Duration::from_secs(seconds)), ..failure(FailureClass::RateLimit) };
        let minute = Duration::from_secs(60);
        assert_eq!(policy(1.0).again(1, &slow(60), None), Again::After { least: minute, most: minute });
        assert_eq!(policy(0.0).again(1, &slow(0), None), Again::After { least: millis(500), most: millis(500) });
        assert_eq!(policy(0.0).again(1, &slow(60), Some(minute)), Again::No);
        assert_eq!(policy(0.0).again(1, &slow(3601), None), Again::No);
        assert_eq!(policy(0.0).again(3, &failure(FailureClass::Timeout), Some(millis(1500))), Again::No);
        let cut = Again::After { least: Duration::ZERO, most: millis(1500) };
        assert_eq!(policy(1.0).again(3, &failure(FailureClass::Timeout), Some(millis(1500))), cut);
        assert_eq!(Retry::at_once(1).again(1, &slow(60), Some(millis(1))), Again::AtOnce);
    }

    proptest! {
        #[test]
        fn no_delay_is_above_the_cap_but_by_the_servers_word(
            (initial, longest) in (1..3_600_000_u64, 1..3_600_000_u64),
            (rate, jitter) in (1.0..=100.0_f64, 0.0..=1.0_f64),
            failed in 1..200_u32,
            asked in prop::option::of(0..4000_u64),
            left in prop::option::of(0..4_000_000_u64),
        ) {
            let backoff = Backoff { initial: millis(initial), rate, longest: millis(longest), jitter, classes: USUAL_CLASSES.to_vec() };
            let retry = Retry { attempts: 101, backoff: Some(backoff) };
            let failure = Failure { retry_after: asked.map(Duration::from_secs), ..failure(FailureClass::RateLimit) };
            let left = left.map(millis);
            match retry.again(failed, &failure, left) {
                Again::After { least, most } => {
                    prop_assert!(failed < 101);
                    prop_assert!(least <= most && most <= LONGEST_WAIT);
                    prop_assert!(most <= millis(longest).max(failure.retry_after.unwrap_or_default()));
                    prop_assert!(least >= failure.retry_after.unwrap_or_default());
                    prop_assert!(left.is_none_or(|left| most <= left));
                }
                Again::No => {}
                Again::AtOnce => prop_assert!(false, "a policy waits"),
            }
        }
    }
}
