//! Runs the golden files of `tests/golden`: tables of what every handler sends and gives, what every operator matches,
//! and how whole runs go (`docs/workflow-spec.md`). The files say what must be; this says which of them are missing.
#![cfg(test)]

mod page;
mod play;
mod show;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use self::{
    page::{Example, Section},
    play::Case,
};
use super::{handler::Handler, transition::Operator};

/// One task's cases: the fields that all of them share, and the cases.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HandlerFile {
    handler: String,
    #[serde(default)]
    task: Map<String, Json>,
    cases: Vec<Case>,
}

/// Cases that each hold a whole chain.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RunFile {
    #[serde(default)]
    chain: Map<String, Json>,
    cases: Vec<Case>,
}

/// One operator, and what it makes of values.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OperatorFile {
    /// All ways to write it; every case is run with each.
    spellings: Vec<String>,
    cases: Vec<OperatorCase>,
}

/// One comparison: `value` is the transition value of a hook, or what a model replies to `handler`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OperatorCase {
    #[serde(default)]
    when: Json,
    #[serde(default)]
    value: String,
    #[serde(default)]
    handler: Option<String>,
    /// Whether the branch is taken.
    #[serde(default)]
    matches: Option<bool>,
    /// Instead: a part of what the chain is refused with.
    #[serde(default)]
    invalid: Option<String>,
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// The files of a folder: their names without the ending, and what they hold.
fn files<T: for<'de> Deserialize<'de>>(name: &str) -> Vec<(String, T)> {
    let mut paths: Vec<_> =
        fs::read_dir(folder(name)).expect("a folder").map(|entry| entry.expect("one").path()).collect();
    paths.sort();
    let read = |path: &PathBuf| {
        let text = fs::read_to_string(path).expect("a text");
        let read = crate::dialect::yaml::decode(&text).unwrap_or_else(|error| panic!("{path:?}: {error:?}"));
        assert!(read.repairs.is_empty(), "{path:?}: {:?}", read.repairs);
        let file = serde_json::from_value(read.value).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        (path.file_stem().expect("a name").to_string_lossy().into_owned(), file)
    };
    paths.iter().map(read).collect()
}

/// Panics with everything that is not as the files say.
fn report(problems: &[String]) {
    assert!(problems.is_empty(), "{} of the golden cases differ:\n\n{}", problems.len(), problems.join("\n\n"));
}

/// Both ways: a file for each name, a name for each file.
fn assert_complete<T>(files: &[(String, T)], names: &[&str]) {
    let found: BTreeSet<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    let wanted: BTreeSet<&str> = names.iter().copied().collect();
    let missing: Vec<_> = wanted.difference(&found).collect();
    let stray: Vec<_> = found.difference(&wanted).collect();
    assert!(missing.is_empty() && stray.is_empty(), "golden files missing: {missing:?}; of nothing: {stray:?}");
}

#[test]
fn every_handler_sends_and_gives_what_its_golden_file_says() {
    let files: Vec<(String, HandlerFile)> = files("handlers");
    assert_complete(&files, &Handler::ALL.map(Handler::as_str));
    let mut problems = Vec::new();
    for (name, file) in files {
        assert_eq!(file.handler, name, "a file is named like its handler");
        let sends = |case: &Case| case.then.contains_key("sent");
        assert!(file.cases.iter().any(sends), "{name}: no case says what is sent");
        for case in file.cases {
            problems.extend(play::play(&name, case.on_top_of(&name, &file.task)));
        }
    }
    report(&problems);
}

#[test]
fn whole_runs_go_as_their_golden_files_say() {
    let mut problems = Vec::new();
    for (name, file) in files::<RunFile>("runs") {
        for mut case in file.cases {
            for (field, value) in &file.chain {
                case.chain.entry(field).or_insert_with(|| value.clone());
            }
            problems.extend(play::play(&name, case));
        }
    }
    report(&problems);
}

#[test]
fn the_examples_of_every_handler_in_the_documents_do_what_stands_below_them() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/handlers.md")).expect("a page");
    let sections = page::sections(&page);
    let names: BTreeSet<_> = sections.iter().map(|section| section.handler.as_str()).collect();
    let missing: Vec<_> = Handler::ALL.map(Handler::as_str).into_iter().filter(|name| !names.contains(name)).collect();
    assert!(missing.is_empty(), "handlers without a section: {missing:?}");
    let mut problems = Vec::new();
    for Section { handler, examples } in sections {
        assert!(examples.iter().any(|example| !example.cases.is_empty()), "{handler} has an example with cases");
        for Example { chain, cases } in examples {
            let used = chain["tasks"].as_array().into_iter().flatten().any(|task| task["handler"] == handler.as_str());
            assert!(used, "the example of {handler} uses it");
            for mut case in cases {
                case.chain.clone_from(&chain);
                problems.extend(play::play(&handler, case));
            }
        }
    }
    report(&problems);
}

/// The golden file of an operator: a new one does not compile without one.
const fn file_of(operator: &Operator) -> &'static str {
    match operator {
        Operator::Equals { .. } => "equals",
        Operator::Contains(_) => "contains",
        Operator::StartsWith(_) => "starts_with",
        Operator::EndsWith(_) => "ends_with",
        Operator::Above(_) => "gt",
        Operator::Below(_) => "lt",
        Operator::InRange(..) => "in_range",
        Operator::Default => "default",
    }
}

#[test]
fn every_operator_matches_what_its_golden_file_says() {
    let files: Vec<(String, OperatorFile)> = files("operators");
    let text = String::new;
    let all = [
        Operator::Equals { when: text(), number: None },
        Operator::Contains(text()),
        Operator::StartsWith(text()),
        Operator::EndsWith(text()),
        Operator::Above(0.0),
        Operator::Below(0.0),
        Operator::InRange(0.0, 0.0),
        Operator::Default,
    ];
    assert_complete(&files, &all.each_ref().map(file_of));
    let mut problems = Vec::new();
    for (name, file) in files {
        for case in &file.cases {
            for spelling in &file.spellings {
                problems.extend(play::play(&format!("{name} written {spelling:?}"), case.as_run(spelling)));
            }
        }
    }
    report(&problems);
}

impl OperatorCase {
    /// A run of one task and its two ways out.
    fn as_run(&self, spelling: &str) -> Case {
        let handler = self.handler.as_deref().unwrap_or("hook");
        let reply = match handler {
            "hook" => json!({"hook": {"output": "", "transition": self.value}}),
            _ => json!(self.value),
        };
        let branches = json!([{"operator": "default", "goto": "otherwise"},
            {"operator": spelling, "when": self.when, "goto": "matched"}]);
        let end = json!({"branches": [{"goto": "end"}]});
        let tasks = json!([
            {"id": "t", "handler": handler, "hook": {"name": "h"}, "transition": {"branches": branches}},
            {"id": "matched", "handler": "noop", "transition": end},
            {"id": "otherwise", "handler": "noop", "transition": end},
        ]);
        let then = match (&self.invalid, self.matches) {
            (Some(part), None) => json!({"invalid": [part]}),
            (None, Some(true)) => json!({"path": ["t", "matched"]}),
            (None, Some(false)) => json!({"path": ["t", "otherwise"]}),
            _ => panic!("a case of {spelling} says either 'matches' or 'invalid'"),
        };
        let replies = if self.invalid.is_some() { json!([]) } else { json!([reply]) };
        let name = format!("when {} on {:?} of {handler}", self.when, self.value);
        let case = json!({"name": name, "chain": {"tasks": tasks}, "replies": replies, "then": then});
        serde_json::from_value(case).expect("a case")
    }
}
