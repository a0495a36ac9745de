//! Which way a run goes: the operators of branches (`docs/workflow-spec.md`, transitions). Pure.

use crate::{domain::chain::Branch, engine::number};

/// What a task's result is compared by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Evaluation {
    /// The task's transition value.
    pub(crate) text: String,
    /// The flag beside the matched key, where branches of the old form `when: true` may mean it.
    pub(crate) flag: Option<bool>,
    /// Whether it is never compared as a number, even if it looks like one.
    pub(crate) is_text: bool,
}

impl Evaluation {
    /// A plain transition value.
    pub(crate) fn of(text: impl Into<String>) -> Self {
        Self { text: text.into(), flag: None, is_text: false }
    }

    /// One that is no number.
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self { is_text: true, ..Self::of(text) }
    }
}

/// A compiled comparison.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Operator {
    /// The same text; the same number too where the task yields numbers.
    Equals {
        when: String,
        number: Option<f64>,
    },
    Contains(String),
    StartsWith(String),
    EndsWith(String),
    Above(f64),
    Below(f64),
    /// Inside, both ends included.
    InRange(f64, f64),
    /// Always, after all others.
    Default,
}

/// Why a branch has no usable operator; the text is for the chain's author.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadOperator {
    /// It is called something else.
    #[error("{0}")]
    Unknown(String),
    /// Its `when` is not what it needs.
    #[error("{0}")]
    When(String),
}

impl Operator {
    /// Reads a branch's operator and `when`. `numeric`: the task yields numbers, so `7` equals `7.00`.
    ///
    /// # Errors
    /// An unknown operator, or a `when` it cannot use.
    pub(crate) fn parse(branch: &Branch, numeric: bool) -> Result<Self, BadOperator> {
        let when = &branch.when;
        let threshold = || {
            number::decimal(when).ok_or_else(|| {
                let name = branch.operator.trim();
                BadOperator::When(format!("operator '{name}' needs a number in 'when', found '{when}'"))
            })
        };
        let folded: String = branch.operator.trim().chars().filter(|c| *c != '_').collect();
        match folded.to_ascii_lowercase().as_str() {
            "" if when.is_empty() => Ok(Self::Default),
            "" | "equals" => {
                Ok(Self::Equals { when: when.clone(), number: numeric.then(|| number::decimal(when)).flatten() })
            }
            "contains" => Ok(Self::Contains(when.clone())),
            "startswith" => Ok(Self::StartsWith(when.clone())),
            "endswith" => Ok(Self::EndsWith(when.clone())),
            ">" | "gt" => threshold().map(Self::Above),
            "<" | "lt" => threshold().map(Self::Below),
            "inrange" => match number::range(when) {
                Some((low, high)) if low <= high => Ok(Self::InRange(low, high)),
                Some(_) => Err(BadOperator::When(format!("the range '{when}' in 'when' ends below its start"))),
                None => {
                    let text = format!("operator 'in_range' needs a range such as 1-5 in 'when', found '{when}'");
                    Err(BadOperator::When(text))
                }
            },
            "default" => Ok(Self::Default),
            _ => Err(BadOperator::Unknown(format!(
                "unknown operator '{}'; the operators are equals, contains, starts_with, ends_with, >, gt, <, lt, in_range and default",
                branch.operator
            ))),
        }
    }

    /// Whether this comparison holds; a default always does.
    pub(crate) fn matches(&self, value: &Evaluation) -> bool {
        let text = value.text.as_str();
        match self {
            Self::Equals { when, number } => {
                text == when
                    || value.flag.is_some_and(|flag| when == if flag { "true" } else { "false" })
                    || number.is_some_and(|number| !value.is_text && number::decimal(text) == Some(number))
            }
            Self::Contains(when) => text.contains(when.as_str()),
            Self::StartsWith(when) => text.starts_with(when.as_str()),
            Self::EndsWith(when) => text.ends_with(when.as_str()),
            Self::Above(bound) => number::decimal(text).is_some_and(|number| number > *bound),
            Self::Below(bound) => number::decimal(text).is_some_and(|number| number < *bound),
            Self::InRange(low, high) => {
                let inside = |number: f64| (*low..=*high).contains(&number);
                match number::decimal(text) {
                    Some(number) => inside(number),
                    None => number::range(text).is_some_and(|(from, to)| inside(from) && inside(to)),
                }
            }
            Self::Default => true,
        }
    }
}

