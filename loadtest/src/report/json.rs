//! A report as a file, to be shown again later or elsewhere.

use std::{fs, path::Path};

use anyhow::{Context, ensure};
use serde::Deserialize;

use super::results::{Report, VERSION};

/// What is looked at first: the rest of another version may have another shape.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

/// Reads a report from its JSON.
pub fn parse(text: &str) -> anyhow::Result<Report> {
    let Versioned { version } = serde_json::from_str(text).context("this is no report of a measurement")?;
    ensure!(version == VERSION, "this report has version {version}, and this program reads version {VERSION} alone");
    serde_json::from_str(text).context("this report is damaged")
}

/// Reads a report from a file.
pub fn read(file: &Path) -> anyhow::Result<Report> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    parse(&text).with_context(|| format!("cannot read {}", file.display()))
}

/// Writes a report to a file, over what was there.
pub fn write(report: &Report, file: &Path) -> anyhow::Result<()> {
    let mut text = serde_json::to_string(report).context("cannot write the report as JSON")?;
    text.push('\n');
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}
