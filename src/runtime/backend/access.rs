//! Whether a call may go to a backend now, and what its end says about the backend: breaker, rest and latency together,
//! as the backend's cell publishes them. Nobody is asked: who calls reads and changes atomic words.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use serde::Serialize;
use tokio::time::Instant;
use utoipa::ToSchema;

use super::{
    breaker::{Breaker, Fault, Pass, Position, Turn},
    latency::{Latency, LatencyView},
    rest::{Awake, Place, Rest},
};
use crate::{
    domain::time::Timestamp,
    providers::{ProviderError, ProviderErrorKind},
};

/// The rest of a backend that asks for one without saying how long.
const USUAL_REST: Duration = Duration::from_secs(1);

/// How a call wants to go to a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::runtime) enum Way {
    /// If nothing keeps calls out.
    Usual,
    /// In spite of an open breaker, because there is nobody else. What a backend has asked for is kept all the same.
    Bypass,
}

/// That a call goes to a backend; kept with its slot, and given back with it.
#[derive(Debug, Clone, Copy)]
pub(in crate::runtime) struct Entry {
    pass: Pass,
    place: Option<Place>,
}

/// Whether calls can go to a backend, apart from its slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::runtime) enum Standing {
    /// They can, or could if others had not just gone.
    In,
    /// Its breaker keeps them out, for so long; nothing where trials go on whose end it waits for.
    Broken { left: Duration },
    /// It has asked for a rest of which so much is left.
    Resting { left: Duration },
}

/// What a failure says about the backend (`docs/operations.md`, when a backend fails).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// It is there and answers: the fault is the call's, or it has too much to do.
    Answers,
    /// It is in trouble.
    Trouble(Fault),
    /// Nothing: it may not even have been asked.
    Nothing,
}

fn meaning(error: &ProviderError) -> Meaning {
    use ProviderErrorKind::{
        Auth, Caller, Connect, ContextLength, Cut, Quota, RateLimited, Reply, Server, Stalled, Timeout, Transient,
    };
    match error.kind {
        Caller | ContextLength | RateLimited if error.status.is_some() => Meaning::Answers,
        Transient | Server | Cut | Timeout | Stalled => Meaning::Trouble(Fault::Passing),
        Connect | Auth | Quota => Meaning::Trouble(Fault::HardDown),
        // A reply may be withheld for what was asked.
        Caller | ContextLength | RateLimited | Reply => Meaning::Nothing,
    }
}

/// How long a backend that failed so wants to be left alone.
fn wanted_rest(error: &ProviderError) -> Option<Duration> {
    match (error.kind, error.status) {
        (ProviderErrorKind::RateLimited, _) => Some(error.retry_after.unwrap_or(USUAL_REST)),
        (ProviderErrorKind::Transient, Some(503)) => error.retry_after,
        _ => None,
    }
}

/// What the end of a call has changed for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::runtime) enum Effect {
    None,
    /// Calls are kept out that were not before: who waits for the backend looks again, and once more when that ends.
    KeptOut,
    /// Another call can go.
    LetsIn,
}

/// Whether calls reach a backend, as `GET /state` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BreakerPosition {
    /// Calls go.
    Closed,
    /// None goes, unless there is no other backend.
    Open,
    /// Some go to see whether it works again.
    HalfOpen,
}

impl BreakerPosition {
    /// Its name in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// The breaker of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BreakerSnapshot {
    /// What it does with calls.
    pub state: BreakerPosition,
    /// How often it has opened since the process began.
    pub opened: u32,
    /// When it lets the next calls try; only while it is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Timestamp>,
}

/// What is published; see the module.
#[derive(Debug)]
pub(in crate::runtime) struct Access {
    /// Times in the words count from here.
    born: Instant,
    breaker: Breaker,
    rest: Rest,
    latency: Latency,
    /// When a call was answered last, in milliseconds from `born`; 0 = never.
    answered_at: AtomicU64,
}

