//! What a case's run should have been, beside what it was.

use serde::Serialize;
use serde_json::Value as Json;

use super::{
    cases::{Case, Expect},
    rig::Ran,
};
use crate::engine::RunFailure;

/// What came of a case; its serialised form is that of `--format json`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Verdict {
    pub(super) name: String,
    pub(super) ok: bool,
    /// The tasks the run came to.
    pub(super) path: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) output: Option<Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) output_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<Error>,
    /// Why it is not ok.
    pub(super) problems: Vec<Problem>,
}

/// Why a run failed.
#[derive(Debug, Serialize)]
pub(super) struct Error {
    pub(super) class: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) task: Option<String>,
    pub(super) message: String,
}

/// One difference.
#[derive(Debug, Serialize)]
pub(super) struct Problem {
    pub(super) message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) expected: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) actual: Option<String>,
}

impl Problem {
    fn said(message: impl Into<String>) -> Self {
        Self { message: message.into(), expected: None, actual: None }
    }

    fn differs(message: impl Into<String>, expected: impl Into<String>, actual: impl Into<String>) -> Self {
        Self { message: message.into(), expected: Some(expected.into()), actual: Some(actual.into()) }
    }
}

/// Judges a run.
pub(super) fn of(case: &Case, ran: Ran) -> Verdict {
    let path: Vec<String> = ran.path.iter().map(|task| task.to_string()).collect();
    let mut problems: Vec<Problem> = ran.problems.into_iter().map(Problem::said).collect();
    if let Some(wanted) = &case.expect.path {
        problems.extend(path_problem(wanted, &path));
    }
    let mut verdict = Verdict {
        name: case.name.clone(),
        ok: false,
        path,
        output: None,
        output_type: None,
        error: None,
        problems: Vec::new(),
    };
    match ran.result {
        None => {}
        Some(Ok(output)) => {
            let (json, data_type) = (output.to_json(), output.data_type());
            problems.extend(success_problems(&case.expect, &json, data_type.as_str()));
            (verdict.output, verdict.output_type) = (Some(json), Some(data_type.to_string()));
        }
        Some(Err(failure)) => {
            problems.extend(failure_problem(&case.expect, &failure));
            let RunFailure { failure, task } = failure;
            verdict.error = Some(Error { class: failure.class.as_str(), task, message: failure.message });
        }
    }
    verdict.ok = problems.is_empty();
    verdict.problems = problems;
    verdict
}

fn path_problem(wanted: &[String], path: &[String]) -> Option<Problem> {
    let at = (0..wanted.len().max(path.len())).find(|at| wanted.get(*at) != path.get(*at))?;
    let message = match (wanted.get(at), path.get(at)) {
        (Some(wanted), Some(seen)) => {
            format!("the path leaves the expected one at step {}: {seen} instead of {wanted}", at + 1)
        }
        (Some(wanted), None) => format!("the path ends after {at} tasks, before {wanted}"),
        (None, Some(seen)) => format!("the path goes on after its expected end, to {seen}"),
        (None, None) => return None,
    };
    Some(Problem::differs(message, wanted.join(" > "), path.join(" > ")))
}

fn success_problems(expect: &Expect, output: &Json, data_type: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    if let Some(error) = &expect.error {
        problems.push(Problem::differs(
            "the run succeeds",
            format!("an error of class {}", error.class.as_str()),
            output.to_string(),
        ));
    }
    if let Some(wanted) = expect.output.as_ref().filter(|wanted| !same(wanted, output)) {
        problems.push(Problem::differs("the output is another one", wanted.to_string(), output.to_string()));
    }
    if let Some(wanted) = expect.output_type.filter(|wanted| wanted.as_str() != data_type) {
        problems.push(Problem::differs("the output has another type", wanted.as_str(), data_type));
    }
    problems
}

fn failure_problem(expect: &Expect, failure: &RunFailure) -> Option<Problem> {
    let actual = format!("{} ({})", failure, failure.failure.class.as_str());
    let Some(wanted) = &expect.error else {
        return Some(Problem::differs("the run fails", "success", actual));
    };
    let is_other_task = wanted.task.is_some() && wanted.task != failure.task;
    if wanted.class == failure.failure.class && !is_other_task {
        return None;
    }
    let task = wanted.task.as_ref().map_or_else(String::new, |task| format!("task {task}: "));
    Some(Problem::differs(
        "the run fails in another way",
        format!("{task}an error of class {}", wanted.class.as_str()),
        actual,
    ))
}

/// Whether two values are the same; of numbers their value counts, not how they are written.
fn same(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Number(a), Json::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Json::Array(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Json::Object(a), Json::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}
