//! A chain as the lints see it: each task with its handler, its comparisons and the ways out of it. Made of chains that
//! cannot run, too: what could not be read is not there.

use std::collections::HashMap;

use crate::{
    domain::{
        chain::{Catch, Chain, Task},
        failure::FailureClass,
        finding::{Code, Finding, Severity},
    },
    engine::{handler::Handler, reply, transition::Operator},
};

/// A chain.
pub(super) struct Outline<'a> {
    pub(super) chain: &'a Chain,
    pub(super) nodes: Vec<Node<'a>>,
    pub(super) places: HashMap<&'a str, usize>,
}

/// A task.
pub(super) struct Node<'a> {
    pub(super) task: &'a Task,
    pub(super) handler: Option<Handler>,
    /// As many as branches; `None` for one that cannot be read.
    pub(super) operators: Vec<Option<Operator>>,
    pub(super) exits: Vec<Exit>,
}

/// A way out of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exit {
    /// `None` = the end of the run.
    pub(super) to: Option<usize>,
    pub(super) by: By,
}

/// Why a way is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// The branch of this number.
    Branch(usize),
    Failure,
    /// The task was come to too often, so it was come to before.
    Visits,
}

impl<'a> Outline<'a> {
    pub(super) fn of(chain: &'a Chain) -> Self {
        let mut places = HashMap::new();
        for (at, task) in chain.tasks.iter().enumerate() {
            places.entry(task.id.as_str()).or_insert(at);
        }
        let nodes = chain.tasks.iter().map(|task| Node::of(task, &places)).collect();
        Self { chain, nodes, places }
    }

    /// Tasks that some way leads to from the first one.
    pub(super) fn reached(&self) -> Vec<bool> {
        let mut reached = vec![false; self.nodes.len()];
        let mut open = Vec::from_iter((!self.nodes.is_empty()).then_some(0));
        while let Some(at) = open.pop() {
            if !std::mem::replace(&mut reached[at], true) {
                open.extend(self.nodes[at].exits.iter().filter_map(|exit| exit.to));
            }
        }
        reached
    }

    /// The task that takes over when this one has failed in this way.
    pub(super) fn caught(&self, task: &Task, class: FailureClass) -> Option<usize> {
        let fits = |catch: &&Catch| {
            catch.errors.is_empty() || catch.errors.iter().any(|name| FailureClass::parse(name) == Some(class))
        };
        let transition = &task.transition;
        let target = transition.catch.iter().find(fits).map_or(&transition.on_failure, |catch| &catch.goto);
        self.places.get(target.as_str()).copied()
    }

    /// A warning about a task. `field`: a pointer below it.
    pub(super) fn warning(&self, at: usize, code: Code, field: &str, message: String) -> Finding {
        let id = &self.nodes[at].task.id;
        let glue = if field.is_empty() { "" } else { "/" };
        Finding {
            severity: Severity::Warning,
            code,
            message: reply::shortened(&message, 400),
            path: format!("/tasks/{at}{glue}{field}"),
            line: None,
            column: None,
            hint: None,
            task: Some(if id.is_empty() { format!("#{}", at + 1) } else { reply::excerpt(id) }),
        }
    }
}

impl<'a> Node<'a> {
    fn of(task: &'a Task, places: &HashMap<&str, usize>) -> Self {
        let handler = Handler::parse(&task.handler);
        let is_path = !task.transition.variable.trim().is_empty();
        let numeric = is_path || handler.is_some_and(|is| is.yields_number() || is == Handler::ParseJson);
        let operators = task.transition.branches.iter().map(|branch| Operator::parse(branch, numeric).ok()).collect();
        let mut exits = Vec::new();
        if handler != Some(Handler::RaiseError) {
            for (at, branch) in task.transition.branches.iter().enumerate() {
                let to = match branch.goto.as_str() {
                    "" | "end" => Some(None),
                    target => places.get(target).map(|place| Some(*place)),
                };
                exits.extend(to.map(|to| Exit { to, by: By::Branch(at) }));
            }
        }
        let catches = task.transition.catch.iter().map(|catch| {
            let is_visits = |class: &String| class.trim().eq_ignore_ascii_case("max_visits");
            let only_visits = !catch.errors.is_empty() && catch.errors.iter().all(is_visits);
            (catch.goto.as_str(), if only_visits { By::Visits } else { By::Failure })
        });
        let failures = catches.chain([(task.transition.on_failure.as_str(), By::Failure)]);
        let failures: Vec<(usize, By)> = failures.filter_map(|(target, by)| Some((*places.get(target)?, by))).collect();
        if handler == Some(Handler::RaiseError) && failures.is_empty() {
            exits.push(Exit { to: None, by: By::Failure });
        }
        exits.extend(failures.into_iter().map(|(to, by)| Exit { to: Some(to), by }));
        Self { task, handler, operators, exits }
    }
}

impl Outline<'_> {
    /// A warning that something was not looked at, because it would take too long.
    pub(super) fn incomplete(message: &str) -> Finding {
        Finding {
            severity: Severity::Warning,
            code: Code::CheckIncomplete,
            message: message.to_owned(),
            path: "/tasks".to_owned(),
            line: None,
            column: None,
            hint: Some("take it apart into smaller chains".to_owned()),
            task: None,
        }
    }
}

/// A warning with what to do about it.
pub(super) fn hinted(finding: Finding, hint: impl Into<String>) -> Finding {
    Finding { hint: Some(hint.into()), ..finding }
}