impl Access {
    pub(in crate::runtime) fn new() -> Self {
        Self {
            born: Instant::now(),
            breaker: Breaker::default(),
            rest: Rest::default(),
            latency: Latency::default(),
            answered_at: AtomicU64::new(0),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Lets a call in that gets its slot by `take`; all of it or nothing.
    pub(in crate::runtime) fn admit(&self, way: Way, take: impl FnOnce() -> bool) -> Option<Entry> {
        let entry = self.enter(way)?;
        if take() {
            return Some(entry);
        }
        self.give_back(&entry);
        None
    }

    /// Whether nothing is wrong: then the clock need not be read.
    fn keeps_nobody_out(&self) -> bool {
        self.breaker.is_closed() && self.rest.is_over()
    }

    fn enter(&self, way: Way) -> Option<Entry> {
        let is_well = self.keeps_nobody_out();
        let now = if is_well { 0 } else { self.now() };
        let place = self.rest.enter(now)?;
        let pass = match way {
            Way::Usual => self.breaker.enter(now),
            Way::Bypass => Some(self.breaker.bypass()),
        };
        if let (None, Some(place)) = (pass, place) {
            self.rest.left(place);
        }
        Some(Entry { pass: pass?, place })
    }

    fn give_back(&self, entry: &Entry) -> Effect {
        if let Some(place) = entry.place {
            self.rest.left(place);
        }
        let turn = self.breaker.left(entry.pass);
        if turn == Turn::LetsIn || entry.place.is_some() { Effect::LetsIn } else { Effect::None }
    }

    /// The backend has begun to answer, after so long. `limit`: calls it may do at once.
    pub(in crate::runtime) fn answered(&self, entry: &mut Entry, after: Duration, limit: u16) -> Effect {
        let now = self.now();
        self.latency.observe(after.as_secs_f32() * 1_000.0, now);
        self.has_answered(entry, now, limit)
    }

    fn has_answered(&self, entry: &mut Entry, now: u64, limit: u16) -> Effect {
        self.answered_at.store(now.max(1), Ordering::Relaxed);
        let has_more_room = entry.place.is_some_and(|place| self.rest.answered(place, limit));
        let turn = self.breaker.answered(&mut entry.pass, now);
        if has_more_room || turn == Turn::LetsIn { Effect::LetsIn } else { Effect::None }
    }

    /// The call failed, after so long, or in the middle of its answer.
    pub(in crate::runtime) fn failed(&self, entry: &mut Entry, error: &ProviderError, after: Duration) -> Effect {
        let now = self.now();
        if matches!(error.kind, ProviderErrorKind::Timeout) {
            self.late(after);
        }
        let turn = match meaning(error) {
            Meaning::Answers => self.breaker.answered(&mut entry.pass, now),
            Meaning::Trouble(fault) => self.breaker.failed(&mut entry.pass, fault, now, fastrand::f64()),
            Meaning::Nothing => Turn::None,
        };
        let rests = wanted_rest(error).is_some_and(|rest| self.rest.asked(rest, now));
        match turn {
            _ if rests => Effect::KeptOut,
            Turn::Opened => Effect::KeptOut,
            Turn::LetsIn => Effect::LetsIn,
            Turn::None => Effect::None,
        }
    }

    /// Whether a call was answered so short a time ago.
    pub(in crate::runtime) fn has_answered_within(&self, time: Duration) -> bool {
        let at = self.answered_at.load(Ordering::Relaxed);
        at > 0 && u128::from(self.now().saturating_sub(at)) <= time.as_millis()
    }

    /// Nobody waits for the answer any more, which had not begun after so long.
    pub(in crate::runtime) fn late(&self, after: Duration) {
        self.latency.observe_at_least(after.as_secs_f32() * 1_000.0, self.now());
    }

    /// The call is over, whatever came of it.
    pub(in crate::runtime) fn leave(&self, entry: &Entry) -> Effect {
        self.give_back(entry)
    }

    /// Whether calls can go there.
    pub(in crate::runtime) fn standing(&self) -> Standing {
        if self.keeps_nobody_out() {
            return Standing::In;
        }
        let now = self.now();
        if let Awake::Not { until } = self.rest.awake(now) {
            return Standing::Resting { left: Duration::from_millis(until - now) };
        }
        match self.breaker.position(now) {
            Position::Closed | Position::HalfOpen { has_room: true } => Standing::In,
            Position::Open { retry_at } => Standing::Broken { left: Duration::from_millis(retry_at - now) },
            Position::HalfOpen { has_room: false } => Standing::Broken { left: Duration::ZERO },
        }
    }

    /// Whether one more call could go there at this moment.
    pub(in crate::runtime) fn has_room(&self) -> bool {
        if self.keeps_nobody_out() {
            return true;
        }
        let now = self.now();
        let is_awake = matches!(self.rest.awake(now), Awake::Fully | Awake::Reopening { has_room: true });
        is_awake && matches!(self.breaker.position(now), Position::Closed | Position::HalfOpen { has_room: true })
    }

    /// When those who wait for the backend should look again, if something keeps calls out or lets in only some.
    pub(in crate::runtime) fn next_look(&self) -> Option<Duration> {
        if self.keeps_nobody_out() {
            return None;
        }
        let now = self.now();
        let wakes = match self.rest.awake(now) {
            Awake::Not { until } => Some(Duration::from_millis(until - now)),
            Awake::Reopening { .. } => Some(Rest::step()),
            Awake::Fully => None,
        };
        let tries = match self.breaker.position(now) {
            Position::Open { retry_at } => Some(Duration::from_millis(retry_at - now)),
            // Trials that hang are given up at some time.
            Position::HalfOpen { has_room: false } => Some(Rest::step()),
            Position::HalfOpen { has_room: true } | Position::Closed => None,
        };
        wakes.into_iter().chain(tries).min()
    }

    /// How long its answers take to begin.
    pub(in crate::runtime) fn latency(&self) -> LatencyView {
        self.latency.view(self.now())
    }

    /// Forgets all that calls have found.
    pub(in crate::runtime) fn reset(&self) {
        self.breaker.reset();
        self.rest.reset();
        self.latency.reset();
    }

    /// For tests: as after failures, and after a wish to rest.
    #[cfg(test)]
    pub(in crate::runtime) fn bring_into(&self, is_broken: bool, rest: Option<Duration>) {
        while is_broken && self.breaker.is_closed() {
            let mut pass = self.breaker.bypass();
            self.breaker.failed(&mut pass, Fault::HardDown, self.now(), 1.0);
        }
        if let Some(rest) = rest {
            self.rest.asked(rest, self.now());
        }
    }

    /// The breaker as it is shown.
    pub(in crate::runtime) fn breaker(&self) -> BreakerSnapshot {
        let now = self.now();
        let (state, retry_at) = match self.breaker.position(now) {
            Position::Closed => (BreakerPosition::Closed, None),
            Position::Open { retry_at } => {
                let left = Duration::from_millis(retry_at - now);
                (BreakerPosition::Open, Some(Timestamp::now().after(left)))
            }
            Position::HalfOpen { .. } => (BreakerPosition::HalfOpen, None),
        };
        BreakerSnapshot { state, opened: self.breaker.openings(), retry_at }
    }

    /// Until when it rests, if it does.
    pub(in crate::runtime) fn rests_until(&self) -> Option<Timestamp> {
        match self.standing() {
            Standing::Resting { left } => Some(Timestamp::now().after(left)),
            Standing::In | Standing::Broken { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(kind: ProviderErrorKind, status: Option<u16>, retry_after: Option<u64>) -> ProviderError {
        let retry_after = retry_after.map(Duration::from_secs);
        ProviderError { status, retry_after, ..ProviderError::new(kind, "scripted") }
    }

    fn fail(access: &Access, error: &ProviderError) -> Effect {
        let mut entry = access.admit(Way::Usual, || true).unwrap();
        let effect = access.failed(&mut entry, error, Duration::ZERO);
        access.leave(&entry);
        effect
    }

    #[tokio::test(start_paused = true)]
    async fn only_passing_trouble_and_what_is_down_open_the_breaker() {
        use ProviderErrorKind::{
            Auth, Caller, Connect, ContextLength, Cut, Quota, RateLimited, Reply, Server, Stalled, Timeout, Transient,
        };
        for (kind, status, opens) in [
            (Caller, Some(400), false),
            (Caller, None, false),
            (ContextLength, Some(400), false),
            (Reply, None, false),
            (Transient, Some(502), true),
            (Server, Some(500), true),
            (Cut, None, true),
            (Stalled, None, true),
            (Timeout, None, true),
            (Connect, None, true),
            (Auth, Some(401), true),
            (Quota, Some(429), true),
            (RateLimited, Some(429), false),
        ] {
            let access = Access::new();
            for _ in 0..20 {
                if access.breaker().state == BreakerPosition::Closed {
                    // What a backend asks for is none of the breaker's business.
                    access.rest.reset();
                    fail(&access, &error(kind, status, None));
                }
            }
            assert_eq!(access.breaker().state == BreakerPosition::Open, opens, "{kind:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_wish_to_wait_is_kept_and_a_rate_limit_without_one_is_a_second() {
        use ProviderErrorKind::{RateLimited, Server, Transient};
        for (kind, status, wish, rests) in [
            (RateLimited, Some(429), Some(7), Some(7)),
            (RateLimited, Some(429), None, Some(1)),
            (Transient, Some(503), Some(3), Some(3)),
            (Transient, Some(503), None, None),
            (Transient, Some(502), Some(3), None),
            (Server, Some(500), Some(3), None),
        ] {
            let access = Access::new();
            let effect = fail(&access, &error(kind, status, wish));
            let left = rests.map(Duration::from_secs);
            assert_eq!(effect == Effect::KeptOut, left.is_some(), "{kind:?} {status:?}");
            let standing = left.map_or(Standing::In, |left| Standing::Resting { left });
            assert_eq!(access.standing(), standing, "{kind:?} {status:?}");
            assert_eq!(access.next_look(), left);
            assert!(left.is_none() || access.admit(Way::Bypass, || true).is_none(), "a rest is kept");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_slot_that_is_not_to_be_had_takes_no_place_for_a_trial() {
        let access = Access::new();
        for _ in 0..2 {
            fail(&access, &error(ProviderErrorKind::Connect, None, None));
        }
        assert!(matches!(access.standing(), Standing::Broken { .. }));
        assert!(access.admit(Way::Usual, || true).is_none() && access.admit(Way::Bypass, || true).is_some());
        tokio::time::advance(Duration::from_secs(1)).await;
        for _ in 0..10 {
            assert!(access.admit(Way::Usual, || false).is_none());
        }
        let trials: Vec<Entry> = std::iter::from_fn(|| access.admit(Way::Usual, || true)).collect();
        assert_eq!((trials.len(), access.standing()), (3, Standing::Broken { left: Duration::ZERO }));
        assert_eq!(access.leave(&trials[0]), Effect::LetsIn);
        assert_eq!(access.standing(), Standing::In);
        access.reset();
        assert_eq!(access.breaker().state, BreakerPosition::Closed);
        assert_eq!(access.breaker().opened, 1, "what was is not undone");
    }

    #[tokio::test(start_paused = true)]
    async fn an_open_breaker_says_when_it_will_try_again() {
        let access = Access::new();
        for _ in 0..2 {
            fail(&access, &error(ProviderErrorKind::Connect, None, None));
        }
        let left = access.next_look().unwrap();
        assert!((Duration::from_millis(500)..=Duration::from_secs(1)).contains(&left), "{left:?}");
        let shown = access.breaker();
        let at = shown.retry_at.unwrap().since(Timestamp::now());
        assert!(at <= left && at + Duration::from_millis(200) > left, "{at:?} {left:?}");
        tokio::time::advance(left).await;
        assert_eq!(access.breaker().state, BreakerPosition::HalfOpen);
        assert_eq!((access.breaker().retry_at, access.next_look()), (None, None));
        let mut entry = access.admit(Way::Usual, || true).unwrap();
        assert_eq!(access.answered(&mut entry, Duration::ZERO, 16), Effect::LetsIn);
    }
}
