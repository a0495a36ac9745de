//! One rate as the generic cell rate algorithm keeps it (ITU-T I.371, "virtual scheduling"): a bucket that fills evenly,
//! written down as the one time at which it will be full again. Taking is one compare-and-swap; nothing runs meanwhile.
//!
//! Time is an argument, counted from any fixed moment. Beside taking, a bucket can be charged with what is only known
//! afterwards: then it may owe, and gives nothing until that is made up for. (The crate `governor` keeps no debts.)

use std::{
    num::NonZeroU64,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

const MINUTE: u128 = 60_000_000_000;
/// Most that a bucket may owe, in nanoseconds of its rate: a backend that tells nonsense must not lock anybody out for ever.
const MOST_OWED: u64 = 3_600_000_000_000;

/// So many a minute, and so many at once.
#[derive(Debug)]
pub struct Gcra {
    per_minute: u128,
    burst: u64,
    /// In which an empty bucket is full again, in nanoseconds.
    window: u64,
    /// When the bucket will be full.
    full_at: AtomicU64,
}

/// What a bucket holds at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// What a full one holds.
    pub limit: u64,
    /// What can be taken now.
    pub remaining: u64,
    /// Until it is full.
    pub reset: Duration,
}

impl Gcra {
    /// A full bucket that holds `burst` and gets `per_minute`.
    pub fn new(per_minute: NonZeroU64, burst: NonZeroU64) -> Self {
        let (per_minute, burst) = (u128::from(per_minute.get()), burst.get());
        let mut bucket = Self { per_minute, burst, window: 0, full_at: AtomicU64::new(0) };
        // Of whole ones, each rounded up: a full bucket holds all of its burst.
        bucket.window = bucket.time_of(1).saturating_mul(burst);
        bucket
    }

    /// In which so many come, rounded up.
    fn time_of(&self, units: u64) -> u64 {
        u64::try_from((u128::from(units) * MINUTE).div_ceil(self.per_minute)).unwrap_or(u64::MAX)
    }

    /// Takes one.
    ///
    /// # Errors
    /// Exactly how long it takes until there is one, if nobody else takes it.
    pub fn take(&self, now: Duration) -> Result<(), Duration> {
        let (now, one) = (nanos(now), self.time_of(1));
        let taken = self.full_at.fetch_update(Ordering::AcqRel, Ordering::Acquire, |full_at| {
            let next = full_at.max(now).saturating_add(one);
            (next - now <= self.window).then_some(next)
        });
        taken.map(drop).map_err(|full_at| self.wait(full_at, now))
    }

    /// Whether there is one, without taking it.
    ///
    /// # Errors
    /// As [`Gcra::take`].
    pub fn check(&self, now: Duration) -> Result<(), Duration> {
        let now = nanos(now);
        match self.wait(self.full_at.load(Ordering::Acquire), now) {
            Duration::ZERO => Ok(()),
            wait => Err(wait),
        }
    }

    /// Until there is one.
    fn wait(&self, full_at: u64, now: u64) -> Duration {
        let next = full_at.max(now).saturating_add(self.time_of(1));
        Duration::from_nanos((next - now).saturating_sub(self.window))
    }

    /// Takes what has been used, whether it is there or not.
    pub fn charge(&self, now: Duration, units: u64) {
        let (now, time) = (nanos(now), self.time_of(units));
        let most = now.saturating_add(self.window).saturating_add(MOST_OWED);
        let charged = |full_at: u64| Some(full_at.max(now).saturating_add(time).min(most.max(full_at)));
        // It always says yes, so nothing can come of it but the former value.
        self.full_at.fetch_update(Ordering::AcqRel, Ordering::Acquire, charged).ok();
    }

    /// The same bucket as it is counted elsewhere, where it lacks so much now.
    pub fn follow(&self, now: Duration, lacking: Duration) {
        self.full_at.store(nanos(now).saturating_add(nanos(lacking)), Ordering::Release);
    }

    /// In which one comes, and in which an empty bucket is full.
    pub fn times(&self) -> (Duration, Duration) {
        (Duration::from_nanos(self.time_of(1)), Duration::from_nanos(self.window))
    }

