//! One curve of many: at each place the median of what the rounds have there.

/// The middle one of some values, or the mean of the two in the middle; nothing of none.
pub fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => values.get(middle).copied(),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

/// The curve's height at a place between its first point and its last, as straight lines between points have it.
pub fn height(curve: &[(f64, f64)], at: f64) -> Option<f64> {
    let after = curve.partition_point(|&(x, _)| x < at);
    let &(right, above) = curve.get(after)?;
    if right == at {
        return Some(above);
    }
    let &(left, below) = curve.get(after.checked_sub(1)?)?;
    Some(below + (above - below) * (at - left) / (right - left))
}

/// The median curve at `count` places from the first place that all rounds have to the last one.
pub fn median_curve(rounds: &[Vec<(f64, f64)>], count: usize) -> Vec<(f64, f64)> {
    let first = rounds.iter().filter_map(|curve| curve.first()).map(|&(x, _)| x).fold(f64::MIN, f64::max);
    let last = rounds.iter().filter_map(|curve| curve.last()).map(|&(x, _)| x).fold(f64::MAX, f64::min);
    if first > last || rounds.iter().all(Vec::is_empty) {
        return Vec::new();
    }
    let places = count.max(2);
    (0..places)
        .map(|index| first + (last - first) * index as f64 / (places - 1) as f64)
        // The sum may miss the last place by a hair, and nobody has a height there.
        .map(|at| at.min(last))
        .filter_map(|at| {
            let mut heights: Vec<f64> = rounds.iter().filter_map(|curve| height(curve, at)).collect();
            Some((at, median(&mut heights)?))
        })
        .collect()
}

/// How far in the tail a percentile is: 0 at 0, 1 at 90, 2 at 99, 3 at 99.9.
pub fn tail_of(percentile: f64) -> f64 {
    -(1.0 - percentile / 100.0).log10()
}

/// The percentile so far in the tail.
pub fn percentile_of(tail: f64) -> f64 {
    100.0 * (1.0 - 10_f64.powf(-tail))
}

/// The median curve of a time's spread over the rounds. Between two points a time grows evenly with how far in the tail it
/// is, not with the percentile: from 99 to 99.9 it is as far as from 0 to 90.
pub fn percentiles(rounds: &[&[(f64, f64)]], count: usize) -> Vec<(f64, f64)> {
    // The longest of all has no place on an axis that never reaches 100.
    let tails: Vec<Vec<(f64, f64)>> = rounds
        .iter()
        .map(|curve| {
            curve.iter().filter(|(percentile, _)| *percentile < 100.0).map(|&(p, time)| (tail_of(p), time)).collect()
        })
        .collect();
    median_curve(&tails, count).into_iter().map(|(tail, time)| (percentile_of(tail), time)).collect()
}