/// The first branch that matches: those with a condition in order, then the defaults in order.
pub(crate) fn choose<'a, T>(
    branches: &'a [T],
    operator: impl Fn(&T) -> &Operator,
    value: &Evaluation,
) -> Option<&'a T> {
    let is_default = |branch: &&T| *operator(branch) == Operator::Default;
    let conditional = branches.iter().filter(|branch| !is_default(branch));
    conditional.chain(branches.iter().filter(is_default)).find(|branch| operator(branch).matches(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn branch(operator: &str, when: &str) -> Branch {
        Branch { operator: operator.to_owned(), when: when.to_owned(), ..Branch::default() }
    }

    fn operator(operator: &str, when: &str) -> Operator {
        Operator::parse(&branch(operator, when), false).expect("a valid branch")
    }

    #[test]
    fn every_operator_matches_as_the_table_says() {
        for (name, when, value, expected) in [
            ("", "valid", "valid", true),
            ("", "valid", "Valid", false),
            ("equals", "", "", true),
            ("equals", "7", "7.00", false),
            ("contains", "b", "abc", true),
            ("contains", "B", "abc", false),
            ("starts_with", "ab", "abc", true),
            ("startsWith", "bc", "abc", false),
            ("ends_with", "bc", "abc", true),
            ("endsWith", "ab", "abc", false),
            (">", "5", "5.1", true),
            ("gt", "5", "5", false),
            ("<", "-1", "-2", true),
            ("lt", "5", "5", false),
            (">", "5", "many", false),
            ("<", "5", "1-2", false),
            ("in_range", "1-5", "1", true),
            ("inRange", "1-5", "5.0", true),
            ("in_range", "1-5", "5.1", false),
            ("in_range", "-5--1", "-3", true),
            ("in_range", "1-5", "2-4", true),
            ("in_range", "1-5", "2-6", false),
            ("in_range", "1-5", "0-4", false),
            ("in_range", "1-5", "some", false),
            ("default", "ignored", "anything", true),
            ("", "", "anything", true),
        ] {
            let matched = operator(name, when).matches(&Evaluation::of(value));
            assert_eq!(matched, expected, "{name} {when} on {value}");
        }
    }

    #[test]
    fn equals_compares_numbers_where_the_task_yields_numbers() {
        let seven = Operator::parse(&branch("equals", "7"), true).expect("valid");
        assert!(seven.matches(&Evaluation::of("7.00")));
        assert!(!seven.matches(&Evaluation::of("7.01")));
        assert!(!seven.matches(&Evaluation::text("7.00")) && seven.matches(&Evaluation::text("7")));
        let text = Operator::parse(&branch("", "high"), true).expect("valid");
        assert!(text.matches(&Evaluation::of("high")));
    }

    #[test]
    fn the_flag_beside_a_key_matches_the_old_true_and_false() {
        let value = Evaluation { flag: Some(true), ..Evaluation::of("valid") };
        assert!(operator("equals", "true").matches(&value));
        assert!(!operator("equals", "false").matches(&value));
        assert!(!operator("contains", "true").matches(&value));
        assert!(operator("equals", "valid").matches(&value));
    }

    #[test]
    fn defaults_are_looked_at_last_wherever_they_stand() {
        let branches = [operator("default", ""), operator("", "b"), operator("", "a"), operator("", "a")];
        let chosen = |text| choose(&branches, |operator| operator, &Evaluation::of(text)).map(std::ptr::from_ref);
        assert_eq!(chosen("a"), Some(std::ptr::from_ref(&branches[2])));
        assert_eq!(chosen("x"), Some(std::ptr::from_ref(&branches[0])));
        assert_eq!(choose(&branches[1..], |operator| operator, &Evaluation::of("x")), None);
    }

    #[test]
    fn an_operator_or_when_that_cannot_work_is_refused_with_its_text() {
        for (name, when, part) in [
            (">", "five", "needs a number in 'when', found 'five'"),
            ("lt", "", "needs a number"),
            ("in_range", "5", "a range such as 1-5"),
            ("in_range", "5-1", "ends below its start"),
            ("matches", "x", "unknown operator 'matches'"),
        ] {
            let refused = Operator::parse(&branch(name, when), false).expect_err(name).to_string();
            assert!(refused.contains(part), "{refused}");
        }
    }
}
