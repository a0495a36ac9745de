//! Everything there is to say about a chain as somebody wrote it, at once: what cannot run, and what will hardly do what
//! was meant (`docs/workflow-spec.md`, validation). Findings point into the document as it is spelled.
//!
//! The roads: [`check`] for files, which may hold a chain or a whole request; [`check_chain`] and [`check_request`] where
//! it is known what was sent. Whoever has the text adds line and column (`dialect::source`).

mod advice;
mod branches;
mod catches;
mod graph;
mod misplaced;
mod outline;
mod shape;
mod spelled;
mod types;
mod unused;
mod variables;
mod walk;

use std::{collections::HashSet, sync::Arc};

use serde_json::Value;

use self::{outline::Outline, shape::Shape, walk::Walk};
use crate::{
    domain::{
        chain::Chain,
        finding::{Code, Finding, Severity},
        spelling::folded,
    },
    engine::{
        program::Program,
        validate::{MAX_TASKS, examine},
    },
};

pub use self::walk::MOST_FINDINGS;

/// What a document was taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// A chain.
    Chain,
    /// A request: input and chain.
    Request,
}

/// A chain and what there is to say about it.
#[derive(Debug)]
pub struct Checked {
    /// What the document was taken for.
    pub written: Written,
    /// The chain, as far as it could be read.
    pub chain: Chain,
    /// It, ready to run; `None` where a finding is an error.
    pub program: Option<Arc<Program>>,
    /// In no particular order; `path` leads into the document, line and column are not known here.
    pub findings: Vec<Finding>,
    /// How many findings there are beyond [`MOST_FINDINGS`].
    pub more: usize,
}

impl Checked {
    /// Whether the chain can run.
    pub fn is_valid(&self) -> bool {
        self.program.is_some()
    }

    /// Turns canonical pointers into the chain, such as `/tasks/0/hook/name`, into pointers into the document it was read
    /// from.
    pub fn spell(&self, written: &Value, findings: &mut [Finding]) {
        let (prefix, shape) = match self.written {
            Written::Chain => ("", shape::chain()),
            Written::Request => ("/chain", shape::request()),
        };
        for finding in findings {
            finding.path = spelled::pointer(&format!("{prefix}{}", finding.path), written, shape);
        }
    }
}

/// Checks a document that may be a chain or a request with one.
pub fn check(written: &Value) -> Checked {
    let has = |wanted: &str| {
        let members = written.as_object().into_iter().flatten();
        members.filter(|(_, value)| !value.is_null()).any(|(name, _)| folded(name) == wanted)
    };
    let is_request = has("chain") || (!has("tasks") && (has("input") || has("inputtype")));
    if is_request { check_request(written) } else { check_chain(written) }
}

/// Checks a document that should be a chain.
pub fn check_chain(written: &Value) -> Checked {
    let mut walk = Walk::default();
    let canonical = walk.value(shape::chain(), written);
    let is_request = written.get("tasks").is_none() && written.get("chain").is_some_and(Value::is_object);
    if is_request {
        let message = "this is a request with a chain in it, a chain is expected";
        let hint = "send what is under 'chain' alone";
        walk.findings.push(plain(Severity::Error, Code::MissingField, message, hint));
    }
    finished(walk, Written::Chain, written, shape::chain(), "", canonical)
}

/// Checks a document that should be a request: `input`, `inputType` and `chain`.
pub fn check_request(written: &Value) -> Checked {
    let mut walk = Walk::default();
    let mut canonical = walk.value(shape::request(), written);
    let chain = canonical.as_mut().and_then(|request| request.get_mut("chain")).map(Value::take);
    if canonical.is_some() && chain.is_none() && walk.mistyped.is_empty() {
        let is_chain = written.get("tasks").is_some();
        let hint = if is_chain { "put the whole chain under 'chain', beside 'input'" } else { "add the chain to run" };
        walk.findings.push(plain(Severity::Error, Code::MissingField, "field 'chain' is required", hint));
    }
    finished(walk, Written::Request, written, shape::request(), "/chain", chain)
}

