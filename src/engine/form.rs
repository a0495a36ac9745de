//! What the number handlers make of a reply (`docs/workflow-spec.md`, numbers and ranges). Pure.

use crate::{
    domain::{message::Constraint, value::Value},
    engine::{number, reply, transition::Evaluation},
};

/// What a reply is read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// A whole number.
    Number,
    /// A number.
    Score,
    /// Two numbers, `low-high`.
    Range,
}

impl Form {
    /// What a reply may be at all, where the backend can force it.
    pub(crate) const fn constraint(self) -> Constraint {
        match self {
            Self::Number => Constraint::Integer,
            Self::Score => Constraint::Number,
            Self::Range => Constraint::Range,
        }
    }

    /// The value and the transition value of a reply: plain, quoted, a JSON string, or with words around it.
    ///
    /// # Errors
    /// Why it is none, for the author of the chain.
    pub(crate) fn read(self, reply: &str) -> Result<(Value, Evaluation), String> {
        // Signs and hyphens as typesetters write them.
        let text = reply::unquoted(reply).replace(['−', '‐', '‑'], "-");
        let refused = |problem: &str| format!("the reply '{}' {problem}", reply::excerpt(reply));
        match self {
            Self::Number => {
                let number = whole(first(&text).ok_or_else(|| refused("holds no number"))?);
                let number = number.ok_or_else(|| refused("holds no whole number of 64 bits"))?;
                Ok((Value::Int(number), Evaluation::of(number.to_string())))
            }
            Self::Score => {
                let number = first(&text).ok_or_else(|| refused("holds no number"))?;
                let score = float(number).ok_or_else(|| refused("holds a number that is too large"))?;
                Ok((Value::Float(score), Evaluation::of(two_decimals(score))))
            }
            Self::Range => {
                let (low, high) = ends(&text).ok_or_else(|| refused("holds neither a range nor a number"))?;
                let range = format!("{}-{}", low.trim_start_matches('+'), high.trim_start_matches('+'));
                Ok((Value::string(range.as_str()), Evaluation::of(range)))
            }
        }
    }
}

/// The text of the number meant: the whole text where it is one, as decimal or as JSON writes it, else the first in it.
fn first(text: &str) -> Option<&str> {
    let all = text.trim();
    let is_number = serde_json::from_str::<f64>(all).is_ok();
    if is_number { Some(all) } else { number::find(text, 0).map(|place| &text[place]) }
}

fn float(text: &str) -> Option<f64> {
    // Minus zero is zero.
    text.parse().ok().filter(|number: &f64| number.is_finite()).map(|number| number + 0.0)
}

/// The number as an integer: exactly where it is written as one, else if its fraction is zero.
fn whole(text: &str) -> Option<i64> {
    /// 2^63, the first number that does not fit.
    const BEYOND: f64 = 9_223_372_036_854_775_808.0;
    #[expect(clippy::cast_possible_truncation, reason = "it has no fraction and fits")]
    let exact = |number: f64| (number.fract() == 0.0 && (-BEYOND..BEYOND).contains(&number)).then_some(number as i64);
    text.parse().ok().or_else(|| float(text).and_then(exact))
}

fn two_decimals(number: f64) -> String {
    let text = format!("{number:.2}");
    if text == "-0.00" { "0.00".to_owned() } else { text }
}

/// The first range in a text; if it has none, the first number, as both ends.
fn ends(text: &str) -> Option<(&str, &str)> {
    let mut single = None;
    let mut from = 0;
    while let Some(place) = number::find(text, from) {
        let low = &text[place.clone()];
        if let Some((high, _)) = behind_separator(&text[place.end..]).and_then(number::prefix) {
            return Some((low, high));
        }
        single = single.or(Some(low));
        from = place.end;
    }
    single.map(|number| (number, number))
}

/// What follows the separator of a range. A hyphen in the next line is the mark of a list.
fn behind_separator(text: &str) -> Option<&str> {
    let trimmed = |text: &'_ str| text.len() - text.trim_start_matches(|c: char| c.is_whitespace() && c != '\n').len();
    let text = &text[trimmed(text)..];
    let is_to = text.get(..2).is_some_and(|word| word.eq_ignore_ascii_case("to"));
    let rest = if is_to { &text[2..] } else { text.strip_prefix(['-', '–', '—'])? };
    Some(&rest[trimmed(rest)..])
}

#[cfg(test)]
mod tests;
