//! How much a target takes before it becomes slow: of the steps of a scenario, the best one whose p99 is under a bound.

use super::results::Row;

/// Bounds on p99 that the frontier is told for, in milliseconds.
pub const BOUNDS_MS: [f64; 4] = [1.0, 5.0, 10.0, 50.0];

/// Share of what was offered that a step has to answer: one that fell behind is not reached, however fast its answers were.
pub const REACHED: f64 = 0.97;

/// Whether a target kept up with what was offered to it.
pub fn reached(row: &Row) -> bool {
    match (row.figures.get("goodput_rps"), row.figures.get("offered_rps")) {
        (Some(goodput), Some(offered)) => *goodput >= REACHED * offered,
        (Some(_), None) => true,
        (None, _) => false,
    }
}

/// Of one target's rows: the most requests a second that it answered with p99 under a bound.
pub fn best<'a>(rows: impl IntoIterator<Item = &'a Row>, bound_ms: f64) -> Option<f64> {
    rows.into_iter()
        .filter(|row| reached(row) && row.figures.get("p99_ms").is_some_and(|p99| *p99 < bound_ms))
        .filter_map(|row| row.figures.get("goodput_rps").copied())
        .max_by(f64::total_cmp)
}
