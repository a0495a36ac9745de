//! One turn: one scenario, or one step of it, against one server.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use crate::{
    drive::{Drive, Shape, ask::Ask, tally::Shared},
    play::{plan::Plan, progress::Progress},
    process::{Process, ProcessorTime, Usage},
    report::results::{ServerUse, Turn},
    rig::{Rig, Server},
    scenario::{Load, Scenario},
    watch::{Watch, mib},
};

/// Which part of a scenario is played.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    nth: Option<usize>,
    shape: Shape,
}

impl Step {
    /// All of a scenario that has no steps.
    pub(super) fn whole(load: &Load) -> Self {
        let shape = match load {
            Load::Closed { .. } => Shape::Closed,
            Load::Open { rate, arrivals, .. } => Shape::Open { rate: *rate, arrivals: *arrivals },
            Load::Steps { arrivals, .. } => Shape::Open { rate: 1.0, arrivals: *arrivals },
            Load::Idle { .. } => Shape::Idle,
        };
        Self { nth: None, shape }
    }

    /// One step, with so many requests a second.
    pub(super) fn of_peak(load: &Load, nth: usize, rate: f64) -> Self {
        let shape = match Self::whole(load).shape {
            Shape::Open { arrivals, .. } => Shape::Open { rate, arrivals },
            other => other,
        };
        Self { nth: Some(nth), shape }
    }

    fn offered(self) -> Option<f64> {
        match self.shape {
            Shape::Open { rate, .. } => Some(rate),
            Shape::Closed | Shape::Idle => None,
        }
    }
}

/// What was used of everything at one moment.
struct Moment {
    at: Instant,
    server: Option<Usage>,
    generator_nanos: u64,
    processor: ProcessorTime,
}

impl Moment {
    fn now(watch: Option<&Watch>) -> Result<Self> {
        let server = watch.map(Watch::usage).transpose().context("the server's process has ended")?;
        let generator_nanos = Process(std::process::id()).own_cpu_nanos()?;
        Ok(Self { at: Instant::now(), server, generator_nanos, processor: ProcessorTime::now() })
    }
}

/// What all turns of a scenario have in common.
#[derive(Clone, Copy)]
pub(super) struct Stage<'a> {
    pub(super) plan: &'a Plan,
    pub(super) scenario: &'a Scenario,
    pub(super) rig: &'a Rig,
    pub(super) progress: &'a Progress,
}

/// Plays it.
pub(super) async fn play(stage: Stage<'_>, server: &Server, round: usize, step: Step) -> Result<Turn> {
    let Stage { plan, scenario, rig, progress } = stage;
    let _alive = rig.backends.process().context("the simulated backends have ended")?;
    let watch = server.process.map(Watch::begin);
    let idle = watch.as_ref().map(Watch::usage).transpose().context("the server's process has ended")?;
    let time = Duration::from_secs_f64(scenario.load.seconds());
    let mut driving = drive(scenario, server, step, plan, time)?.start()?;
    let label = progress.turn(scenario, &server.name, round, driving.tally.clone());
    let counts_from = match (&mut driving.begun).await {
        Ok(counts_from) => counts_from,
        // It ended before it began: the other end says why.
        Err(_) => {
            driving.ended.await.context("the generator is gone")??;
            anyhow::bail!("the generator ended before it began");
        }
    };
    tokio::time::sleep_until(counts_from.into()).await;
    let before = Moment::now(watch.as_ref())?;
    let after = if step.shape == Shape::Closed {
        tokio::time::sleep_until((counts_from + time).into()).await;
        let after = Moment::now(watch.as_ref())?;
        driving.ended.await.context("the generator is gone")??;
        after
    } else {
        driving.ended.await.context("the generator is gone")??;
        Moment::now(watch.as_ref())?
    };
    tokio::time::sleep(Duration::from_secs_f64(scenario.rest_seconds)).await;
    drop(label);
    let seconds = if step.shape == Shape::Idle { after.at - before.at } else { time }.as_secs_f64();
    let mut turn = told(&driving.tally, seconds);
    scenario.name.clone_into(&mut turn.scenario);
    server.name.clone_into(&mut turn.target);
    (turn.round, turn.step, turn.offered_rps) = (round, step.nth, step.offered());
    turn.stolen = after.processor.stolen_since(before.processor);
    let sent = turn.counts.sent.max(1) as f64;
    turn.generator_cpu_us = micros(before.generator_nanos, after.generator_nanos) / sent;
    if let (Some(watch), Some(idle), Some(from), Some(to)) = (&watch, idle, before.server, after.server) {
        turn.server = Some(server_use(&turn, idle, (from, to), (after.at - before.at).as_secs_f64(), watch)?);
    }
    Ok(turn)
}

fn drive(scenario: &Scenario, server: &Server, step: Step, plan: &Plan, time: Duration) -> Result<Drive> {
    let words = if plan.any_answer { None } else { scenario.words() };
    let models = (server.models.0.as_str(), server.models.1.as_str());
    let asks: Result<Vec<_>> =
        scenario.questions.iter().map(|question| Ask::new(question, &server.host, models, words)).collect();
    Ok(Drive {
        server: server.address,
        asks: asks?.into(),
        allow: Arc::new(scenario.allow.clone()),
        shape: step.shape,
        connections: scenario.load.connections(),
        warm_up: plan.warm_up,
        time,
    })
}

/// What the generator counted.
fn told(tally: &Shared, seconds: f64) -> Turn {
    tally.with(|tally| {
        let mut voids: Vec<String> = tally.wrongs.iter().map(|(why, times)| format!("{times} × {why}")).collect();
        if tally.counts.sent == 0 {
            voids.push("no request was answered in the time that counts".to_owned());
        }
        Turn {
            seconds,
            counts: tally.counts,
            goodput_rps: tally.counts.answered as f64 / seconds,
            latency: tally.latency.spread(),
            first_token: tally.first.spread(),
            gap: tally.gap.spread(),
            refusal: tally.refusal.spread(),
            lateness: tally.lateness.spread(),
            late_sends: tally.late_sends,
            voids,
            ..Turn::default()
        }
    })
}

fn server_use(turn: &Turn, idle: Usage, used: (Usage, Usage), seconds: f64, watch: &Watch) -> Result<ServerUse> {
    let (from, to) = used;
    let cpu = micros(from.cpu_nanos, to.cpu_nanos);
    let sent = turn.counts.sent.max(1) as f64;
    let frames = turn.counts.frames;
    let memory = watch.memory();
    let most = memory.iter().map(|(_, mib)| *mib).fold(mib(to.resident_bytes), f64::max);
    Ok(ServerUse {
        cpu_us: cpu / sent,
        cpu_us_per_frame: (frames > 0).then(|| cpu / frames as f64),
        cores: cpu / 1e6 / seconds,
        switches: to.switches.saturating_sub(from.switches) as f64 / sent,
        idle_mib: mib(idle.resident_bytes),
        most_mib: most,
        after_mib: mib(watch.usage()?.resident_bytes),
        memory,
    })
}

fn micros(from_nanos: u64, to_nanos: u64) -> f64 {
    to_nanos.saturating_sub(from_nanos) as f64 / 1000.0
}
