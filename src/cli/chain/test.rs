//! `penstock chain test FILE`: runs the cases beside a chain and tells what differs (`docs/workflow-spec.md`, testing
//! chains).

mod cases;
mod mock;
mod rig;
mod verdict;

use std::{collections::HashSet, path::Path, process::ExitCode};

use serde::Serialize;

use self::{cases::Case, verdict::Verdict};
use super::{
    EXIT_FAILED, EXIT_USAGE, Format,
    file::{TextFile, problem},
    findings::{self, printable},
    printed, refused,
};
use crate::{
    cli::output::{BOLD, Color, DIM, GREEN, RED, RESET, YELLOW, err},
    domain::{
        chain::Chain,
        finding::{Code, Finding},
    },
};

/// Characters of a value that are shown.
const LONGEST_SHOWN: usize = 2000;

/// What came of all cases.
#[derive(Serialize)]
struct Report {
    passed: usize,
    failed: usize,
    cases: Vec<Verdict>,
    /// Tasks that no case came to.
    unreached: Vec<String>,
}

pub(super) fn test(path: &str, cases: Option<&str>, format: Format, color: Color) -> Result<ExitCode, String> {
    let file = TextFile::read(path)?;
    let checked = file.checked();
    let Some(program) = &checked.program else {
        return refused(&file, &checked, EXIT_FAILED, color);
    };
    let beside = TextFile::read(&cases.map_or_else(|| beside(path), |path| Ok(path.to_owned()))?)?;
    let read = beside.document.as_ref().map_err(|finding| vec![(**finding).clone()]).and_then(cases::read);
    let cases = match read.and_then(|cases| known(&checked.chain, cases)) {
        Ok(cases) => cases,
        Err(findings) => {
            err(&findings::shown(&beside, &findings), color);
            return Ok(ExitCode::from(EXIT_USAGE));
        }
    };
    let report =
        Report::of(&checked.chain, cases.iter().map(|case| verdict::of(case, rig::run(program, case))).collect());
    let text = match format {
        Format::Text => report.text(),
        Format::Json => serde_json::to_string_pretty(&report).map_err(|error| error.to_string())? + "\n",
    };
    printed(&text, color)?;
    Ok(if report.failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAILED) })
}

/// The file of tests beside a chain.
fn beside(path: &str) -> Result<String, String> {
    if path == "-" {
        return Err("the chain comes from standard input; name its tests with --cases".to_owned());
    }
    let names = ["yaml", "yml", "json"].map(|ending| Path::new(path).with_extension(format!("test.{ending}")));
    let found = names.iter().find(|name| name.exists());
    let found = found.map(|name| name.display().to_string());
    let [first, second, third] = names.map(|name| name.display().to_string());
    found.ok_or_else(|| format!("there are no tests: write {first}, {second} or {third}, or name them with --cases"))
}

/// The cases, if all tasks they name exist.
fn known(chain: &Chain, cases: Vec<Case>) -> Result<Vec<Case>, Vec<Finding>> {
    let ids: HashSet<&str> = chain.tasks.iter().map(|task| task.id.as_str()).collect();
    let mut findings = Vec::new();
    for (at, case) in cases.iter().enumerate() {
        let unknown = |task: &str, path: String| {
            let like = ids.iter().copied().min_by_key(|id| (strsim::damerau_levenshtein(id, task), *id));
            let like = like.filter(|id| strsim::damerau_levenshtein(id, task) <= 1 + task.chars().count() / 4);
            let hint = like.map(|id| format!("did you mean '{id}'?"));
            Finding { hint, ..problem(Code::UnknownValue, path, format!("the chain has no task '{task}'")) }
        };
        for (task, _) in case.mocks.iter().filter(|(task, _)| !ids.contains(task.as_str())) {
            findings.push(unknown(task, cases::below(&format!("/cases/{at}/mocks"), task)));
        }
        for (step, task) in
            case.expect.path.iter().flatten().enumerate().filter(|(_, task)| !ids.contains(task.as_str()))
        {
            findings.push(unknown(task, format!("/cases/{at}/expect/path/{step}")));
        }
        let failing = case.expect.error.as_ref().and_then(|error| error.task.as_deref());
        if let Some(task) = failing.filter(|task| !ids.contains(task)) {
            findings.push(unknown(task, format!("/cases/{at}/expect/error/task")));
        }
    }
    if findings.is_empty() { Ok(cases) } else { Err(findings) }
}

impl Report {
    fn of(chain: &Chain, cases: Vec<Verdict>) -> Self {
        let reached: HashSet<&String> = cases.iter().flat_map(|case| &case.path).collect();
        let unreached = chain.tasks.iter().map(|task| &task.id).filter(|id| !reached.contains(id)).cloned().collect();
        let passed = cases.iter().filter(|case| case.ok).count();
        Self { passed, failed: cases.len() - passed, cases, unreached }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for case in &self.cases {
            let name = printable(&case.name);
            if case.ok {
                text.push_str(&format!(
                    "{GREEN}ok{RESET}    {name} {DIM}{}{RESET}\n",
                    printable(&case.path.join(" > "))
                ));
                continue;
            }
            text.push_str(&format!("{RED}FAIL{RESET}  {BOLD}{name}{RESET}\n"));
            for problem in &case.problems {
                text.push_str(&format!("      {}\n", shown(&problem.message)));
                if let (Some(expected), Some(actual)) = (&problem.expected, &problem.actual) {
                    text.push_str(&format!("        expected: {GREEN}{}{RESET}\n", shown(expected)));
                    text.push_str(&format!("        actual:   {RED}{}{RESET}\n", shown(actual)));
                }
            }
        }
        if !self.unreached.is_empty() {
            let tasks = shown(&self.unreached.join(", "));
            text.push_str(&format!("{YELLOW}note{RESET}  no case comes to: {tasks}\n"));
        }
        text.push_str(&format!("{} passed, {} failed\n", self.passed, self.failed));
        text
    }
}

fn shown(text: &str) -> String {
    match text.char_indices().nth(LONGEST_SHOWN) {
        Some((end, _)) => format!("{}…", printable(&text[..end])),
        None => printable(text),
    }
}
