//! One scenario's part of a report: its rows in the order in which they are read, its turns, and what of it was void.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    frontier,
    results::{Played, Report, Row, Turn},
};

/// One scenario's part of a report.
#[derive(Debug, Clone)]
pub struct Section<'a> {
    /// The scenario.
    pub played: &'a Played,
    /// All targets of the report; a target's place among them is its colour.
    pub targets: &'a [String],
    /// By step, and of one step in the order of the targets. A pair whose turns were all void has a row without figures.
    pub rows: Vec<Row>,
    turns: Vec<&'a Turn>,
}

/// What did not count, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Void {
    /// Name of the scenario.
    pub scenario: String,
    /// Name of the target.
    pub target: String,
    /// Of steps: which, from 0.
    pub step: Option<usize>,
    /// The rounds.
    pub rounds: Vec<usize>,
    /// The reason.
    pub why: String,
}

/// All sections of a report, in the order in which the scenarios were played.
pub fn sections(report: &Report) -> Vec<Section<'_>> {
    report.scenarios.iter().map(|played| Section::of(report, played)).collect()
}

/// All that was void, in the order in which it ran; the same reason is told once for all its rounds.
pub fn voids(report: &Report) -> Vec<Void> {
    let mut voids: Vec<Void> = Vec::new();
    for turn in &report.turns {
        for why in &turn.voids {
            let same = voids.iter_mut().find(|void| {
                void.scenario == turn.scenario
                    && void.target == turn.target
                    && void.step == turn.step
                    && void.why == *why
            });
            match same {
                Some(void) => void.rounds.push(turn.round),
                None => voids.push(Void {
                    scenario: turn.scenario.clone(),
                    target: turn.target.clone(),
                    step: turn.step,
                    rounds: vec![turn.round],
                    why: why.clone(),
                }),
            }
        }
    }
    voids
}

impl<'a> Section<'a> {
    fn of(report: &'a Report, played: &'a Played) -> Self {
        let turns: Vec<&Turn> = report.turns.iter().filter(|turn| turn.scenario == played.name).collect();
        let rows = report.rows.iter().filter(|row| row.scenario == played.name);
        let mut found: BTreeMap<(Option<usize>, usize, &str), Row> = BTreeMap::new();
        let place = |target: &str| place(&report.targets, target);
        for row in rows {
            found.insert((row.step, place(&row.target), &row.target), row.clone());
        }
        for turn in &turns {
            let row = found.entry((turn.step, place(&turn.target), &turn.target)).or_insert_with(|| Row {
                scenario: turn.scenario.clone(),
                target: turn.target.clone(),
                step: turn.step,
                ..Row::default()
            });
            // What was offered is known, whatever came of it.
            if let Some(offered) = turn.offered_rps {
                row.figures.entry("offered_rps".to_owned()).or_insert(offered);
            }
        }
        Section { played, targets: &report.targets, rows: found.into_values().collect(), turns }
    }

    /// Its steps, in order; a scenario without steps has one that has no number.
    pub fn steps(&self) -> Vec<Option<usize>> {
        let steps: BTreeSet<Option<usize>> = self.rows.iter().map(|row| row.step).collect();
        steps.into_iter().collect()
    }

    /// Whether it has more than one step.
    pub fn is_stepped(&self) -> bool {
        self.steps().len() > 1
    }

    /// The targets that were measured, each with its place among all of the report.
    pub fn played_targets(&self) -> Vec<(usize, &str)> {
        let targets: BTreeSet<(usize, &str)> =
            self.rows.iter().map(|row| (place(self.targets, &row.target), row.target.as_str())).collect();
        targets.into_iter().collect()
    }

    /// The rows of one target, by step.
    pub fn rows_of(&self, target: &str) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| row.target == target)
    }

    /// The row of one target and step.
    pub fn row(&self, target: &str, step: Option<usize>) -> Option<&Row> {
        self.rows.iter().find(|row| row.target == target && row.step == step)
    }

    /// The turns of one target and step that count.
    pub fn turns_of(&self, target: &str, step: Option<usize>) -> Vec<&'a Turn> {
        let fits = |turn: &&&Turn| turn.target == target && turn.step == step && turn.voids.is_empty();
        self.turns.iter().filter(fits).copied().collect()
    }

    /// The step whose times are shown first: the last one that all targets kept up with, else the first one. Beyond it the
    /// times of one target would be those of its queue.
    pub fn fair_step(&self) -> Option<usize> {
        let steps = self.steps();
        let all_reached = |step: &&Option<usize>| {
            let mut rows = self.rows.iter().filter(|row| row.step == **step);
            rows.all(frontier::reached)
        };
        steps.iter().rev().find(all_reached).or(steps.first()).copied().flatten()
    }

    /// What was offered at a step, if that is known.
    pub fn offered(&self, step: Option<usize>) -> Option<f64> {
        self.rows.iter().filter(|row| row.step == step).find_map(|row| row.figures.get("offered_rps").copied())
    }

    /// Names of the rows that others are compared with: targets first, then scenarios, each as the report has them.
    pub fn bases(&self, report: &Report) -> Vec<String> {
        let named: BTreeSet<&String> =
            self.rows.iter().flat_map(|row| row.ratios.keys().chain(row.added.keys())).collect();
        let known: Vec<&String> =
            report.targets.iter().chain(report.scenarios.iter().map(|played| &played.name)).collect();
        let mut bases: Vec<String> = Vec::new();
        for name in known.iter().filter(|name| named.contains(**name)).chain(&named.iter().copied().collect::<Vec<_>>())
        {
            if !bases.contains(name) {
                bases.push((*name).clone());
            }
        }
        bases
    }
}

fn place(targets: &[String], target: &str) -> usize {
    targets.iter().position(|name| name == target).unwrap_or(targets.len())
}
