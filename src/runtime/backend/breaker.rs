//! The breaker of one backend: whether calls go to it, after what its last calls came to (`docs/operations.md`, when a
//! backend fails). Closed, calls go; open, none does until some time; then half-open: a few trial calls decide.
//!
//! [`BreakerState`] is pure: time and chance are arguments. [`Breaker`] keeps it in one atomic word that every call
//! changes by compare-and-swap, and not in the backend's actor: a trial call has to be counted in the very step that lets
//! it in, messages about failures may be lost, and a crash of the actor must not close what is open. Calls that go well
//! while nothing is wrong only read.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

/// Points at which the breaker opens. Points of failures count up, each success takes one off: calls fail for good after
/// five in a row, or over a longer time when about one in five fails.
const OPENS_AT: u8 = 20;
/// Points of a failure that may pass, and of one that will not pass by itself.
const PASSING_POINTS: u8 = 4;
const HARD_POINTS: u8 = 10;
/// How long it stays open the first time; each time in a row twice as long, up to the longest.
const FIRST_OPEN: Duration = Duration::from_secs(1);
const LONGEST_OPEN: Duration = Duration::from_secs(60);
/// Trial calls at the same time, and how many must go well.
const TRIALS: u8 = 3;
const CLOSES_AFTER: u8 = 2;
/// Trial calls that have not ended after this time are not waited for: others are let in.
const TRIAL_PATIENCE: Duration = Duration::from_secs(30);
/// After this time without failures what was before is forgotten.
const QUIET: Duration = Duration::from_secs(60);

/// How bad a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::runtime) enum Fault {
    /// It may pass: a 5xx, a broken connection, no answer in time.
    Passing,
    /// It will not by itself: nobody listens, the key is refused or spent.
    HardDown,
}

impl Fault {
    const fn points(self) -> u8 {
        match self {
            Self::Passing => PASSING_POINTS,
            Self::HardDown => HARD_POINTS,
        }
    }
}

/// By which right a call went to the backend. What comes of it counts only within the epoch in which it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::runtime) struct Pass {
    epoch: u16,
    right: Right,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Right {
    /// The breaker was closed.
    Usual,
    /// It was half-open, and the call takes one of the places for trials.
    Trial,
    /// The same, and the call has given its place back.
    TriedWell,
    /// It was open, and there was nobody else.
    Bypass,
}

/// What a backend's breaker does with calls, at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::runtime) enum Position {
    /// Calls go.
    Closed,
    /// None goes before this time, in milliseconds on the breaker's clock.
    Open { retry_at: u64 },
    /// Trial calls go; `has_room`: another one now.
    HalfOpen { has_room: bool },
}

/// Bits of the word, from the lowest: what each part may hold is what it is cut to.
const AT_BITS: u32 = 39;
const EPOCH_BITS: u32 = 10;
const SUCCESSES_BITS: u32 = 2;
const TRIALS_BITS: u32 = 2;
const STREAK_BITS: u32 = 4;
const SCORE_BITS: u32 = 6;

/// The breaker at one instant. Times are milliseconds on a clock that only the caller knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct BreakerState {
    is_open: bool,
    /// Points of failures, while closed.
    score: u8,
    /// How often it has opened in a row.
    streak: u8,
    /// Places for trials that are taken.
    trials: u8,
    /// Trials that went well.
    successes: u8,
    /// Counts what makes earlier calls meaningless: openings, resets, trials that were given up.
    epoch: u16,
    /// Closed: the last failure, or when it closed. Open: from when on trials may go.
    at: u64,
}

impl BreakerState {
    fn unpack(word: u64) -> Self {
        let mut rest = word;
        let mut part = |bits: u32| {
            let value = rest & ((1 << bits) - 1);
            rest >>= bits;
            value
        };
        // The masks make every conversion exact.
        let at = part(AT_BITS);
        let epoch = u16::try_from(part(EPOCH_BITS)).unwrap_or(0);
        let mut small = |bits: u32| u8::try_from(part(bits)).unwrap_or(0);
        let successes = small(SUCCESSES_BITS);
        let trials = small(TRIALS_BITS);
        let streak = small(STREAK_BITS);
        let score = small(SCORE_BITS);
        Self { is_open: small(1) == 1, score, streak, trials, successes, epoch, at }
    }

