//! `keep_alive`: seconds, or a duration in Go's way of writing. We keep no model in memory ourselves; only "not at all"
//! means something here, and what is no duration is an error as it is to Ollama.

use serde_json::Value as Json;

use super::{Read, fields::Fields};

const UNITS: [&str; 8] = ["ns", "us", "µs", "μs", "ms", "s", "m", "h"];

/// Whether the model is to be kept in memory for no time.
pub(super) fn is_none(at: &Fields<'_>) -> Read<bool> {
    match at.get("keep_alive") {
        None => Ok(false),
        Some(Json::Number(seconds)) => Ok(seconds.as_f64() == Some(0.0)),
        Some(Json::String(text)) => match is_zero(text) {
            Some(is_zero) => Ok(is_zero),
            None => at.wrong("keep_alive", "a number of seconds or a duration such as \"5m\""),
        },
        Some(_) => at.wrong("keep_alive", "a number of seconds or a duration such as \"5m\""),
    }
}

/// Whether a duration is zero; `None` when the text is none.
fn is_zero(text: &str) -> Option<bool> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if unsigned == "0" {
        return Some(true);
    }
    let (mut rest, mut is_zero) = (unsigned, !unsigned.is_empty());
    if !is_zero {
        return None;
    }
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.').map(|end| &rest[..end])?;
        let is_number = number.bytes().any(|byte| byte.is_ascii_digit()) && number.matches('.').count() <= 1;
        let behind = &rest[number.len()..];
        let unit = behind.find(|c: char| c.is_ascii_digit() || c == '.').map_or(behind, |end| &behind[..end]);
        if !is_number || !UNITS.contains(&unit) {
            return None;
        }
        is_zero &= number.bytes().all(|byte| matches!(byte, b'0' | b'.'));
        rest = &behind[unit.len()..];
    }
    Some(is_zero)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_go() {
        for (text, wanted) in [
            ("0", Some(true)),
            ("0s", Some(true)),
            ("0h0.0m", Some(true)),
            ("-0", Some(true)),
            ("5m", Some(false)),
            ("1h30m", Some(false)),
            ("1.5s", Some(false)),
            ("0h1ms", Some(false)),
            ("-1s", Some(false)),
            ("10µs", Some(false)),
            ("", None),
            ("-", None),
            ("10", None),
            ("s", None),
            (".s", None),
            ("1.2.3s", None),
            ("5 m", None),
            ("5d", None),
            ("forever", None),
        ] {
            assert_eq!(is_zero(text), wanted, "{text}");
        }
    }
}
