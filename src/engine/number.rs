//! Decimal numbers and ranges in the texts that branches compare (`docs/workflow-spec.md`, transitions).

/// The number a text holds: sign, digits, fraction; nothing else, so no exponent, hexadecimal, NaN or infinity.
pub(crate) fn decimal(text: &str) -> Option<f64> {
    let text = text.trim();
    let (end, _) = leading(text)?;
    if end == text.len() { text.parse().ok().filter(|number: &f64| number.is_finite()) } else { None }
}

/// `min-max`, negative ends and spaces around the hyphen allowed.
pub(crate) fn range(text: &str) -> Option<(f64, f64)> {
    let text = text.trim();
    let (end, _) = leading(text)?;
    let high = text[end..].trim_start().strip_prefix('-')?;
    Some((decimal(&text[..end])?, decimal(high)?))
}

/// Where the number that a text starts with ends, and whether it has a fraction.
fn leading(text: &str) -> Option<(usize, bool)> {
    let bytes = text.as_bytes();
    let sign = usize::from(matches!(bytes.first(), Some(b'-' | b'+')));
    let digits = |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let whole = digits(sign);
    let mut end = sign + whole;
    let mut fraction = 0;
    if bytes.get(end) == Some(&b'.') {
        fraction = digits(end + 1);
        // "5." is a number with a full stop behind it, not a fraction.
        if fraction > 0 {
            end += 1 + fraction;
        }
    }
    (whole + fraction > 0).then_some((end, fraction > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_decimals_are_numbers() {
        for (text, number) in [("7", 7.0), (" -7.50 ", -7.5), ("+3", 3.0), (".5", 0.5), ("007", 7.0)] {
            assert_eq!(decimal(text), Some(number), "{text}");
        }
        for text in ["", "-", "abc", "1e3", "0x10", "NaN", "inf", "1 2", "5.", "7%", "--1", "٣"] {
            assert_eq!(decimal(text), None, "{text}");
        }
    }

    #[test]
    fn ranges_may_have_negative_ends_fractions_and_spaces() {
        for (text, ends) in [
            ("1-5", (1.0, 5.0)),
            ("-5--1", (-5.0, -1.0)),
            ("-5-10", (-5.0, 10.0)),
            ("0.5 - 1.5", (0.5, 1.5)),
            (" 3-3 ", (3.0, 3.0)),
        ] {
            assert_eq!(range(text), Some(ends), "{text}");
        }
        for text in ["", "5", "-5", "a-b", "1-", "1-2-3", "1–5", "1 5"] {
            assert_eq!(range(text), None, "{text}");
        }
    }
}
