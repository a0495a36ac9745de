//! What the policies must do, in figures. Each run is a few thousand requests; where chance decides much, several seeds.

use super::{
    engine::{Engine, Trouble},
    outcome::Outcome,
    report::{keep, table},
    scenario::{Limits, Plan, SLOTS, alike, one_slow_in_four},
};
use crate::domain::pool::Policy;

/// How many times as long as the others the slow backend takes.
const SLOW: f64 = 10.0;
const SEEDS: [u64; 3] = [1, 2, 3];

fn run(policy: Policy, engines: &[Engine], rate: f64, seed: u64) -> Outcome {
    Plan { seed, ..Plan::new(policy, engines.to_vec(), rate) }.run()
}

/// The mean of what the seeds give.
fn mean(of: impl Fn(u64) -> f64) -> f64 {
    SEEDS.into_iter().map(of).sum::<f64>() / SEEDS.len() as f64
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = || run(Policy::LeastLoaded, &one_slow_in_four(SLOW), 10.0, 7);
    assert_eq!((run().sent, run().quantile(0.9)), (run().sent, run().quantile(0.9)));
}

#[test]
fn no_backend_gets_more_calls_than_it_has_slots() {
    let outcome = run(Policy::Random, &one_slow_in_four(SLOW), 30.0, 1);
    assert_eq!(outcome.most, [SLOTS; 4], "and all are used under overload");
}

fn row<const N: usize>(cells: [String; N]) -> Vec<String> {
    cells.into()
}

fn heads(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

fn seconds(seconds: f64) -> String {
    format!("{seconds:.1} s")
}

fn percent(part: f64) -> String {
    format!("{:.1} %", part * 100.0)
}

#[test]
fn least_loaded_halves_the_tail_of_random_where_one_backend_in_four_is_slow() {
    let mut rows = vec![heads(&["the slow one takes", "`least-loaded`", "`random`", "ratio"])];
    let mut ratios = Vec::new();
    for slowness in [3.0, 5.0, SLOW] {
        let engines = one_slow_in_four(slowness);
        let rate = 0.8 * Plan::peak(&engines);
        let p99 = |policy| mean(|seed| run(policy, &engines, rate, seed).quantile(0.99));
        let (least_loaded, random) = (p99(Policy::LeastLoaded), p99(Policy::Random));
        ratios.push(random / least_loaded);
        let ratio = format!("{:.1}", random / least_loaded);
        rows.push(row([format!("{slowness} × as long"), seconds(least_loaded), seconds(random), ratio]));
    }
    let table = table(&rows);
    assert!(ratios[2] >= 2.0, "{table}");
    assert!(ratios.is_sorted() && ratios[0] > 1.25, "{table}");
    keep("slow backends", &table);
}

#[test]
fn overload_costs_no_more_than_a_tenth_of_the_peak_under_any_policy() {
    let engines = one_slow_in_four(SLOW);
    let peak = Plan::peak(&engines);
    let mut rows = vec![heads(&[
        "policy",
        "p50 at 50 %",
        "p99",
        "p50 at 80 %",
        "p99",
        "calls of the slow one",
        "goodput at 120 %",
        "at 200 %",
    ])];
    for policy in Policy::ALL {
        let at = |load: f64| run(policy, &engines, peak * load, 1);
        let (half, most) = (at(0.5), at(0.8));
        let goodputs = [1.2, 2.0].map(|load| at(load).goodput() / peak);
        assert!(goodputs.iter().all(|goodput| *goodput >= 0.9), "{policy:?}: {goodputs:?}");
        rows.push(row([
            format!("`{}`", policy.as_str()),
            seconds(half.quantile(0.5)),
            seconds(half.quantile(0.99)),
            seconds(most.quantile(0.5)),
            seconds(most.quantile(0.99)),
            percent(most.sent[3] as f64 / most.sent.iter().sum::<usize>() as f64),
            percent(goodputs[0]),
            percent(goodputs[1]),
        ]));
    }
    keep("policies", &table(&rows));
}

#[test]
fn nor_does_it_where_limits_are_found_out() {
    let peak = Plan::peak(&alike(4));
    for load in [1.2, 2.0] {
        let plan = Plan { limits: Limits::Found, ..Plan::new(Policy::LeastLoaded, alike(4), peak * load) };
        let outcome = plan.run();
        let goodput = outcome.goodput() / peak;
        assert!(goodput >= 0.9, "{load} of the peak: {goodput}, limits {:?}", outcome.limits);
    }
}

#[test]
fn one_bad_backend_costs_other_requests_no_more_than_a_twentieth_of_their_tail() {
    let rate = 0.7 * Plan::peak(&alike(3));
    let without = SEEDS.map(|seed| run(Policy::LeastLoaded, &alike(3), rate, seed).quantile(0.99));
    let names = ["one backend is", "p99 of others", "requests that met it", "calls it got", "told of its failure"];
    let mut rows = vec![heads(&names)];
    let troubles = [
        ("dead", Trouble::Dead),
        ("silent", Trouble::Silent),
        ("refusing all calls (429)", Trouble::Storm),
        ("dead every other two seconds", Trouble::Flapping),
        ("loading its model 8 s of every 40 (slow start)", Trouble::SlowStart),
        ("answering 503 one second of every five", Trouble::Bursts(503)),
        ("answering 500 one second of every five", Trouble::Bursts(500)),
    ];
    for (name, trouble) in troubles {
        let mut engines = alike(3);
        engines.push(Engine::new(SLOTS).in_trouble(trouble));
        let outcomes = SEEDS.map(|seed| run(Policy::LeastLoaded, &engines, rate, seed));
        // A 500 may be the request's own doing: it is told, and nobody else is asked.
        let is_told = trouble == Trouble::Bursts(500);
        for outcome in &outcomes {
            assert_eq!((outcome.failed > 0, outcome.failed_elsewhere, outcome.refused), (is_told, 0, 0), "{name}");
        }
        let costs = outcomes.iter().zip(without).map(|(outcome, without)| outcome.quantile_of_others(0.99) / without);
        let cost = costs.sum::<f64>() / SEEDS.len() as f64 - 1.0;
        assert!(cost <= 0.05, "{name}: {cost}");
        let first = &outcomes[0];
        let met = first.answers.iter().filter(|answer| answer.met_trouble).count() + first.failed;
        rows.push(row([
            name.to_owned(),
            format!("{:+.1} %", cost * 100.0),
            met.to_string(),
            first.sent[3].to_string(),
            first.failed.to_string(),
        ]));
    }
    keep("bad backends", &table(&rows));
}
