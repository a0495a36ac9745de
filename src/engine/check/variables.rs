//! Lints of variables: names that nothing sets, and uses on a way that has not set them.
//!
//! What is set for certain when a task begins is what is set on all ways to it: a task that succeeded has set its own
//! name, one that failed only `last_error` and `<id>_error`. A template may ask first (`{{if .x}}`), so such uses are fine.

use std::collections::{BTreeSet, HashMap, VecDeque};

use super::{
    outline::{By, Outline, hinted},
    walk::MOST_FINDINGS,
};
use crate::{
    domain::finding::{Code, Finding},
    engine::{
        suggest::did_you_mean,
        template,
        variables::{INPUT, LAST_ERROR, PREVIOUS_OUTPUT},
    },
};

/// Bits that are kept for a chain; a larger one is not followed.
const MOST_BITS: usize = 1 << 25;
/// Words of them that are handled before giving up.
const MOST_WORK: usize = 1 << 26;

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
    let (reached, uses) = (outline.reached(), uses(outline, &names));
    let mut found = Vec::new();
    let known: Vec<&Use> = uses
        .iter()
        .filter(|used| {
            let is_known = names.meant(used).is_some();
            if !is_known {
                let is_told = found.len() < MOST_FINDINGS;
                found.push(unknown(outline, used, &names, is_told));
            }
            is_known && reached[used.at] && !used.is_asked_for
        })
        .collect();
    let wanted: BTreeSet<&str> = known.iter().filter_map(|used| names.meant(used)).collect();
    if let Some(flow) = Flow::of(outline, &wanted) {
        for used in known {
            let Some(name) = names.meant(used) else { continue };
            if !flow.is_set(outline, used.at, name, used.when) {
                found.push(maybe_unset(outline, used, name));
            }
        }
        found.extend(output_variable(outline, &names, Some(&flow)));
    } else {
        found.extend(output_variable(outline, &names, None));
    }
    found
}

/// Every name that some run may set. Templates find them in any case, everything else as they are written.
struct Names {
    exact: BTreeSet<String>,
    folded: HashMap<String, String>,
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

fn uses(outline: &Outline<'_>, names: &Names) -> Vec<Use> {
    let mut uses = Vec::new();
    for (at, node) in outline.nodes.iter().enumerate() {
        let task = node.task;
        let mut add = |field, name: &str, when, is_asked_for| {
            uses.push(Use { at, field, name: name.to_owned(), when, is_asked_for });
        };
        for (field, source, when) in
            [("prompt_template", &task.prompt_template, When::Before), ("print", &task.print, When::After)]
        {
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
    uses
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

fn output_variable(outline: &Outline<'_>, names: &Names, flow: Option<&Flow<'_>>) -> Option<Finding> {
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
        ends && !flow.is_set(outline, *at, name, When::After)
    })?;
    let message =
        format!("a run that ends after task {} may not have set '{name}', its result", outline.nodes[unset].task.id);
    Some(finding(Code::VariableMaybeUnset, message, Some("set it on every way to the end".to_owned())))
}

/// What is set for certain when a task begins.
struct Flow<'a> {
    bits: HashMap<&'a str, usize>,
    before: Vec<Option<Vec<u64>>>,
}

impl<'a> Flow<'a> {
    /// Follows all ways. `None`: there is too much to follow.
    fn of(outline: &Outline<'a>, wanted: &BTreeSet<&'a str>) -> Option<Self> {
        let mut bits: HashMap<&str, usize> = wanted.iter().enumerate().map(|(at, name)| (*name, at)).collect();
        // The result of the run is asked for, too.
        for node in &outline.nodes {
            if node.task.id == outline.chain.output_var.trim() {
                let next = bits.len();
                bits.entry(node.task.id.as_str()).or_insert(next);
            }
        }
        let words = bits.len().div_ceil(64).max(1);
        if words * 64 * outline.nodes.len() > MOST_BITS || outline.nodes.is_empty() {
            return None;
        }
        let mut flow = Self { bits, before: vec![None; outline.nodes.len()] };
        let mut entry = vec![0; words];
        flow.set(&mut entry, INPUT);
        flow.before[0] = Some(entry);
        let (mut open, mut work) = (VecDeque::from([0]), 0);
        while let Some(at) = open.pop_front() {
            for exit in &outline.nodes[at].exits {
                work += words;
                if work > MOST_WORK {
                    return None;
                }
                let (Some(to), Some(mut after)) = (exit.to, flow.before[at].clone()) else { continue };
                flow.add(outline, at, exit.by, &mut after);
                let changed = match &mut flow.before[to] {
                    Some(before) => meet(before, &after),
                    unseen => {
                        *unseen = Some(after);
                        true
                    }
                };
                if changed {
                    open.push_back(to);
                }
            }
        }
        Some(flow)
    }

    fn set(&self, state: &mut [u64], name: &str) {
        if let Some(bit) = self.bits.get(name) {
            state[bit / 64] |= 1 << (bit % 64);
        }
    }

    /// Adds what a task sets.
    fn add(&self, outline: &Outline<'_>, at: usize, by: By, state: &mut [u64]) {
        let id = &outline.nodes[at].task.id;
        if !matches!(by, By::Branch(_)) {
            self.set(state, LAST_ERROR);
            self.set(state, &format!("{id}_error"));
        }
        // One that was come to too often was there before, as a rule with success.
        if by != By::Failure {
            self.set(state, PREVIOUS_OUTPUT);
            self.set(state, id);
            self.set(state, &format!("{id}_composed"));
        }
    }

    /// Whether a name is set for certain at a task; a task that no way leads to is not complained about.
    fn is_set(&self, outline: &Outline<'_>, at: usize, name: &str, when: When) -> bool {
        let (Some(bit), Some(mut state)) = (self.bits.get(name), self.before[at].clone()) else { return true };
        if when == When::After {
            self.add(outline, at, By::Branch(0), &mut state);
        }
        state[bit / 64] & (1 << (bit % 64)) != 0
    }
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
