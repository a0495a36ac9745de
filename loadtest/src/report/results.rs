//! What was measured, as it is kept: a report's JSON is these structures, word for word, and its table and its page are made
//! of nothing else.
//!
//! Times of requests are milliseconds from the moment at which they were due; CPU time is microseconds; memory is MiB.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A whole measurement: some scenarios, some targets, some rounds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Of these structures; a reader refuses what it does not know.
    pub version: u32,
    /// When it began, RFC 3339 in UTC.
    pub began: String,
    /// The command that repeats it.
    pub command: String,
    /// Where it ran.
    pub machine: Machine,
    /// What was played.
    pub scenarios: Vec<Played>,
    /// Targets in the order in which they were given.
    pub targets: Vec<String>,
    /// Rounds that count; those that warm up are not here.
    pub rounds: usize,
    /// All turns, in the order in which they ran.
    pub turns: Vec<Turn>,
    /// Medians over the rounds, one for each scenario, target and step.
    pub rows: Vec<Row>,
    /// The bounds that the scenarios set, and what was found.
    pub verdicts: Vec<Verdict>,
}

impl Report {
    /// This report, and another one's scenarios behind its own.
    #[must_use]
    pub fn with(mut self, other: Self) -> Self {
        self.scenarios.extend(other.scenarios);
        self.turns.extend(other.turns);
        self.rows.extend(other.rows);
        self.verdicts.extend(other.verdicts);
        self.rounds = self.rounds.max(other.rounds);
        self
    }
}

/// The version of [`Report`] that this program writes.
pub const VERSION: u32 = 1;

/// The machine that everything ran on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's own name.
    pub processor: String,
    /// Cores that this program may use.
    pub cores: usize,
    /// Memory in GiB.
    pub memory_gib: f64,
    /// The kernel's name and release.
    pub kernel: String,
}

/// A scenario that was played.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Played {
    /// The file's name without its ending.
    pub name: String,
    /// What it is for.
    pub purpose: String,
    /// Its load in words, such as `closed, 256 connections, 10 s`.
    pub load: String,
}

/// One scenario against one target for one time; with steps, one step of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Turn {
    /// Name of the scenario.
    pub scenario: String,
    /// Name of the target.
    pub target: String,
    /// From 1.
    pub round: usize,
    /// Of steps: which, from 0.
    pub step: Option<usize>,
    /// Of open loops: requests that were due a second.
    pub offered_rps: Option<f64>,
    /// How long requests were sent.
    pub seconds: f64,
    /// How they ended.
    pub counts: Counts,
    /// Requests answered as they should be, a second.
    pub goodput_rps: f64,
    /// From when a request was due to the last byte of its answer; of those that were answered.
    pub latency: Option<Spread>,
    /// To the first text of a stream.
    pub first_token: Option<Spread>,
    /// Between two texts of one stream.
    pub gap: Option<Spread>,
    /// To the last byte of a refusal.
    pub refusal: Option<Spread>,
    /// From when a request was due to when it was sent: the generator's own slip, and the wait for a connection.
    pub lateness: Option<Spread>,
    /// Requests sent more than a millisecond after they were due.
    pub late_sends: u64,
    /// What the kernel counted of the target's process; nothing where nobody knows its process.
    pub server: Option<ServerUse>,
    /// CPU time of the generator a request.
    pub generator_cpu_us: f64,
    /// Share of the machine's time that other machines on the same host took, 0 to 1.
    pub stolen: f64,
    /// Why this turn does not count; empty if it does.
    pub voids: Vec<String>,
}

/// How requests ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Sent.
    pub sent: u64,
    /// Answered as they should be.
    pub answered: u64,
    /// Answered with a status that the scenario allows, other than 200.
    pub refused: u64,
    /// Ended in an error that the scenario allows: a broken stream, a lost connection.
    pub failed: u64,
    /// Hung up by the client, as the scenario wants.
    pub left: u64,
    /// Anything else: a status that is not allowed, a wrong body, lost words.
    pub wrong: u64,
    /// Words of streams that arrived.
    pub frames: u64,
}

/// How a time is spread.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// How many were measured.
    pub count: u64,
    /// Mean.
    pub mean: f64,
    /// Half are below.
    pub p50: f64,
    /// 90 of 100 are below.
    pub p90: f64,
    /// 99 of 100 are below.
    pub p99: f64,
    /// 999 of 1000 are below.
    pub p999: f64,
    /// The longest.
    pub max: f64,
    /// Points of the curve: percentile (0 to 100), milliseconds.
    pub curve: Vec<(f64, f64)>,
}

/// What the kernel counts of a server's process and of those that it started.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerUse {
    /// CPU time a request that was sent.
    pub cpu_us: f64,
    /// CPU time a word that was streamed.
    pub cpu_us_per_frame: Option<f64>,
    /// Share of one core: 1.0 is a whole one.
    pub cores: f64,
    /// Context switches a request that was sent.
    pub switches: f64,
    /// Memory in RAM before.
    pub idle_mib: f64,
    /// The most meanwhile.
    pub most_mib: f64,
    /// When the rest after it was over.
    pub after_mib: f64,
    /// Memory over time: seconds since the turn began, MiB.
    pub memory: Vec<(f64, f64)>,
}

/// Medians of the turns of one scenario, target and step.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Name of the scenario.
    pub scenario: String,
    /// Name of the target.
    pub target: String,
    /// Of steps: which, from 0.
    pub step: Option<usize>,
    /// Turns that count.
    pub turns: usize,
    /// The medians, by the figure's name (`Figure`).
    pub figures: BTreeMap<String, f64>,
    /// The medians of the rounds' own ratios to another row, by that row's name and the figure's.
    pub ratios: BTreeMap<String, BTreeMap<String, f64>>,
    /// The medians of the rounds' own differences to another row, likewise.
    pub added: BTreeMap<String, BTreeMap<String, f64>>,
}

/// A bound that a scenario sets.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Name of the scenario.
    pub scenario: String,
    /// What is bounded, in words.
    pub what: String,
    /// The bound, in words, such as `at most 1.25`.
    pub bound: String,
    /// What was found; nothing if it could not be measured.
    pub found: Option<f64>,
    /// Whether it holds.
    pub holds: bool,
}
