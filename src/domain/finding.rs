//! What is wrong with a chain, for its author: what, where, and what would be right. All of it is told at once.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Whether a chain with this finding can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It cannot.
    Error,
    /// It can, but probably not as meant.
    Warning,
}

/// What kind of finding it is: a closed set (`docs/workflow-spec.md`, validation).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[schema(as = DiagnosticCode)]
pub enum Code {
    /// The file is no YAML or JSON.
    Syntax,
    /// An unquoted YAML value holds `: ` and was read as text.
    UnquotedColon,
    /// No field of this name exists here.
    UnknownField,
    /// A field is written twice.
    DuplicateField,
    /// A field that is needed is absent or empty.
    MissingField,
    /// A field has a value of another type.
    WrongType,
    /// A field has no effect where it stands.
    UnusedField,
    /// Two tasks have one id.
    DuplicateTaskId,
    /// A task has an id that means something else.
    ReservedTaskId,
    /// No handler of this name exists.
    UnknownHandler,
    /// No operator of this name exists.
    UnknownOperator,
    /// A field that takes one of a few words has another one.
    UnknownValue,
    /// A target names no task.
    UnknownGoto,
    /// No way leads to the task.
    UnreachableTask,
    /// No way leads from the task to the end.
    NoPathToEnd,
    /// A result that no branch matches ends the run.
    NoDefaultBranch,
    /// The branch is never taken.
    DeadBranch,
    /// Nothing but the run's own bound ends the loop.
    UnboundedCycle,
    /// No task sets the variable.
    UnknownVariable,
    /// Some way to the task does not set the variable.
    VariableMaybeUnset,
    /// A task gets a value of a type it cannot use.
    TypeMismatch,
    /// The operator never matches what the task yields.
    OperatorType,
    /// A bound is no range, or a number lies outside what is allowed.
    BadRange,
    /// A text is no duration.
    BadDuration,
    /// A template cannot be parsed.
    TemplateSyntax,
    /// A JSON Schema is none.
    SchemaInvalid,
    /// A task excludes what the chain requires.
    Contradiction,
    /// The server has no such hook.
    UnknownHook,
    /// No backend of the server has the model.
    UnknownModel,
    /// The server has no such pool.
    UnknownPool,
    /// The server has no such chain.
    UnknownChain,
    /// The chain is so large that not all of it was looked at.
    CheckIncomplete,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Diagnostic)]
pub struct Finding {
    /// Whether the chain can run all the same.
    pub severity: Severity,
    /// What kind.
    pub code: Code,
    /// What is wrong.
    pub message: String,
    /// Where: a JSON Pointer into the chain, such as `/tasks/2/transition/branches/0/goto`; empty = the chain.
    pub path: String,
    /// Line in the file as it is written, from 1; known where the file is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// Character in that line, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    /// What would be right, where that can be guessed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The task it is in: its id, or `#2` for the second one when it has none. `None`: the chain as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.task {
            Some(task) => write!(f, "task {task}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// A chain that cannot run, with everything that stands in the way; never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct InvalidChain {
    /// Errors, in the order of the chain.
    pub findings: Vec<Finding>,
}

impl fmt::Display for InvalidChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// More would not fit an error message; validation lists them all.
        const SHOWN: usize = 20;
        f.write_str("invalid chain")?;
        for (at, finding) in self.findings.iter().take(SHOWN).enumerate() {
            write!(f, "{} {finding}", if at == 0 { ":" } else { ";" })?;
        }
        match self.findings.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}
