//! What is told of a measurement; `measured.json` is one that was made up, with everything in it that can be in one.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod figures;
mod forms;
mod page;

use std::path::{Path, PathBuf};

use loadtest::report::{Report, json, results::Row, section};

/// The file of the measurement.
fn measured_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/report/measured.json")
}

/// The measurement.
fn measured() -> Report {
    json::read(&measured_file()).unwrap()
}

/// A row with some figures.
fn row(figures: &[(&str, f64)]) -> Row {
    let figures = figures.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
    Row { turns: 3, figures, ..Row::default() }
}

/// The section of one scenario.
fn section_of<'a>(report: &'a Report, scenario: &str) -> section::Section<'a> {
    section::sections(report).into_iter().find(|section| section.played.name == scenario).unwrap()
}
