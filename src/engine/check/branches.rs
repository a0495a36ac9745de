//! Lints of one task's branches: a result that none of them takes, branches that are never taken, comparisons that can
//! never hold.
//!
//! What a task yields decides. Some handlers yield one of a few words (`noop` always `noop`), so all of them can be tried.
//! Of numbers it is enough to try the bounds of all branches and their neighbours: between two bounds nothing changes.
//! A free text is only known to be a text.

use std::collections::HashMap;

use serde_json::Value;

use super::outline::{By, Node, Outline, hinted};
use crate::{
    domain::finding::{Code, Finding},
    engine::{
        condition::Conditions,
        handler::Handler,
        number, reply,
        suggest::did_you_mean,
        transition::{Evaluation, Operator, choose},
    },
};

/// Values that are tried for one task; with more bounds than that nothing is said.
const MOST_SAMPLES: usize = 2_000;

/// Comparisons of branches with each other and with what a task may yield, in a whole chain; of tasks beyond that nothing is
/// said.
const MOST_COMPARISONS: usize = 5_000_000;

/// Words times branches that are compared; of a task with more, nothing is said about its words.
const MOST_COMPARED: usize = 1_000_000;

/// Words that a misspelt one is compared with.
const MOST_GUESSED: usize = 20;

/// What a task's branches may meet.
pub(super) enum Yields {
    /// One of these.
    Words(Vec<Evaluation>),
    /// A whole number.
    Whole,
    /// A number with two decimals.
    Score,
    /// `low-high`.
    Range,
    /// Any text.
    Text,
}

impl Yields {
    pub(super) fn of(node: &Node<'_>) -> Self {
        let is_few = |words: usize| are_few(node, words);
        let words = |word: &str| Self::Words(vec![Evaluation::of(word)]);
        if !node.task.transition.variable.trim().is_empty() {
            return Self::Text;
        }
        match node.handler {
            Some(Handler::Noop) => words("noop"),
            Some(Handler::Embedding) => words("ok"),
            Some(Handler::ModelExecution) => words("executed"),
            Some(Handler::ConvertToOpenaiChatResponse) => words("converted"),
            Some(Handler::ConditionKey)
                if !node.task.valid_conditions.is_empty() && is_few(node.task.valid_conditions.len()) =>
            {
                let conditions = Conditions::new(node.task.valid_conditions.clone());
                Self::Words(conditions.keys().iter().filter_map(|key| conditions.matching(key)).collect())
            }
            Some(Handler::ParseNumber) => Self::Whole,
            Some(Handler::ParseScore) => Self::Score,
            Some(Handler::ParseRange) => Self::Range,
            Some(Handler::ParseJson) => Self::of_json(node.task.output_schema.as_ref(), is_few),
            _ => Self::Text,
        }
    }

    /// Whether a task may yield so many words that it counts as yielding any, or has bounds of which so many follow.
    fn are_too_many(node: &Node<'_>) -> bool {
        let task = node.task;
        if !task.transition.variable.trim().is_empty() {
            return false;
        }
        let listed = || task.output_schema.as_ref()?.get("enum")?.as_array().map(Vec::len);
        match node.handler {
            Some(Handler::ConditionKey) => !are_few(node, task.valid_conditions.len()),
            Some(Handler::ParseJson) => listed().is_some_and(|words| !are_few(node, words)),
            Some(Handler::ParseNumber | Handler::ParseScore) => Self::of(node).samples(&node.operators).is_none(),
            _ => false,
        }
    }

