//! What is to be played, as the command line says it: `loadtest run` and `loadtest compare`.

use std::{path::PathBuf, time::Duration};

use anyhow::{Result, ensure};
use clap::Args;

use crate::{
    scenario::Scenario,
    target::{Target, What},
};

/// What is to be played.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The scenarios, in the order in which they are played.
    pub scenarios: Vec<Scenario>,
    /// Their files.
    pub files: Vec<PathBuf>,
    /// The targets; all of them take each scenario.
    pub targets: Vec<Target>,
    /// Rounds.
    pub rounds: usize,
    /// Before each turn, for so long nothing counts.
    pub warm_up: Duration,
    /// Whether any answer will do.
    pub any_answer: bool,
    /// Port of the first simulated backend; 0 takes free ones.
    pub port: u16,
    /// The command that repeats it.
    pub command: String,
}

/// How scenarios are played, by any command.
#[derive(Debug, Clone, Args)]
pub struct PlayArgs {
    /// Rounds that count.
    #[arg(long, value_name = "N")]
    pub rounds: Option<usize>,
    /// Seconds of each turn, instead of the scenario's.
    #[arg(long, value_name = "N")]
    pub seconds: Option<f64>,
    /// Seconds before each turn that do not count.
    #[arg(long, value_name = "N", default_value_t = 1.0)]
    pub warm_up: f64,
    /// Penstock's binary, where it is not beside this program.
    #[arg(long, value_name = "FILE")]
    pub server: Option<PathBuf>,
    /// Port of the first simulated backend, the next ones follow: for a gateway of yours that is to call it. 0 takes free ones.
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub port: u16,
    /// Take any answer with status 200 for right: for servers that do not ask the simulated backends.
    #[arg(long)]
    pub any_answer: bool,
    /// Write the page with plots here.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Write all figures here; `loadtest report` shows them again.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// End with an error when a bound is missed, and not only when a turn is void.
    #[arg(long)]
    pub strict: bool,
}

/// Rounds of a comparison, and of a single target.
const ROUNDS_TO_COMPARE: usize = 3;
const ROUNDS_TO_RUN: usize = 1;

impl PlayArgs {
    /// The plan that these options make of scenarios and targets.
    ///
    /// # Errors
    /// When a scenario cannot be read, or an option makes no sense.
    pub fn plan(&self, files: &[PathBuf], mut targets: Vec<Target>) -> Result<Plan> {
        ensure!(!files.is_empty(), "no scenario is named: see loadtest/scenarios");
        ensure!((0.0..=600.0).contains(&self.warm_up), "--warm-up must be 0 to 600");
        let single = targets.len() == 1 && files.len() == 1;
        let rounds = self.rounds.unwrap_or(if single { ROUNDS_TO_RUN } else { ROUNDS_TO_COMPARE });
        ensure!(rounds > 0, "--rounds is 0: nothing would count");
        for target in &mut targets {
            if let (What::Penstock(file @ None), Some(server)) = (&mut target.what, &self.server) {
                *file = Some(server.clone());
            }
        }
        let mut names: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        ensure!(names.len() == targets.len(), "two targets have the same name: write NAME=…");
        let mut scenarios = Vec::new();
        for file in files {
            let mut scenario = Scenario::read(file)?;
            if let Some(seconds) = self.seconds {
                scenario.load = scenario.load.for_seconds(seconds);
                scenario.load.check()?;
            }
            scenarios.push(scenario);
        }
        Ok(Plan {
            scenarios,
            files: files.to_vec(),
            targets,
            rounds,
            warm_up: Duration::from_secs_f64(self.warm_up),
            any_answer: self.any_answer,
            port: self.port,
            command: std::env::args().skip(1).fold("loadtest".to_owned(), |line, word| format!("{line} {word}")),
        })
    }
}

impl Plan {
    /// Turns that are played, those that find peaks among them.
    pub(crate) fn turns(&self) -> usize {
        let of = |scenario: &Scenario| {
            let rounds = scenario.rounds.map_or(self.rounds, |most| most.min(self.rounds));
            let steps = scenario.load.steps();
            rounds * steps.unwrap_or(1) + usize::from(steps.is_some())
        };
        self.scenarios.iter().map(of).sum::<usize>() * self.targets.len()
    }
}
