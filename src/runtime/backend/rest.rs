//! The rest that a backend has asked for by `Retry-After`: until it is over no call goes there, and then not all at once
//! (`docs/operations.md`, backends that ask for a rest).
//!
//! [`RestState`] is pure: time is an argument. [`Rest`] keeps it in one atomic word that every call changes by
//! compare-and-swap, for the reasons of the breaker.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// A longer rest is not kept: whoever asks for it is asked again after this time.
const LONGEST: Duration = Duration::from_secs(60 * 60);
/// After the rest one call goes, then one more for each that was answered; and in any case twice as many after each of
/// these steps, so that one call that hangs does not keep the others out.
const STEP: Duration = Duration::from_secs(1);

/// That a call went during the reopening after the rest that ended at this time; its place comes back when it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::runtime) struct Place(u64);

/// What a resting backend does with calls, at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::runtime) enum Awake {
    /// Calls go, as many as there are slots.
    Fully,
    /// Some calls go; `has_room`: now.
    Reopening { has_room: bool },
    /// None goes before this time, in milliseconds on the caller's clock.
    Not { until: u64 },
}

/// Bits of the word, from the lowest.
const UNTIL_BITS: u32 = 40;
const COUNT_BITS: u32 = 12;
const MOST: u16 = (1 << COUNT_BITS) - 1;

/// The rest at one instant; all 0 = there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct RestState {
    /// When it ends or has ended, in milliseconds. Which rest it is, too.
    until: u64,
    /// Calls that may go at once after it, before time adds to them.
    allowed: u16,
    /// Those that do.
    inside: u16,
}

impl RestState {
    fn unpack(word: u64) -> Self {
        let count = |shift: u32| u16::try_from(word >> shift & u64::from(MOST)).unwrap_or(MOST);
        Self {
            until: word & ((1 << UNTIL_BITS) - 1),
            allowed: count(UNTIL_BITS),
            inside: count(UNTIL_BITS + COUNT_BITS),
        }
    }

    fn pack(self) -> u64 {
        let count = |count: u16, shift: u32| u64::from(count.min(MOST)) << shift;
        count(self.inside, UNTIL_BITS + COUNT_BITS)
            | count(self.allowed, UNTIL_BITS)
            | self.until & ((1 << UNTIL_BITS) - 1)
    }

    /// Calls that may go at once now.
    fn room(self, now: u64) -> u16 {
        let steps = now.saturating_sub(self.until) / millis(STEP);
        let doubled = u32::from(self.allowed) << steps.min(u64::from(COUNT_BITS));
        u16::try_from(doubled).unwrap_or(MOST)
    }

    fn awake(self, now: u64) -> Awake {
        if self == Self::default() {
            Awake::Fully
        } else if now < self.until {
            Awake::Not { until: self.until }
        } else if self.room(now) >= MOST {
            Awake::Fully
        } else {
            Awake::Reopening { has_room: self.inside < self.room(now) }
        }
    }

    /// A backend asks to be left alone.
    fn asked(self, rest: Duration, now: u64) -> Option<Self> {
        let until = now + millis(rest.min(LONGEST)).max(1);
        (until > self.until).then_some(Self { until, allowed: 1, inside: 0 })
    }

    /// The rest with a call let in.
    fn enter(self, now: u64) -> Option<(Self, Option<Place>)> {
        match self.awake(now) {
            Awake::Fully => Some((Self::default(), None)),
            Awake::Reopening { has_room: true } => {
                Some((Self { inside: self.inside + 1, ..self }, Some(Place(self.until))))
            }
            Awake::Reopening { has_room: false } | Awake::Not { .. } => None,
        }
    }

    /// A call that went during the reopening was answered. `limit`: calls that the backend may do anyway.
    fn answered(self, place: Place, limit: u16) -> Option<Self> {
        let is_of_this_rest = place.0 == self.until && self.allowed > 0;
        let allowed = (self.allowed + 1).min(MOST);
        let is_over = allowed >= limit;
        is_of_this_rest.then_some(if is_over { Self::default() } else { Self { allowed, ..self } })
    }

    /// It has ended.
    fn left(self, place: Place) -> Option<Self> {
        let is_of_this_rest = place.0 == self.until && self.inside > 0;
        is_of_this_rest.then(|| Self { inside: self.inside - 1, ..self })
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The state as every call finds it. See the module.
#[derive(Debug, Default)]
pub(in crate::runtime) struct Rest(AtomicU64);

impl Rest {
    fn state(&self) -> RestState {
        RestState::unpack(self.0.load(Ordering::Acquire))
    }

    fn update(&self, step: impl Fn(RestState) -> Option<RestState>) -> Option<RestState> {
        let changed = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
            step(RestState::unpack(word)).map(RestState::pack)
        });
        changed.ok().map(RestState::unpack)
    }

    /// Whether there is none, which needs no clock.
    pub(in crate::runtime) fn is_over(&self) -> bool {
        self.state() == RestState::default()
    }

    pub(in crate::runtime) fn awake(&self, now: u64) -> Awake {
        self.state().awake(now)
    }

    /// How long a reopening takes until more calls may go by themselves.
    pub(in crate::runtime) const fn step() -> Duration {
        STEP
    }

    /// The backend asks to be left alone; whether that is longer than before.
    pub(in crate::runtime) fn asked(&self, rest: Duration, now: u64) -> bool {
        self.update(|state| state.asked(rest, now)).is_some()
    }