    /// Of a reply in the form of a schema: scalars are compared themselves, objects and lists are `ok`.
    fn of_json(schema: Option<&Value>, is_few: impl Fn(usize) -> bool) -> Self {
        let words = |words: &[&str]| Self::Words(words.iter().map(|word| Evaluation::text(*word)).collect());
        let Some(schema) = schema else { return Self::Text };
        match schema.get("type").map(Value::as_str) {
            Some(Some("object" | "array")) => words(&["ok"]),
            Some(Some("boolean")) => words(&["true", "false"]),
            Some(Some("integer")) => Self::Whole,
            None | Some(Some("string")) => {
                let listed = schema.get("enum").and_then(Value::as_array);
                let texts: Option<Vec<&str>> = listed.and_then(|listed| listed.iter().map(Value::as_str).collect());
                texts.filter(|texts| is_few(texts.len())).map_or(Self::Text, |texts| words(&texts))
            }
            _ => Self::Text,
        }
    }

    /// Values that stand for all others, where there are such.
    fn samples(&self, operators: &[Option<Operator>]) -> Option<Vec<Evaluation>> {
        let (step, decimals) = match self {
            Self::Words(words) => return Some(words.clone()),
            Self::Whole => (1.0, 0),
            Self::Score => (0.01, 2),
            Self::Range | Self::Text => return None,
        };
        let mut bounds = vec![0.0];
        for operator in operators.iter().flatten() {
            match operator {
                Operator::Above(bound) | Operator::Below(bound) => bounds.push(*bound),
                Operator::InRange(low, high) => bounds.extend([*low, *high]),
                Operator::Equals { number: Some(number), .. } => bounds.push(*number),
                _ => {}
            }
        }
        let near = |bound: f64| {
            let down = (bound / step).floor() * step;
            [down - step, down, down + step, down + 2.0 * step]
        };
        let samples: Vec<f64> = bounds.into_iter().flat_map(near).collect();
        let text = |number: &f64| Evaluation::of(format!("{:.*}", decimals, number + 0.0));
        (samples.len() <= MOST_SAMPLES).then(|| samples.iter().map(text).collect())
    }

    fn described(&self, node: &Node<'_>) -> String {
        let handler = node.handler.map_or("", Handler::as_str);
        match self {
            Self::Words(words) => {
                let words: Vec<&str> = words.iter().take(10).map(|word| word.text.as_str()).collect();
                format!("{handler} here only yields {}", words.join(", "))
            }
            Self::Whole => format!("{handler} only yields whole numbers"),
            Self::Score => format!("{handler} only yields numbers with two decimals"),
            Self::Range => format!("{handler} only yields ranges such as 2-4"),
            Self::Text => String::new(),
        }
    }
}

/// Whether so many words can be compared with the task's branches.
fn are_few(node: &Node<'_>, words: usize) -> bool {
    words <= MOST_SAMPLES && words.saturating_mul(node.operators.len()) <= MOST_COMPARED
}

/// All of them; the second value tells of each task which of its exits are ever taken.
pub(super) fn lint(outline: &Outline<'_>) -> (Vec<Finding>, Vec<Vec<bool>>) {
    let (mut found, mut left, mut skipped) = (Vec::new(), MOST_COMPARISONS, Vec::new());
    let mut task = |at: usize| {
        let node = &outline.nodes[at];
        let is_affordable = left.checked_sub(comparisons(node)).map(|rest| left = rest).is_some();
        if !is_affordable || Yields::are_too_many(node) {
            skipped.push(node.task.id.as_str());
        }
        lint_task(outline, at, is_affordable, &mut found)
    };
    let alive = (0..outline.nodes.len()).map(&mut task).collect();
    if let Some(first) = skipped.first() {
        let message = format!(
            "there is too much to compare: the branches of {} tasks, the first of them {}, were not all compared with \
             each other and with what the tasks may yield",
            skipped.len(),
            reply::excerpt(first)
        );
        found.push(Outline::incomplete(&message));
    }
    (found, alive)
}

/// Comparisons that one task may take.
fn comparisons(node: &Node<'_>) -> usize {
    let branches = node.operators.len();
    let yielded = match node.handler {
        Some(Handler::ConditionKey) => node.task.valid_conditions.len(),
        // Two bounds of a branch, and four numbers near each.
        Some(Handler::ParseNumber | Handler::ParseScore) => (8 * branches + 4).min(MOST_SAMPLES),
        _ => 1,
    };
    branches.saturating_add(yielded).saturating_mul(branches.saturating_add(yielded))
}

