//! What is seen while it runs: which turn, how far, and what has come of it so far.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use crate::{drive::tally::Shared, scenario::Scenario};

/// Between two lines of progress.
const PERIOD: Duration = Duration::from_millis(500);
/// Longest name shown whole.
const WIDTH: usize = 28;

/// A bar over all turns. Where nobody sees a bar (no terminal), each turn says a line when it begins.
pub(super) struct Progress {
    bar: ProgressBar,
}

/// A turn under way, until dropped.
pub(super) struct Label {
    ticks: JoinHandle<()>,
    bar: ProgressBar,
}

impl Drop for Label {
    fn drop(&mut self) {
        self.ticks.abort();
        self.bar.inc(1);
    }
}

impl Progress {
    pub(super) fn new(turns: usize) -> Self {
        let bar = ProgressBar::new(turns as u64);
        if let Ok(style) = ProgressStyle::with_template("{bar:20} {pos}/{len}  {elapsed_precise}  {msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(PERIOD);
        Self { bar }
    }

    /// Tells of a turn until what is returned is dropped.
    pub(super) fn turn(&self, scenario: &Scenario, target: &str, round: usize, tally: Shared) -> Label {
        let round = if round == 0 { "peak".to_owned() } else { format!("round {round}") };
        let name: String = scenario.name.chars().take(WIDTH).collect();
        let what = format!("{name} · {target} · {round}");
        if self.bar.is_hidden() {
            tracing(&what);
        }
        let bar = self.bar.clone();
        let ticks = TaskTracker::new().spawn(async move {
            let mut ticks = tokio::time::interval(PERIOD);
            let mut last = 0;
            loop {
                ticks.tick().await;
                let (counts, p99) = tally.with(|tally| (tally.counts, tally.latency.p99_ms()));
                let rate = (counts.sent - last) as f64 / PERIOD.as_secs_f64();
                last = counts.sent;
                let others = counts.refused + counts.failed + counts.left;
                let wrong = counts.wrong;
                bar.set_message(format!(
                    "{what} · {rate:.0} req/s · p99 {p99:.1} ms · {others} others · {wrong} wrong"
                ));
            }
        });
        Label { ticks, bar: self.bar.clone() }
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn tracing(what: &str) {
    use std::io::Write;
    // Progress that nobody reads is no reason to stop.
    let _unread = writeln!(std::io::stderr(), "{what}");
}
