//! Plays scenarios against targets: turn by turn, all targets in every round, and makes a report of it.
//!
//! A round asks every target the same, one after the other, and the next round begins with another one: whatever else the
//! machine does meets all of them alike, and what is compared is always of the same round.

pub mod command;
mod plan;
mod progress;
mod summary;
mod turn;

use std::{collections::HashMap, time::SystemTime};

use anyhow::{Context, Result, ensure};

pub use self::plan::{Plan, PlayArgs};
use self::{
    progress::Progress,
    turn::{Stage, Step},
};
use crate::{
    machine,
    report::{
        Report,
        results::{Played, Turn, VERSION},
    },
    rig::Rig,
    scenario::{Load, Scenario},
};

/// Seconds of the closed loop that finds a target's peak.
const PEAK_SECONDS: f64 = 3.0;

/// Plays it all.
///
/// # Errors
/// When a process does not start or ends, or a target cannot be asked what a scenario asks. What goes wrong with requests is no
/// error: it voids its turn.
pub async fn play(plan: &Plan) -> Result<Report> {
    let rigs = Rigs::start(plan).await?;
    let progress = Progress::new(plan.turns());
    let peaks = peaks(plan, &rigs, &progress).await?;
    let mut turns = Vec::new();
    for round in 1..=plan.rounds {
        for scenario in plan.scenarios.iter().filter(|scenario| scenario.rounds.is_none_or(|most| round <= most)) {
            let rig = rigs.of(scenario)?;
            let stage = Stage { plan, scenario, rig, progress: &progress };
            let mut servers: Vec<_> = rig.servers.iter().collect();
            let first = (round - 1) % servers.len();
            servers.rotate_left(first);
            for step in steps(scenario, &peaks) {
                for server in &servers {
                    let turn = turn::play(stage, server, round, step).await;
                    turns.push(turn.with_context(|| format!("{} against {}", scenario.name, server.name))?);
                }
            }
        }
    }
    progress.finish();
    Ok(report(plan, turns))
}

fn report(plan: &Plan, turns: Vec<Turn>) -> Report {
    let played = |scenario: &Scenario| {
        let (name, purpose, load) = (scenario.name.clone(), scenario.purpose.clone(), scenario.load.to_string());
        Played { name, purpose, load }
    };
    let rows = summary::rows(&turns);
    let verdicts = plan.scenarios.iter().flat_map(|scenario| summary::verdicts(scenario, &rows)).collect();
    Report {
        version: VERSION,
        began: machine::written(SystemTime::now()),
        command: plan.command.clone(),
        machine: machine::this(),
        scenarios: plan.scenarios.iter().map(played).collect(),
        targets: plan.targets.iter().map(|target| target.name.clone()).collect(),
        rounds: plan.rounds,
        turns,
        rows,
        verdicts,
    }
}

/// The rigs of all scenarios; those that can share one do.
struct Rigs {
    rigs: Vec<Rig>,
    /// Of each scenario, by its name.
    places: HashMap<String, usize>,
}

impl Rigs {
    async fn start(plan: &Plan) -> Result<Self> {
        let mut rigs: Vec<Rig> = Vec::new();
        let mut leaders: Vec<&Scenario> = Vec::new();
        let mut places = HashMap::new();
        for (scenario, file) in plan.scenarios.iter().zip(&plan.files) {
            let place = match leaders.iter().position(|leader| leader.shares_servers_with(scenario)) {
                Some(place) => place,
                None => {
                    let rig = Rig::start(scenario, file, &plan.targets, plan.port).await;
                    rigs.push(rig.with_context(|| format!("scenario {}", scenario.name))?);
                    leaders.push(scenario);
                    rigs.len() - 1
                }
            };
            for server in &rigs[place].servers {
                let takes = scenario.questions.iter().all(|question| server.takes(question));
                let (name, server) = (&scenario.name, &server.name);
                ensure!(takes, "scenario {name} asks what only Penstock has a route for, and {server} is none");
            }
            places.insert(scenario.name.clone(), place);
        }
        Ok(Self { rigs, places })
    }

    fn of(&self, scenario: &Scenario) -> Result<&Rig> {
        self.places.get(&scenario.name).and_then(|place| self.rigs.get(*place)).context("the scenario has no servers")
    }
}

/// Peaks of the scenarios that have steps, by their names: requests a second that the slowest target answers.
async fn peaks(plan: &Plan, rigs: &Rigs, progress: &Progress) -> Result<HashMap<String, f64>> {
    let mut peaks = HashMap::new();
    for scenario in &plan.scenarios {
        let Load::Steps { connections, .. } = &scenario.load else { continue };
        let closed = Scenario {
            load: Load::Closed { connections: *connections, seconds: PEAK_SECONDS },
            rest_seconds: 0.0,
            ..scenario.clone()
        };
        let rig = rigs.of(scenario)?;
        let stage = Stage { plan, scenario: &closed, rig, progress };
        let mut peak = f64::INFINITY;
        for server in &rig.servers {
            let turn = turn::play(stage, server, 0, Step::whole(&closed.load)).await?;
            let (name, server) = (&scenario.name, &server.name);
            ensure!(turn.voids.is_empty(), "{name}: the peak of {server} was not found: {}", turn.voids.join("; "));
            peak = peak.min(turn.goodput_rps);
        }
        peaks.insert(scenario.name.clone(), peak);
    }
    Ok(peaks)
}

/// What a scenario plays in a round.
fn steps(scenario: &Scenario, peaks: &HashMap<String, f64>) -> Vec<Step> {
    match &scenario.load {
        Load::Steps { of_peak, .. } => {
            let peak = peaks.get(&scenario.name).copied().unwrap_or_default();
            let steps = of_peak.iter().enumerate();
            steps.map(|(at, share)| Step::of_peak(&scenario.load, at, peak * share)).collect()
        }
        load => vec![Step::whole(load)],
    }
}
