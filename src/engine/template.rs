//! Templates of prompts and prints: Go's `text/template` over the variables of a run (`docs/workflow-spec.md`,
//! template language).
//!
//! Parsed once, when a chain is compiled; rendering is bounded in time and memory, because anybody who may send a chain
//! may send one that calls fifty templates, each of which calls the next one twice.

mod data;
pub(crate) mod names;
mod rewrite;

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
    sync::Arc,
};

pub(crate) use data::{error_to_template, to_template};
pub(crate) use gotmpl::Value as TemplateValue;
use gotmpl::{
    TemplateError,
    parse::{Expr, Node},
};

/// The variables as templates see them.
pub(crate) type TemplateData = BTreeMap<Arc<str>, TemplateValue>;

/// Largest text a template may make, and largest string it may hold on the way.
const LARGEST_TEXT: usize = 16 * 1024 * 1024;
/// Pieces of text and turns of loops one rendering may take.
const MOST_STEPS: u32 = 1_000_000;
/// What all renderings of one run may cost: a prompt of 100 KB in each of a thousand tasks fits.
pub(crate) const RUN_BUDGET: usize = 2 * 1024 * 1024 * 1024;
/// What the text outside all `define`s is registered as.
const MAIN: &str = "main text";
/// `else if`s and `else with`s of one template. The parser takes each for a nested block and goes one call deeper, without a
/// bound of its own; rendering gives up at 200 nested blocks.
const MOST_ELSE_IFS: usize = 250;
/// Parsed behind every template. Only where each block has its `end` does it come out as the last thing of all: the
/// parser by itself takes a missing `end` for granted, and a stray one for the end of the template.
const LAST: &str = "{{`last`}}";

/// A parsed template.
pub(crate) struct Template {
    parsed: gotmpl::Template,
}

impl Template {
    /// Reads a template; functions and templates it names must exist.
    ///
    /// # Errors
    /// What is wrong and where.
    pub(crate) fn parse(source: &str) -> Result<Self, String> {
        if is_too_deep(source) {
            return Err(format!("there are more than {MOST_ELSE_IFS} {{{{else if}}}}s; use fewer conditions"));
        }
        let parse = |source: &str| gotmpl::Template::new(MAIN).parse(source).map_err(|error| error.to_string());
        // What is wrong is told of the template as it was written.
        let parsed = parse(&format!("{source}{LAST}")).or_else(|error| parse(source).and(Err(error)))?;
        let names: Vec<String> = parsed.templates().into_iter().map(str::to_owned).collect();
        let mut runnable = gotmpl::Template::new(MAIN);
        for (name, function) in data::functions() {
            runnable = runnable.func(name, function);
        }
        if !parsed.lookup(MAIN).is_some_and(|main| main.nodes.last().is_some_and(is_last)) {
            return Err("every {{if}}, {{range}}, {{with}}, {{block}} and {{define}} needs one {{end}}, and each \
                        {{else}} and {{end}} belongs to one of them"
                .to_owned());
        }
        for name in &names {
            let Some(mut tree) = parsed.lookup(name).cloned() else { continue };
            if name == MAIN {
                tree.nodes.pop();
            }
            rewrite::rewrite(&mut tree, &names)?;
            runnable = runnable.add_parse_tree(name, tree);
        }
        Ok(Self { parsed: runnable.max_range_iters(MOST_STEPS.into()) })
    }

    /// The text for these variables. `budget` is what all renderings of the run may still cost, in bytes.
    ///
    /// # Errors
    /// What could not be rendered.
    pub(crate) fn render(&self, variables: &Arc<TemplateData>, budget: &mut usize) -> Result<String, String> {
        let mut page = Page { text: String::new(), steps: 0 };
        let dot = TemplateValue::Map(Arc::clone(variables));
        let rendered = data::metered(budget, || {
            let rendered = self.parsed.execute_template_fmt(&mut page, MAIN, &dot);
            (rendered, page.steps)
        });
        match rendered {
            Ok(()) => Ok(page.text),
            Err(TemplateError::Write) if page.steps >= MOST_STEPS => {
                Err(format!("the template took more than {MOST_STEPS} steps"))
            }
            Err(TemplateError::Write) => Err(format!("the rendered text is longer than {LARGEST_TEXT} bytes")),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// What an action weighs beside its characters.
const ACTION_WEIGHT: usize = 16;

/// How heavy a template is to read: its actions and what stands in them, not the text around them.
pub(crate) fn weight(source: &str) -> usize {
    let of = |action: &str| ACTION_WEIGHT + action.find("}}").unwrap_or(action.len());
    source.split("{{").skip(1).map(of).sum()
}

/// Whether parsing might need more stack than there is. What only looks like an action, in a comment or a string, counts too.
fn is_too_deep(source: &str) -> bool {
    let goes_deeper = |action: &&str| {
        let action = action.strip_prefix('-').unwrap_or(action).trim_start();
        let rest = action.strip_prefix("else").map(str::trim_start);
        rest.is_some_and(|rest| !rest.starts_with("}}") && !rest.starts_with("-}}"))
    };
    source.split("{{").skip(1).filter(goes_deeper).count() > MOST_ELSE_IFS
}

fn is_last(node: &Node) -> bool {
    let Node::Action(action) = node else { return false };
    let [command] = action.pipe.commands.as_slice() else { return false };
    matches!(command.args.as_slice(), [Expr::String(_, text)] if &**text == "last")
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Template").finish_non_exhaustive()
    }
}

/// The text being made. It fails when too long, or written to too often.
struct Page {
    text: String,
    steps: u32,
}

impl Write for Page {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        self.steps += 1;
        if self.steps >= MOST_STEPS || self.text.len() + piece.len() > LARGEST_TEXT {
            return Err(fmt::Error);
        }
        self.text.push_str(piece);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