    /// A place for a call; `Some(None)` where none is needed, `None` when no call may go now.
    pub(in crate::runtime) fn enter(&self, now: u64) -> Option<Option<Place>> {
        if self.is_over() {
            return Some(None);
        }
        let before = self.update(|state| state.enter(now).map(|(state, _)| state))?;
        before.enter(now).map(|(_, place)| place)
    }

    /// A call was answered; whether another may go for it.
    pub(in crate::runtime) fn answered(&self, place: Place, limit: u16) -> bool {
        self.update(|state| state.answered(place, limit)).is_some()
    }

    /// It has ended.
    pub(in crate::runtime) fn left(&self, place: Place) {
        self.update(|state| state.left(place));
    }

    /// There is none any more.
    pub(in crate::runtime) fn reset(&self) {
        self.0.store(0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000;

    fn resting(seconds: u64) -> RestState {
        RestState::default().asked(Duration::from_secs(seconds), 0).unwrap()
    }

    /// How many go in at once.
    fn crowd(mut state: RestState, now: u64) -> (RestState, Vec<Place>) {
        let mut places = Vec::new();
        while let Some((entered, Some(place))) = state.enter(now) {
            (state, _) = (entered, places.push(place));
        }
        (state, places)
    }

    #[test]
    fn nobody_goes_before_the_time_is_over_and_a_shorter_wish_does_not_end_a_longer_one() {
        let state = resting(3);
        assert_eq!(state.awake(3 * SECOND - 1), Awake::Not { until: 3 * SECOND });
        assert_eq!(state.enter(3 * SECOND - 1), None);
        assert_eq!(state.asked(Duration::from_secs(1), SECOND), None);
        assert_eq!(state.asked(Duration::from_secs(3), SECOND).unwrap().until, 4 * SECOND);
        assert_eq!(resting(1_000_000).until, 3_600 * SECOND);
    }

    #[test]
    fn it_reopens_for_one_then_two_then_four_until_it_is_full() {
        let (mut state, mut seen) = (resting(1), Vec::new());
        while state != RestState::default() {
            let places;
            (state, places) = crowd(state, SECOND);
            seen.push(places.len());
            for place in places {
                state = state.answered(place, 16).unwrap_or(state);
                state = state.left(place).unwrap_or(state);
            }
        }
        assert_eq!(seen, [1, 2, 4, 8]);
        assert_eq!(state.enter(SECOND), Some((state, None)), "all may go");
    }

    #[test]
    fn a_call_that_hangs_does_not_keep_the_others_out_for_ever() {
        let (state, hanging) = crowd(resting(1), SECOND);
        assert_eq!((hanging.len(), state.awake(SECOND)), (1, Awake::Reopening { has_room: false }));
        let (state, more) = crowd(state, 2 * SECOND);
        assert_eq!(more.len(), 1);
        assert_eq!(crowd(state, 3 * SECOND).1.len(), 2);
        assert_eq!(state.awake(30 * SECOND), Awake::Fully);
        assert_eq!(state.enter(30 * SECOND), Some((RestState::default(), None)));
    }

    #[test]
    fn another_wish_during_the_reopening_begins_anew() {
        let (state, places) = crowd(resting(1), SECOND);
        let again = state.asked(Duration::from_secs(1), SECOND).unwrap();
        assert_eq!(again, RestState { until: 2 * SECOND, allowed: 1, inside: 0 });
        assert_eq!((again.answered(places[0], 16), again.left(places[0])), (None, None));
    }

    #[test]
    fn without_a_rest_nothing_is_counted() {
        let rest = Rest::default();
        assert!(rest.is_over());
        assert_eq!(rest.enter(5), Some(None));
        assert_eq!(rest.0.load(Ordering::Relaxed), 0);
        assert!(rest.asked(Duration::from_secs(1), 0) && !rest.asked(Duration::from_millis(500), 0));
        assert_eq!((rest.enter(0), rest.is_over()), (None, false));
        let place = rest.enter(SECOND).unwrap().unwrap();
        assert_eq!(rest.enter(SECOND), None);
        rest.left(place);
        assert!(rest.enter(SECOND).is_some());
        rest.reset();
        assert_eq!(rest.enter(0), Some(None));
    }

    proptest! {
        #[test]
        fn places_add_up_whatever_happens(
            steps in prop::collection::vec((0u8..5, 0usize..16, 0u64..5_000), 1..200), limit in 1u16..40,
        ) {
            let rest = Rest::default();
            let (mut now, mut calls): (u64, Vec<Place>) = (0, Vec::new());
            for (step, which, amount) in steps {
                let chosen = (!calls.is_empty()).then(|| which % calls.len());
                match (step, chosen) {
                    (0, _) => calls.extend(rest.enter(now).flatten()),
                    (1, _) => now += amount,
                    (2, Some(at)) => { rest.answered(calls[at], limit); }
                    (3, Some(at)) => rest.left(calls.swap_remove(at)),
                    (4, _) => { rest.asked(Duration::from_millis(amount), now); }
                    _ => {}
                }
                let state = rest.state();
                prop_assert_eq!(RestState::unpack(state.pack()), state);
                if state != RestState::default() {
                    let inside = calls.iter().filter(|place| place.0 == state.until).count();
                    prop_assert_eq!(inside, usize::from(state.inside));
                    prop_assert!(inside <= usize::from(state.room(now)));
                }
            }
        }
    }
}
