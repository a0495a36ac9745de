//! How long a backend takes to begin an answer: an average that follows a slow answer at once and a quick one gradually,
//! and is believed less the older it is (`docs/api.md`, policies). After the peak-sensitive average of Finagle and Linkerd.
//!
//! [`LatencyState`] is pure; [`Latency`] keeps it in one atomic word.

use std::sync::atomic::{AtomicU64, Ordering};

/// Milliseconds in which an observation loses all but 1/e of its weight.
const DECAY_MILLIS: f32 = 10_000.0;
/// How much of the way to a slower answer is gone at once. All of it, as for servers whose answers take alike, would let
/// one long answer of a model brand its backend; a third still shows a backend that stalls with its first answer.
const PEAK_STEP: f32 = 0.3;
/// Milliseconds of a tick of the clock beside the average.
const TICK_MILLIS: u64 = 16;

/// The average as somebody reads it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::runtime) struct LatencyView {
    /// Milliseconds; 0 = nothing is known.
    pub(in crate::runtime) millis: f32,
    /// How much it is to be believed, 0 to 1.
    pub(in crate::runtime) trust: f32,
}

impl LatencyView {
    /// Nothing is known.
    pub(in crate::runtime) const UNKNOWN: Self = Self { millis: 0.0, trust: 0.0 };
}

#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct LatencyState {
    /// 0 = nothing was observed yet.
    millis: f32,
    /// When it was observed last, in ticks.
    tick: u32,
}

impl LatencyState {
    fn unpack(word: u64) -> Self {
        // Both halves fit by construction.
        let half = |shift: u32| u32::try_from(word >> shift & u64::from(u32::MAX)).unwrap_or(0);
        Self { millis: f32::from_bits(half(32)), tick: half(0) }
    }

    fn pack(self) -> u64 {
        u64::from(self.millis.to_bits()) << 32 | u64::from(self.tick)
    }

    /// What is left of an observation's weight.
    fn weight(self, tick: u32) -> f32 {
        let ticks = tick.wrapping_sub(self.tick);
        // A clock that seems to go backwards is another thread that has read it a moment earlier.
        if ticks > u32::MAX / 2 {
            return 1.0;
        }
        (-(ticks as f32 * TICK_MILLIS as f32) / DECAY_MILLIS).exp()
    }

    fn observe(self, millis: f32, tick: u32) -> Self {
        // An answer at once is still an observation.
        let millis = millis.max(f32::MIN_POSITIVE);
        if self.millis == 0.0 {
            return Self { millis, tick };
        }
        let weight = self.weight(tick);
        let average = millis + (self.millis - millis) * weight;
        let peak = self.millis + (millis - self.millis) * PEAK_STEP;
        Self { millis: if millis > self.millis { average.max(peak) } else { average }, tick }
    }

    /// An answer that nobody waited for: it would have taken at least this long.
    fn observe_at_least(self, millis: f32, tick: u32) -> Option<Self> {
        (millis > self.millis).then(|| self.observe(millis, tick))
    }

    fn view(self, tick: u32) -> LatencyView {
        match self.millis {
            0.0 => LatencyView::UNKNOWN,
            millis => LatencyView { millis, trust: self.weight(tick) },
        }
    }
}

/// The average as it is published. Times are milliseconds on a clock that only the caller knows.
#[derive(Debug, Default)]
pub(in crate::runtime) struct Latency(AtomicU64);

impl Latency {
    pub(in crate::runtime) fn view(&self, now: u64) -> LatencyView {
        LatencyState::unpack(self.0.load(Ordering::Relaxed)).view(tick(now))
    }

    /// An answer took so long to begin.
    pub(in crate::runtime) fn observe(&self, millis: f32, now: u64) {
        self.update(|state| Some(state.observe(millis, tick(now))));
    }

    /// An answer had not begun after so long.
    pub(in crate::runtime) fn observe_at_least(&self, millis: f32, now: u64) {
        self.update(|state| state.observe_at_least(millis, tick(now)));
    }

    pub(in crate::runtime) fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    fn update(&self, step: impl Fn(LatencyState) -> Option<LatencyState>) {
        let step = |word| step(LatencyState::unpack(word)).map(LatencyState::pack);
        // An observation that changes nothing is none.
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step).ok();
    }
}

fn tick(now: u64) -> u32 {
    // Wraps after two years, and is compared accordingly.
    u32::try_from((now / TICK_MILLIS) & u64::from(u32::MAX)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(millis: &[f32]) -> LatencyState {
        let step = |state: LatencyState, (at, millis): (usize, &f32)| state.observe(*millis, at as u32);
        millis.iter().enumerate().fold(LatencyState::default(), step)
    }

    #[test]
    fn a_slow_answer_shows_at_once_and_quick_ones_only_gradually() {
        let calm = of(&[100.0; 20]);
        assert!((99.9..100.1).contains(&calm.millis));
        let slow = calm.observe(2_000.0, 21);
        assert!(slow.millis > 600.0, "{slow:?}");
        let again = slow.observe(100.0, 22);
        assert!(again.millis > 600.0, "{again:?}");
        let later = slow.observe(100.0, 21 + 5_000);
        assert!(later.millis < 110.0, "after a long rest only the new one counts: {later:?}");
    }

    #[test]
    fn what_is_old_is_not_believed() {
        let state = of(&[100.0]);
        assert_eq!(state.view(0), LatencyView { millis: 100.0, trust: 1.0 });
        let ticks = u32::try_from(10_000 / TICK_MILLIS).unwrap();
        let trust = state.view(ticks).trust;
        assert!((0.36..0.38).contains(&trust), "{trust}");
        assert!(state.view(20 * ticks).trust < 1e-6);
        assert_eq!(LatencyState::default().view(9), LatencyView::UNKNOWN);
    }

    #[test]
    fn a_call_that_was_given_up_early_says_nothing_good() {
        let state = of(&[100.0]);
        assert_eq!(state.observe_at_least(50.0, 1), None);
        assert!(state.observe_at_least(500.0, 1).unwrap().millis > 200.0);
    }

    proptest! {
        #[test]
        fn the_average_stays_within_what_was_observed(
            steps in prop::collection::vec((0.0f32..100_000.0, 0u32..2_000), 1..100), start: u32,
        ) {
            let (mut state, mut tick) = (LatencyState::default(), start);
            let (mut least, mut most) = (f32::MAX, f32::MIN_POSITIVE);
            for (millis, later) in steps {
                tick = tick.wrapping_add(later);
                state = state.observe(millis, tick);
                (least, most) = (least.min(millis), most.max(millis));
                prop_assert!(state.millis >= least * 0.999 && state.millis <= most * 1.001, "{state:?}");
                prop_assert_eq!(LatencyState::unpack(state.pack()), state);
            }
        }
    }
}