    fn pack(self) -> u64 {
        let parts = [
            (u64::from(self.is_open), 1),
            (u64::from(self.score), SCORE_BITS),
            (u64::from(self.streak), STREAK_BITS),
            (u64::from(self.trials), TRIALS_BITS),
            (u64::from(self.successes), SUCCESSES_BITS),
            (u64::from(self.epoch), EPOCH_BITS),
            (self.at, AT_BITS),
        ];
        parts.into_iter().fold(0, |word, (value, bits)| word << bits | value & ((1 << bits) - 1))
    }

    fn position(self, now: u64) -> Position {
        if !self.is_open {
            return Position::Closed;
        }
        if now < self.at {
            return Position::Open { retry_at: self.at };
        }
        Position::HalfOpen { has_room: self.trials < TRIALS || self.has_waited_in_vain(now) }
    }

    fn has_waited_in_vain(self, now: u64) -> bool {
        now >= self.at + millis(TRIAL_PATIENCE)
    }

    fn pass(self, right: Right) -> Pass {
        Pass { epoch: self.epoch, right }
    }

    /// The breaker with a call let in.
    fn enter(mut self, now: u64) -> Option<(Self, Pass)> {
        match self.position(now) {
            Position::Closed => Some((self, self.pass(Right::Usual))),
            Position::Open { .. } | Position::HalfOpen { has_room: false } => None,
            Position::HalfOpen { .. } => {
                if self.trials >= TRIALS {
                    (self.trials, self.successes, self.at) = (0, 0, now);
                    self.epoch = next(self.epoch);
                }
                self.trials += 1;
                Some((self, self.pass(Right::Trial)))
            }
        }
    }

    /// The right of a call that goes in spite of the breaker.
    fn bypass(self) -> Pass {
        self.pass(if self.is_open { Right::Bypass } else { Right::Usual })
    }

    /// A call was answered, whatever the answer says.
    fn answered(mut self, pass: Pass, now: u64) -> Option<Self> {
        if pass.epoch != self.epoch {
            return None;
        }
        if !self.is_open {
            self.score = self.score.checked_sub(1)?;
            return Some(self);
        }
        if pass.right == Right::TriedWell {
            return None;
        }
        self.trials = self.trials.saturating_sub(u8::from(pass.right == Right::Trial));
        self.successes += 1;
        // Whoever went in spite of it has found that it can be tried.
        self.at = self.at.min(now);
        if self.successes >= CLOSES_AFTER {
            self = Self { is_open: false, streak: self.streak, epoch: self.epoch, at: now, ..Self::default() };
        }
        Some(self)
    }

    /// A call failed. `jitter` in 0..1 spreads the trials of backends that failed together.
    fn failed(mut self, pass: Pass, fault: Fault, now: u64, jitter: f64) -> Option<Self> {
        if pass.epoch != self.epoch {
            return None;
        }
        if self.is_open {
            let is_trial = matches!(pass.right, Right::Trial | Right::TriedWell);
            return is_trial.then(|| self.opened(now, jitter));
        }
        if now >= self.at + millis(QUIET) {
            (self.score, self.streak) = (0, 0);
        }
        self.score = self.score.saturating_add(fault.points());
        self.at = now;
        Some(if self.score >= OPENS_AT { self.opened(now, jitter) } else { self })
    }

