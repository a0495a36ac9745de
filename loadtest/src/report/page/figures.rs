//! Which plots a scenario has, and what they show: its times by percentile, its frontier, its CPU time, its memory.

use maud::{Markup, html};

use super::scrolled;
use crate::report::{
    curve, frontier as reach, number,
    plot::{
        bars::{self, Bar},
        lines::{Axis, Curve, Lines, Stop, lines},
        scale::{PERCENTILES, Scale},
    },
    results::{Report, Row, Spread, Turn},
    section::Section,
};

/// Places of a curve that is the median of many.
const PLACES: usize = 120;

/// A time that has a curve.
struct Time {
    name: &'static str,
    of: fn(&Turn) -> Option<&Spread>,
}

const TIMES: [Time; 4] = [
    Time { name: "Latency", of: |turn| turn.latency.as_ref() },
    Time { name: "Time to the first text", of: |turn| turn.first_token.as_ref() },
    Time { name: "Gap between two texts", of: |turn| turn.gap.as_ref() },
    Time { name: "Time of a refusal", of: |turn| turn.refusal.as_ref() },
];

/// All plots of one step, or of a scenario without steps.
pub(super) fn of_step(report: &Report, section: &Section<'_>, step: Option<usize>) -> Markup {
    html! {
        @for time in &TIMES {
            @if let Some(plot) = percentiles(section, step, time) { (figure(&format!("{} by percentile", time.name), &plot)) }
        }
        @if let Some(plot) = memory(section, step) { (figure("Memory of the server", &plot)) }
        @if let Some(plot) = costs(report, section, step) { (figure("CPU time of the server a request", &plot)) }
    }
}

/// p99 over what was answered, one curve a target and one sign a step.
pub(super) fn frontier(section: &Section<'_>) -> Markup {
    let point = |row: &Row| Some((*row.figures.get("goodput_rps")?, *row.figures.get("p99_ms")?));
    let curves: Vec<Curve> = section
        .played_targets()
        .into_iter()
        .map(|(index, target)| {
            let stops: Vec<Stop> = section
                .rows_of(target)
                .filter_map(|row| {
                    let (goodput, p99) = point(row)?;
                    let offered = row
                        .figures
                        .get("offered_rps")
                        .map_or_else(String::new, |offered| format!(" of {} offered", number::figure(*offered)));
                    let (goodput_text, p99_text) = (number::figure(goodput), number::figure(p99));
                    let says = format!("{target}: {goodput_text}{offered} req/s, p99 {p99_text} ms");
                    Some(Stop { at: (goodput, p99), says, hollow: !reach::reached(row) })
                })
                .collect();
            Curve { name: target.to_owned(), index, points: stops.iter().map(|stop| stop.at).collect(), stops }
        })
        .filter(|curve| !curve.points.is_empty())
        .collect();
    if curves.is_empty() {
        return html! {};
    }
    let all = || curves.iter().flat_map(|curve| curve.points.iter().copied());
    let most = all().map(|(goodput, _)| goodput).fold(0.0, f64::max);
    let heights = all().map(|(_, p99)| p99);
    let y = Scale::log_around(heights);
    let gist = curves.iter().filter_map(|curve| {
        let last = curve.stops.iter().rfind(|stop| !stop.hollow)?;
        Some(format!("{} keeps up to {} req/s", curve.name, number::figure(last.at.0)))
    });
    let gist = format!("p99 over requests a second: {}.", gist.collect::<Vec<_>>().join("; "));
    let bounds = reach::BOUNDS_MS.into_iter().filter(|bound| (0.001..0.999).contains(&y.at(*bound))).collect();
    let plot = Lines {
        x: Axis { label: "goodput, req/s".to_owned(), scale: Scale::linear_within(1.03 * most) },
        y: Axis { label: "p99, ms".to_owned(), scale: y },
        bounds,
        curves,
        gist,
    };
    figure("Frontier: p99 over what was answered (hollow: it fell behind)", &lines(&plot))
}

fn percentiles(section: &Section<'_>, step: Option<usize>, time: &Time) -> Option<Markup> {
    let curves: Vec<Curve> = section
        .played_targets()
        .into_iter()
        .filter_map(|(index, target)| {
            let turns = section.turns_of(target, step);
            let rounds: Vec<&[(f64, f64)]> =
                turns.iter().filter_map(|turn| (time.of)(turn)).map(|spread| spread.curve.as_slice()).collect();
            let points = curve::percentiles(&rounds, PLACES);
            let stops: Vec<Stop> = PERCENTILES
                .into_iter()
                .filter_map(|percentile| {
                    let height = curve::height(&points, percentile)?;
                    let says = format!("{target}: p{} {} ms", number::tick(percentile), number::figure(height));
                    Some(Stop { at: (percentile, height), says, hollow: false })
                })
                .collect();
            (points.len() > 1).then(|| Curve { name: target.to_owned(), index, points, stops })
        })
        .collect();
    if curves.is_empty() {
        return None;
    }
    let most =
        curves.iter().filter_map(|curve| curve.points.last()).map(|(percentile, _)| *percentile).fold(0.0, f64::max);
    let x = Scale::percentiles_to(most);
    let curves: Vec<Curve> = curves.into_iter().map(cut).collect();
    let heights = curves.iter().flat_map(|curve| curve.points.iter().map(|(_, height)| *height));
    let plot = Lines {
        x: Axis { label: "percentile".to_owned(), scale: x },
        y: Axis { label: "ms".to_owned(), scale: Scale::log_around(heights) },
        bounds: Vec::new(),
        gist: gist_of_times(time.name, &curves),
        curves,
    };
    Some(lines(&plot))
}

