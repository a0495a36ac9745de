//! A chain as a Mermaid flowchart, for people: which ways lead where, and what a failure does.
//!
//! Nothing a chain says can break the drawing or add to it: nodes are numbered, and chain text stands only in quoted
//! labels, in which whatever Mermaid, Markdown or HTML could read as more than text is written as a character code.
//! Chains that are not valid are drawn, too; a target that does not exist is a node of its own.

use std::{collections::HashMap, fmt};

use crate::{
    domain::chain::{Branch, Chain, Task},
    engine::{handler::Handler, reply},
};

/// Characters of one text of the chain; longer ones make a drawing unreadable.
const LONGEST_LABEL: usize = 60;
/// The target that ends a run.
const END: &str = "end";

/// The chain as the text of a Mermaid flowchart. The same chain gives the same text.
pub fn mermaid(chain: &Chain) -> String {
    let mut drawing = Drawing::of(chain);
    drawing.line(format_args!("start([\"start\"]) --> {}", if chain.tasks.is_empty() { "finish" } else { "t0" }));
    for (at, task) in chain.tasks.iter().enumerate() {
        drawing.task(at, task);
    }
    drawing.finish(chain.tasks.is_empty())
}

struct Drawing<'a> {
    /// Places of tasks by their ids; of doubled ids the first, as the engine sees it.
    places: HashMap<&'a str, usize>,
    /// Targets that no task has, numbered in the order of their first mention.
    missing: HashMap<&'a str, usize>,
    ends: bool,
    fails: bool,
    text: String,
}

impl<'a> Drawing<'a> {
    fn of(chain: &'a Chain) -> Self {
        let mut places = HashMap::with_capacity(chain.tasks.len());
        for (at, task) in chain.tasks.iter().enumerate().filter(|(_, task)| !task.id.is_empty()) {
            places.entry(task.id.as_str()).or_insert(at);
        }
        let text = "flowchart TD\n".to_owned();
        Self { places, missing: HashMap::new(), ends: false, fails: false, text }
    }

    fn line(&mut self, line: fmt::Arguments<'_>) {
        self.text.push_str(&format!("    {line}\n"));
    }

    fn task(&mut self, at: usize, task: &'a Task) {
        let (open, close) = shape(task);
        self.line(format_args!("t{at}{open}\"{}\"{close}", label(at, task)));
        let variable = task.transition.variable.trim();
        let is_only = task.transition.branches.len() == 1;
        for branch in &task.transition.branches {
            let target = self.target(&branch.goto, true);
            match condition(branch) {
                None if is_only => self.line(format_args!("t{at} --> {target}")),
                None => self.line(format_args!("t{at} -->|\"default\"| {target}")),
                Some(condition) if variable.is_empty() => {
                    self.line(format_args!("t{at} -->|\"{condition}\"| {target}"))
                }
                Some(condition) => {
                    self.line(format_args!("t{at} -->|\"{} {condition}\"| {target}", escaped(variable)));
                }
            }
        }
        for catch in &task.transition.catch {
            let target = self.target(&catch.goto, false);
            let classes = if catch.errors.is_empty() { "any failure".to_owned() } else { catch.errors.join(", ") };
            self.line(format_args!("t{at} -.->|\"{}\"| {target}", escaped(&classes)));
        }
        match task.transition.on_failure.as_str() {
            "" if Handler::parse(&task.handler) == Some(Handler::RaiseError) => {
                self.fails = true;
                self.line(format_args!("t{at} -.-> failure"));
            }
            "" => {}
            target => {
                let target = self.target(target, false);
                self.line(format_args!("t{at} -.->|\"on failure\"| {target}"));
            }
        }
    }

    /// The node a target means. A failure cannot lead to the end, so there it is a task's name like any other.
    fn target(&mut self, target: &'a str, may_end: bool) -> String {
        if may_end && matches!(target, "" | END) {
            self.ends = true;
            return "finish".to_owned();
        }
        match self.places.get(target) {
            Some(place) => format!("t{place}"),
            None => {
                let next = self.missing.len();
                format!("missing{}", self.missing.entry(target).or_insert(next))
            }
        }
    }

