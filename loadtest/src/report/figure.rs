//! The figures of a turn, by name: what tables show, what bounds bound.

use std::fmt;

use serde::Deserialize;

use crate::report::results::{Spread, Turn};

macro_rules! figures {
    ($($(#[$doc:meta])* $variant:ident $name:literal: $value:expr;)*) => {
        /// A figure of a turn. Times are milliseconds, CPU time is microseconds, memory is MiB.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
        pub enum Figure {
            $($(#[$doc])* #[serde(rename = $name)] $variant,)*
        }

        impl Figure {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Its name in scenarios and reports.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Its value in this turn, where it could be measured.
            pub fn of(self, turn: &Turn) -> Option<f64> {
                let value: fn(&Turn) -> Option<f64> = match self { $(Self::$variant => $value,)* };
                value(turn)
            }
        }
    };
}

figures! {
    /// Requests answered as they should be, a second.
    Goodput "goodput_rps": |turn| Some(turn.goodput_rps);
    /// Requests that were due a second.
    Offered "offered_rps": |turn| turn.offered_rps;
    /// Latency: the mean.
    Mean "mean_ms": |turn| latency(turn, |spread| spread.mean);
    /// Latency: half are faster.
    P50 "p50_ms": |turn| latency(turn, |spread| spread.p50);
    /// Latency: 90 of 100 are faster.
    P90 "p90_ms": |turn| latency(turn, |spread| spread.p90);
    /// Latency: 99 of 100 are faster.
    P99 "p99_ms": |turn| latency(turn, |spread| spread.p99);
    /// Latency: 999 of 1000 are faster.
    P999 "p999_ms": |turn| latency(turn, |spread| spread.p999);
    /// Latency: the slowest.
    Max "max_ms": |turn| latency(turn, |spread| spread.max);
    /// Time to the first word of a stream: half are faster.
    FirstTokenP50 "first_token_p50_ms": |turn| turn.first_token.as_ref().map(|spread| spread.p50);
    /// Time to the first word of a stream: 99 of 100 are faster.
    FirstTokenP99 "first_token_p99_ms": |turn| turn.first_token.as_ref().map(|spread| spread.p99);
    /// Pause between two words of a stream: 99 of 100 are shorter.
    GapP99 "gap_p99_ms": |turn| turn.gap.as_ref().map(|spread| spread.p99);
    /// Pause between two words of a stream: the longest.
    GapMax "gap_max_ms": |turn| turn.gap.as_ref().map(|spread| spread.max);
    /// Time until a refusal: 99 of 100 are faster.
    RefusalP99 "refusal_p99_ms": |turn| turn.refusal.as_ref().map(|spread| spread.p99);
    /// CPU time of the server a request.
    Cpu "cpu_us": |turn| turn.server.as_ref().map(|server| server.cpu_us);
    /// CPU time of the server a word of a stream.
    CpuPerFrame "cpu_us_per_frame": |turn| turn.server.as_ref().and_then(|server| server.cpu_us_per_frame);
    /// Context switches of the server a request.
    Switches "switches": |turn| turn.server.as_ref().map(|server| server.switches);
    /// Memory of the server before the turn.
    Idle "idle_mib": |turn| turn.server.as_ref().map(|server| server.idle_mib);
    /// The most memory of the server in the turn.
    Most "most_mib": |turn| turn.server.as_ref().map(|server| server.most_mib);
    /// Memory of the server after the rest that follows.
    After "after_mib": |turn| turn.server.as_ref().map(|server| server.after_mib);
    /// Memory that the server has not given back after the rest that follows.
    Kept "kept_mib": |turn| turn.server.as_ref().map(|server| server.after_mib - server.idle_mib);
    /// Requests answered as they should be.
    Answered "answered": |turn| Some(turn.counts.answered as f64);
    /// Of all that were sent, the share that was answered as it should be, 0 to 1.
    AnsweredShare "answered_share": |turn| share(turn.counts.answered, turn.counts.sent);
    /// Requests answered with a status that is allowed besides 200.
    Refused "refused": |turn| Some(turn.counts.refused as f64);
    /// Requests that ended in an error that is allowed.
    Failed "failed": |turn| Some(turn.counts.failed as f64);
    /// Requests that their clients left.
    Left "left": |turn| Some(turn.counts.left as f64);
    /// Requests sent more than a millisecond late.
    LateSends "late_sends": |turn| Some(turn.late_sends as f64);
    /// How late requests were sent: 99 of 100 less.
    LatenessP99 "lateness_p99_ms": |turn| turn.lateness.as_ref().map(|spread| spread.p99);
}

fn latency(turn: &Turn, pick: fn(&Spread) -> f64) -> Option<f64> {
    turn.latency.as_ref().map(pick)
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

impl fmt::Display for Figure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}
