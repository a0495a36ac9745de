//! How many calls one backend can bear at once, found by watching it: a pure function of what its calls cost.
//!
//! Owned by the backend's actor, fed by the calls and the probes, asked by nobody: a new limit goes straight into the slots.
//! Answers of models differ in length, so latency says nothing; what tells that a backend has too much to do is that calls
//! *wait* in it: it says so itself, it refuses calls, or first tokens come later than for prompts of that size when it is
//! idle. From how long calls waited and how long they took follows, by Little's law, how many of them it was really working
//! on: that is the limit. It rises only when it was reached, because else nothing was learned about a higher one.

#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::domain::load::LoadSignal;

/// The limit before anything is known.
pub(in crate::runtime) const INITIAL_LIMIT: u16 = 8;
/// The lowest and the highest limit that is ever set.
const LIMITS: std::ops::RangeInclusive<u16> = 1..=256;
/// Fewest calls that are looked at together.
const LEAST_WINDOW: u32 = 16;
/// Most calls that are looked at together, so that high limits are not held for long against what is seen.
const MOST_WINDOW: u32 = 64;
/// Waiting below this is noise of the network and of the scheduler.
const NOISE: Duration = Duration::from_millis(10);
/// The part of a window's calls that wait in the backend, of their time, from which on the limit falls.
const TOLERATED_WAIT: f64 = 0.08;
/// A wait that is still more than this part of what it was, when the limit is down to this part of what it was, does not
/// come from the number of calls.
const STUBBORN: f64 = 0.6;
const FAR_BELOW: f64 = 0.25;
/// Windows that must say so.
const DOUBTS: u32 = 2;
/// How much of it is forgotten with each window that waits less.
const FORGETTING: f64 = 0.02;
/// Standard errors by which a window may wait longer by chance.
const CHANCE: f64 = 2.0;
/// The part of a limit that one fall leaves at least.
const DEEPEST_FALL: f64 = 0.25;
/// Windows without a rise after the first fall; doubles with each further one, and is forgotten when rises go well again.
const FIRST_HOLD: u32 = 2;
const LONGEST_HOLD: u32 = 8;
/// Rises in a row after which the backend is taken for one that can bear much more, and how much each one is then.
const RISES_BEFORE_STRIDES: u32 = 3;
const STRIDE: f64 = 1.5;
/// Where nothing tells how long calls wait, no more is tried than most servers bear.
const BLIND_LIMIT: u16 = 16;
/// Prompt sizes that are told apart, by powers of two.
const SIZES: usize = 24;
/// Calls after which the fastest first token is looked for anew: caches warm up, models are replaced.
const MEMORY: u32 = 512;

/// What one call showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::runtime) struct CallSample {
    /// Calls that ran on the backend when it began, itself included.
    pub(in crate::runtime) in_flight: u16,
    /// About how many tokens its prompt has.
    pub(in crate::runtime) prompt_tokens: u32,
    /// From the sending of the request to the first token; `None` where the answer came whole.
    pub(in crate::runtime) first_token: Option<Duration>,
    /// How long the backend itself says that it worked on the call, where it says so.
    pub(in crate::runtime) worked: Option<Duration>,
    /// From the sending of the request to the end of the answer.
    pub(in crate::runtime) total: Duration,
}

/// See the module.
#[derive(Debug)]
pub(in crate::runtime) struct Limiter {
    limit: u16,
    window: Window,
    idle: IdleTimes,
    /// Until the first fall the limit doubles.
    doubles: bool,
    /// Windows left without a rise, and how many there will be after the next fall.
    hold: u32,
    next_hold: u32,
    rises: u32,
    /// The falls for waiting, until the limit is up again.
    falling: Option<Falling>,
    /// Seconds of waiting that no limit makes shorter: prompts of one size take differently long where the backend knows
    /// the beginning of some of them.
    stubborn: f64,
    /// The backend told how many it can work on; nothing above it is tried.
    ceiling: u16,
    /// The backend tells how many calls wait in it.
    tells_waiting: bool,
}

/// The limit from which it falls, and the seconds that calls waited on the way.
#[derive(Debug, Clone, Copy)]
struct Falling {
    from: u16,
    waited: f64,
    /// Windows that spoke against their number as the cause.
    doubts: u32,
}

