//! The shortest plain text that a regular expression matches: what a model that is held to a pattern says.

use regex_syntax::hir::{Class, Hir, HirKind};

/// A text the pattern matches; nothing if it is none. Assertions other than the text's ends are not looked at.
pub(crate) fn sample(pattern: &str) -> Option<String> {
    let hir = regex_syntax::Parser::new().parse(pattern).ok()?;
    let mut text = String::new();
    write(&hir, &mut text);
    Some(text)
}

/// Repetitions of a pattern such as `a{999999}` must not fill the memory.
const LONGEST: usize = 10_000;

fn write(hir: &Hir, text: &mut String) {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => {}
        HirKind::Literal(literal) => text.push_str(&String::from_utf8_lossy(&literal.0)),
        HirKind::Class(class) => text.push(plain(class)),
        HirKind::Repetition(repetition) => {
            for _ in 0..repetition.min {
                if text.len() < LONGEST {
                    write(&repetition.sub, text);
                }
            }
        }
        HirKind::Capture(capture) => write(&capture.sub, text),
        HirKind::Concat(parts) => parts.iter().for_each(|part| write(part, text)),
        HirKind::Alternation(ways) => ways.iter().take(1).for_each(|way| write(way, text)),
    }
}

/// A letter or a digit of the class where it has one, else its first character.
fn plain(class: &Class) -> char {
    let ranges: Vec<(char, char)> = match class {
        Class::Unicode(class) => class.iter().map(|range| (range.start(), range.end())).collect(),
        Class::Bytes(class) => class.iter().map(|range| (range.start().into(), range.end().into())).collect(),
    };
    let has = |wanted: &char| ranges.iter().any(|(start, end)| (start..=end).contains(&wanted));
    let plain = ('1'..='9').chain(['0']).chain('a'..='z').chain('A'..='Z').find(has);
    plain.or(ranges.first().map(|(start, _)| *start)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_something_that_fits() {
        for (pattern, text) in [
            (r"^-?[0-9]+(\.[0-9]+)?-(-)?[0-9]+(\.[0-9]+)?$", "1-1"),
            (r"^[A-Z]{3}-\d{4}$", "AAA-1111"),
            ("^(yes|no)$", "yes"),
            (r"[^a-z0-9]", "A"),
            (r"\w+@\w+\.com", "1@1.com"),
            ("", ""),
        ] {
            assert_eq!(sample(pattern).as_deref(), Some(text), "{pattern}");
        }
        assert_eq!(sample("("), None);
        assert!(sample("(a{1000}){1000}").unwrap().len() < 20_000);
    }
}
