//! What is wrong with a chain, for its author. All of it is told at once.

use std::fmt;

/// One thing that makes a chain unable to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The task it is in: its id, or `#2` for the second one when it has none. `None`: the chain as a whole.
    pub task: Option<String>,
    /// What is wrong and what would be right.
    pub message: String,
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
    /// In the order of the chain.
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
