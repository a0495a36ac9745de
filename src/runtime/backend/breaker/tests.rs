//! The breaker step by step, and what holds whatever happens to it.

use proptest::prelude::*;

use super::*;

const SECOND: u64 = 1_000;
/// No chance: the whole time, not a part of it.
const WHOLE: f64 = 1.0;

fn fails(state: BreakerState, fault: Fault, now: u64) -> BreakerState {
    state.failed(state.bypass(), fault, now, WHOLE).unwrap()
}

fn after(failures: usize, fault: Fault) -> BreakerState {
    (0..failures).fold(BreakerState::default(), |state, _| fails(state, fault, 0))
}

/// Half-open, at the first moment.
fn half_open() -> (BreakerState, u64) {
    let state = after(5, Fault::Passing);
    (state, state.at)
}

#[test]
fn five_passing_failures_in_a_row_open_it_and_two_hard_ones() {
    assert_eq!(after(4, Fault::Passing).position(0), Position::Closed);
    assert_eq!(after(5, Fault::Passing).position(0), Position::Open { retry_at: SECOND });
    assert_eq!(after(1, Fault::HardDown).position(0), Position::Closed);
    assert_eq!(after(2, Fault::HardDown).position(0), Position::Open { retry_at: SECOND });
}

#[test]
fn one_failure_in_ten_does_not_open_it_and_one_in_two_does() {
    let run = |every: usize| {
        let mut state = BreakerState::default();
        for call in 1..=1_000 {
            let pass = state.bypass();
            state = match call % every {
                0 => state.failed(pass, Fault::Passing, 0, WHOLE).unwrap(),
                _ => state.answered(pass, 0).unwrap_or(state),
            };
            if state.is_open {
                return Some(call);
            }
        }
        None
    };
    assert_eq!(run(10), None);
    assert!(run(2).is_some_and(|call| call <= 14), "{:?}", run(2));
}

#[test]
fn failures_that_lie_a_minute_apart_do_not_add_up() {
    let mut state = BreakerState::default();
    for minute in 1..100 {
        state = fails(state, Fault::HardDown, minute * 60 * SECOND);
        assert!(!state.is_open);
    }
}

#[test]
fn open_it_lets_nobody_in_and_then_no_more_than_the_trials() {
    let (mut state, at) = half_open();
    assert_eq!(state.enter(at - 1), None);
    for _ in 0..TRIALS {
        (state, _) = state.enter(at).unwrap();
    }
    assert_eq!(state.enter(at), None);
    assert_eq!(state.position(at), Position::HalfOpen { has_room: false });
}

#[test]
fn trials_that_go_well_close_it_and_one_that_fails_opens_it_for_twice_as_long() {
    let (state, at) = half_open();
    let (state, first) = state.enter(at).unwrap();
    let (state, second) = state.enter(at).unwrap();
    let tried = state.answered(first, at).unwrap();
    assert!(tried.is_open);
    let closed = tried.answered(second, at + 5).unwrap();
    assert_eq!((closed.position(at + 5), closed.trials), (Position::Closed, 0));

    let reopened = tried.failed(second, Fault::Passing, at, WHOLE).unwrap();
    assert_eq!(reopened.position(at), Position::Open { retry_at: at + 2 * SECOND });
    assert_eq!(reopened.failed(first, Fault::Passing, at, WHOLE), None, "the other trial is a thing of the past");
}

#[test]
fn a_trial_whose_answer_breaks_off_has_failed_after_all() {
    let (state, at) = half_open();
    let (state, mut pass) = state.enter(at).unwrap();
    let state = state.answered(pass, at).unwrap();
    pass.right = Right::TriedWell;
    assert_eq!(state.answered(pass, at), None, "it counts once");
    assert_eq!(state.left(pass), None, "its place is free already");
    assert!(matches!(state.failed(pass, Fault::Passing, at, WHOLE).unwrap().position(at), Position::Open { .. }));
}

#[test]
fn a_trial_that_ends_without_a_word_gives_its_place_back() {
    let (mut state, at) = half_open();
    let mut passes = Vec::new();
    for _ in 0..TRIALS {
        let (entered, pass) = state.enter(at).unwrap();
        (state, _) = (entered, passes.push(pass));
    }
    state = state.left(passes[0]).unwrap();
    assert_eq!(state.trials, TRIALS - 1);
    assert!(state.enter(at).is_some());
}

#[test]
fn trials_that_hang_are_not_waited_for() {
    let (mut state, at) = half_open();
    let mut hanging = Vec::new();
    for _ in 0..TRIALS {
        let (entered, pass) = state.enter(at).unwrap();
        (state, _) = (entered, hanging.push(pass));
    }
    let later = at + millis(TRIAL_PATIENCE);
    assert_eq!(state.enter(later - 1), None);
    let (state, _) = state.enter(later).unwrap();
    assert_eq!(state.trials, 1);
    for pass in hanging {
        assert_eq!(state.left(pass), None);
        assert_eq!(state.failed(pass, Fault::Passing, later, WHOLE), None);
    }
}

