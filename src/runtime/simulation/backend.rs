//! A batching engine: one step after the other, each with a token for every answer.

use super::{Call, Micros};

/// Tokens of prompts that one step reads, beside the answers.
const PREFILL_CHUNK: u32 = 512;
/// How much a step takes longer for each answer beside the first, as a part of it.
const BATCH_COST: f64 = 0.03;
/// Microseconds for a token of a prompt.
const PREFILL_TOKEN: f64 = 40.0;

/// One backend.
#[derive(Debug, Clone)]
pub(super) struct Engine {
    pub(super) slots: usize,
    /// Microseconds of a step with one answer.
    pub(super) step: f64,
    running: Vec<Running>,
    /// Seconds to the first token, as it is averaged over time.
    pub(super) latency: f64,
}

#[derive(Debug, Clone)]
struct Running {
    call: Call,
    unread: u32,
    unsaid: u32,
    began: Option<Micros>,
}

/// An answer that is whole.
#[derive(Debug, Clone, Copy)]
pub(super) struct Finished {
    pub(super) call: Call,
    pub(super) first_token: Micros,
}

impl Engine {
    pub(super) fn new(slots: usize, step: f64) -> Self {
        Self { slots, step, running: Vec::new(), latency: 0.0 }
    }

    pub(super) fn running(&self) -> usize {
        self.running.len()
    }

    pub(super) fn has_free_slot(&self) -> bool {
        self.running.len() < self.slots
    }

    /// True when it was idle.
    pub(super) fn begin(&mut self, call: Call) -> bool {
        let was_idle = self.running.is_empty();
        self.running.push(Running { unread: call.prompt_tokens, unsaid: call.answer_tokens.max(1), call, began: None });
        was_idle
    }

    /// How long the next step takes.
    pub(super) fn step_time(&self) -> Micros {
        let saying = self.running.iter().filter(|call| call.unread == 0).count();
        let reading = self.running.iter().find(|call| call.unread > 0).map_or(0, |call| call.unread.min(PREFILL_CHUNK));
        let slow = self.step / 20_000.0;
        let time = self.step * (1.0 + BATCH_COST * saying.saturating_sub(1) as f64);
        (time + f64::from(reading) * PREFILL_TOKEN * slow).max(1.0) as Micros
    }

    /// The end of a step.
    pub(super) fn step(&mut self, now: Micros) -> Vec<Finished> {
        for call in self.running.iter_mut().filter(|call| call.unread == 0) {
            call.unsaid -= 1;
            call.began.get_or_insert(now);
        }
        if let Some(call) = self.running.iter_mut().find(|call| call.unread > 0) {
            call.unread -= call.unread.min(PREFILL_CHUNK);
        }
        let is_whole = |call: &Running| call.unread == 0 && call.unsaid == 0;
        let finished = self.running.iter().filter(|call| is_whole(call));
        let finished = finished
            .map(|call| Finished { call: call.call, first_token: call.began.unwrap_or(now) - call.call.arrived });
        let finished = finished.collect();
        self.running.retain(|call| !is_whole(call));
        finished
    }

    /// What dispatch learns of it.
    pub(super) fn learn(&mut self, first_token: Micros) {
        let seconds = first_token as f64 / 1e6;
        self.latency = if seconds > self.latency { seconds } else { self.latency * 0.9 + seconds * 0.1 };
    }
}