/// The calls that are looked at together.
#[derive(Debug, Default)]
struct Window {
    calls: u32,
    most_in_flight: u16,
    in_flight: u64,
    waited: Duration,
    /// Of the seconds they waited.
    squares: f64,
    /// Calls of which it is known how long they waited, and the time those took.
    known: u32,
    known_total: Duration,
}

impl Limiter {
    pub(in crate::runtime) fn new() -> Self {
        Self {
            limit: INITIAL_LIMIT,
            window: Window::default(),
            idle: IdleTimes::new(),
            doubles: true,
            hold: 0,
            next_hold: FIRST_HOLD,
            rises: 0,
            falling: None,
            stubborn: 0.0,
            ceiling: *LIMITS.end(),
            tells_waiting: false,
        }
    }

    /// For a backend that a predecessor has watched: it goes on from the limit that is in force.
    pub(in crate::runtime) fn resuming(limit: u16) -> Self {
        Self { limit: limit.clamp(*LIMITS.start(), *LIMITS.end()), doubles: false, ..Self::new() }
    }

    /// Calls that may run at once.
    pub(in crate::runtime) fn limit(&self) -> u16 {
        self.limit
    }

    /// A call has been answered. Gives the limit if it is another one now.
    pub(in crate::runtime) fn on_answer(&mut self, sample: CallSample) -> Option<u16> {
        let waited = self.waited(&sample);
        // It began under a higher limit, and tells nothing of this one.
        if sample.in_flight > self.limit {
            return None;
        }
        let window = &mut self.window;
        window.calls += 1;
        window.most_in_flight = window.most_in_flight.max(sample.in_flight);
        window.in_flight += u64::from(sample.in_flight);
        if let Some(waited) = waited {
            let waited = waited.min(sample.total);
            window.waited += waited;
            window.squares += waited.as_secs_f64().powi(2);
            window.known += 1;
            window.known_total += sample.total;
        }
        if window.calls < u32::from(self.limit).clamp(LEAST_WINDOW, MOST_WINDOW) {
            return None;
        }
        let window = std::mem::take(&mut self.window);
        self.judge(&window)
    }

    /// The backend refused a call because it has too much to do (429, 503), with so many running.
    pub(in crate::runtime) fn on_refusal(&mut self, in_flight: u16) -> Option<u16> {
        // Several of one moment say the same: each is met by a limit that is lower already.
        if in_flight > self.limit {
            return None;
        }
        self.fall((f64::from(in_flight) * 0.8).floor())
    }

    /// A probe looked at the backend.
    pub(in crate::runtime) fn on_load(&mut self, signal: LoadSignal, in_flight: u16) -> Option<u16> {
        let before = self.limit;
        if let Some(slots) = signal.slots {
            let is_new = self.ceiling != slots.clamp(*LIMITS.start(), *LIMITS.end());
            self.ceiling = slots.clamp(*LIMITS.start(), *LIMITS.end());
            // It need not be searched for.
            if is_new {
                self.set(f64::from(self.ceiling));
            }
        }
        self.tells_waiting |= signal.waiting.is_some();
        // What waits there waits for us or for others; either way ours are too many.
        if let Some(waiting) = signal.waiting.filter(|waiting| *waiting > 0)
            && in_flight > 0
        {
            let ours = f64::from(in_flight);
            let all = f64::from(signal.running.unwrap_or(0)) + f64::from(waiting);
            let fitting = ours * (1.0 - f64::from(waiting) / all.max(f64::from(waiting)).max(1.0));
            self.window = Window::default();
            self.fall(fitting.max(ours * 0.5));
        }
        (self.limit != before).then_some(self.limit)
    }

    /// How long a call waited in the backend, where that can be told.
    fn waited(&mut self, sample: &CallSample) -> Option<Duration> {
        if let Some(worked) = sample.worked {
            return Some(sample.total.saturating_sub(worked));
        }
        let first_token = sample.first_token?;
        let idle = self.idle.learn(sample.prompt_tokens, first_token);
        Some(first_token.saturating_sub(idle))
    }

