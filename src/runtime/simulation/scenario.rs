//! What is simulated: requests as chats are, fleets, and the settings of a run.

use super::{Micros, engine::Engine};
use crate::domain::pool::Policy;

/// In microseconds.
pub(super) const SECOND: Micros = 1_000_000;

/// What one client asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request {
    pub(super) prompt_tokens: u32,
    pub(super) answer_tokens: u32,
    /// Which of the conversations it belongs to.
    pub(super) session: u64,
}

/// Conversations at the same time.
const SESSIONS: u64 = 500;

impl Request {
    /// Prompts of 30 to 3,000 tokens and answers of 20 to 400, most of them short.
    pub(super) fn draw(random: &mut fastrand::Rng) -> Self {
        Self {
            prompt_tokens: (random.f64() * 4.6 + 3.4).exp() as u32,
            answer_tokens: (random.f64() * 3.0 + 3.0).exp() as u32,
            session: random.u64(..SESSIONS),
        }
    }
}

/// Whose limits are in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limits {
    /// `maxConcurrency` is what each backend can work on.
    Set,
    /// They are found out.
    Found,
}

/// What is simulated.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) policy: Policy,
    pub(super) engines: Vec<Engine>,
    pub(super) limits: Limits,
    /// Requests in a second.
    pub(super) rate: f64,
    pub(super) requests: usize,
    /// Requests that may wait, and how long.
    pub(super) queue: usize,
    pub(super) max_wait: Micros,
    pub(super) first_byte: Micros,
    pub(super) seed: u64,
}

impl Plan {
    pub(super) fn new(policy: Policy, engines: Vec<Engine>, rate: f64) -> Self {
        Self {
            policy,
            engines,
            limits: Limits::Set,
            rate,
            requests: 4_000,
            queue: 256,
            max_wait: 5 * SECOND,
            first_byte: 10 * SECOND,
            seed: 1,
        }
    }

    /// Answers in a second of this fleet, when all of its slots are always taken.
    pub(super) fn peak(engines: &[Engine]) -> f64 {
        Self { requests: 8_000, ..Self::new(Policy::LeastLoaded, engines.to_vec(), 25.0) }.run().goodput()
    }
}

/// Slots of every backend here.
pub(super) const SLOTS: u16 = 16;

/// So many backends of one pace.
pub(super) fn alike(count: usize) -> Vec<Engine> {
    vec![Engine::new(SLOTS); count]
}

/// Three backends and one that takes so many times as long.
pub(super) fn one_slow_in_four(slowness: f64) -> Vec<Engine> {
    let mut engines = alike(3);
    engines.push(Engine::new(SLOTS).slow(slowness));
    engines
}