/// Without what lies beyond the axis.
fn cut(mut curve: Curve) -> Curve {
    let last = PERCENTILES[PERCENTILES.len() - 1] + 1e-9;
    curve.points.retain(|(percentile, _)| *percentile <= last);
    curve
}

fn gist_of_times(name: &str, curves: &[Curve]) -> String {
    let told = curves.iter().map(|curve| {
        let at =
            |wanted: f64| curve.stops.iter().find(|stop| stop.at.0 == wanted).map(|stop| number::figure(stop.at.1));
        let (half, most) = (at(50.0), at(99.0));
        let told = [("p50", half), ("p99", most)].into_iter().filter_map(|(p, ms)| Some(format!("{p} {} ms", ms?)));
        format!("{} {}", curve.name, told.collect::<Vec<_>>().join(", "))
    });
    format!("{name} by percentile: {}.", told.collect::<Vec<_>>().join("; "))
}

fn costs(report: &Report, section: &Section<'_>, step: Option<usize>) -> Option<Markup> {
    let bases = section.bases(report);
    let cost = |row: &Row| row.figures.get("cpu_us").copied();
    let mut bars: Vec<Bar> = Vec::new();
    for (index, target) in section.played_targets() {
        let Some(row) = section.row(target, step) else { continue };
        let Some(value) = cost(row) else { continue };
        // A row that is compared with another scenario is shown beside it.
        let others = report.rows.iter().filter(|other| {
            other.target == target && other.scenario != row.scenario && row.ratios.contains_key(&other.scenario)
        });
        for other in others.filter(|other| other.step.is_none()) {
            if let Some(value) = cost(other) {
                let says = format!("{} µs", number::figure(value));
                bars.push(Bar { name: other.scenario.clone(), index, value, says, pale: true });
            }
        }
        let ratios = bases.iter().filter_map(|base| {
            let ratio = row.ratios.get(base)?.get("cpu_us")?;
            Some(format!("{} × {base}", number::ratio(*ratio)))
        });
        let says: Vec<String> = [format!("{} µs", number::figure(value))].into_iter().chain(ratios).collect();
        bars.push(Bar { name: target.to_owned(), index, value, says: says.join(" · "), pale: false });
    }
    if bars.is_empty() {
        return None;
    }
    let told: Vec<String> = bars.iter().map(|bar| format!("{} {}", bar.name, bar.says)).collect();
    Some(bars::bars(&bars, &format!("CPU time of the server a request: {}.", told.join("; "))))
}

fn memory(section: &Section<'_>, step: Option<usize>) -> Option<Markup> {
    let curves: Vec<Curve> = section
        .played_targets()
        .into_iter()
        .filter_map(|(index, target)| {
            let turns = section.turns_of(target, step);
            let rounds: Vec<Vec<(f64, f64)>> =
                turns.iter().filter_map(|turn| Some(turn.server.as_ref()?.memory.clone())).collect();
            let points = curve::median_curve(&rounds, PLACES);
            let highest = points.iter().copied().max_by(|(_, one), (_, other)| one.total_cmp(other))?;
            let says = |(seconds, mib): (f64, f64)| {
                format!("{target}: {} MiB after {} s", number::figure(mib), number::figure(seconds))
            };
            let ends = [points.first().copied()?, highest, points.last().copied()?];
            let stops = ends.into_iter().map(|at| Stop { at, says: says(at), hollow: false }).collect();
            Some(Curve { name: target.to_owned(), index, points, stops })
        })
        .collect();
    if curves.is_empty() {
        return None;
    }
    let all = || curves.iter().flat_map(|curve| curve.points.iter().copied());
    let seconds = all().map(|(seconds, _)| seconds).fold(0.0, f64::max);
    let mib = all().map(|(_, mib)| mib).fold(0.0, f64::max);
    let told = curves.iter().map(|curve| {
        let highest = curve.stops.get(1).map_or(0.0, |stop| stop.at.1);
        format!("{} at most {} MiB", curve.name, number::figure(highest))
    });
    let gist = format!("Memory over time: {}.", told.collect::<Vec<_>>().join("; "));
    let plot = Lines {
        x: Axis { label: "seconds since the beginning".to_owned(), scale: Scale::linear_within(seconds) },
        y: Axis { label: "MiB".to_owned(), scale: Scale::linear_to(mib) },
        bounds: Vec::new(),
        curves,
        gist,
    };
    Some(lines(&plot))
}

fn figure(caption: &str, plot: &Markup) -> Markup {
    html! { figure { figcaption { (caption) } (scrolled(caption, plot)) } }
}
