//! The examples of `docs/handlers.md`: each is a block with a chain, and below it one with its cases.
#![cfg(test)]

use serde_json::{Map, Value as Json};

use super::play::Case;

/// What the page says of one handler.
pub(super) struct Section {
    pub(super) handler: String,
    pub(super) examples: Vec<Example>,
}

/// A chain, and what comes of it.
pub(super) struct Example {
    pub(super) chain: Map<String, Json>,
    pub(super) cases: Vec<Case>,
}

/// All sections that are headed by a handler's name.
pub(super) fn sections(page: &str) -> Vec<Section> {
    page.split("\n## `").skip(1).map(section).collect()
}

fn section(text: &str) -> Section {
    let handler = text.split('`').next().unwrap_or_default().to_owned();
    let blocks: Vec<_> = text.split("\n```yaml\n").skip(1).filter_map(|rest| rest.split("\n```").next()).collect();
    Section { handler, examples: blocks.chunks(2).map(example).collect() }
}

fn example(blocks: &[&str]) -> Example {
    let [chain, cases] = blocks else { panic!("a chain without cases: {blocks:?}") };
    let cases = serde_json::from_value(read(cases)).unwrap_or_else(|error| panic!("{error} in\n{cases}"));
    Example { chain: read(chain).as_object().expect("a chain").clone(), cases }
}

fn read(text: &str) -> Json {
    let read = crate::dialect::yaml::decode(text).unwrap_or_else(|error| panic!("{error:?} in\n{text}"));
    assert!(read.repairs.is_empty(), "{:?} in\n{text}", read.repairs);
    read.value
}
