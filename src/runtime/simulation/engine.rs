//! A batching engine as vLLM and llama.cpp's server are: it works in steps, each of which reads a piece of one prompt and
//! adds one token to every answer, and takes the longer the more answers there are. Calls above its slots wait inside.

use std::collections::VecDeque;

use super::{
    Micros,
    scenario::{Request, SECOND},
};

/// Tokens of prompts that one step reads, beside the answers.
const PREFILL_CHUNK: u32 = 512;
/// How much a step takes longer for each answer beside the first, as a part of it.
const BATCH_COST: f64 = 0.03;
/// Microseconds for a token of a prompt, and of a step with one answer, of an engine of the usual pace.
const PREFILL_TOKEN: f64 = 40.0;
const STEP: f64 = 20_000.0;

/// What is wrong with an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Nobody listens.
    Dead,
    /// It takes calls and says nothing.
    Silent,
    /// It refuses all calls and asks for a second of rest.
    Storm,
    /// It is well for two seconds and dead for two.
    Flapping,
    /// It loads its model anew every forty seconds, which takes eight: calls wait inside until then, and are answered.
    SlowStart,
    /// One second of every five it answers new calls with this status of a failure; those that it works on go on.
    Bursts(u16),
}

impl Trouble {
    /// Half of the time of a backend that flaps.
    const FLAP: Micros = 2 * SECOND;
    /// How often a model is loaded, and how long that takes.
    const LIFE: Micros = 40 * SECOND;
    const LOADING: Micros = 8 * SECOND;
    /// How often a burst comes, and how long it is.
    const CALM: Micros = 5 * SECOND;
    const BURST: Micros = SECOND;

    /// What becomes of a call that comes now; `None`: the engine takes it.
    pub(super) fn harm(self, now: Micros) -> Option<Harm> {
        match self {
            Self::Dead => Some(Harm::Unreachable),
            Self::Flapping => (now / Self::FLAP % 2 == 1).then_some(Harm::Unreachable),
            Self::Silent => Some(Harm::Silence),
            Self::Storm => Some(Harm::Refusal),
            Self::Bursts(status) => (now % Self::CALM < Self::BURST).then_some(Harm::Status(status)),
            Self::SlowStart => None,
        }
    }

    /// How long it works on nothing from now on.
    pub(super) fn pause(self, now: Micros) -> Micros {
        match self {
            Self::SlowStart => Self::LOADING.saturating_sub(now % Self::LIFE),
            Self::Dead | Self::Flapping | Self::Silent | Self::Storm | Self::Bursts(_) => 0,
        }
    }
}

/// What becomes of a call to an engine in trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Harm {
    /// Nobody listens.
    Unreachable,
    /// Nothing is said until whoever asked gives up.
    Silence,
    /// 429, and a second of rest asked for.
    Refusal,
    /// A failure with this status.
    Status(u16),
}

/// One backend.
#[derive(Debug, Clone)]
pub(super) struct Engine {
    /// Calls that it works on at once.
    pub(super) slots: u16,
    /// How many times as long as the usual engine it takes.
    pub(super) slowness: f64,
    pub(super) trouble: Option<Trouble>,
    running: Vec<Running>,
    waiting: VecDeque<Running>,
}

#[derive(Debug, Clone)]
struct Running {
    call: usize,
    unread: u32,
    unsaid: u32,
    has_begun: bool,
}

/// What a step brought.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Calls whose first token came.
    pub(super) begun: Vec<usize>,
    /// Calls whose answer is whole.
    pub(super) ended: Vec<usize>,
}

impl Engine {
    pub(super) fn new(slots: u16) -> Self {
        Self { slots, slowness: 1.0, trouble: None, running: Vec::new(), waiting: VecDeque::new() }
    }

    /// Takes so many times as long as the usual one.
    pub(super) fn slow(self, slowness: f64) -> Self {
        Self { slowness, ..self }
    }

    pub(super) fn in_trouble(self, trouble: Trouble) -> Self {
        Self { trouble: Some(trouble), ..self }
    }

    /// A call arrives; true when that makes it work.
    pub(super) fn begin(&mut self, call: usize, request: Request) -> bool {
        let was_idle = self.running.is_empty();
        self.waiting.push_back(Running {
            call,
            unread: request.prompt_tokens,
            unsaid: request.answer_tokens.max(1),
            has_begun: false,
        });
        if was_idle {
            self.fill();
        }
        was_idle
    }

    fn fill(&mut self) {
        let room = usize::from(self.slots).saturating_sub(self.running.len());
        self.running.extend(self.waiting.drain(..room.min(self.waiting.len())));
    }

    /// How long the next step takes, if it begins now; `None` when there is nothing to do.
    pub(super) fn step_time(&self, now: Micros) -> Option<Micros> {
        if self.running.is_empty() {
            return None;
        }
        let saying = self.running.iter().filter(|call| call.unread == 0).count();
        let reading = self.running.iter().find(|call| call.unread > 0).map_or(0, |call| call.unread.min(PREFILL_CHUNK));
        let time = STEP * (1.0 + BATCH_COST * saying.saturating_sub(1) as f64) + f64::from(reading) * PREFILL_TOKEN;
        let pause = self.trouble.map_or(0, |trouble| trouble.pause(now));
        Some(pause + (time * self.slowness).max(1.0) as Micros)
    }

    /// The end of a step.
    pub(super) fn step(&mut self) -> Progress {
        let mut progress = Progress::default();
        for call in self.running.iter_mut().filter(|call| call.unread == 0) {
            call.unsaid -= 1;
            if !std::mem::replace(&mut call.has_begun, true) {
                progress.begun.push(call.call);
            }
        }
        if let Some(call) = self.running.iter_mut().find(|call| call.unread > 0) {
            call.unread -= call.unread.min(PREFILL_CHUNK);
        }
        let is_whole = |call: &Running| call.unread == 0 && call.unsaid == 0;
        progress.ended = self.running.iter().filter(|call| is_whole(call)).map(|call| call.call).collect();
        self.running.retain(|call| !is_whole(call));
        self.fill();
        progress
    }
}
