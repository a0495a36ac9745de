//! How figures are written: three digits that count, thousands apart, and a dash for what was not measured.

/// Stands for a figure that is not there.
pub const DASH: &str = "–";

/// A figure of a unit of its own, such as `0.124`, `24.6` or `12,400`.
pub fn figure(value: f64) -> String {
    if !value.is_finite() {
        return DASH.to_owned();
    }
    if value == 0.0 {
        return "0".to_owned();
    }
    let decimals = (2 - exponent(value, 2)).clamp(0, 4) as usize;
    if decimals == 0 { whole(value) } else { format!("{value:.decimals$}") }
}

/// A figure beside its bound, with a digit more, so that what misses it narrowly does not look as if it held.
pub fn closely(value: f64) -> String {
    if value.abs() >= 1000.0 || !value.is_finite() { figure(value) } else { trimmed(value, 3 - exponent(value, 3)) }
}

/// A number of things, such as `12,400`.
pub fn whole(value: f64) -> String {
    if !value.is_finite() {
        return DASH.to_owned();
    }
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0.0 && digits != "0" { format!("-{text}") } else { text }
}

/// How many times another figure it is, such as `1.22`.
pub fn ratio(value: f64) -> String {
    if value.is_finite() { format!("{value:.2}") } else { DASH.to_owned() }
}

/// What was added to another figure, with its sign; of a small difference two decimals are as much as it is worth.
pub fn added(value: f64) -> String {
    match value.abs() {
        small if small < 0.095 => format!("{value:+.3}"),
        middle if middle < 9.95 => format!("{value:+.2}"),
        _ if value > 0.0 && value.is_finite() => format!("+{}", figure(value)),
        _ => figure(value),
    }
}

/// A value of an axis: no digits that say nothing.
pub fn tick(value: f64) -> String {
    if value.abs() >= 1000.0 {
        return whole(value);
    }
    trimmed(value, 4)
}

/// The power of ten of a value once it is rounded to a digit and so many decimals: 9.996 is written as 10.0.
fn exponent(value: f64, decimals: usize) -> i32 {
    let scientific = format!("{value:.decimals$e}");
    scientific.split_once('e').and_then(|(_, exponent)| exponent.parse().ok()).unwrap_or_default()
}

fn trimmed(value: f64, decimals: i32) -> String {
    let decimals = decimals.clamp(0, 4) as usize;
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}
