//! The report for a terminal, 120 columns wide.

use comfy_table::{CellAlignment, ContentArrangement, LineStyle, Table, TableStyle, presets};

use super::{
    columns::{self, Breadth, Column},
    frontier, number,
    results::{Report, Row},
    section::{self, Section},
    words,
};

/// Characters of a line at most.
const WIDTH: u16 = 120;

/// One line, under the heads: lines between rows would be as many as the rows.
const STYLE: TableStyle = TableStyle::new().header_separator(LineStyle::new('─', '─', '─', '─'));

/// The report as text.
pub fn terminal(report: &Report) -> String {
    let mut parts = vec![heading(report)];
    for section in section::sections(report) {
        parts.push(format!("{}\n{}", section.played.name, about(&section)));
        parts.extend(scenario(&section, report));
        parts.extend(reached(&section));
    }
    parts.push(verdicts(report));
    parts.extend(voids(report));
    let mut text = parts.join("\n\n");
    text.push('\n');
    text
}

fn heading(report: &Report) -> String {
    let lines = [
        format!("{}; {}", words::machine(&report.machine), words::rounds(report)),
        format!("{}; at most {} of the time stolen", words::began(report), words::stolen(report)),
        report.command.clone(),
    ];
    lines.map(|line| wrapped(&line, 0)).join("\n")
}

fn about(section: &Section<'_>) -> String {
    let lines = [section.played.purpose.as_str(), section.played.load.as_str()];
    lines.into_iter().filter(|line| !line.is_empty()).map(|line| wrapped(line, 2)).collect::<Vec<_>>().join("\n")
}

/// A scenario's table, or several where one would be too wide, each of which names its rows again.
fn scenario(section: &Section<'_>, report: &Report) -> Vec<String> {
    let columns = columns::columns(section, report, Breadth::Short);
    let (offered, mut rest): (Vec<&Column>, Vec<&Column>) =
        columns.iter().partition(|column| column.title == "offered" && section.is_stepped());
    let mut tables = Vec::new();
    while !rest.is_empty() {
        let part = |count: usize| {
            let shown: Vec<&Column> = offered.iter().chain(&rest[..count]).copied().collect();
            rows(&section.rows, &shown)
        };
        // One column at least: a table too wide is better than none.
        let fits = (1..=rest.len()).rev().find(|count| width(&part(*count)) <= usize::from(WIDTH)).unwrap_or(1);
        tables.push(part(fits));
        rest.drain(..fits);
    }
    tables
}

fn rows(rows: &[Row], columns: &[&Column]) -> String {
    let mut table = Table::new();
    table.load_style(STYLE);
    let heads = columns.iter().map(|column| format!("{}\n{}", column.title, column.unit));
    table.set_header([String::new()].into_iter().chain(heads));
    for row in rows {
        table.add_row([row.target.clone()].into_iter().chain(columns.iter().map(|column| column.text(row))));
    }
    aligned(table, 1)
}

fn reached(section: &Section<'_>) -> Option<String> {
    if !section.is_stepped() {
        return None;
    }
    let mut table = Table::new();
    table.load_style(STYLE);
    let heads = frontier::BOUNDS_MS.map(|bound| format!("p99 < {bound} ms"));
    table.set_header(["best req/s with".to_owned()].into_iter().chain(heads));
    for (_, target) in section.played_targets() {
        let best = frontier::BOUNDS_MS.map(|bound| {
            frontier::best(section.rows_of(target), bound).map_or_else(|| number::DASH.to_owned(), number::figure)
        });
        table.add_row([target.to_owned()].into_iter().chain(best));
    }
    Some(aligned(table, 1))
}

fn verdicts(report: &Report) -> String {
    let tally = words::tally(report);
    if report.verdicts.is_empty() {
        return format!("Bounds: {tally}");
    }
    let mut table = Table::new();
    table.load_style(STYLE).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(WIDTH).set_header(["", "scenario", "what", "bound", "found"]);
    for (fate, verdict) in words::verdicts_by_fate(report) {
        let found = words::found(verdict);
        table.add_row([fate.word(), &verdict.scenario, &verdict.what, &verdict.bound, &found]);
    }
    format!("Bounds: {tally}\n{}", aligned(table, 4))
}

fn voids(report: &Report) -> Option<String> {
    let voids = section::voids(report);
    if voids.is_empty() {
        return None;
    }
    let lines = voids.iter().map(|void| wrapped(&format!("{}: {}", words::void_where(void), void.why), 2));
    Some(format!("Void, and not in any figure:\n{}", lines.collect::<Vec<_>>().join("\n")))
}

/// The table as text, with the columns from one on to the right.
fn aligned(mut table: Table, from: usize) -> String {
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 1));
        if index >= from {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt()
}

/// A text in lines that are not too long.
fn wrapped(text: &str, indent: u16) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_width(WIDTH);
    table.add_row([text]);
    if let Some(column) = table.column_mut(0) {
        column.set_padding((indent, 0));
    }
    table.trim_fmt()
}

fn width(table: &str) -> usize {
    table.lines().map(|line| line.chars().count()).max().unwrap_or_default()
}
