//! Lints of variables: names that nothing sets, and uses on a way that has not set them.
//!
//! What is set for certain when a task begins is what is set on all ways to it: a task that succeeded has set its own
//! name, one that failed only `last_error` and `<id>_error`. A template may ask first (`{{if .x}}`), so such uses are fine.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use super::{
    outline::{By, Outline, hinted},
    walk::MOST_FINDINGS,
};
use crate::{
    domain::finding::{Code, Finding},
    engine::{
        suggest::did_you_mean,
        template,
        validate::allowance::Allowance,
        variables::{INPUT, LAST_ERROR, PREVIOUS_OUTPUT},
    },
};

/// Words of bits that are handled before giving up on following the ways of a chain.
const MOST_WORK: usize = 1 << 21;

/// When in a task's life a variable is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    /// Before the handler.
    Before,
    /// After its success.
    After,
}

struct Use {
    at: usize,
    field: &'static str,
    name: String,
    when: When,
    is_asked_for: bool,
}

impl Use {
    fn is_in_template(&self) -> bool {
        matches!(self.field, "prompt_template" | "print")
    }
}

/// All of them.
pub(super) fn lint(outline: &Outline<'_>) -> Vec<Finding> {
    let names = Names::of(outline);
    let reached = outline.reached();
    let (uses, mut found) = uses(outline, &names);
    let mut known = Vec::new();
    for used in &uses {
        match names.meant(used) {
            Some(name) if reached[used.at] && !used.is_asked_for => known.push((used, name)),
            Some(_) => {}
            None => found.push(unknown(outline, used, &names, found.len() < MOST_FINDINGS)),
        }
    }
    let wanted: BTreeSet<&str> = known.iter().map(|(_, name)| *name).collect();
    let flow = Flow::of(outline, wanted);
    match &flow {
        Some(flow) => {
            let unset = known.iter().filter(|(used, name)| !flow.is_set(used.at, name, used.when));
            found.extend(unset.map(|(used, name)| maybe_unset(outline, used, name)));
        }
        None => found.push(Outline::incomplete(
            "there are too many ways to follow: whether each variable is set on all ways to where it is read was not \
             looked at",
        )),
    }
    found.extend(output_variable(outline, &names, flow.as_ref()));
    found
}

/// Every name that some run may set. Templates find them in any case, everything else as they are written.
///
/// Sorted, so that the same chain always gets the same hints.
struct Names {
    exact: BTreeSet<String>,
    folded: BTreeMap<String, String>,
}

impl Names {
    fn of(outline: &Outline<'_>) -> Self {
        let mut names: Vec<String> = [INPUT, PREVIOUS_OUTPUT, LAST_ERROR].map(str::to_owned).to_vec();
        for node in outline.nodes.iter().filter(|node| !node.task.id.is_empty()) {
            let id = &node.task.id;
            names.push(format!("{id}_error"));
            if node.task.compose.is_some() {
                names.push(format!("{id}_composed"));
            }
        }
        names.extend(outline.nodes.iter().map(|node| node.task.id.clone()));
        names.retain(|name| !name.is_empty());
        let folded = names.iter().map(|name| (name.to_lowercase(), name.clone())).collect();
        Self { exact: names.into_iter().collect(), folded }
    }

    fn exact(&self, name: &str) -> Option<&str> {
        self.exact.get(name).map(String::as_str)
    }

    /// The variable that a field means.
    fn meant(&self, used: &Use) -> Option<&str> {
        let in_any_case = || self.folded.get(&used.name.to_lowercase()).map(String::as_str);
        self.exact(&used.name).or_else(|| in_any_case().filter(|_| used.is_in_template()))
    }

    fn like(&self, name: &str) -> Option<String> {
        match self.folded.get(&name.to_lowercase()) {
            Some(other) => Some(format!("did you mean '{other}'? only templates find names in any case")),
            None => did_you_mean(name, self.exact.iter().map(String::as_str)),
        }
    }
}

