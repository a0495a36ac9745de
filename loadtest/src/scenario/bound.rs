//! What must come of a scenario: a figure, of one target or against another, and its bound.

use anyhow::{Result, ensure};
use serde::Deserialize;

use crate::{report::Figure, scenario::Load};

/// A bound as it is written.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bound {
    /// What is bounded.
    pub figure: Figure,
    /// The target that must keep it.
    #[serde(default = "penstock")]
    pub target: String,
    /// Bounds the ratio to this target, or to this scenario of the same target.
    pub ratio_to: Option<String>,
    /// Bounds the difference to it.
    pub added_to: Option<String>,
    /// Of steps: which share of the peak.
    pub of_peak: Option<f64>,
    /// The bound from above,
    pub at_most: Option<f64>,
    /// or from below.
    pub at_least: Option<f64>,
}

fn penstock() -> String {
    "penstock".to_owned()
}

/// What the figure is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reference<'a> {
    /// Nothing: the figure itself is bounded.
    None,
    /// Its ratio to that of another target or scenario.
    Ratio(&'a str),
    /// Its difference.
    Added(&'a str),
}

impl Bound {
    pub(crate) fn check(&self, load: &Load) -> Result<()> {
        let figure = self.figure;
        ensure!(
            self.at_most.is_some() != self.at_least.is_some(),
            "`{figure}`: one of `at_most`, `at_least` is needed"
        );
        ensure!(self.ratio_to.is_none() || self.added_to.is_none(), "`{figure}`: `ratio_to` or `added_to`, not both");
        match (load, self.of_peak) {
            (Load::Steps { of_peak, .. }, Some(share)) => {
                ensure!(of_peak.contains(&share), "`{figure}`: no step has `of_peak` = {share}");
            }
            (Load::Steps { .. }, None) => ensure!(false, "`{figure}`: `of_peak` says at which step"),
            (_, Some(_)) => ensure!(false, "`{figure}`: `of_peak` is for loads with steps"),
            (_, None) => {}
        }
        Ok(())
    }

    /// What the figure is compared with.
    pub fn reference(&self) -> Reference<'_> {
        match (&self.ratio_to, &self.added_to) {
            (Some(other), _) => Reference::Ratio(other),
            (None, Some(other)) => Reference::Added(other),
            (None, None) => Reference::None,
        }
    }

    /// Whether this value keeps it.
    pub fn holds(&self, value: f64) -> bool {
        self.at_most.is_none_or(|most| value <= most) && self.at_least.is_none_or(|least| value >= least)
    }

    /// In words, such as `at most 1.25`.
    pub fn words(&self) -> String {
        match (self.at_most, self.at_least) {
            (Some(most), _) => format!("at most {most}"),
            (None, Some(least)) => format!("at least {least}"),
            (None, None) => String::new(),
        }
    }

    /// What is bounded, in words, such as `penstock: cpu_us, ratio to floor`.
    pub fn what(&self) -> String {
        let (target, figure) = (&self.target, self.figure);
        let step = self.of_peak.map(|share| format!(" at {:.0} % of the peak", share * 100.0)).unwrap_or_default();
        match self.reference() {
            Reference::None => format!("{target}: {figure}{step}"),
            Reference::Ratio(other) => format!("{target}: {figure}{step}, ratio to {other}"),
            Reference::Added(other) => format!("{target}: {figure}{step}, added to {other}"),
        }
    }
}
