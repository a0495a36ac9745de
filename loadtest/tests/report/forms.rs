//! The report as JSON, for the terminal and as Markdown, and the command that shows it.

use std::fs;

use loadtest::report::{
    command::{self, ReportArgs},
    json, markdown,
    number::DASH,
    page,
    results::Report,
    table,
};

use crate::{measured, measured_file};

/// The cells of the first line that begins with a name, after a line that begins with another.
fn cells<'a>(text: &'a str, after: &str, name: &str) -> Vec<&'a str> {
    let mut lines = text.lines().skip_while(|line| !line.starts_with(after));
    let line = lines.find(|line| line.trim_start_matches(['|', ' ']).starts_with(name)).unwrap();
    line.split(['|', ' ']).filter(|cell| !cell.is_empty()).collect()
}

#[test]
fn a_report_is_read_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("result.json");
    let report = measured();
    json::write(&report, &file).unwrap();
    assert_eq!(json::read(&file).unwrap(), report);
}

#[test]
fn a_report_of_another_version_is_refused_by_its_version() {
    let told = json::parse(r#"{"version": 2, "all else": "looks different"}"#).unwrap_err().to_string();
    assert_eq!(told, "this report has version 2, and this program reads version 1 alone");
    let told = json::parse("[]").unwrap_err().to_string();
    assert_eq!(told, "this is no report of a measurement");
    let told = format!("{:#}", json::parse(r#"{"version": 1}"#).unwrap_err());
    assert!(told.starts_with("this report is damaged: missing field"), "{told}");
}

#[test]
fn the_table_shows_the_medians() {
    let text = table::terminal(&measured());
    let floor = cells(&text, "chat-20ms", "floor");
    assert_eq!(floor[..6], ["floor", "11,940", "20.8", "30.7", "38.1", "61.0"]);
    assert_eq!(cells(&text, "Bounds", "MISSED")[..2], ["MISSED", "chat-instant-ladder"]);
    assert!(text.contains("9 of 11 bounds hold, 1 is missed, 1 was not measured"), "{text}");
    assert!(text.contains("direct, step 5, rounds 1, 2, 3: the generator used 0.97 of its core"), "{text}");
}

#[test]
fn markdown_shows_the_medians() {
    let text = markdown::markdown(&measured());
    let floor = cells(&text, "## chat-20ms", "floor");
    assert_eq!(floor[..6], ["floor", "11,940", "20.8", "30.7", "38.1", "61.0"]);
    let tables = text.split("\n\n").filter(|part| part.starts_with('|'));
    for table in tables {
        let bars: Vec<usize> = table.lines().map(|line| line.matches('|').count()).collect();
        assert!(bars.iter().all(|count| *count == bars[0]), "{table}");
    }
}

#[test]
fn a_name_ends_no_cell_of_markdown() {
    let mut report = measured();
    report.targets[0] = "a|b".to_owned();
    report.rows.iter_mut().filter(|row| row.target == "direct").for_each(|row| row.target = "a|b".to_owned());
    let text = markdown::markdown(&report);
    assert!(text.contains(r"| a\|b |"), "{text}");
}

#[test]
fn a_figure_that_is_missing_is_a_dash() {
    let text = table::terminal(&measured());
    // Nobody knows the process of a target that was given by its URL.
    assert_eq!(cells(&text, "chat-20ms", "direct")[6], DASH);
    assert_eq!(cells(&markdown::markdown(&measured()), "## chat-20ms", "direct")[6], DASH);
    let unknown = text.lines().find(|line| line.trim_start().starts_with("NOT MEASURED")).unwrap();
    assert!(unknown.trim_end().ends_with(DASH), "{unknown}");
}

#[test]
fn the_table_fits_a_terminal() {
    let mut report = measured();
    report.command = "loadtest compare ".repeat(20);
    report.verdicts[0].what = "a bound that takes many words ".repeat(8);
    let text = table::terminal(&report);
    let widest = text.lines().max_by_key(|line| line.chars().count()).unwrap();
    assert!(widest.chars().count() <= 120, "{widest}");
    // What does not fit beside the rest comes in a table of its own, and not never.
    assert!(text.contains("token p99") && text.contains("CPU/word"), "{text}");
}

#[test]
fn a_bound_that_is_missed_narrowly_looks_missed() {
    let mut report = measured();
    (report.verdicts[0].found, report.verdicts[0].holds) = (Some(1.254), false);
    for text in [table::terminal(&report), markdown::markdown(&report), page::page(&report)] {
        assert!(text.contains("at most 1.25") && text.contains("1.254"), "{text}");
    }
}

#[test]
fn a_report_of_nothing_is_shown_too() {
    let mut report = Report { scenarios: measured().scenarios, ..Report::default() };
    assert!(table::terminal(&report).contains("no bounds were set"));
    assert!(markdown::markdown(&report).contains("no bounds were set"));
    assert!(page::page(&report).contains("no bounds were set"));
    // Turns that were all void leave rows in which there is nothing.
    report.turns = measured().turns;
    assert!(page::page(&report).contains("12 answers had a wrong body"));
    assert!(table::terminal(&report).contains("penstock"));
}

#[test]
fn the_command_prints_the_table_and_writes_the_page() {
    let folder = tempfile::tempdir().unwrap();
    let html = folder.path().join("page.html");
    let mut args = ReportArgs { result: measured_file(), html: Some(html.clone()), markdown: false };
    let mut out = Vec::new();
    command::run(&args, &mut out).unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), table::terminal(&measured()));
    assert!(fs::read_to_string(&html).unwrap().starts_with("<!DOCTYPE html>"));

    (args.markdown, args.html) = (true, None);
    let mut out = Vec::new();
    command::run(&args, &mut out).unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), markdown::markdown(&measured()));

    args.result = folder.path().join("none.json");
    let told = command::run(&args, &mut Vec::new()).unwrap_err().to_string();
    assert!(told.starts_with("cannot read ") && told.ends_with("none.json"), "{told}");
}