/// Everything that reads a variable, and that some of it was not looked for.
fn uses(outline: &Outline<'_>, names: &Names) -> (Vec<Use>, Vec<Finding>) {
    let (mut uses, mut allowance, mut is_left_out) = (Vec::new(), Allowance::of(outline.chain), false);
    for (at, node) in outline.nodes.iter().enumerate() {
        let task = node.task;
        let mut add = |field, name: &str, when, is_asked_for| {
            uses.push(Use { at, field, name: name.to_owned(), when, is_asked_for });
        };
        for (field, source, when) in
            [("prompt_template", &task.prompt_template, When::Before), ("print", &task.print, When::After)]
        {
            if allowance.template(source).is_err() {
                is_left_out = true;
                continue;
            }
            let mut seen = BTreeSet::new();
            for read in template::names::variables(source) {
                if seen.insert((read.name.clone(), read.is_asked_for)) {
                    add(field, &read.name, when, read.is_asked_for);
                }
            }
        }
        if !task.input_var.is_empty() {
            add("input_var", &task.input_var, When::Before, false);
        }
        if let Some(compose) = task.compose.as_ref().filter(|compose| !compose.with_var.is_empty()) {
            add("compose/with_var", &compose.with_var, When::Before, false);
        }
        let path = task.transition.variable.trim();
        if !path.is_empty() {
            let whole = names.exact(path).is_some();
            let name = if whole { path } else { path.split('.').next().unwrap_or(path) };
            add("transition/variable", name, When::After, false);
        }
    }
    let message = "the templates hold too much: what some of them read was not looked at";
    (uses, Vec::from_iter(is_left_out.then(|| Outline::incomplete(message))))
}

fn unknown(outline: &Outline<'_>, used: &Use, names: &Names, is_told: bool) -> Finding {
    let name = &used.name;
    let message = format!("no task sets the variable '{name}', which {} reads", used.field.replace('/', "."));
    let composed = name.strip_suffix("_composed").filter(|id| outline.places.contains_key(id));
    let hint = match composed {
        Some(id) => Some(format!("task {id} has no 'compose'; its output is '{id}'")),
        None if is_told => names.like(name),
        None => None,
    };
    Finding { hint, ..outline.warning(used.at, Code::UnknownVariable, used.field, message) }
}

fn maybe_unset(outline: &Outline<'_>, used: &Use, name: &str) -> Finding {
    let what = match used.field {
        "input_var" | "compose/with_var" => "the task fails there",
        "transition/variable" => "branches see the empty text there",
        _ => "the template prints <no value> there",
    };
    let message = format!("some way to the task does not set '{name}'; {what}");
    let finding = outline.warning(used.at, Code::VariableMaybeUnset, used.field, message);
    match used.field {
        "prompt_template" | "print" => {
            hinted(finding, format!("ask first: {{{{if .{name}}}}}…{{{{end}}}}, or change the way"))
        }
        _ => hinted(finding, "change the way, or read a variable that is always set, such as input"),
    }
}

fn output_variable(outline: &Outline<'_>, names: &Names, flow: Option<&Flow>) -> Option<Finding> {
    let wanted = outline.chain.output_var.trim();
    if wanted.is_empty() || outline.nodes.is_empty() {
        return None;
    }
    let finding = |code, message: String, hint: Option<String>| Finding {
        path: "/output_var".to_owned(),
        task: None,
        hint,
        ..outline.warning(0, code, "", message)
    };
    let Some(name) = names.exact(wanted) else {
        let hint = names.like(wanted);
        return Some(finding(
            Code::UnknownVariable,
            format!("no task sets the variable '{wanted}', the result of the run"),
            hint,
        ));
    };
    let flow = flow?;
    let reached = outline.reached();
    let unset = (0..outline.nodes.len()).filter(|at| reached[*at]).find(|at| {
        let ends = outline.nodes[*at].exits.iter().any(|exit| exit.to.is_none() && exit.by != By::Failure);
        ends && !flow.is_set(*at, name, When::After)
    })?;
    let message =
        format!("a run that ends after task {} may not have set '{name}', its result", outline.nodes[unset].task.id);
    Some(finding(Code::VariableMaybeUnset, message, Some("set it on every way to the end".to_owned())))
}

