//! How much is asked, and when.

use std::fmt;

use anyhow::{Result, ensure};
use serde::Deserialize;

/// The load's shape.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "shape", rename_all = "snake_case", deny_unknown_fields)]
pub enum Load {
    /// Each connection asks again as soon as its answer has come: the peak, and what a request costs there.
    Closed {
        /// Connections, each with one request at a time.
        connections: usize,
        /// How long.
        seconds: f64,
    },
    /// Requests come when they are due, whether or not the others are answered, and their latency counts from then.
    Open {
        /// Requests a second.
        rate: f64,
        /// When they are due.
        #[serde(default)]
        arrivals: Arrivals,
        /// Connections at most; a request that finds all of them taken waits, and that counts as its latency.
        connections: usize,
        /// How long.
        seconds: f64,
    },
    /// An open loop at shares of the peak, one after the other. The peak is the least that any of the targets reaches in a
    /// closed loop, so that all targets get the same rates.
    Steps {
        /// Shares of the peak, 0 to 1.5.
        of_peak: Vec<f64>,
        /// When requests are due.
        #[serde(default)]
        arrivals: Arrivals,
        /// Connections at most, and those of the closed loop.
        connections: usize,
        /// How long each step takes.
        seconds: f64,
    },
    /// Connections that ask once, say nothing for so long, and ask once more.
    Idle {
        /// Connections.
        connections: usize,
        /// How long they say nothing.
        seconds: f64,
    },
}

/// When requests of an open loop are due.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrivals {
    /// Independently of each other, as many clients are.
    #[default]
    Poisson,
    /// At equal distances.
    Fixed,
}

/// Longest time of one turn or step in seconds, and most connections.
const MOST_SECONDS: f64 = 3600.0;
const MOST_CONNECTIONS: usize = 50_000;

impl Load {
    pub(crate) fn check(&self) -> Result<()> {
        let (connections, seconds) = (self.connections(), self.seconds());
        ensure!(connections > 0 && connections <= MOST_CONNECTIONS, "`connections` must be 1 to {MOST_CONNECTIONS}");
        ensure!(seconds > 0.0 && seconds <= MOST_SECONDS, "`seconds` must be above 0 and at most {MOST_SECONDS}");
        match self {
            Self::Open { rate, .. } => {
                ensure!(*rate > 0.0 && *rate <= 1e6, "`rate` must be above 0 and at most 1000000")
            }
            Self::Steps { of_peak, .. } => {
                ensure!(!of_peak.is_empty(), "`of_peak` is empty");
                let fits = of_peak.iter().all(|share| *share > 0.0 && *share <= 1.5);
                ensure!(fits, "`of_peak`: shares must be above 0 and at most 1.5");
            }
            Self::Closed { .. } | Self::Idle { .. } => {}
        }
        Ok(())
    }

    /// Connections at most.
    pub fn connections(&self) -> usize {
        let (Self::Closed { connections, .. }
        | Self::Open { connections, .. }
        | Self::Steps { connections, .. }
        | Self::Idle { connections, .. }) = self;
        *connections
    }

    /// How long one turn takes, or one step of it.
    pub fn seconds(&self) -> f64 {
        let (Self::Closed { seconds, .. }
        | Self::Open { seconds, .. }
        | Self::Steps { seconds, .. }
        | Self::Idle { seconds, .. }) = self;
        *seconds
    }

    /// The same for another time: to try a scenario out.
    #[must_use]
    pub fn for_seconds(mut self, wanted: f64) -> Self {
        let (Self::Closed { seconds, .. }
        | Self::Open { seconds, .. }
        | Self::Steps { seconds, .. }
        | Self::Idle { seconds, .. }) = &mut self;
        *seconds = wanted;
        self
    }

    /// How many steps it has; none if it has none.
    pub fn steps(&self) -> Option<usize> {
        match self {
            Self::Steps { of_peak, .. } => Some(of_peak.len()),
            _ => None,
        }
    }
}

impl fmt::Display for Load {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed { connections, seconds } => {
                write!(formatter, "closed loop, {connections} connections, {seconds} s")
            }
            Self::Open { rate, arrivals, connections, seconds } => {
                write!(
                    formatter,
                    "open loop, {rate} req/s ({arrivals}), at most {connections} connections, {seconds} s"
                )
            }
            Self::Steps { of_peak, arrivals, connections, seconds } => {
                let shares: Vec<String> = of_peak.iter().map(|share| format!("{:.0}", share * 100.0)).collect();
                let shares = shares.join(", ");
                write!(
                    formatter,
                    "open loop at {shares} % of the peak ({arrivals}), at most {connections} connections, {seconds} s each"
                )
            }
            Self::Idle { connections, seconds } => write!(formatter, "{connections} idle connections, {seconds} s"),
        }
    }
}

impl fmt::Display for Arrivals {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Poisson => "Poisson",
            Self::Fixed => "fixed",
        })
    }
}
