//! Which allowed key a reply means (`docs/workflow-spec.md`, `condition_key`). Pure.

use crate::{
    domain::chain::Condition,
    engine::{reply, transition::Evaluation},
};

/// The allowed replies of one task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Conditions {
    conditions: Vec<Condition>,
    /// Chains from before the key was compared look at the flag beside it, unless `true` or `false` is itself a key.
    flags_count: bool,
}

impl Conditions {
    pub(crate) fn new(conditions: Vec<Condition>) -> Self {
        let is_flag = |key: &str| key.eq_ignore_ascii_case("true") || key.eq_ignore_ascii_case("false");
        let flags_count = !conditions.iter().any(|condition| is_flag(&condition.key));
        Self { conditions, flags_count }
    }

    /// All allowed replies, in order.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.conditions.iter().map(|condition| condition.key.clone()).collect()
    }

    /// The key a reply means: exactly, else ignoring case, else ignoring case and the quotes, emphasis and
    /// punctuation around it. A JSON string counts as what it says.
    pub(crate) fn matching(&self, reply: &str) -> Option<Evaluation> {
        let decoded = serde_json::from_str::<String>(reply).ok();
        let texts = || std::iter::once(reply).chain(decoded.as_deref().map(str::trim));
        let found = texts().find_map(|text| self.exact(text)).or_else(|| texts().find_map(|text| self.close(text)))?;
        Some(Evaluation { flag: self.flags_count.then_some(found.flag), ..Evaluation::of(found.key.as_str()) })
    }

    /// Why a reply was refused.
    pub(crate) fn refusal(&self, reply: &str) -> String {
        const SHOWN: usize = 20;
        let mut keys: Vec<_> = self.conditions.iter().take(SHOWN).map(|c| reply::excerpt(&c.key)).collect();
        if self.conditions.len() > SHOWN {
            keys.push("…".to_owned());
        }
        format!("the reply '{}' is none of the allowed: {}", reply::excerpt(reply), keys.join(", "))
    }

    fn exact(&self, text: &str) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.key == text)
    }

    /// Ignoring case; every stage of the peeling is tried, for a key may itself end in a full stop.
    fn close(&self, text: &str) -> Option<&Condition> {
        const LAYERS: usize = 32;
        std::iter::successors(Some(text), |text| peeled(text)).take(LAYERS).find_map(|text| {
            let folded = text.to_lowercase();
            self.conditions.iter().find(|condition| condition.key.to_lowercase() == folded)
        })
    }
}

/// The text with one layer around it removed; `None` when there is none left.
fn peeled(text: &str) -> Option<&str> {
    const STOPS: [char; 6] = ['.', ',', '!', '?', ':', ';'];
    let bare = text.strip_suffix(STOPS).unwrap_or_else(|| text.trim_matches(reply::QUOTES)).trim();
    (bare.len() < text.len() && !bare.is_empty()).then_some(bare)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conditions(keys: &[(&str, bool)]) -> Conditions {
        Conditions::new(keys.iter().map(|(key, flag)| Condition { key: (*key).to_owned(), flag: *flag }).collect())
    }

    fn matched(conditions: &Conditions, reply: &str) -> Option<String> {
        conditions.matching(reply).map(|value| value.text)
    }

    #[test]
    fn a_reply_means_a_key_by_the_first_rule_that_hits() {
        let keys =
            conditions(&[("Valid", true), ("valid", true), ("not valid", false), ("really?", true), ("Ä", true)]);
        for (reply, key) in [
            ("valid", "valid"),
            ("Valid", "Valid"),
            ("VALID", "Valid"),
            ("\"valid\"", "valid"),
            ("`VALID`", "Valid"),
            ("**Valid.**", "Valid"),
            ("\"Not valid\".", "not valid"),
            ("not valid!", "not valid"),
            ("'Really?'", "really?"),
            ("REALLY?!", "really?"),
            (r#""valid""#, "valid"),
            ("ä;", "Ä"),
        ] {
            assert_eq!(matched(&keys, reply).as_deref(), Some(key), "{reply}");
        }
        for reply in ["", "invalid", "valid or not", "it is valid", "\"\"", "..."] {
            assert_eq!(matched(&keys, reply), None, "{reply}");
        }
    }

    #[test]
    fn a_json_string_counts_as_what_it_says() {
        let keys = conditions(&[("say \"hi\"", true), ("a\nb", true)]);
        assert_eq!(matched(&keys, r#""say \"hi\"""#).as_deref(), Some("say \"hi\""));
        assert_eq!(matched(&keys, r#""a\nb""#).as_deref(), Some("a\nb"));
    }

    #[test]
    fn a_false_flag_does_not_forbid_its_key_and_flags_count_unless_true_or_false_is_a_key() {
        let keys = conditions(&[("yes", true), ("no", false)]);
        assert_eq!(keys.matching("no"), Some(Evaluation { flag: Some(false), ..Evaluation::of("no") }));
        let flags = conditions(&[("true", false), ("no", false)]);
        assert_eq!(flags.matching("no"), Some(Evaluation::of("no")));
    }

    #[test]
    fn a_refusal_names_the_reply_and_the_keys() {
        let keys = conditions(&[("valid", true), ("invalid", true)]);
        assert_eq!(keys.refusal("maybe"), "the reply 'maybe' is none of the allowed: valid, invalid");
    }
}