/// What is set for certain when a task begins.
struct Flow {
    bits: HashMap<String, usize>,
    sets: Vec<Sets>,
    before: Vec<Option<Vec<u64>>>,
}

/// What a task sets, of what anybody asks for.
#[derive(Default)]
struct Sets {
    by_success: Vec<usize>,
    by_failure: Vec<usize>,
}

impl Flow {
    /// Follows all ways. `None`: there is too much to follow.
    fn of<'a>(outline: &Outline<'a>, mut wanted: BTreeSet<&'a str>) -> Option<Self> {
        // The result of the run is asked for, too.
        let output = outline.chain.output_var.trim();
        wanted.extend(outline.places.contains_key(output).then_some(output));
        let bits: HashMap<String, usize> =
            wanted.into_iter().enumerate().map(|(at, name)| (name.to_owned(), at)).collect();
        let words = bits.len().div_ceil(64).max(1);
        let sets = outline.nodes.iter().map(|node| Sets::of(&node.task.id, &bits)).collect();
        let mut flow = Self { bits, sets, before: vec![None; outline.nodes.len()] };
        let mut entry = vec![0; words];
        flow.bits.get(INPUT).into_iter().for_each(|bit| set(&mut entry, *bit));
        *flow.before.first_mut()? = Some(entry);
        let (mut open, mut waits, mut work) = (VecDeque::from([0]), vec![false; outline.nodes.len()], 0);
        while let Some(at) = open.pop_front() {
            waits[at] = false;
            let Some(before) = flow.before[at].clone() else { continue };
            let after = [By::Branch(0), By::Failure, By::Visits].map(|by| flow.sets[at].added(&before, by));
            work += words * 4;
            for exit in &outline.nodes[at].exits {
                work += words;
                if work > MOST_WORK {
                    return None;
                }
                let Some(to) = exit.to else { continue };
                let after = match exit.by {
                    By::Branch(_) => &after[0],
                    By::Failure => &after[1],
                    By::Visits => &after[2],
                };
                let changed = match &mut flow.before[to] {
                    Some(before) => meet(before, after),
                    unseen => {
                        *unseen = Some(after.clone());
                        true
                    }
                };
                if changed && !std::mem::replace(&mut waits[to], true) {
                    open.push_back(to);
                }
            }
        }
        Some(flow)
    }

    /// Whether a name is set for certain at a task; a task that no way leads to is not complained about.
    fn is_set(&self, at: usize, name: &str, when: When) -> bool {
        let (Some(bit), Some(before)) = (self.bits.get(name), &self.before[at]) else { return true };
        before[bit / 64] & (1 << (bit % 64)) != 0 || (when == When::After && self.sets[at].by_success.contains(bit))
    }
}

impl Sets {
    fn of(id: &str, bits: &HashMap<String, usize>) -> Self {
        let bits = |names: &[&str]| names.iter().filter_map(|name| bits.get(*name).copied()).collect();
        Self {
            by_success: bits(&[PREVIOUS_OUTPUT, id, &format!("{id}_composed")]),
            by_failure: bits(&[LAST_ERROR, &format!("{id}_error")]),
        }
    }

    /// What is set behind the task.
    fn added(&self, before: &[u64], by: By) -> Vec<u64> {
        let mut after = before.to_vec();
        if !matches!(by, By::Branch(_)) {
            self.by_failure.iter().for_each(|bit| set(&mut after, *bit));
        }
        // One that was come to too often was there before, as a rule with success.
        if by != By::Failure {
            self.by_success.iter().for_each(|bit| set(&mut after, *bit));
        }
        after
    }
}

fn set(state: &mut [u64], bit: usize) {
    state[bit / 64] |= 1 << (bit % 64);
}

/// Keeps what both have; whether that changed the first.
fn meet(state: &mut [u64], other: &[u64]) -> bool {
    let mut changed = false;
    for (word, other) in state.iter_mut().zip(other) {
        changed |= *word & other != *word;
        *word &= other;
    }
    changed
}