fn lint_task(outline: &Outline<'_>, at: usize, is_affordable: bool, found: &mut Vec<Finding>) -> Vec<bool> {
    let node = &outline.nodes[at];
    let mut dead = vec![false; node.operators.len()];
    if is_affordable && node.handler.is_some() && node.handler != Some(Handler::RaiseError) {
        let yields = Yields::of(node);
        dead_branches(outline, at, &yields, &mut dead, found);
        if !node.operators.is_empty() && node.operators.iter().all(Option::is_some) {
            default_branch(outline, at, &yields, found);
        }
    }
    let is_alive = |by: By| !matches!(by, By::Branch(branch) if dead.get(branch) == Some(&true));
    node.exits.iter().map(|exit| is_alive(exit.by)).collect()
}

fn always(operator: &Operator) -> bool {
    matches!(operator, Operator::Contains(text) | Operator::StartsWith(text) | Operator::EndsWith(text) if text.is_empty())
}

fn default_branch(outline: &Outline<'_>, at: usize, yields: &Yields, found: &mut Vec<Finding>) {
    let node = &outline.nodes[at];
    let operators: Vec<&Operator> = node.operators.iter().flatten().collect();
    if operators.iter().any(|operator| **operator == Operator::Default || always(operator)) {
        return;
    }
    let is_number = matches!(yields, Yields::Whole | Yields::Score);
    // Parts of a number's text cannot be told from a few numbers.
    let by_number = |operator: &&&Operator| {
        !is_number || !matches!(operator, Operator::Contains(_) | Operator::StartsWith(_) | Operator::EndsWith(_))
    };
    let usable: Vec<&Operator> = operators.iter().filter(by_number).copied().collect();
    let missed = yields
        .samples(&node.operators)
        .map(|samples| samples.into_iter().find(|value| choose(&usable, |operator| operator, value).is_none()));
    let example = match missed {
        Some(None) => return,
        Some(Some(missed)) => format!("when it yields '{}', no branch matches", missed.text),
        None => "when no branch matches".to_owned(),
    };
    let message = format!("{example}, the run fails: there is no default branch");
    let finding = outline.warning(at, Code::NoDefaultBranch, "transition/branches", message);
    found.push(hinted(finding, "add {operator: default, goto: …}"));
}

fn dead_branches(outline: &Outline<'_>, at: usize, yields: &Yields, dead: &mut [bool], found: &mut Vec<Finding>) {
    let node = &outline.nodes[at];
    let is_default = |operator: &Option<Operator>| *operator == Some(Operator::Default);
    let numbered = || node.operators.iter().enumerate();
    let order = numbered()
        .filter(|(_, operator)| !is_default(operator))
        .chain(numbered().filter(|(_, operator)| is_default(operator)));
    // By their written form: they hold numbers, which have no hash.
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut takes_all = None;
    let samples = yields.samples(&node.operators);
    let mut open = samples.clone();
    for (branch, operator) in order {
        let Some(operator) = operator else {
            // It may take anything.
            open = None;
            continue;
        };
        let field = format!("transition/branches/{branch}");
        let mut tell = |code, field: &str, message: String, hint: Option<String>| {
            dead[branch] = true;
            let finding = outline.warning(at, code, field, message);
            found.push(Finding { hint, ..finding });
        };
        let written = format!("{operator:?}");
        if let Some(earlier) = seen.get(&written).copied().or(takes_all) {
            let message = format!("branch {} is never taken: branch {} takes all it would", branch + 1, earlier + 1);
            tell(Code::DeadBranch, &field, message, Some("remove one of the two".to_owned()));
        } else if let Some(why) = never(operator, yields, samples.as_deref(), node) {
            let field = format!("{field}/{}", if why.0 == Code::OperatorType { "operator" } else { "when" });
            tell(why.0, &field, format!("branch {} never matches: {}", branch + 1, why.1), why.2);
        } else if let Some(open) = &mut open {
            let before = open.len();
            open.retain(|value| !operator.matches(value));
            // A default behind branches that cover everything is caution, not a slip.
            let by_number = matches!(
                operator,
                Operator::Above(_) | Operator::Below(_) | Operator::InRange(..) | Operator::Equals { .. }
            );
            if before == open.len() && by_number && *operator != Operator::Default {
                let message = format!("branch {} is never taken: the branches before it take all it would", branch + 1);
                tell(Code::DeadBranch, &field, message, Some("put the narrower branch first".to_owned()));
            }
        }
        seen.entry(written).or_insert(branch);
        takes_all = takes_all.or(always(operator).then_some(branch));
    }
}

