//! Which figures a scenario's table shows, in which order, and under which heads; the terminal, Markdown and the page share
//! them.
//!
//! A column that no row has anything to say in is left out.

use super::{
    number,
    results::{Report, Row},
    section::Section,
};

/// How much a table shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breadth {
    /// What is looked at first, and columns that compare it with one other row.
    Short,
    /// Every figure; what it is compared with stands below it ([`Column::compared`]).
    Full,
}

/// One column of figures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// What it shows, such as `p99`.
    pub title: String,
    /// In which unit, or compared with what.
    pub unit: String,
    /// What it means, for those who ask.
    pub about: String,
    source: Source,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    Figure(&'static Known),
    Ratio(String, &'static str),
    Added(String, &'static str),
    Turns,
}

#[derive(Debug, PartialEq, Eq)]
struct Known {
    name: &'static str,
    title: &'static str,
    unit: &'static str,
    about: &'static str,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// In every table.
    Main,
    /// On the page alone.
    Side,
    /// A number of requests, of which none is nothing to tell.
    Count,
    /// A number of requests that is told even if it is none.
    Slips,
}

use Kind::{Count, Main, Side, Slips};

macro_rules! known {
    ($(($name:literal, $title:literal, $unit:literal, $kind:ident, $about:literal),)*) => {
        &[$(Known { name: $name, title: $title, unit: $unit, about: $about, kind: $kind },)*]
    };
}

/// The figures that are shown, in their order.
#[rustfmt::skip]
const FIGURES: &[Known] = known![
    ("offered_rps", "offered", "req/s", Main, "requests that were due a second"),
    ("goodput_rps", "goodput", "req/s", Main, "requests answered as they should be, a second"),
    ("p50_ms", "p50", "ms", Main, "half of the answers took less, from when they were due"),
    ("p90_ms", "p90", "ms", Side, "90 of 100 answers took less"),
    ("p99_ms", "p99", "ms", Main, "99 of 100 answers took less"),
    ("p999_ms", "p99.9", "ms", Main, "999 of 1000 answers took less"),
    ("max_ms", "max", "ms", Main, "the longest answer"),
    ("first_token_p50_ms", "token p50", "ms", Main, "half of the streams had their first text before"),
    ("first_token_p99_ms", "token p99", "ms", Main, "99 of 100 streams had their first text before"),
    ("gap_p99_ms", "gap p99", "ms", Main, "99 of 100 gaps between two texts were shorter"),
    ("gap_max_ms", "gap max", "ms", Main, "the longest gap between two texts"),
    ("refusal_p99_ms", "refusal p99", "ms", Main, "99 of 100 refusals took less"),
    ("cpu_us", "CPU", "µs/req", Main, "CPU time of the server a request"),
    ("cpu_us_per_frame", "CPU", "µs/word", Main, "CPU time of the server a word that was streamed"),
    ("switches", "switches", "/req", Main, "context switches of the server a request"),
    ("idle_mib", "idle", "MiB", Main, "memory before"),
    ("most_mib", "most", "MiB", Main, "the most memory meanwhile"),
    ("after_mib", "after", "MiB", Main, "memory when the rest after it was over"),
    ("refused", "refused", "", Count, "requests that the server refused, as the scenario allows"),
    ("failed", "failed", "", Count, "requests that ended in an error, as the scenario allows"),
    ("left", "left", "", Count, "requests that the client gave up, as the scenario wants"),
    ("late_sends", "late", "", Slips, "requests sent more than a millisecond after they were due"),
    ("lateness_p99_ms", "slip p99", "ms", Side, "99 of 100 requests were sent sooner after they were due"),
];

/// Figures whose ratios are shown, under which title.
const RATIOS: [(&str, &str); 3] = [("goodput_rps", "goodput"), ("cpu_us", "CPU"), ("cpu_us_per_frame", "CPU/word")];

/// Figures whose differences are shown, under which title.
const ADDED: [(&str, &str); 3] = [("p50_ms", "p50"), ("p99_ms", "p99"), ("first_token_p99_ms", "token p99")];

/// The columns of a scenario's table.
pub fn columns(section: &Section<'_>, report: &Report, breadth: Breadth) -> Vec<Column> {
    let base = section.bases(report).into_iter().next().filter(|_| breadth == Breadth::Short);
    let compared: Vec<Column> = base.iter().flat_map(|base| compared_with(base)).collect();
    let (slips, figures): (Vec<&Known>, Vec<&Known>) = FIGURES
        .iter()
        .filter(|known| breadth == Breadth::Full || known.kind != Side)
        .partition(|known| known.kind == Slips || known.name == "lateness_p99_ms");
    let mut columns: Vec<Column> = figures.into_iter().map(Column::of).collect();
    columns.extend(compared);
    columns.extend(slips.into_iter().map(Column::of));
    if section.rows.iter().any(|row| row.turns != report.rounds) {
        columns.push(Column {
            title: "rounds".to_owned(),
            unit: format!("of {}", report.rounds),
            about: "rounds that count".to_owned(),
            source: Source::Turns,
        });
    }
    columns.retain(|column| section.rows.iter().any(|row| column.tells(row)));
    columns
}

fn compared_with(base: &str) -> Vec<Column> {
    let ratios = RATIOS.into_iter().map(|(figure, title)| Column {
        title: title.to_owned(),
        unit: format!("× {base}"),
        about: format!("{title} divided by that of {base} in the same round"),
        source: Source::Ratio(base.to_owned(), figure),
    });
    let added = ADDED.into_iter().map(|(figure, title)| Column {
        title: format!("+{title}"),
        unit: format!("vs {base}"),
        about: format!("{title} less that of {base} in the same round, in ms"),
        source: Source::Added(base.to_owned(), figure),
    });
    ratios.chain(added).collect()
}

impl Column {
    fn of(known: &'static Known) -> Self {
        let (title, unit, about) = (known.title.to_owned(), known.unit.to_owned(), known.about.to_owned());
        Column { title, unit, about, source: Source::Figure(known) }
    }

    /// The row's value, if it has one.
    pub fn value(&self, row: &Row) -> Option<f64> {
        match &self.source {
            Source::Figure(known) => row.figures.get(known.name).copied(),
            Source::Ratio(base, figure) => row.ratios.get(base)?.get(*figure).copied(),
            Source::Added(base, figure) => row.added.get(base)?.get(*figure).copied(),
            Source::Turns => Some(row.turns as f64),
        }
    }

    /// The row's value as it is written, or a dash.
    pub fn text(&self, row: &Row) -> String {
        let Some(value) = self.value(row) else { return number::DASH.to_owned() };
        match &self.source {
            Source::Figure(known) if matches!(known.kind, Count | Slips) => number::whole(value),
            Source::Figure(_) => number::figure(value),
            Source::Ratio(..) => number::ratio(value),
            Source::Added(..) => number::added(value),
            Source::Turns => number::whole(value),
        }
    }

    /// How the row's value compares with other rows, as it is written below it.
    pub fn compared(&self, row: &Row, bases: &[String]) -> Vec<String> {
        let Source::Figure(known) = &self.source else { return Vec::new() };
        let of = |shown: &[(&str, &str)]| shown.iter().any(|(figure, _)| *figure == known.name);
        let (ratios, differences) = (of(&RATIOS), of(&ADDED));
        let ratio = |base: &String| {
            let ratio = row.ratios.get(base)?.get(known.name).filter(|_| ratios)?;
            Some(format!("{} × {base}", number::ratio(*ratio)))
        };
        let difference = |base: &String| {
            let added = row.added.get(base)?.get(known.name).filter(|_| differences)?;
            Some(format!("{} vs {base}", number::added(*added)))
        };
        bases.iter().flat_map(|base| ratio(base).into_iter().chain(difference(base))).collect()
    }

    fn tells(&self, row: &Row) -> bool {
        let none_is_nothing = matches!(&self.source, Source::Figure(known) if known.kind == Count);
        self.value(row).is_some_and(|value| !none_is_nothing || value != 0.0)
    }
}
