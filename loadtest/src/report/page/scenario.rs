//! A scenario's section of the page: what it is for, its table, and its plots.

use maud::{Markup, html};

use super::{anchor, figures, scrolled, target_name};
use crate::report::{
    columns::{self, Breadth},
    frontier, number,
    results::Report,
    section::Section,
};

/// The section.
pub(super) fn scenario(report: &Report, section: &Section<'_>, index: usize) -> Markup {
    let name = &section.played.name;
    let id = anchor(index);
    let fair = section.fair_step();
    let others: Vec<usize> = section.steps().into_iter().flatten().filter(|step| Some(*step) != fair).collect();
    html! {
        section aria-labelledby=(id) {
            h2 id=(id) { (name) }
            p class="purpose" { (section.played.purpose) }
            p class="load" { (section.played.load) }
            (scrolled(&format!("Figures of {name}"), &table(report, section)))
            @if section.is_stepped() {
                h3 { "How much, before it is slow" }
                div class="plots" {
                    (figures::frontier(section))
                    (scrolled(&format!("Frontier of {name}"), &best(section)))
                }
                h3 { (step_name(section, fair)) }
                @if let Some(note) = fair_note(section, fair) { p class="load" { (note) } }
            }
            div class="plots" { (figures::of_step(report, section, fair)) }
            @for step in others {
                details {
                    summary { (step_name(section, Some(step))) }
                    div class="plots" { (figures::of_step(report, section, Some(step))) }
                }
            }
        }
    }
}

fn fair_note(section: &Section<'_>, step: Option<usize>) -> Option<&'static str> {
    let all = section.rows.iter().filter(|row| row.step == step).all(frontier::reached);
    all.then_some("The last step that all targets kept up with; beyond it, times are those of a queue.")
}

/// A step by its number and by what was offered.
fn step_name(section: &Section<'_>, step: Option<usize>) -> String {
    let number = step.unwrap_or_default() + 1;
    match section.offered(step) {
        Some(offered) => format!("Step {number}: {} req/s offered", number::figure(offered)),
        None => format!("Step {number}"),
    }
}

fn table(report: &Report, section: &Section<'_>) -> Markup {
    let columns = columns::columns(section, report, Breadth::Full);
    let bases = section.bases(report);
    html! {
        table class="rows" {
            thead { tr {
                th scope="col" { "target" }
                @for column in &columns {
                    th scope="col" class="number" title=(column.about) { (column.title) br; small { (column.unit) } }
                }
            } }
            tbody {
                @for (index, row) in section.rows.iter().enumerate() {
                    @let new_step = index > 0 && section.rows[index - 1].step != row.step;
                    tr class=[new_step.then_some("step")] {
                        th scope="row" { (target_name(place(section, &row.target), &row.target)) }
                        @for column in &columns {
                            td class="number" {
                                (column.text(row))
                                @for compared in column.compared(row, &bases) { br; small { (compared) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn best(section: &Section<'_>) -> Markup {
    html! {
        table class="rows" {
            caption {
                "Best req/s with p99 under a bound; a step that was answered for less than "
                (number::tick(frontier::REACHED * 100.0)) " % does not count"
            }
            thead { tr {
                th scope="col" { "target" }
                @for bound in frontier::BOUNDS_MS { th scope="col" class="number" { (number::tick(bound)) " ms" } }
            } }
            tbody {
                @for (index, target) in section.played_targets() {
                    tr {
                        th scope="row" { (target_name(index, target)) }
                        @for bound in frontier::BOUNDS_MS {
                            @let best = frontier::best(section.rows_of(target), bound);
                            td class="number" { (best.map_or_else(|| number::DASH.to_owned(), number::figure)) }
                        }
                    }
                }
            }
        }
    }
}

fn place(section: &Section<'_>, target: &str) -> usize {
    section.targets.iter().position(|name| name == target).unwrap_or(section.targets.len())
}