#[test]
fn each_opening_in_a_row_is_twice_as_long_up_to_a_minute_and_jitter_halves_it_at_most() {
    let (mut state, mut now) = (after(5, Fault::Passing), 0);
    let mut spans = Vec::new();
    for _ in 0..9 {
        spans.push((state.at - now) / SECOND);
        now = state.at;
        let (trying, pass) = state.enter(now).unwrap();
        state = trying.failed(pass, Fault::Passing, now, WHOLE).unwrap();
    }
    assert_eq!(spans, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    let low = BreakerState::default().opened(0, 0.0);
    assert_eq!(low.at, SECOND / 2);
}

#[test]
fn a_backend_that_flaps_stays_out_longer_each_time_until_a_minute_has_been_quiet() {
    let close = |mut state: BreakerState, now: u64| {
        for _ in 0..CLOSES_AFTER {
            let (entered, pass) = state.enter(now).unwrap();
            state = entered.answered(pass, now).unwrap();
        }
        assert!(!state.is_open);
        state
    };
    let open = |state: BreakerState, now: u64| (0..5).fold(state, |state, _| fails(state, Fault::Passing, now));
    let first = open(BreakerState::default(), 0);
    let again = open(close(first, first.at), first.at + SECOND);
    assert_eq!(again.at, first.at + SECOND + 2 * SECOND);
    let quiet = again.at + 60 * SECOND;
    assert_eq!(open(close(again, again.at), quiet).at, quiet + SECOND);
}

#[test]
fn a_call_in_spite_of_it_that_is_answered_makes_it_half_open_and_one_that_fails_changes_nothing() {
    let (state, at) = half_open();
    let pass = state.bypass();
    assert_eq!(state.failed(pass, Fault::HardDown, 5, WHOLE), None);
    let tried = state.answered(pass, 5).unwrap();
    assert_eq!(tried.position(5), Position::HalfOpen { has_room: true });
    assert!(at > 5);
    assert_eq!(tried.answered(pass, 6).unwrap().position(6), Position::Closed);
}

#[test]
fn what_calls_from_before_an_opening_come_to_does_not_matter() {
    let old = BreakerState::default().bypass();
    let (state, at) = half_open();
    assert_eq!(state.answered(old, at), None);
    assert_eq!(state.failed(old, Fault::HardDown, at, WHOLE), None);
    assert_eq!(state.reset().answered(state.bypass(), at), None);
    assert_eq!(state.reset().position(0), Position::Closed);
}

#[test]
fn the_word_is_changed_only_when_something_is_wrong() {
    let breaker = Breaker::default();
    let mut pass = breaker.enter(0).unwrap();
    assert_eq!(breaker.answered(&mut pass, 9), Turn::None);
    assert_eq!(breaker.left(pass), Turn::None);
    assert_eq!(breaker.word.load(Ordering::Relaxed), 0);
    for _ in 0..5 {
        let mut pass = breaker.enter(0).unwrap();
        breaker.failed(&mut pass, Fault::Passing, 0, WHOLE);
    }
    assert_eq!((breaker.openings(), breaker.enter(0), breaker.is_closed()), (1, None, false));
    breaker.reset();
    assert!(breaker.is_closed() && breaker.enter(0).is_some());
}

#[test]
fn threads_never_get_more_trials_than_there_are() {
    use std::sync::atomic::AtomicUsize;
    let breaker = Breaker::default();
    let (state, at) = half_open();
    breaker.word.store(state.pack(), Ordering::Release);
    let inside = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..2_000 {
                    let Some(pass) = breaker.enter(at) else { continue };
                    assert!(inside.fetch_add(1, Ordering::SeqCst) < usize::from(TRIALS));
                    inside.fetch_sub(1, Ordering::SeqCst);
                    breaker.left(pass);
                }
            });
        }
    });
    assert_eq!(breaker.state().trials, 0);
}

proptest! {
    #[test]
    fn whatever_happens_the_places_for_trials_add_up_and_the_word_holds_it_all(
        steps in prop::collection::vec((0u8..7, 0usize..16, 0u64..40_000, 0.0f64..1.0), 1..300),
    ) {
        let breaker = Breaker::default();
        let (mut now, mut calls): (u64, Vec<Pass>) = (0, Vec::new());
        for (step, which, later, jitter) in steps {
            let chosen = (!calls.is_empty()).then(|| which % calls.len());
            match (step, chosen) {
                (0, _) => calls.extend(breaker.enter(now)),
                (1, _) => calls.push(breaker.bypass()),
                (2, _) => now += later,
                (3, Some(at)) => { breaker.answered(&mut calls[at], now); }
                (4, Some(at)) => {
                    let fault = if which % 2 == 0 { Fault::Passing } else { Fault::HardDown };
                    breaker.failed(&mut calls[at], fault, now, jitter);
                    let pass = calls.swap_remove(at);
                    breaker.left(pass);
                }
                (5, Some(at)) => { let pass = calls.swap_remove(at); breaker.left(pass); }
                (6, _) if which == 0 => breaker.reset(),
                _ => {}
            }
            let state = breaker.state();
            prop_assert_eq!(BreakerState::unpack(state.pack()), state);
            prop_assert!(state.is_open || state.trials == 0 && state.score < OPENS_AT);
            prop_assert!(state.trials <= TRIALS && state.successes < CLOSES_AFTER);
            if state.is_open {
                let holders = calls.iter().filter(|pass| pass.epoch == state.epoch && pass.right == Right::Trial);
                prop_assert_eq!(holders.count(), usize::from(state.trials));
                prop_assert!(state.at <= now + millis(LONGEST_OPEN));
            }
            // Nobody is kept out for ever.
            prop_assert!(state.enter(now + millis(LONGEST_OPEN) + millis(TRIAL_PATIENCE)).is_some());
        }
    }
}
