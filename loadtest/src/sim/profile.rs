//! How a simulated backend behaves under load: how long answers take, how long they are, and how often they fail.
//!
//! What the n-th request meets depends on the seed and on n alone, so that the same load meets the same again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::sim::{
    batching::Engine,
    script::{Armed, Rule},
};

/// How long an answer takes before its first byte. Timers are as coarse as a millisecond.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Delay {
    /// No time.
    None,
    /// Always the same.
    Fixed(Duration),
    /// Half of them less than the median; its logarithm is normally distributed with this standard deviation.
    Lognormal {
        /// The median.
        median: Duration,
        /// The standard deviation of the logarithm: 0.5 makes one in a hundred three times as long as the median.
        sigma: f64,
    },
}

impl Delay {
    fn draw(self, random: &mut fastrand::Rng) -> Duration {
        match self {
            Self::None => Duration::ZERO,
            Self::Fixed(delay) => delay,
            Self::Lognormal { median, sigma } => {
                // Box and Muller 1958: two uniform numbers make a normal one.
                let radius = (-2.0 * (1.0 - random.f64()).ln()).sqrt();
                let normal = radius * (std::f64::consts::TAU * random.f64()).cos();
                median.mul_f64((sigma * normal).exp().min(1000.0))
            }
        }
    }
}

/// How a backend behaves under load.
pub struct Profile {
    delay: Delay,
    words: usize,
    seed: u64,
    /// What most requests meet.
    sound: Arc<Armed>,
    /// Shares of requests, and what they meet.
    faults: Vec<(f64, Arc<Armed>)>,
    pub(crate) engine: Option<Arc<Engine>>,
    asked: AtomicU64,
}

/// What one request meets.
pub(crate) struct Meets {
    pub(crate) delay: Duration,
    pub(crate) armed: Arc<Armed>,
}

impl Profile {
    /// Answers of so many words, the last of which is the last one of the prompt; `chunk` is the pause before each word of a
    /// stream.
    pub fn new(delay: Delay, words: usize, chunk: Option<Duration>, seed: u64) -> Self {
        let sound = chunk.map_or_else(Rule::always, |chunk| Rule::always().chunk_delay(chunk));
        let sound = Armed::new(sound);
        Self { delay, words, seed, sound, faults: Vec::new(), engine: None, asked: AtomicU64::new(0) }
    }

    /// A share of the requests, 0 to 1, meets what this rule does.
    #[must_use]
    pub fn fault(mut self, share: f64, rule: Rule) -> Self {
        self.faults.push((share, Armed::new(rule)));
        self
    }

    /// Answers come from an engine that works on several at once, in place of the delay and the pauses.
    #[must_use]
    pub fn engine(mut self, engine: Engine) -> Self {
        self.engine = Some(Arc::new(engine));
        self
    }

    pub(crate) fn words(&self) -> usize {
        self.words
    }

    /// What the next request meets.
    pub(crate) fn next(&self) -> Meets {
        self.nth(self.asked.fetch_add(1, Ordering::Relaxed))
    }

    fn nth(&self, n: u64) -> Meets {
        // Neighbouring seeds give unlike sequences only once they are spread (Steele, Lea, Flood 2014).
        let mut random = fastrand::Rng::with_seed(self.seed ^ (n + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let delay = self.delay.draw(&mut random);
        let mut luck = random.f64();
        let fault = self.faults.iter().find(|(share, _)| {
            let is_hit = luck < *share;
            luck -= share;
            is_hit
        });
        let armed = fault.map_or(&self.sound, |(_, fault)| fault);
        Meets { delay, armed: Arc::clone(armed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delays(delay: Delay, seed: u64) -> Vec<f64> {
        let profile = Profile::new(delay, 1, None, seed);
        (0..20_000).map(|_| profile.next().delay.as_secs_f64() * 1000.0).collect()
    }

    #[test]
    fn lognormal_delays_have_their_median_and_their_spread_and_a_seed_repeats_them() {
        let delay = Delay::Lognormal { median: Duration::from_millis(60), sigma: 0.5 };
        let mut drawn = delays(delay, 1);
        assert_eq!(drawn, delays(delay, 1));
        assert_ne!(drawn, delays(delay, 2));
        drawn.sort_by(f64::total_cmp);
        assert!((58.0..62.0).contains(&drawn[10_000]), "{}", drawn[10_000]);
        // The 84th percentile of a normal distribution is one standard deviation above.
        let above = (drawn[16_827] / drawn[10_000]).ln();
        assert!((0.47..0.53).contains(&above), "{above}");
    }

    #[test]
    fn each_fault_meets_its_share_of_the_requests() {
        let profile = Profile::new(Delay::None, 1, None, 3)
            .fault(0.1, Rule::always().status(503))
            .fault(0.2, Rule::always().close_before_headers());
        let met: Vec<Meets> = (0..20_000).map(|_| profile.next()).collect();
        let count = |fits: fn(&Armed) -> bool| met.iter().filter(|one| fits(&one.armed)).count();
        let (refused, closed) = (count(|one| one.effect().status == Some(503)), count(|one| one.effect().close));
        assert!((1_850..2_150).contains(&refused), "{refused}");
        assert!((3_800..4_200).contains(&closed), "{closed}");
    }
}
