//! Where the time of a call went (`docs/api.md`, timing).

use std::time::{Duration, Instant};

/// Of the attempt that answered, or failed last; what was before it is summed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CallTiming {
    /// In queues, until a slot was free.
    pub queued: Duration,
    /// In attempts before this one.
    pub before: Duration,
    /// When this one began; `None` where none was made for this request.
    pub began: Option<Instant>,
    /// How long its connection took; nothing on a kept one.
    pub connect: Duration,
    /// From then until the answer began: for a stream its first words, else its head.
    pub first_byte: Duration,
    /// From there until it was handed on: the rest of a whole answer.
    pub rest: Duration,
}

impl CallTiming {
    /// What the backends had of the time.
    pub fn upstream(&self) -> Duration {
        self.before + self.connect + self.first_byte + self.rest
    }
}
