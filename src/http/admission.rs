//! Who may ask a model now (`docs/operations.md`, admission): decided when a request's head is read, before its body is.
//!
//! The order: connections (`listener`), requests in flight in all, the caller's own rates; behind them come the pool's queue
//! and the backend's slots (`runtime::dispatch`). A refusal costs a few atomic operations and a small answer. Callers are
//! the owner of each stored token, and all others together. Where instances share rates, those of all of them decide, and a
//! caller's buckets here follow; while what they share is away, each counts by itself.

pub(super) mod bodies;
pub mod gcra;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use hyper::{
    HeaderMap,
    header::{HeaderName, HeaderValue, RETRY_AFTER},
};

use self::gcra::{Allowance, Gcra};
use crate::{
    config::{LimitConfig, RateConfig},
    domain::{
        failure::RefusalReason,
        ids::TokenId,
        ledger::{Spending, TokenLedger},
        shared_rates::{SharedBucket, SharedBuckets, SharedOutcome, SharedRates, Verdict},
        token::{Token, TokenLimits},
    },
    error::Error,
};

/// The name of all callers without a stored token. No token has it: theirs are UUIDs.
const EVERYBODY: &str = "everybody";
/// After which it is worth asking again whether a request has ended.
const OVERLOAD_RETRY_SECONDS: u32 = 1;
/// Owners of tokens whose rates are remembered without a look at who needs it.
const MANY_HOLDERS: usize = 1024;
/// The same to the millisecond, for clients that read it (OpenAI's own do).
const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");

/// Decides; one for the process.
pub struct Admission {
    in_flight: Option<Arc<InFlight>>,
    /// Of whoever has no stored token.
    caller: Option<Arc<CallerRates>>,
    /// Of the owners of stored tokens, as far as they have come and their rates are bounded.
    holders: Mutex<HashMap<TokenId, (RateConfig, Arc<CallerRates>)>>,
    /// Where a token says nothing else.
    rates: RateConfig,
    /// Where all instances count together.
    shared: Option<Arc<dyn SharedRates>>,
    origin: Instant,
}

/// Requests that ask a model, at once.
#[derive(Debug)]
struct InFlight {
    now: AtomicUsize,
    most: usize,
}

/// What one caller may use.
struct CallerRates {
    /// By which all instances know it.
    name: String,
    shared: Option<Arc<dyn SharedRates>>,
    /// Times of the buckets count from here.
    origin: Instant,
    requests: Option<Gcra>,
    tokens: Option<Gcra>,
}

/// The right of one request to ask a model, which counts as in flight until it is dropped.
#[derive(Debug)]
pub struct Admitted {
    /// Where it is written down what its calls cost.
    pub spending: Spending,
    /// Counts for as long as it lives.
    pub place: Option<Place>,
}

/// One request in flight.
#[derive(Debug)]
pub struct Place(Arc<InFlight>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Why a request may not ask now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// As many are in flight as may be.
    Overloaded {
        /// How many that is.
        most: usize,
    },
    /// The caller has sent too many requests.
    RequestRate {
        /// Until the next one may come.
        wait: Duration,
    },
    /// The caller's answers have cost too many tokens.
    TokenRate {
        /// Until there is one again.
        wait: Duration,
    },
}

impl Admission {
    /// With these bounds; times count from `origin`.
    pub fn new(limits: &LimitConfig, rates: &RateConfig, origin: Instant) -> Self {
        let most = limits.max_in_flight;
        Self {
            in_flight: (most > 0).then(|| Arc::new(InFlight { now: AtomicUsize::new(0), most })),
            caller: CallerRates::of(rates, origin, EVERYBODY, None),
            holders: Mutex::default(),
            rates: rates.clone(),
            shared: None,
            origin,
        }
    }

    /// The same where all instances count together.
    #[must_use]
    pub fn together(mut self, shared: Arc<dyn SharedRates>) -> Self {
        self.caller = CallerRates::of(&self.rates, self.origin, EVERYBODY, Some(&shared));
        self.shared = Some(shared);
        self
    }

