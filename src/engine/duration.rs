//! Durations as chains write them: `500ms`, `1m30s`, `1.5h` (`docs/workflow-spec.md`, timeouts).

use std::time::Duration;

/// Nanoseconds of each unit; longer names first, so that `ms` is not read as `m`.
const UNITS: [(&str, u128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Reads one or more `<decimal><unit>`; `None` when it is anything else, nothing, or too long to mean.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut nanos: u128 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits_end);
        let (unit, scale) = UNITS.into_iter().find(|(unit, _)| after.starts_with(unit))?;
        nanos = nanos.checked_add(scaled(number, scale)?)?;
        rest = &after[unit.len()..];
    }
    Some(Duration::from_nanos(u64::try_from(nanos).ok()?))
}

/// `number` (digits with at most one dot) times `scale`, what is below a nanosecond dropped.
fn scaled(number: &str, scale: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let mut nanos = if whole.is_empty() { 0 } else { whole.parse::<u64>().ok()? as u128 * scale };
    let mut place = scale;
    for digit in fraction.bytes() {
        place /= 10;
        nanos += u128::from(digit - b'0') * place;
    }
    Some(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_decimals_with_units_added_up() {
        for (text, millis) in [
            ("500ms", 500.0),
            ("1m30s", 90_000.0),
            ("1.5h", 5_400_000.0),
            (".5s", 500.0),
            ("2s500ms", 2_500.0),
            ("1us", 0.001),
            ("1µs", 0.001),
            ("1μs", 0.001),
            ("250000ns", 0.25),
            (" 1s ", 1000.0),
            ("0s", 0.0),
        ] {
            let read = parse(text).unwrap_or_else(|| panic!("{text} is a duration"));
            assert!((read.as_secs_f64() * 1000.0 - millis).abs() < 1e-9, "{text}: {read:?}");
        }
        for text in ["", "5", "s", "-5s", "1 s", "1.2.3s", ".s", "5d", "ms", "1s5", "99999999999999999999h", "9999999h"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
