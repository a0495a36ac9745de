//! `loadtest run` and `loadtest compare`.

use std::{fs, io::Write, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use clap::Args;

use crate::{
    play::{PlayArgs, play},
    report::{Report, json, page, table},
    target::Target,
};

/// One scenario or several, against one target.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Scenarios, such as `loadtest/scenarios/chat.toml`.
    #[arg(value_name = "SCENARIO.toml", required = true)]
    scenarios: Vec<PathBuf>,
    /// What is measured: `penstock`, `direct`, `floor`, `NAME=penstock:FILE` or `NAME=http://HOST:PORT[@PID]`.
    #[arg(long, default_value = "penstock")]
    target: Target,
    #[command(flatten)]
    play: PlayArgs,
}

/// One scenario or several, against several targets in turns.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// What is measured: `penstock`, `direct`, `floor`, `NAME=penstock:FILE` or `NAME=http://HOST:PORT[@PID]`.
    #[arg(value_name = "TARGET", required = true)]
    targets: Vec<Target>,
    /// A scenario; may be repeated.
    #[arg(short, long = "scenario", value_name = "SCENARIO.toml", required = true)]
    scenarios: Vec<PathBuf>,
    #[command(flatten)]
    play: PlayArgs,
}

/// Status of a measurement of which a turn is void, and of one that misses a bound under `--strict`.
const VOID: u8 = 1;
const MISSED: u8 = 3;

/// Plays scenarios one after the other, each on servers of its own.
///
/// # Errors
/// When a scenario or target is wrong, or does not start.
pub async fn run(args: &RunArgs, out: &mut dyn Write) -> Result<ExitCode> {
    let mut reports = Vec::new();
    for scenario in &args.scenarios {
        let plan = args.play.plan(std::slice::from_ref(scenario), vec![args.target.clone()])?;
        reports.push(play(&plan).await?);
    }
    let report = reports.into_iter().reduce(Report::with).context("no scenario is named")?;
    told(&report, &args.play, out)
}

/// Plays scenarios against targets in turns.
///
/// # Errors
/// When a scenario or target is wrong, or does not start.
pub async fn compare(args: &CompareArgs, out: &mut dyn Write) -> Result<ExitCode> {
    let plan = args.play.plan(&args.scenarios, args.targets.clone())?;
    let report = play(&plan).await?;
    told(&report, &args.play, out)
}

fn told(report: &Report, args: &PlayArgs, out: &mut dyn Write) -> Result<ExitCode> {
    writeln!(out, "{}", table::terminal(report))?;
    if let Some(file) = &args.json {
        json::write(report, file)?;
    }
    if let Some(file) = &args.html {
        fs::write(file, page::page(report)).with_context(|| format!("{} cannot be written", file.display()))?;
    }
    let void = report.turns.iter().any(|turn| !turn.voids.is_empty());
    let missed = args.strict && report.verdicts.iter().any(|verdict| !verdict.holds);
    Ok(match (void, missed) {
        (true, _) => ExitCode::from(VOID),
        (false, true) => ExitCode::from(MISSED),
        (false, false) => ExitCode::SUCCESS,
    })
}
