//! The report as a page for the browser: one file that opens from a disk and asks no network for anything.
//!
//! What people look for comes first: the bounds, and of those the missed ones. Then one section a scenario. Every text of the
//! report is escaped by the template (`maud`), whose `PreEscaped` is used for the style alone.
//!
//! - `scenario`: a scenario's section; `figures`: its plots

mod figures;
mod scenario;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{
    plot::mark,
    results::Report,
    section::{self, Section},
    words::{self, Fate},
};

const STYLE: &str = include_str!("page/style.css");

/// What a browser may do with the page: show it. A second lock behind the escaping, and proof that nothing is fetched.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// The report as HTML.
pub fn page(report: &Report) -> String {
    let sections = section::sections(report);
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="color-scheme" content="light dark";
                title { "Load report: " (names(report)) ", " (words::began(report)) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (heading(report, &sections))
                main {
                    (verdicts(report))
                    (voids(report))
                    @for (index, section) in sections.iter().enumerate() {
                        (scenario::scenario(report, section, index))
                    }
                }
                footer { p { "Written by " code { "loadtest report" } ". Point at a sign in a plot to read its value." } }
            }
        }
    };
    markup.into_string()
}

fn names(report: &Report) -> String {
    report.targets.join(", ")
}

fn heading(report: &Report, sections: &[Section<'_>]) -> Markup {
    html! {
        header {
            h1 { "Load report" }
            dl class="facts" {
                dt { "Targets" }
                dd class="legend" {
                    @for (index, name) in report.targets.iter().enumerate() {
                        (target_name(index, name)) " "
                    }
                }
                dt { "Measured" }
                dd { time datetime=(report.began) { (words::began(report)) } ", " (words::rounds(report)) }
                dt { "Machine" }
                dd { (words::machine(&report.machine)) "; at most " (words::stolen(report)) " of its time went to others" }
                dt { "Again" }
                dd { code { @for word in report.command.split_whitespace() { span class="word" { (word) } " " } } }
            }
            nav aria-label="Scenarios" {
                ul {
                    @for (index, section) in sections.iter().enumerate() {
                        li { a href={ "#" (anchor(index)) } { (section.played.name) } }
                    }
                }
            }
        }
    }
}

fn verdicts(report: &Report) -> Markup {
    html! {
        section aria-labelledby="bounds" {
            h2 id="bounds" { "Bounds" }
            p class="tally" { (words::tally(report)) "." }
            @if !report.verdicts.is_empty() {
                (scrolled("Bounds", &html! {
                    table class="verdicts" {
                        thead { tr {
                            th scope="col" { "verdict" }
                            th scope="col" { "scenario" }
                            th scope="col" { "what" }
                            th scope="col" { "bound" }
                            th scope="col" class="number" { "found" }
                        } }
                        tbody {
                            @for (fate, verdict) in words::verdicts_by_fate(report) {
                                tr class=(class_of(fate)) {
                                    th scope="row" { span class="fate" { (sign_of(fate)) " " (fate.word()) } }
                                    td { (link(report, &verdict.scenario)) }
                                    td { (verdict.what) }
                                    td { (verdict.bound) }
                                    td class="number" { (words::found(verdict)) }
                                }
                            }
                        }
                    }
                }))
            }
        }
    }
}

fn voids(report: &Report) -> Markup {
    let voids = section::voids(report);
    html! {
        @if !voids.is_empty() {
            section aria-labelledby="voids" {
                h2 id="voids" { "Void" }
                p { "In none of the figures:" }
                ul class="voids" {
                    @for void in &voids { li { b { (words::void_where(void)) } ": " (void.why) } }
                }
            }
        }
    }
}

fn target_name(index: usize, name: &str) -> Markup {
    html! { span class="target" { (mark::swatch(index)) " " (name) } }
}

fn link(report: &Report, scenario: &str) -> Markup {
    let index = report.scenarios.iter().position(|played| played.name == scenario);
    html! {
        @if let Some(index) = index { a href={ "#" (anchor(index)) } { (scenario) } } @else { (scenario) }
    }
}

/// By number: a name may have letters that an address has not.
fn anchor(index: usize) -> String {
    format!("scenario-{}", index + 1)
}

/// What may be wider than the window; it is scrolled by itself, by keys too.
fn scrolled(what: &str, inner: &Markup) -> Markup {
    html! { div class="scrolled" role="region" aria-label=(what) tabindex="0" { (inner) } }
}

fn class_of(fate: Fate) -> &'static str {
    match fate {
        Fate::Missed => "missed",
        Fate::Unknown => "unknown",
        Fate::Holds => "holds",
    }
}

/// Beside the colour, for those who do not tell the colours apart.
fn sign_of(fate: Fate) -> &'static str {
    match fate {
        Fate::Missed => "✕",
        Fate::Unknown => "?",
        Fate::Holds => "✓",
    }
}
