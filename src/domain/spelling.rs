//! How names of fields may be spelled (`docs/api.md`, field names): `promptTemplate`, `prompt_template` and
//! `PROMPTTEMPLATE` are one field. Reading and checking agree by both asking here.

/// Lower case without underscores: what two spellings of one field have in common.
pub fn folded(name: &str) -> String {
    letters(name).collect()
}

/// Whether two names are spellings of one field.
pub fn is_same_field(one: &str, other: &str) -> bool {
    one == other || letters(one).eq(letters(other))
}

fn letters(name: &str) -> impl Iterator<Item = char> {
    name.chars().filter(|c| *c != '_').flat_map(char::to_lowercase)
}

/// Whether a member counts instead of an earlier one of the same field: the canonical spelling wins, else the last one.
/// `earlier`: whether that one was canonical; `None` when there was none.
pub const fn replaces(is_canonical: bool, earlier: Option<bool>) -> bool {
    is_canonical || !matches!(earlier, Some(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_spellings_of_a_name_fold_to_one() {
        for name in ["prompt_template", "promptTemplate", "PROMPTTEMPLATE", "prompttemplate", "Prompt_Template_"] {
            assert_eq!(folded(name), "prompttemplate", "{name}");
            assert!(is_same_field(name, "prompt_template"), "{name}");
        }
    }

    #[test]
    fn names_that_fold_differently_are_two_fields() {
        for name in ["prompt", "prompt_templates", "prompt-template", ""] {
            assert!(!is_same_field(name, "prompt_template"), "{name}");
        }
    }

    #[test]
    fn the_canonical_spelling_wins_and_else_the_last_one() {
        assert!(replaces(false, None) && replaces(false, Some(false)) && replaces(true, Some(false)));
        assert!(!replaces(false, Some(true)) && replaces(true, Some(true)));
    }
}