    fn opened(self, now: u64, jitter: f64) -> Self {
        let longest = FIRST_OPEN.saturating_mul(1 << self.streak.min(16)).min(LONGEST_OPEN);
        let open_for = longest.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0);
        Self {
            is_open: true,
            streak: (self.streak + 1).min((1 << STREAK_BITS) - 1),
            epoch: next(self.epoch),
            at: now + millis(open_for),
            ..Self::default()
        }
    }

    /// A call ended without saying anything about the backend.
    fn left(mut self, pass: Pass) -> Option<Self> {
        let holds_a_place = pass.epoch == self.epoch && self.is_open && pass.right == Right::Trial;
        self.trials = self.trials.checked_sub(u8::from(holds_a_place))?;
        holds_a_place.then_some(self)
    }

    /// Closed, and nothing of what was counts any more.
    fn reset(self) -> Self {
        Self { epoch: next(self.epoch), ..Self::default() }
    }
}

const fn next(epoch: u16) -> u16 {
    (epoch + 1) & ((1 << EPOCH_BITS) - 1)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// What a call has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::runtime) enum Turn {
    /// Nothing that others would see.
    None,
    /// The breaker opened: calls are kept out.
    Opened,
    /// It closed, or has room for another trial.
    LetsIn,
}

/// The state as every call finds it. See the module.
#[derive(Debug, Default)]
pub(in crate::runtime) struct Breaker {
    word: AtomicU64,
    /// How often it has opened since the process began.
    openings: AtomicU32,
}

impl Breaker {
    fn state(&self) -> BreakerState {
        BreakerState::unpack(self.word.load(Ordering::Acquire))
    }

    /// Whether it is closed, which needs no clock.
    pub(in crate::runtime) fn is_closed(&self) -> bool {
        !self.state().is_open
    }

    pub(in crate::runtime) fn position(&self, now: u64) -> Position {
        self.state().position(now)
    }

    /// How often it has opened.
    pub(in crate::runtime) fn openings(&self) -> u32 {
        self.openings.load(Ordering::Relaxed)
    }

    /// Changes the state if `step` gives a new one; what was, and what is.
    fn update(&self, step: impl Fn(BreakerState) -> Option<BreakerState>) -> Option<(BreakerState, BreakerState)> {
        let changed = self.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
            step(BreakerState::unpack(word)).map(BreakerState::pack)
        });
        let before = BreakerState::unpack(changed.ok()?);
        Some((before, step(before)?))
    }

    /// The right to call the backend, if it lets a call in now. It comes back by one of the three ends of a call.
    pub(in crate::runtime) fn enter(&self, now: u64) -> Option<Pass> {
        let state = self.state();
        if !state.is_open {
            return Some(state.pass(Right::Usual));
        }
        let (before, _) = self.update(|state| state.enter(now).map(|(state, _)| state))?;
        before.enter(now).map(|(_, pass)| pass)
    }

    /// The right to call it in spite of everything.
    pub(in crate::runtime) fn bypass(&self) -> Pass {
        self.state().bypass()
    }

    /// The backend has begun to answer; a failure may still follow.
    pub(in crate::runtime) fn answered(&self, pass: &mut Pass, now: u64) -> Turn {
        let changed = self.update(|state| state.answered(*pass, now));
        if pass.right == Right::Trial {
            pass.right = Right::TriedWell;
        }
        match changed {
            Some((before, _)) if before.is_open => Turn::LetsIn,
            _ => Turn::None,
        }
    }

    /// The call failed.
    pub(in crate::runtime) fn failed(&self, pass: &mut Pass, fault: Fault, now: u64, jitter: f64) -> Turn {
        match self.update(|state| state.failed(*pass, fault, now, jitter)) {
            Some((_, after)) if after.is_open => {
                self.openings.fetch_add(1, Ordering::Relaxed);
                Turn::Opened
            }
            _ => Turn::None,
        }
    }

    /// The call ended, and nothing of what follows counts.
    pub(in crate::runtime) fn left(&self, pass: Pass) -> Turn {
        if pass.right != Right::Trial {
            return Turn::None;
        }
        self.update(|state| state.left(pass)).map_or(Turn::None, |_| Turn::LetsIn)
    }

    /// Closes it and forgets what has failed.
    pub(in crate::runtime) fn reset(&self) {
        self.update(|state| Some(state.reset()));
    }
}

#[cfg(test)]
mod tests;
