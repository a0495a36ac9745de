//! `penstock chain check FILE…`: everything there is to say about chains, each finding in its line.

use std::process::ExitCode;

use serde::Serialize;

use super::{EXIT_FAILED, EXIT_USAGE, Format, file::TextFile, findings, printed};
use crate::{
    cli::output::{Color, complain},
    domain::finding::{Finding, Severity},
};

/// What there is to say about one file.
#[derive(Serialize)]
struct Checked<'a> {
    file: &'a str,
    /// `OK` where nothing fails, else `FAIL`.
    result: &'static str,
    diagnostics: Vec<Finding>,
    /// How many more there are than are told.
    #[serde(rename = "moreDiagnostics", skip_serializing_if = "is_none")]
    more: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_none(more: &usize) -> bool {
    *more == 0
}

pub(super) fn check(paths: &[String], strict: bool, format: Format, color: Color) -> Result<ExitCode, String> {
    let (mut text, mut all, mut unreadable) = (String::new(), Vec::new(), false);
    for path in paths {
        let file = match TextFile::read(path) {
            Ok(file) => file,
            Err(problem) => {
                complain(EXIT_USAGE, &problem);
                unreadable = true;
                continue;
            }
        };
        let checked = file.checked();
        if matches!(format, Format::Text) {
            text.push_str(&findings::shown(&file, &checked.findings));
        }
        if checked.more > 0 {
            text.push_str(&format!("{path}: and {} findings more\n\n", checked.more));
        }
        let fails = |finding: &Finding| strict || finding.severity == Severity::Error;
        let result = if checked.findings.iter().any(fails) { "FAIL" } else { "OK" };
        all.push(Checked { file: path, result, diagnostics: checked.findings, more: checked.more });
    }
    match format {
        Format::Text => printed(&format!("{text}{}\n", summary(&all)), color)?,
        Format::Json => {
            let json = serde_json::to_string_pretty(&all).map_err(|error| error.to_string())?;
            printed(&format!("{json}\n"), color)?;
        }
    }
    let has_failed = all.iter().any(|checked| checked.result == "FAIL");
    Ok(match (unreadable, has_failed) {
        (true, _) => ExitCode::from(EXIT_USAGE),
        (false, true) => ExitCode::from(EXIT_FAILED),
        (false, false) => ExitCode::SUCCESS,
    })
}

fn summary(all: &[Checked<'_>]) -> String {
    let of = |severity| {
        let findings = all.iter().flat_map(|checked| &checked.diagnostics);
        findings.filter(|finding| finding.severity == severity).count()
    };
    let counted = |count: usize, name: &str| format!("{count} {name}{}", if count == 1 { "" } else { "s" });
    let (errors, warnings) = (counted(of(Severity::Error), "error"), counted(of(Severity::Warning), "warning"));
    format!("{}: {errors}, {warnings}", counted(all.len(), "file"))
}