/// Why a comparison can never hold: the code, the reason, and what to write instead.
fn never(
    operator: &Operator,
    yields: &Yields,
    samples: Option<&[Evaluation]>,
    node: &Node<'_>,
) -> Option<(Code, String, Option<String>)> {
    let is_numeric = matches!(operator, Operator::Above(_) | Operator::Below(_) | Operator::InRange(..));
    let described = || yields.described(node);
    match (yields, operator) {
        (_, Operator::Default) | (Yields::Text, _) => None,
        (Yields::Words(words), operator) => {
            if words.iter().any(|word| operator.matches(word)) {
                return None;
            }
            let has_numbers =
                words.iter().any(|word| number::decimal(&word.text).is_some() || number::range(&word.text).is_some());
            if is_numeric && !has_numbers {
                let text = format!("it compares numbers, and {}", described());
                return Some((Code::OperatorType, text, part_of_json(node)));
            }
            let meant = match operator {
                Operator::Equals { when, .. } => {
                    did_you_mean(when, words.iter().take(MOST_GUESSED).map(|word| word.text.as_str()))
                }
                _ => None,
            };
            Some((Code::DeadBranch, described(), meant.or_else(|| part_of_json(node))))
        }
        (Yields::Range, Operator::Above(_) | Operator::Below(_)) => {
            let hint = "use in_range, which a range satisfies with both its ends".to_owned();
            Some((Code::OperatorType, format!("it compares one number, and {}", described()), Some(hint)))
        }
        (Yields::Range, Operator::Equals { when, .. }) if number::range(when).is_none() => {
            let hint = number::decimal(when).map(|_| format!("write {when}-{when}"));
            Some((Code::DeadBranch, described(), hint))
        }
        (Yields::Whole | Yields::Score, Operator::Equals { number: None, .. }) => {
            Some((Code::DeadBranch, described(), None))
        }
        (
            Yields::Whole | Yields::Score,
            Operator::Contains(part) | Operator::StartsWith(part) | Operator::EndsWith(part),
        ) if part.contains(|c: char| !c.is_ascii_digit() && !matches!(c, '-' | '.')) => {
            Some((Code::OperatorType, format!("it compares text, and {}", described()), None))
        }
        (Yields::Whole | Yields::Score, operator) if is_numeric || matches!(operator, Operator::Equals { .. }) => {
            let matched = samples?.iter().any(|value| operator.matches(value));
            (!matched).then(|| (Code::DeadBranch, described(), None))
        }
        _ => None,
    }
}

/// How branches get at a part of JSON, where they compare the whole.
fn part_of_json(node: &Node<'_>) -> Option<String> {
    let schema = node.task.output_schema.as_ref().filter(|_| node.handler == Some(Handler::ParseJson))?;
    let part = match schema.get("type")?.as_str()? {
        "object" => {
            let fields = schema.get("properties").and_then(Value::as_object);
            fields.and_then(|fields| fields.keys().next()).map_or("field", String::as_str)
        }
        "array" => "0",
        _ => return None,
    };
    Some(format!("to compare a part of it, name it: transition.variable: {}.{part}", reply::excerpt(&node.task.id)))
}
