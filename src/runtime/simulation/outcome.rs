//! What came of a run.

use super::Micros;

/// One request that was answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer {
    /// From the arrival to the last token.
    pub(super) took: Micros,
    pub(super) ended: Micros,
    /// Whether it was sent to a backend in trouble before.
    pub(super) met_trouble: bool,
}

/// What came of all of them.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) answers: Vec<Answer>,
    pub(super) refused: usize,
    /// Told that their call had failed.
    pub(super) failed: usize,
    /// Of those, whose last attempt was on a backend that was well.
    pub(super) failed_elsewhere: usize,
    pub(super) last_arrival: Micros,
    /// Calls that were sent to each backend.
    pub(super) sent: Vec<usize>,
    /// The most calls at once on each.
    pub(super) most: Vec<u16>,
    /// What the limits were at the end.
    pub(super) limits: Vec<u16>,
}

impl Outcome {
    /// Answers in a second while requests arrived, but for the first fifth of that time, in which backends fill.
    pub(super) fn goodput(&self) -> f64 {
        let from = self.last_arrival / 5;
        let counted = self.answers.iter().filter(|answer| (from..self.last_arrival).contains(&answer.ended)).count();
        counted as f64 / ((self.last_arrival - from).max(1) as f64 / 1e6)
    }

    /// The seconds within which this part of the answers was whole.
    pub(super) fn quantile(&self, part: f64) -> f64 {
        quantile(self.answers.iter().map(|answer| answer.took).collect(), part)
    }

    /// The same of requests that never met a backend in trouble.
    pub(super) fn quantile_of_others(&self, part: f64) -> f64 {
        let others = self.answers.iter().filter(|answer| !answer.met_trouble);
        quantile(others.map(|answer| answer.took).collect(), part)
    }
}

fn quantile(mut took: Vec<Micros>, part: f64) -> f64 {
    took.sort_unstable();
    let at = ((took.len().max(1) - 1) as f64 * part).round() as usize;
    took.get(at).map_or(f64::INFINITY, |micros| *micros as f64 / 1e6)
}