    /// What it holds.
    pub fn allowance(&self, now: Duration) -> Allowance {
        let lacking = self.full_at.load(Ordering::Acquire).saturating_sub(nanos(now));
        let remaining = u128::from(self.window.saturating_sub(lacking)) * self.per_minute / MINUTE;
        Allowance {
            limit: self.burst,
            remaining: u64::try_from(remaining).unwrap_or(u64::MAX).min(self.burst),
            reset: Duration::from_nanos(lacking),
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NANO: Duration = Duration::from_nanos(1);

    fn bucket(per_minute: u64, burst: u64) -> Gcra {
        Gcra::new(NonZeroU64::new(per_minute).unwrap(), NonZeroU64::new(burst).unwrap())
    }

    #[test]
    fn a_burst_goes_through_at_once_and_then_one_each_time_its_share_of_the_minute_has_passed() {
        let bucket = bucket(60, 3);
        let at = Duration::from_secs(100);
        assert_eq!([(); 4].map(|()| bucket.take(at)), [Ok(()), Ok(()), Ok(()), Err(Duration::from_secs(1))]);
        assert_eq!(bucket.take(at + Duration::from_millis(999)), Err(Duration::from_millis(1)));
        assert_eq!(bucket.take(at + Duration::from_secs(1)), Ok(()));
        assert_eq!(bucket.take(at + Duration::from_secs(1)), Err(Duration::from_secs(1)));
        assert_eq!(bucket.take(at + Duration::from_secs(600)), Ok(()), "it holds no more than a burst");
        let allowance = Allowance { limit: 3, remaining: 2, reset: Duration::from_secs(1) };
        assert_eq!(bucket.allowance(at + Duration::from_secs(600)), allowance);
    }

    #[test]
    fn what_is_charged_afterwards_is_owed_until_it_has_come_in() {
        let (bucket, at) = (bucket(600, 600), Duration::from_secs(7));
        assert_eq!(bucket.check(at), Ok(()));
        bucket.charge(at, 700);
        assert_eq!(bucket.allowance(at), Allowance { limit: 600, remaining: 0, reset: Duration::from_secs(70) });
        // 100 are owed, and one must be there.
        let wait = Duration::from_millis(10_100);
        assert_eq!(bucket.check(at), Err(wait));
        assert_eq!(bucket.check(at + wait - NANO), Err(NANO));
        assert_eq!(bucket.check(at + wait), Ok(()));
        assert_eq!(bucket.allowance(at + wait).remaining, 1);
    }

    #[test]
    fn a_bucket_that_is_counted_elsewhere_goes_on_from_there() {
        let (bucket, at) = (bucket(60, 10), Duration::from_secs(100));
        bucket.follow(at, Duration::from_secs(8));
        assert_eq!(bucket.allowance(at), Allowance { limit: 10, remaining: 2, reset: Duration::from_secs(8) });
        assert_eq!([(); 3].map(|()| bucket.take(at).is_ok()), [true, true, false]);
        bucket.follow(at, Duration::from_secs(3));
        assert_eq!(bucket.allowance(at).reset, Duration::from_secs(3));
        assert_eq!(bucket.times(), (Duration::from_secs(1), Duration::from_secs(10)));
    }

    #[test]
    fn nonsense_is_not_owed_for_longer_than_an_hour() {
        let (bucket, at) = (bucket(600, 600), Duration::from_secs(7));
        for _ in 0..3 {
            bucket.charge(at, u64::MAX);
        }
        let hour = Duration::from_nanos(MOST_OWED);
        assert_eq!(bucket.check(at), Err(hour + Duration::from_millis(100)));
        assert_eq!(bucket.check(at + hour + Duration::from_millis(100)), Ok(()));
    }

    proptest! {
        #[test]
        fn never_more_than_the_burst_and_the_rate_allow_and_no_wait_is_longer_than_it_must_be(
            per_minute in 1_u64..100_000_000,
            burst in 1_u64..200,
            steps in prop::collection::vec(0_u64..2_000_000_000, 1..300),
        ) {
            let bucket = bucket(per_minute, burst);
            let (mut now, mut taken) = (Duration::from_secs(3600), Vec::new());
            for step in steps {
                now += Duration::from_nanos(step);
                let allowance = bucket.allowance(now);
                match bucket.take(now) {
                    Ok(()) => {
                        prop_assert!(allowance.remaining >= 1, "{allowance:?}");
                        taken.push(now);
                    }
                    Err(wait) => {
                        prop_assert_eq!(allowance.remaining, 0);
                        prop_assert!(wait > Duration::ZERO);
                        prop_assert_eq!(bucket.check(now + wait - NANO), Err(NANO));
                        prop_assert_eq!(bucket.check(now + wait), Ok(()));
                    }
                }
            }
            for (first, from) in taken.iter().enumerate() {
                for (last, to) in taken.iter().enumerate().skip(first) {
                    let most = burst as f64 + (*to - *from).as_secs_f64() * per_minute as f64 / 60.0;
                    prop_assert!((last - first + 1) as f64 <= most + 1e-6, "{} in {:?}", last - first + 1, *to - *from);
                }
            }
        }

        #[test]
        fn charges_of_all_sizes_come_in_at_the_rate(
            per_minute in 1_u64..10_000_000,
            charges in prop::collection::vec(0_u64..5_000, 1..50),
        ) {
            let (bucket, now) = (bucket(per_minute, per_minute), Duration::from_secs(5));
            let all: u64 = charges.iter().sum();
            for charge in charges {
                bucket.charge(now, charge);
            }
            let due = 60.0 * all as f64 / per_minute as f64;
            let reset = bucket.allowance(now).reset.as_secs_f64();
            prop_assert!((reset - due.min(60.0 + 3600.0)).abs() < 1e-3, "{reset} {due}");
        }
    }
}