/// Reads the canonical chain, compiles it, and tells all findings in the spelling of the document.
fn finished(
    walk: Walk,
    kind: Written,
    written: &Value,
    shape: &Shape,
    prefix: &str,
    canonical: Option<Value>,
) -> Checked {
    let Walk { findings: mut found, mut more, mistyped, .. } = walk;
    let (mut chain, mut program) = (Chain::default(), None);
    if let Some(canonical) = canonical {
        match serde_json::from_value(canonical) {
            Ok(read) => chain = read,
            // The shapes are those of the reader, so this is a value the shapes cannot tell apart.
            Err(error) => {
                let message = format!("the chain cannot be read: {error}");
                let wrong =
                    plain(Severity::Error, Code::WrongType, &message, "compare it with the schema of the language");
                found.push(Finding { path: prefix.to_owned(), ..wrong });
            }
        }
        let (compiled, mut told) = examine(&chain);
        program = compiled;
        let is_read = mistyped.is_empty() && !found.iter().any(|finding| finding.severity == Severity::Error);
        // One that has too many tasks is told so, and nothing else.
        if chain.tasks.len() <= MAX_TASKS {
            told.extend(lints(&chain, is_read && told.iter().all(leaves_ways_known)));
        }
        told.sort_by_key(by_weight);
        more += told.len().saturating_sub(MOST_FINDINGS);
        told.truncate(MOST_FINDINGS);
        found.extend(translated(&chain, told, &mistyped, prefix, written, shape));
    }
    let is_error = |finding: &Finding| finding.severity == Severity::Error;
    more += found.len().saturating_sub(MOST_FINDINGS);
    // An error is never left out for a warning.
    let program = program.filter(|_| !found.iter().any(is_error));
    found.sort_by_key(by_weight);
    found.truncate(MOST_FINDINGS);
    Checked { written: kind, chain, program: program.map(Arc::new), findings: found, more }
}

/// What is left out last: errors, then that something was not looked at.
fn by_weight(finding: &Finding) -> (Severity, bool) {
    (finding.severity, finding.code != Code::CheckIncomplete)
}

/// What will hardly do what was meant. `ways_are_known`: all tasks and all ways between them could be read; else only what
/// each task says of itself is looked at, because a slip in one way would show as a dozen faults of others.
fn lints(chain: &Chain, ways_are_known: bool) -> Vec<Finding> {
    let outline = Outline::of(chain);
    let (mut found, alive) = branches::lint(&outline);
    found.extend(catches::lint(&outline));
    found.extend(unused::lint(&outline));
    if ways_are_known {
        found.extend(graph::lint(&outline, &alive));
        found.extend(variables::lint(&outline));
        found.extend(types::lint(&outline));
    }
    found
}

/// Whether a finding leaves the tasks and the ways between them readable.
fn leaves_ways_known(finding: &Finding) -> bool {
    use Code::*;
    !matches!(
        finding.code,
        MissingField | UnknownHandler | UnknownOperator | UnknownGoto | DuplicateTaskId | ReservedTaskId | WrongType
    )
}

/// Findings of the compiler: with hints, in the spelling of the document, and without those that only repeat that a value
/// of the wrong type counts as absent.
fn translated(
    chain: &Chain,
    findings: Vec<Finding>,
    mistyped: &[String],
    prefix: &str,
    written: &Value,
    shape: &Shape,
) -> Vec<Finding> {
    let mistyped: HashSet<&str> = mistyped.iter().map(String::as_str).collect();
    let repeats = |finding: &Finding| {
        let path = format!("{prefix}{}", finding.path);
        let parents = path.match_indices('/').skip(1).map(|(at, _)| &path[..at]);
        let is_part = |path: &str| mistyped.contains(path);
        let in_it = format!("{path}/");
        is_part(&path)
            || (finding.code == Code::MissingField
                && (parents.into_iter().any(is_part) || mistyped.iter().any(|wrong| wrong.starts_with(&in_it))))
    };
    let mut kept: Vec<Finding> = findings.into_iter().filter(|finding| !repeats(finding)).collect();
    for finding in &mut kept {
        if finding.hint.is_none() {
            finding.hint = advice::hint(finding, chain);
        }
        finding.path = spelled::pointer(&format!("{prefix}{}", finding.path), written, shape);
    }
    kept
}

fn plain(severity: Severity, code: Code, message: &str, hint: &str) -> Finding {
    Finding {
        severity,
        code,
        message: message.to_owned(),
        path: String::new(),
        line: None,
        column: None,
        hint: Some(hint.to_owned()),
        task: None,
    }
}

#[cfg(test)]
mod tests;
