//! What somebody may have meant by a name that does not exist.

/// How alike two names must be, from 0 to 1.
const ALIKE: f64 = 0.6;
/// Longer names are no slips, and comparing them takes long.
const LONGEST: usize = 64;
/// Candidates that are compared.
const MOST_CANDIDATES: usize = 500;

/// The candidate that looks most like the name, if any does.
pub(crate) fn closest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.is_empty() || name.len() > LONGEST {
        return None;
    }
    let wanted = name.to_lowercase();
    let mut best: Option<(f64, &str)> = None;
    for candidate in candidates.into_iter().take(MOST_CANDIDATES).filter(|candidate| candidate.len() <= LONGEST) {
        let score = likeness(&wanted, &candidate.to_lowercase());
        if score >= ALIKE && best.is_none_or(|(highest, _)| score > highest) {
            best = Some((score, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

fn likeness(wanted: &str, candidate: &str) -> f64 {
    let edits = strsim::normalized_damerau_levenshtein(wanted, candidate);
    // The start of a long name, or its end.
    let is_part = wanted.len() >= 4 && (candidate.starts_with(wanted) || candidate.ends_with(wanted));
    let is_longer = candidate.len() >= 4 && (wanted.starts_with(candidate) || wanted.ends_with(candidate));
    if is_part || is_longer { edits.max(ALIKE + 0.01) } else { edits }
}

/// `did you mean …?`
pub fn did_you_mean<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    closest(name, candidates).map(|candidate| format!("did you mean '{candidate}'?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_other_words_are_not() {
        let names = ["prompt_template", "handler", "transition", "on_failure", "when", "goto"];
        for (name, expected) in [
            ("promt_template", Some("prompt_template")),
            ("prompt", Some("prompt_template")),
            ("template", Some("prompt_template")),
            ("Handlr", Some("handler")),
            ("transitions", Some("transition")),
            ("wehn", Some("when")),
            ("goot", Some("goto")),
            ("colour", None),
            ("", None),
            ("x", None),
        ] {
            assert_eq!(closest(name, names), expected, "{name}");
        }
        assert_eq!(closest(&"x".repeat(1000), ["x"]), None);
    }
}
