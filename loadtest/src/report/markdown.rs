//! The report as Markdown: what `docs/performance.md` is made from.

use super::{
    columns::{self, Breadth},
    frontier, number,
    results::Report,
    section::{self, Section},
    words,
};

/// The report as Markdown, its scenarios as sections of the second level.
pub fn markdown(report: &Report) -> String {
    let mut parts = vec![
        format!("On {} ({}; {}):", words::machine(&report.machine), words::began(report), words::rounds(report)),
        format!("```bash\n{}\n```", report.command),
    ];
    for section in section::sections(report) {
        parts.push(format!("## {}", plain(&section.played.name)));
        parts.push(format!("{} Load: {}.", plain(&section.played.purpose), plain(&section.played.load)));
        parts.push(scenario(&section, report));
        parts.extend(reached(&section));
    }
    parts.push("## Bounds".to_owned());
    parts.push(verdicts(report));
    let voids: Vec<String> = section::voids(report)
        .iter()
        .map(|void| format!("- {}: {}", plain(&words::void_where(void)), plain(&void.why)))
        .collect();
    if !voids.is_empty() {
        parts.push("Void, and not in any figure:".to_owned());
        parts.push(voids.join("\n"));
    }
    let mut text = parts.join("\n\n");
    text.push('\n');
    text
}

fn scenario(section: &Section<'_>, report: &Report) -> String {
    let columns = columns::columns(section, report, Breadth::Short);
    let heads = columns.iter().map(|column| match column.unit.as_str() {
        "" => column.title.clone(),
        unit => format!("{}, {unit}", column.title),
    });
    let rows = section
        .rows
        .iter()
        .map(|row| [row.target.clone()].into_iter().chain(columns.iter().map(|column| column.text(row))).collect());
    table([String::new()].into_iter().chain(heads).collect(), rows, 1)
}

fn reached(section: &Section<'_>) -> Option<String> {
    if !section.is_stepped() {
        return None;
    }
    let heads = frontier::BOUNDS_MS.map(|bound| format!("p99 under {bound} ms"));
    let rows = section.played_targets().into_iter().map(|(_, target)| {
        let best = frontier::BOUNDS_MS.map(|bound| frontier::best(section.rows_of(target), bound));
        let best = best.map(|best| best.map_or_else(|| number::DASH.to_owned(), number::figure));
        [target.to_owned()].into_iter().chain(best).collect()
    });
    Some(table(["best req/s with".to_owned()].into_iter().chain(heads).collect(), rows, 1))
}

fn verdicts(report: &Report) -> String {
    let rows = words::verdicts_by_fate(report).into_iter().map(|(fate, verdict)| {
        let found = words::found(verdict);
        [&verdict.scenario, &verdict.what, &verdict.bound, &found, fate.word()].map(|cell| cell.to_string()).to_vec()
    });
    let sentence = words::tally(report);
    if report.verdicts.is_empty() {
        return format!("{sentence}.");
    }
    let heads = ["scenario", "what", "bound", "found", ""].map(str::to_owned).to_vec();
    format!("{sentence}:\n\n{}", table(heads, rows, 3))
}

/// A table whose columns from one on are numbers.
fn table(heads: Vec<String>, rows: impl IntoIterator<Item = Vec<String>>, numbers_from: usize) -> String {
    let line = |cells: &[String]| {
        let cells: Vec<String> = cells.iter().map(|cell| plain(cell)).collect();
        format!("| {} |", cells.join(" | "))
    };
    let rule: Vec<&str> = (0..heads.len()).map(|index| if index < numbers_from { "---" } else { "---:" }).collect();
    let mut lines = vec![line(&heads), format!("|{}|", rule.join("|"))];
    lines.extend(rows.into_iter().map(|cells| line(&cells)));
    lines.join("\n")
}

/// A text that ends no cell and starts no markup.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\n' | '\r' => plain.push(' '),
            '|' | '*' | '_' | '`' | '<' | '[' | '\\' => plain.extend(['\\', letter]),
            other => plain.push(other),
        }
    }
    plain
}