    /// Requests that ask a model now, as far as they are counted: only where they are bounded.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.as_ref().map_or(0, |in_flight| in_flight.now.load(Ordering::Relaxed))
    }

    /// As [`Admission::admit`], by what all instances have let in.
    ///
    /// # Errors
    /// As [`Admission::admit`].
    pub async fn admit_together(&self, now: Instant, token: Option<&Token>) -> Result<Admitted, Refused> {
        let Some(shared) = &self.shared else { return self.admit(now, token) };
        let place = self.in_flight.as_ref().map(InFlight::enter).transpose()?;
        let Some(caller) = self.rates_of(token) else { return Ok(Admitted { spending: Spending::UNCOUNTED, place }) };
        match shared.take(caller.buckets()).await {
            Some(verdict) => caller.follow(verdict)?,
            None => caller.take(now)?,
        }
        Ok(Admitted { spending: caller.spending(), place })
    }

    /// Lets a request in that has come at this moment, from the owner of this token.
    ///
    /// # Errors
    /// What it may not exceed. Nothing is taken then.
    pub fn admit(&self, now: Instant, token: Option<&Token>) -> Result<Admitted, Refused> {
        let place = self.in_flight.as_ref().map(InFlight::enter).transpose()?;
        let Some(caller) = self.rates_of(token) else { return Ok(Admitted { spending: Spending::UNCOUNTED, place }) };
        caller.take(now)?;
        Ok(Admitted { spending: caller.spending(), place })
    }

    /// Tells a caller what its rates have left, where it has any, in the headers that OpenAI's clients read.
    pub fn tell(&self, now: Instant, token: Option<&Token>, headers: &mut HeaderMap) {
        let Some(caller) = self.rates_of(token) else { return };
        let now = caller.since_origin(now);
        if let Some(requests) = &caller.requests {
            write(headers, &REQUEST_HEADERS, requests.allowance(now));
        }
        if let Some(tokens) = &caller.tokens {
            write(headers, &TOKEN_HEADERS, tokens.allowance(now));
        }
    }

    /// What the owner of a token may use: its own limits, and where it has none those of everybody.
    fn rates_of(&self, token: Option<&Token>) -> Option<Arc<CallerRates>> {
        let Some(token) = token else { return self.caller.clone() };
        let TokenLimits { requests_per_minute, request_burst, tokens_per_minute } = token.limits;
        let rates = RateConfig {
            requests_per_minute: requests_per_minute.or(self.rates.requests_per_minute),
            request_burst: match requests_per_minute {
                Some(_) => request_burst,
                None => request_burst.or(self.rates.request_burst),
            },
            tokens_per_minute: tokens_per_minute.or(self.rates.tokens_per_minute),
        };
        if rates.requests_per_minute.is_none() && rates.tokens_per_minute.is_none() {
            return None;
        }
        let mut holders = self.holders.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, caller)) = holders.get(&token.id)
            && *known == rates
        {
            return Some(Arc::clone(caller));
        }
        if holders.len() >= MANY_HOLDERS {
            // Whose buckets are full is as if he had never come.
            let now = tokio::time::Instant::now().into_std();
            holders.retain(|_, (_, caller)| !caller.is_untouched(now));
        }
        let caller = CallerRates::of(&rates, self.origin, token.id.as_str(), self.shared.as_ref())?;
        holders.insert(token.id.clone(), (rates, Arc::clone(&caller)));
        Some(caller)
    }
}

impl InFlight {
    fn enter(in_flight: &Arc<Self>) -> Result<Place, Refused> {
        let most = in_flight.most;
        let grow = |now: usize| (now < most).then_some(now + 1);
        match in_flight.now.fetch_update(Ordering::AcqRel, Ordering::Acquire, grow) {
            Ok(_) => Ok(Place(Arc::clone(in_flight))),
            Err(_) => Err(Refused::Overloaded { most }),
        }
    }
}

impl CallerRates {
    /// Full buckets for these rates; `None` where nothing is bounded.
    fn of(rates: &RateConfig, origin: Instant, name: &str, shared: Option<&Arc<dyn SharedRates>>) -> Option<Arc<Self>> {
        let requests = rates.requests_per_minute;
        let requests = requests.map(|rate| Gcra::new(rate, rates.request_burst.unwrap_or(rate)));
        let tokens = rates.tokens_per_minute.map(|rate| Gcra::new(rate, rate));
        let is_bounded = requests.is_some() || tokens.is_some();
        is_bounded.then(|| Arc::new(Self { name: name.to_owned(), shared: shared.cloned(), origin, requests, tokens }))
    }

    /// Where it is written down what its calls cost.
    fn spending(self: Arc<Self>) -> Spending {
        if self.tokens.is_some() { Spending::on(self as _) } else { Spending::UNCOUNTED }
    }

