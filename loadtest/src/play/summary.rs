//! Medians of the turns that count, what they are to one another, and whether they keep the scenarios' bounds.
//!
//! Ratios and differences are those of two turns of the same round, and of these the median: what disturbs a round disturbs
//! both of its turns.

use std::collections::BTreeMap;

use crate::{
    report::{
        Figure,
        results::{Row, Turn, Verdict},
    },
    scenario::{Bound, Load, Reference, Scenario},
};

type Named = BTreeMap<String, f64>;

/// One row for each scenario, target and step, in the order in which they were first played.
pub(super) fn rows(turns: &[Turn]) -> Vec<Row> {
    let mut keys: Vec<(&str, &str, Option<usize>)> = Vec::new();
    for turn in turns {
        let key = (turn.scenario.as_str(), turn.target.as_str(), turn.step);
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    let of = |key: (&str, &str, Option<usize>)| -> Vec<&Turn> {
        let own = turns.iter().filter(|turn| (turn.scenario.as_str(), turn.target.as_str(), turn.step) == key);
        own.filter(|turn| turn.voids.is_empty()).collect()
    };
    let rows = keys.iter().map(|key| {
        let own = of(*key);
        let (mut ratios, mut added) = (BTreeMap::new(), BTreeMap::new());
        for other in keys.iter().filter(|other| *other != key && other.2 == key.2) {
            // Another target in the same scenario, or the same target in another scenario.
            let name = match (other.0 == key.0, other.1 == key.1) {
                (true, false) => other.1,
                (false, true) if key.2.is_none() => other.0,
                _ => continue,
            };
            let others = of(*other);
            ratios.insert(name.to_owned(), pairs(&own, &others, |own, other| own / other));
            added.insert(name.to_owned(), pairs(&own, &others, |own, other| own - other));
        }
        let figures = medians(&own);
        Row {
            scenario: key.0.to_owned(),
            target: key.1.to_owned(),
            step: key.2,
            turns: own.len(),
            figures,
            ratios,
            added,
        }
    });
    rows.collect()
}

fn medians(turns: &[&Turn]) -> Named {
    named(|figure| turns.iter().filter_map(|turn| figure.of(turn)).collect())
}

/// Medians over the rounds that both have.
fn pairs(own: &[&Turn], others: &[&Turn], compare: fn(f64, f64) -> f64) -> Named {
    named(|figure| {
        let values = own.iter().filter_map(|turn| {
            let other = others.iter().find(|other| other.round == turn.round)?;
            Some(compare(figure.of(turn)?, figure.of(other)?)).filter(|value| value.is_finite())
        });
        values.collect()
    })
}

fn named(values: impl Fn(Figure) -> Vec<f64>) -> Named {
    let median = |figure: &Figure| Some((figure.name().to_owned(), median(values(*figure))?));
    Figure::ALL.iter().filter_map(median).collect()
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let (upper, lower) = (values.get(values.len() / 2)?, values.get(values.len().saturating_sub(1) / 2)?);
    Some(f64::midpoint(*lower, *upper))
}

/// What became of a scenario's bounds; those of targets that were not played are left out.
pub(super) fn verdicts(scenario: &Scenario, rows: &[Row]) -> Vec<Verdict> {
    let played = |name: &str| rows.iter().any(|row| row.target == name || row.scenario == name);
    let bounds = scenario.bounds.iter().filter(|bound| {
        let reference = match bound.reference() {
            Reference::None => true,
            Reference::Ratio(other) | Reference::Added(other) => played(other),
        };
        reference && played(&bound.target)
    });
    bounds.map(|bound| verdict(scenario, bound, rows)).collect()
}

fn verdict(scenario: &Scenario, bound: &Bound, rows: &[Row]) -> Verdict {
    let step = match (&scenario.load, bound.of_peak) {
        (Load::Steps { of_peak, .. }, Some(share)) => of_peak.iter().position(|own| *own == share),
        _ => None,
    };
    let own = |row: &&Row| row.scenario == scenario.name && row.target == bound.target && row.step == step;
    let found = rows.iter().find(own).and_then(|row| {
        let figures = match bound.reference() {
            Reference::None => Some(&row.figures),
            Reference::Ratio(other) => row.ratios.get(other),
            Reference::Added(other) => row.added.get(other),
        };
        figures?.get(bound.figure.name()).copied()
    });
    let holds = found.is_some_and(|found| bound.holds(found));
    Verdict { scenario: scenario.name.clone(), what: bound.what(), bound: bound.words(), found, holds }
}