    fn finish(mut self, is_empty: bool) -> String {
        let missing = std::mem::take(&mut self.missing);
        let mut missing: Vec<_> = missing.into_iter().map(|(name, number)| (number, name)).collect();
        missing.sort_unstable();
        for (number, name) in &missing {
            self.line(format_args!("missing{number}[\"no task {}\"]:::missing", escaped(name)));
        }
        if self.fails {
            self.line(format_args!("failure((\"failure\"))"));
        }
        if self.ends || is_empty {
            self.line(format_args!("finish(((\"end\")))"));
        }
        if !missing.is_empty() {
            self.line(format_args!("classDef missing stroke:#c00,color:#c00,stroke-dasharray:5 4"));
        }
        self.text
    }
}

/// What encloses a node's label: those that ask a model are boxes, decisions lozenges, hooks subroutines, those that ask
/// nobody round, and the one that fails is a hexagon.
fn shape(task: &Task) -> (&'static str, &'static str) {
    match Handler::parse(&task.handler) {
        Some(
            Handler::ConditionKey
            | Handler::ParseNumber
            | Handler::ParseScore
            | Handler::ParseRange
            | Handler::ParseTransition,
        ) => ("{", "}"),
        Some(Handler::Hook) => ("[[", "]]"),
        Some(Handler::Noop | Handler::ConvertToOpenaiChatResponse) => ("(", ")"),
        Some(Handler::RaiseError) => ("{{", "}}"),
        _ => ("[", "]"),
    }
}

/// Id, handler and bound of visits, one below the other.
fn label(at: usize, task: &Task) -> String {
    let id = if task.id.is_empty() { format!("#35;{}", at + 1) } else { escaped(&task.id) };
    let handler = if task.handler.is_empty() { "no handler".to_owned() } else { escaped(&task.handler) };
    let hook = task.hook.as_ref().filter(|hook| !hook.name.is_empty());
    let hook = hook.map_or_else(String::new, |hook| format!(" {}", escaped(&hook.name)));
    let visits = if task.max_visits > 0 { format!("<br/>at most {}x", task.max_visits) } else { String::new() };
    format!("{id}<br/>{handler}{hook}{visits}")
}

/// What a branch asks for; `None`: it is a default.
fn condition(branch: &Branch) -> Option<String> {
    let when = escaped(&branch.when);
    let folded: String = branch.operator.trim().chars().filter(|c| *c != '_').collect();
    Some(match folded.to_ascii_lowercase().as_str() {
        "default" => return None,
        "" if branch.when.is_empty() => return None,
        "" | "equals" => format!("= {when}"),
        ">" | "gt" => format!("#gt; {when}"),
        "<" | "lt" => format!("#lt; {when}"),
        "inrange" => format!("in {when}"),
        "startswith" => format!("starts with {when}"),
        "endswith" => format!("ends with {when}"),
        "contains" => format!("contains {when}"),
        _ => format!("{} {when}", escaped(&branch.operator)),
    })
}

/// Chain text inside a quoted label. Letters, digits and blanks stay, and so does what joins two of them in a name or a
/// number; everything else is a character code, which Mermaid shows as that character and never reads.
fn escaped(text: &str) -> String {
    let text = reply::shortened(text.trim(), LONGEST_LABEL);
    let mut safe = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    let mut before: Option<char> = None;
    while let Some(character) = characters.next() {
        let after = characters.peek().copied();
        let between = |is_such: fn(char) -> bool| before.is_some_and(is_such) && after.is_some_and(is_such);
        match character {
            _ if character.is_alphanumeric() => safe.push(character),
            '_' | '-' if between(char::is_alphanumeric) => safe.push(character),
            '.' if between(|c| c.is_ascii_digit()) => safe.push(character),
            ',' | ' ' => safe.push(character),
            // What breaks lines, and what turns the direction of the text around it.
            _ if character.is_control() || character.is_whitespace() || is_unseen(character) => safe.push(' '),
            _ => safe.push_str(&format!("#{};", u32::from(character))),
        }
        before = Some(character);
    }
    safe
}

/// Characters that are not drawn but change how others are.
fn is_unseen(character: char) -> bool {
    matches!(character, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests;