    /// As all instances know them.
    fn buckets(&self) -> SharedBuckets<'_> {
        let requests = self.requests.as_ref().map(shared_bucket);
        SharedBuckets { caller: &self.name, requests, tokens: self.tokens.as_ref().map(shared_bucket) }
    }

    /// Heeds what all instances together say.
    fn follow(&self, verdict: Verdict) -> Result<(), Refused> {
        let now = self.since_origin(tokio::time::Instant::now().into_std());
        for (bucket, lacking) in [(&self.requests, verdict.requests_lacking), (&self.tokens, verdict.tokens_lacking)] {
            if let Some(bucket) = bucket {
                bucket.follow(now, lacking);
            }
        }
        match verdict.outcome {
            SharedOutcome::Taken => Ok(()),
            SharedOutcome::NoRequests(wait) => Err(Refused::RequestRate { wait }),
            SharedOutcome::NoTokens(wait) => Err(Refused::TokenRate { wait }),
        }
    }

    /// Whether nothing of it is used at this moment.
    fn is_untouched(&self, now: Instant) -> bool {
        let now = self.since_origin(now);
        [&self.requests, &self.tokens].into_iter().flatten().all(|bucket| bucket.allowance(now).reset.is_zero())
    }

    fn since_origin(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.origin)
    }

    /// Tokens are looked at first: who has none left has sent no request.
    fn take(&self, now: Instant) -> Result<(), Refused> {
        let now = self.since_origin(now);
        if let Some(tokens) = &self.tokens {
            tokens.check(now).map_err(|wait| Refused::TokenRate { wait })?;
        }
        if let Some(requests) = &self.requests {
            requests.take(now).map_err(|wait| Refused::RequestRate { wait })?;
        }
        Ok(())
    }
}

impl TokenLedger for CallerRates {
    fn spent(&self, tokens: u64) {
        if let Some(bucket) = &self.tokens {
            bucket.charge(self.since_origin(tokio::time::Instant::now().into_std()), tokens);
            if let Some(shared) = &self.shared {
                shared.charge(&self.name, shared_bucket(bucket), tokens);
            }
        }
    }
}

fn shared_bucket(bucket: &Gcra) -> SharedBucket {
    let (unit, window) = bucket.times();
    SharedBucket { unit, window }
}

impl Refused {
    /// How long to wait, where that is known exactly.
    pub const fn wait(self) -> Option<Duration> {
        match self {
            Self::Overloaded { .. } => None,
            Self::RequestRate { wait } | Self::TokenRate { wait } => Some(wait),
        }
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Overloaded { most } => {
                let message = format!("{most} requests are being answered, more may not be; it is safe to retry");
                Self::refused(RefusalReason::Overloaded, message, OVERLOAD_RETRY_SECONDS)
            }
            Refused::RequestRate { wait } => {
                let message = format!("too many requests a minute; try again in {}", written(wait));
                Self::limited(RefusalReason::RequestRate, message, wait)
            }
            Refused::TokenRate { wait } => {
                let message = format!("too many tokens a minute; try again in {}", written(wait));
                Self::limited(RefusalReason::TokenRate, message, wait)
            }
        }
    }
}

/// Adds to the answer of a refusal how long to wait, to the millisecond.
pub(super) fn tell_wait(error: &Error, headers: &mut HeaderMap) {
    if let Some(wait) = error.exact_wait()
        && headers.contains_key(RETRY_AFTER)
    {
        let millis = u64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        headers.insert(RETRY_AFTER_MS, HeaderValue::from(millis));
    }
}

/// What there is in all, what is left of it, and when all is there again.
type RateHeaders = [HeaderName; 3];

const REQUEST_HEADERS: RateHeaders = [
    HeaderName::from_static("x-ratelimit-limit-requests"),
    HeaderName::from_static("x-ratelimit-remaining-requests"),
    HeaderName::from_static("x-ratelimit-reset-requests"),
];
const TOKEN_HEADERS: RateHeaders = [
    HeaderName::from_static("x-ratelimit-limit-tokens"),
    HeaderName::from_static("x-ratelimit-remaining-tokens"),
    HeaderName::from_static("x-ratelimit-reset-tokens"),
];

fn write(headers: &mut HeaderMap, names: &RateHeaders, allowance: Allowance) {
    let Allowance { limit, remaining, reset } = allowance;
    let [limit_name, remaining_name, reset_name] = names;
    headers.insert(limit_name, HeaderValue::from(limit));
    headers.insert(remaining_name, HeaderValue::from(remaining));
    if let Ok(reset) = HeaderValue::from_str(&written(reset)) {
        headers.insert(reset_name, reset);
    }
}

/// A time as OpenAI's servers write it: `0s`, `120ms`, `1.5s`, `6m0s`, `1h0m3.25s`. Rounded up to a millisecond.
fn written(time: Duration) -> String {
    let millis = time.as_nanos().div_ceil(1_000_000);
    if (1..1000).contains(&millis) {
        return format!("{millis}ms");
    }
    let (hours, minutes, seconds) = (millis / 3_600_000, millis / 60_000 % 60, millis % 60_000);
    let (whole, part) = (seconds / 1000, seconds % 1000);
    let seconds = if part == 0 {
        format!("{whole}s")
    } else {
        let part = format!("{part:03}");
        format!("{whole}.{}s", part.trim_end_matches('0'))
    };
    match (hours, minutes) {
        (0, 0) => seconds,
        (0, minutes) => format!("{minutes}m{seconds}"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}"),
    }
}

#[cfg(test)]
mod tests;
