//! When the requests of an open loop are due.
//!
//! A thread of its own sleeps until each is: timers of the runtime are as coarse as a millisecond, the kernel's as some fifty
//! microseconds.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::scenario::Arrivals;

/// Seed of the arrivals: all targets and rounds get the same ones.
const SEED: u64 = 7;

/// Moments at which requests are due, from one on and before another.
pub(crate) struct Moments {
    next: Instant,
    until: Instant,
    mean: Duration,
    /// Draws distances; nothing where they are equal.
    random: Option<fastrand::Rng>,
}

impl Moments {
    pub(crate) fn new(rate: f64, arrivals: Arrivals, from: Instant, until: Instant) -> Self {
        let random = (arrivals == Arrivals::Poisson).then(|| fastrand::Rng::with_seed(SEED));
        Self { next: from, until, mean: Duration::from_secs_f64(1.0 / rate), random }
    }
}

impl Iterator for Moments {
    type Item = Instant;

    fn next(&mut self) -> Option<Instant> {
        let due = self.next;
        let distance = match &mut self.random {
            None => self.mean,
            // Distances of independent arrivals are exponentially distributed.
            Some(random) => self.mean.mul_f64(-(1.0 - random.f64()).ln()),
        };
        self.next += distance;
        (due < self.until).then_some(due)
    }
}

/// Gives each moment when it has come. What is not taken waits in the channel: no more than the schedule has, and whoever
/// takes it late sees by its moment how late.
pub(crate) fn start(
    rate: f64,
    arrivals: Arrivals,
    from: Instant,
    until: Instant,
) -> Result<UnboundedReceiver<Instant>> {
    let (give, take) = unbounded_channel();
    thread::Builder::new().name("schedule".to_owned()).spawn(move || {
        for due in Moments::new(rate, arrivals, from, until) {
            let early = due.saturating_duration_since(Instant::now());
            if !early.is_zero() {
                thread::sleep(early);
            }
            if give.send(due).is_err() {
                return;
            }
        }
    })?;
    Ok(take)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(rate: f64, arrivals: Arrivals, seconds: u64) -> Vec<Duration> {
        let from = Instant::now();
        let until = from + Duration::from_secs(seconds);
        Moments::new(rate, arrivals, from, until).map(|due| due - from).collect()
    }

    #[test]
    fn fixed_arrivals_are_equally_far_apart() {
        let moments = moments(4.0, Arrivals::Fixed, 2);
        let wanted: Vec<Duration> = (0..8).map(|n| Duration::from_millis(250 * n)).collect();
        assert_eq!(moments, wanted);
    }

    #[test]
    fn poisson_arrivals_have_their_rate_their_spread_and_are_the_same_each_time() {
        let first = moments(1000.0, Arrivals::Poisson, 20);
        assert_eq!(first, moments(1000.0, Arrivals::Poisson, 20));
        assert!((19_500..20_500).contains(&first.len()), "{}", first.len());
        let distances: Vec<f64> = first.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64() * 1000.0).collect();
        let mean = distances.iter().sum::<f64>() / distances.len() as f64;
        let variance = distances.iter().map(|one| (one - mean).powi(2)).sum::<f64>() / distances.len() as f64;
        // Of an exponential distribution, the standard deviation is the mean.
        assert!((0.95..1.05).contains(&(variance.sqrt() / mean)), "{mean} {variance}");
    }
}