    fn judge(&mut self, window: &Window) -> Option<u16> {
        let before = self.limit;
        let known = f64::from(window.known.max(1));
        let all_waited = window.waited.as_secs_f64() / known;
        if let Some(falling) = &mut self.falling
            && f64::from(before) <= f64::from(falling.from) * FAR_BELOW
            && all_waited > falling.waited * STUBBORN
        {
            falling.doubts += 1;
            if falling.doubts >= DOUBTS {
                // A quarter of the calls wait as long: it was not their number.
                let from = falling.from;
                self.stubborn = all_waited;
                self.falling = None;
                self.hold = 0;
                self.set(f64::from(from));
                return (self.limit != before).then_some(self.limit);
            }
        } else if let Some(falling) = &mut self.falling {
            falling.doubts = 0;
        }
        let waited = all_waited - self.stubborn;
        self.stubborn -= (self.stubborn - all_waited).max(0.0) * FORGETTING;
        let total = window.known_total.as_secs_f64() / known;
        let chance = CHANCE * (window.squares / known - all_waited * all_waited).max(0.0).sqrt() / known.sqrt();
        let tolerated = NOISE.as_secs_f64().max(total * TOLERATED_WAIT).max(chance);
        if window.known > 0 && waited > tolerated {
            // Little's law: of those in flight, the part of their time that they did not wait was being worked on.
            let in_flight = window.in_flight as f64 / f64::from(window.calls.max(1));
            let fitting = in_flight * (1.0 - waited / total.max(waited));
            self.fall(fitting.max(f64::from(before) * DEEPEST_FALL));
            let falling = self.falling.get_or_insert(Falling { from: before, waited: all_waited, doubts: 0 });
            falling.waited = f64::midpoint(falling.waited, all_waited);
        } else if window.most_in_flight >= self.limit {
            self.rise();
            if window.known == 0 && !self.tells_waiting {
                self.set(f64::from(self.limit.min(BLIND_LIMIT.max(before))));
            }
            self.falling = self.falling.filter(|falling| self.limit < falling.from);
        }
        (self.limit != before).then_some(self.limit)
    }

    fn rise(&mut self) {
        if self.hold > 0 {
            self.hold -= 1;
            return;
        }
        self.rises += 1;
        let limit = f64::from(self.limit);
        if self.doubles {
            self.set(limit * 2.0);
        } else if self.rises > RISES_BEFORE_STRIDES {
            self.next_hold = FIRST_HOLD;
            self.set(limit * STRIDE);
        } else {
            self.set(limit + (limit.sqrt() / 2.0).max(1.0));
        }
    }

    fn fall(&mut self, to: f64) -> Option<u16> {
        let before = self.limit;
        self.set(to.min(f64::from(self.limit)));
        self.doubles = false;
        self.rises = 0;
        self.hold = self.next_hold;
        self.next_hold = (self.next_hold * 2).min(LONGEST_HOLD);
        (self.limit != before).then_some(self.limit)
    }

    fn set(&mut self, limit: f64) {
        let ceiling = f64::from(self.ceiling.min(*LIMITS.end()));
        let limit = limit.round().clamp(f64::from(*LIMITS.start()), ceiling.max(1.0));
        // Between 1 and 256.
        self.limit = limit as u16;
    }
}

/// How long first tokens take when nothing waits: an envelope below what was seen of late.
#[derive(Debug)]
struct IdleTimes {
    /// Of this memory and of the one before, by size of the prompt: the fastest, and its tokens.
    fastest: [[Option<(Duration, u32)>; SIZES]; 2],
    calls: u32,
}

impl IdleTimes {
    fn new() -> Self {
        Self { fastest: [[None; SIZES]; 2], calls: 0 }
    }

    /// Adds one, and gives how long it would have taken if it had not waited.
    fn learn(&mut self, prompt_tokens: u32, first_token: Duration) -> Duration {
        self.calls += 1;
        if self.calls >= MEMORY {
            self.calls = 0;
            self.fastest = [[None; SIZES], self.fastest[0]];
        }
        let tokens = prompt_tokens.max(1);
        let fastest = &mut self.fastest[0][(tokens.ilog2() as usize).min(SIZES - 1)];
        if fastest.is_none_or(|(known, _)| first_token < known) {
            *fastest = Some((first_token, tokens));
        }
        // A prompt takes no longer than a larger one took, nor, token for token, than a smaller one.
        let known = self.fastest.iter().flatten().flatten();
        let bounds = known.map(|(took, of)| took.mul_f64((f64::from(tokens) / f64::from(*of)).max(1.0)));
        bounds.min().unwrap_or(first_token).min(first_token)
    }
}
