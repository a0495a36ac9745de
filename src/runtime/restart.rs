//! When a crashed actor comes back: a delay that doubles, a meltdown window, then escalation to the supervisor above.

use std::{collections::VecDeque, time::Duration};

use metrics::Counter;
use tokio::time::Instant;

use super::root::{SYSTEM, SystemActor};
use crate::telemetry::families::ACTOR_RESTARTS;

/// How patient a supervisor is with one child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RestartPolicy {
    /// Before the first restart.
    pub(super) first_delay: Duration,
    /// The doubling stops here.
    pub(super) max_delay: Duration,
    /// More crashes than this within `window` escalate.
    pub(super) max_crashes: usize,
    /// How far back crashes are counted; a child that lives this long starts over.
    pub(super) window: Duration,
}

impl RestartPolicy {
    /// For children that hold little and whose trouble is usually their own.
    pub(super) const STANDARD: Self = Self {
        first_delay: Duration::from_millis(20),
        max_delay: Duration::from_secs(2),
        max_crashes: 20,
        window: Duration::from_secs(60),
    };
}

/// What to do about a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Start it again after this delay.
    RestartAfter(Duration),
    /// It crashes faster than restarts help. What follows is the supervisor's choice: the root ends the process, the fleet
    /// lets the child rest for the window.
    Escalate,
}

/// The crashes of one child.
#[derive(Debug, Default)]
pub(super) struct CrashHistory {
    crashes: VecDeque<Instant>,
}

impl CrashHistory {
    /// Notes a crash and decides. `jitter` in 0..1 spreads the restarts of children that crashed together.
    pub(super) fn on_crash(&mut self, policy: RestartPolicy, now: Instant, jitter: f64) -> Verdict {
        while self.crashes.front().is_some_and(|at| now.duration_since(*at) >= policy.window) {
            self.crashes.pop_front();
        }
        self.crashes.push_back(now);
        if self.crashes.len() > policy.max_crashes {
            return Verdict::Escalate;
        }
        let doublings = u32::try_from(self.crashes.len() - 1).unwrap_or(u32::MAX).min(16);
        let delay = policy.first_delay.saturating_mul(1 << doublings).min(policy.max_delay);
        Verdict::RestartAfter(delay.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0))
    }
}

/// Counts restarts, for Prometheus; outlives every actor.
#[derive(Clone)]
pub(super) struct Restarts {
    pub(super) backends: Counter,
    pub(super) pools: Counter,
    system: [Counter; SYSTEM.len()],
}

impl Restarts {
    pub(super) fn new() -> Self {
        let of = |actor| ACTOR_RESTARTS.count(&[actor]);
        Self { backends: of("backend"), pools: of("pool"), system: SYSTEM.map(|which| of(which.as_str())) }
    }

    /// Those of an actor that exists once.
    pub(super) fn of_system(&self, which: SystemActor) -> &Counter {
        &self.system[which as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: RestartPolicy = RestartPolicy {
        first_delay: Duration::from_millis(100),
        max_delay: Duration::from_millis(350),
        max_crashes: 4,
        window: Duration::from_secs(60),
    };

    #[test]
    fn delays_double_up_to_the_cap_and_then_it_escalates() {
        let (mut history, now) = (CrashHistory::default(), Instant::now());
        for millis in [100, 200, 350, 350] {
            assert_eq!(history.on_crash(POLICY, now, 1.0), Verdict::RestartAfter(Duration::from_millis(millis)));
        }
        assert_eq!(history.on_crash(POLICY, now, 1.0), Verdict::Escalate);
    }

    #[test]
    fn one_that_never_lives_is_given_up_within_the_window_whatever_the_jitter() {
        let (mut history, mut now) = (CrashHistory::default(), Instant::now());
        let began = now;
        while let Verdict::RestartAfter(delay) = history.on_crash(RestartPolicy::STANDARD, now, 1.0) {
            now += delay;
            assert!(now - began < RestartPolicy::STANDARD.window, "{history:?}");
        }
    }

    #[test]
    fn a_child_that_lived_for_the_window_starts_over() {
        let (mut history, start) = (CrashHistory::default(), Instant::now());
        for _ in 0..4 {
            history.on_crash(POLICY, start, 1.0);
        }
        let later = start + POLICY.window;
        assert_eq!(history.on_crash(POLICY, later, 1.0), Verdict::RestartAfter(POLICY.first_delay));
    }

    #[test]
    fn jitter_halves_a_delay_at_most() {
        let now = Instant::now();
        let low = CrashHistory::default().on_crash(POLICY, now, 0.0);
        assert_eq!(low, Verdict::RestartAfter(Duration::from_millis(50)));
    }
}
