//! What came of a drive: counts, and how times are spread.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Result;
use hdrhistogram::Histogram;

use crate::{
    drive::{check::Verdict, wire::Heard},
    report::results::{Counts, Spread},
    scenario::Allowances,
};

/// Different wrong answers that are told word for word.
const TOLD: usize = 5;
/// Of times: digits that are kept, and nanoseconds of the longest that is told from longer ones, an hour.
const DIGITS: u8 = 3;
const LONGEST: u64 = 3_600_000_000_000;
/// What is sent later than this after it was due is late.
const LATE: Duration = Duration::from_millis(1);

/// A tally that one thread writes and another may read.
#[derive(Clone)]
pub(crate) struct Shared(Arc<Mutex<Tally>>);

impl Shared {
    /// An empty one.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self(Arc::new(Mutex::new(Tally::new()?))))
    }

    /// Writes or reads.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut Tally) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Counts and times of a drive. Times are kept in nanoseconds with three digits.
pub(crate) struct Tally {
    pub(crate) counts: Counts,
    pub(crate) latency: Times,
    pub(crate) first: Times,
    pub(crate) gap: Times,
    pub(crate) refusal: Times,
    pub(crate) lateness: Times,
    pub(crate) late_sends: u64,
    /// What was wrong, and how often.
    pub(crate) wrongs: BTreeMap<String, u64>,
}

impl Tally {
    fn new() -> Result<Self> {
        Ok(Self {
            counts: Counts::default(),
            latency: Times::new()?,
            first: Times::new()?,
            gap: Times::new()?,
            refusal: Times::new()?,
            lateness: Times::new()?,
            late_sends: 0,
            wrongs: BTreeMap::new(),
        })
    }

    /// Writes down what became of a request that was due then.
    pub(crate) fn add(&mut self, due: Instant, heard: Heard, allow: &Allowances) {
        let Heard { verdict, sent, ended, first, gaps, frames } = heard;
        let late = sent.saturating_duration_since(due);
        self.lateness.add(late);
        self.late_sends += u64::from(late > LATE);
        self.counts.sent += 1;
        self.counts.frames += frames as u64;
        if let Some(first) = first {
            self.first.add(first.saturating_duration_since(due));
        }
        gaps.into_iter().for_each(|gap| self.gap.add(gap));
        let took = ended.saturating_duration_since(due);
        match verdict {
            Verdict::Answered => {
                self.counts.answered += 1;
                self.latency.add(took);
            }
            Verdict::Refused => {
                self.counts.refused += 1;
                self.refusal.add(took);
            }
            Verdict::Failed(_) if allow.failures => self.counts.failed += 1,
            Verdict::Left => self.counts.left += 1,
            Verdict::Failed(why) | Verdict::Wrong(why) => {
                self.counts.wrong += 1;
                if self.wrongs.len() < TOLD || self.wrongs.contains_key(&why) {
                    *self.wrongs.entry(why).or_default() += 1;
                }
            }
        }
    }
}

/// How often which time was seen.
pub(crate) struct Times(Histogram<u64>);

impl Times {
    fn new() -> Result<Self> {
        Ok(Self(Histogram::new_with_max(LONGEST, DIGITS)?))
    }

    pub(crate) fn add(&mut self, time: Duration) {
        self.0.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    /// So far, in milliseconds.
    pub(crate) fn p99_ms(&self) -> f64 {
        self.0.value_at_percentile(99.0) as f64 / 1e6
    }

    /// In milliseconds; nothing if nothing was seen.
    pub(crate) fn spread(&self) -> Option<Spread> {
        let times = &self.0;
        let millis = |nanos: u64| nanos as f64 / 1e6;
        let at = |percentile: f64| millis(times.value_at_percentile(percentile));
        (!times.is_empty()).then(|| Spread {
            count: times.len(),
            mean: times.mean() / 1e6,
            p50: at(50.0),
            p90: at(90.0),
            p99: at(99.0),
            p999: at(99.9),
            max: millis(times.max()),
            curve: CURVE.iter().map(|percentile| (*percentile, at(*percentile))).collect(),
        })
    }
}

/// Points at which curves are drawn.
const CURVE: &[f64] = &[
    1.0, 5.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 85.0, 90.0, 92.5, 95.0, 96.5, 98.0, 99.0, 99.3, 99.5,
    99.7, 99.8, 99.9, 99.95, 99.99,
];
