//! From values to places on an axis, and which values are written beside it.

use crate::report::{curve, number};

/// An axis, from 0 at its beginning to 1 at its end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scale {
    /// From 0, evenly; the second is the distance of what is written.
    Linear(f64, f64),
    /// Tenfold is always as far: from, to.
    Log(f64, f64),
    /// From 0 to the given percentile; from 90 to 99 is as far as from 99 to 99.9.
    Percentile(f64),
}

/// The percentiles that are written.
pub const PERCENTILES: [f64; 5] = [50.0, 90.0, 99.0, 99.9, 99.99];

/// What logarithmic axes begin with when there is less: times below are not told apart.
const LEAST: f64 = 0.001;

impl Scale {
    /// From 0 to a round value that is not less than the most.
    pub fn linear_to(most: f64) -> Self {
        let Scale::Linear(most, step) = Self::linear_within(most) else { return Scale::Linear(1.0, 1.0) };
        Scale::Linear((most / step).ceil() * step, step)
    }

    /// From 0 to just the most.
    pub fn linear_within(most: f64) -> Self {
        let most = if most > 0.0 && most.is_finite() { most } else { 1.0 };
        Scale::Linear(most, even_step(most))
    }

    /// Around all values, with a little room at both ends.
    pub fn log_around(values: impl IntoIterator<Item = f64>) -> Self {
        let all = values.into_iter().filter(|value| value.is_finite()).map(|value| value.max(LEAST));
        let (least, most) = all.fold((f64::MAX, f64::MIN), |(least, most), value| (least.min(value), most.max(value)));
        if least > most {
            return Scale::Log(1.0, 10.0);
        }
        // A twelfth of what lies between them, but not so little that noise looks like a mountain.
        let room = (most / least).powf(1.0 / 12.0).max(1.05);
        Scale::Log(least / room, most * room)
    }

    /// To a percentile, at least 99 and at most 99.99.
    pub fn percentiles_to(most: f64) -> Self {
        Scale::Percentile(most.clamp(99.0, 99.99))
    }

    /// Where a value is; what lies beyond an end is at that end.
    pub fn at(self, value: f64) -> f64 {
        let place = match self {
            Scale::Linear(to, _) => value / to,
            Scale::Log(from, to) => (value.max(LEAST) / from).log10() / (to / from).log10(),
            Scale::Percentile(to) => curve::tail_of(value.min(to)) / curve::tail_of(to),
        };
        place.clamp(0.0, 1.0)
    }

    /// The values that are written, each with its words.
    pub fn ticks(self) -> Vec<(f64, String)> {
        let values: Vec<f64> = match self {
            Scale::Linear(to, step) => (0..=(to / step + 1e-6) as usize).map(|index| index as f64 * step).collect(),
            Scale::Log(from, to) => log_ticks(from, to),
            Scale::Percentile(to) => PERCENTILES.into_iter().filter(|percentile| *percentile <= to + 1e-9).collect(),
        };
        values.into_iter().map(|value| (value, number::tick(value))).collect()
    }
}

/// Powers of ten if there are some; else 1, 2 and 5 of each; else, of an axis so short, even steps.
fn log_ticks(from: f64, to: f64) -> Vec<f64> {
    let powers = || (from.log10().floor() as i32..=to.log10().ceil() as i32).map(|power| 10_f64.powi(power));
    let inside = |value: &f64| (from..=to).contains(value);
    let tens: Vec<f64> = powers().filter(inside).collect();
    if tens.len() >= 4 {
        return tens;
    }
    let round: Vec<f64> =
        powers().flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * power)).filter(inside).collect();
    if round.len() >= 3 {
        return round;
    }
    let step = even_step(to - from);
    let first = (from / step).ceil() as usize;
    (first..first + 12).map(|index| index as f64 * step).filter(inside).collect()
}

/// A round distance that is about a fifth of a length.
fn even_step(length: f64) -> f64 {
    let rough = length / 5.0;
    let power = 10_f64.powf(rough.log10().floor());
    let digit = [1.0, 2.0, 5.0].into_iter().find(|digit| digit * power >= rough);
    digit.unwrap_or(10.0) * power
}
