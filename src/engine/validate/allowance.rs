//! What the parts of a chain may cost together, however many tasks they are spread over: anybody who may send a chain may
//! send one that is nothing but templates, or patterns.

use serde_json::Value as Json;

use crate::{
    domain::chain::Chain,
    engine::{schema::patterns, template::weight},
};

/// What all templates of a chain may weigh: read, each character in an action takes some fifty times its size.
const HEAVIEST_TEMPLATES: usize = 1 << 20;
/// Bytes that all compiled patterns of a chain may take together, and one of them at most and at least.
const ALL_PATTERNS: usize = 32 << 20;
const LARGEST_PATTERN: usize = 1 << 20;
const SMALLEST_BOUND: usize = 16 << 10;
/// Patterns of a chain, so that each may be of some use.
const MOST_PATTERNS: usize = ALL_PATTERNS / SMALLEST_BOUND;

/// What is left for a chain.
pub(in crate::engine) struct Allowance {
    templates: usize,
    patterns: usize,
}

impl Allowance {
    /// Of a chain that is not looked at yet.
    pub(in crate::engine) fn of(chain: &Chain) -> Self {
        let schemas = chain.tasks.iter().filter_map(|task| task.output_schema.as_ref());
        let patterns = schemas.chain(&chain.input_schema).map(patterns).sum();
        Self { templates: HEAVIEST_TEMPLATES, patterns }
    }

    /// Pays for one template.
    ///
    /// # Errors
    /// When it is one too many.
    pub(in crate::engine) fn template(&mut self, source: &str) -> Result<(), String> {
        let left = self.templates.checked_sub(weight(source));
        self.templates = left.ok_or_else(|| {
            format!("the templates of the chain hold too much in {{{{ }}}}: more than {HEAVIEST_TEMPLATES} characters")
        })?;
        Ok(())
    }

    /// Bytes that each compiled pattern of a schema may take.
    ///
    /// # Errors
    /// When the chain has too many patterns.
    pub(super) fn pattern(&self, schema: &Json) -> Result<usize, String> {
        if self.patterns > MOST_PATTERNS && patterns(schema) > 0 {
            return Err(format!("the chain has {} patterns, the most is {MOST_PATTERNS}", self.patterns));
        }
        Ok((ALL_PATTERNS / self.patterns.max(1)).clamp(SMALLEST_BOUND, LARGEST_PATTERN))
    }
}
