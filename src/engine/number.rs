//! Decimal numbers and ranges in texts: in replies, and in what branches compare (`docs/workflow-spec.md`). Pure.

use std::ops::Range;

/// The number a text holds: sign, digits, fraction; nothing else, so no exponent, hexadecimal, NaN or infinity.
pub(crate) fn decimal(text: &str) -> Option<f64> {
    let text = text.trim();
    if leading(text)? == text.len() { text.parse().ok().filter(|number: &f64| number.is_finite()) } else { None }
}

/// `min-max`, negative ends and spaces around the hyphen allowed.
pub(crate) fn range(text: &str) -> Option<(f64, f64)> {
    let text = text.trim();
    let end = leading(text)?;
    let high = text[end..].trim_start().strip_prefix('-')?;
    Some((decimal(&text[..end])?, decimal(high)?))
}

/// Where the first number at or after a place is, whatever stands around it. Hexadecimal is passed over whole.
pub(crate) fn find(text: &str, from: usize) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let mut at = from;
    while let Some(byte) = bytes.get(at) {
        let starts = match byte {
            b'0'..=b'9' | b'+' | b'-' => true,
            // Behind a word or another dot it is punctuation.
            b'.' => {
                !at.checked_sub(1).is_some_and(|before| bytes[before].is_ascii_alphanumeric() || bytes[before] == b'.')
            }
            _ => false,
        };
        if starts && let Some(length) = hexadecimal(&bytes[at..]) {
            at += length;
        } else if starts && let Some(length) = leading(&text[at..]) {
            return Some(at..at + length);
        } else {
            at += 1;
        }
    }
    None
}

/// The number a text starts with, and what follows it.
pub(crate) fn prefix(text: &str) -> Option<(&str, &str)> {
    if hexadecimal(text.as_bytes()).is_some() { None } else { text.split_at_checked(leading(text)?) }
}

/// Where the number that a text starts with ends.
fn leading(text: &str) -> Option<usize> {
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
    (whole + fraction > 0).then_some(end)
}

/// The length of the `0x…` that a text starts with.
fn hexadecimal(bytes: &[u8]) -> Option<usize> {
    let sign = usize::from(matches!(bytes.first(), Some(b'-' | b'+')));
    let digits = match &bytes[sign..] {
        [b'0', b'x' | b'X', digits @ ..] => digits.iter().take_while(|byte| byte.is_ascii_hexdigit()).count(),
        _ => 0,
    };
    (digits > 0).then_some(sign + 2 + digits)
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

    #[test]
    fn the_first_number_is_found_whatever_stands_around_it() {
        for (text, number) in [
            ("7", "7"),
            ("I say 7.5!", "7.5"),
            ("7.", "7"),
            ("of 10, 7", "10"),
            ("1 2", "1"),
            ("it is -3 degrees", "-3"),
            ("+4", "+4"),
            ("- 4", "4"),
            ("--4", "-4"),
            ("about .5", ".5"),
            ("really...5", "5"),
            ("1.2.3", "1.2"),
            ("ß7é", "7"),
            ("0x1F, that is 31", "31"),
            ("-0x10 8", "8"),
            ("0x", "0"),
        ] {
            assert_eq!(find(text, 0).map(|place| &text[place]), Some(number), "{text}");
        }
        for text in ["", "none", "NaN", "-inf", "0x10", "0XfF", ".", "-.", "٣"] {
            assert_eq!(find(text, 0), None, "{text}");
        }
    }
}
