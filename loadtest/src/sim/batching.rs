//! An engine that works on many answers at once, each of which slows the others: continuous batching, as vLLM and llama.cpp
//! do it (Yu et al., "Orca", OSDI 2022).
//!
//! In each step it reads a piece of one prompt and adds a word to every answer whose prompt is read. [`Batch`] is that, without
//! time; [`Engine`] plays it in real time.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::{
    Notify,
    mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};
use tokio_util::task::TaskTracker;

/// What an engine is like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Batching {
    /// Answers that it works on at once; others wait.
    pub slots: usize,
    /// Time to read a token of a prompt.
    pub prefill_per_token: Duration,
    /// Tokens of one prompt that it reads in a step, at most.
    pub prefill_tokens_per_step: usize,
    /// Time of a step with a single answer,
    pub step: Duration,
    /// and what each further answer adds to it, 0.03 for 3 %.
    pub slower: f64,
}

/// The answers that an engine works on.
struct Batch<T> {
    kind: Batching,
    waiting: VecDeque<Work<T>>,
    running: Vec<Work<T>>,
}

struct Work<T> {
    prompt_left: usize,
    words_left: usize,
    told: T,
}

impl<T> Batch<T> {
    fn new(kind: Batching) -> Self {
        Self { kind, waiting: VecDeque::new(), running: Vec::new() }
    }

    fn add(&mut self, prompt: usize, words: usize, told: T) {
        self.waiting.push_back(Work { prompt_left: prompt.max(1), words_left: words.max(1), told });
    }

    /// How long the next step takes; nothing if there is nothing to do.
    fn step_time(&mut self) -> Option<Duration> {
        while self.running.len() < self.kind.slots {
            let Some(next) = self.waiting.pop_front() else { break };
            self.running.push(next);
        }
        let reading = self.running.iter().find(|work| work.prompt_left > 0);
        let tokens = reading.map_or(0, |work| work.prompt_left.min(self.kind.prefill_tokens_per_step));
        let writing = self.running.iter().filter(|work| work.prompt_left == 0).count();
        if tokens == 0 && writing == 0 {
            return None;
        }
        let read = self.kind.prefill_per_token * u32::try_from(tokens).unwrap_or(u32::MAX);
        let written = match writing {
            0 => Duration::ZERO,
            answers => self.kind.step.mul_f64(1.0 + self.kind.slower * (answers - 1) as f64),
        };
        Some(read + written)
    }

    /// The step is over: `word` is told of each word that was added, and says whether anybody wants more.
    fn step(&mut self, mut word: impl FnMut(&T) -> bool) {
        for work in self.running.iter_mut().filter(|work| work.prompt_left == 0) {
            work.words_left -= 1;
            if !word(&work.told) {
                work.words_left = 0;
            }
        }
        if let Some(reading) = self.running.iter_mut().find(|work| work.prompt_left > 0) {
            reading.prompt_left -= reading.prompt_left.min(self.kind.prefill_tokens_per_step);
        }
        self.running.retain(|work| work.words_left > 0);
    }
}

/// A batch in real time.
pub struct Engine {
    batch: Arc<Mutex<Batch<UnboundedSender<()>>>>,
    comes: Arc<Notify>,
    steps: tokio::task::AbortHandle,
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.steps.abort();
    }
}

impl Engine {
    /// Starts one; needs a runtime.
    pub fn start(kind: Batching) -> Self {
        let batch = Arc::new(Mutex::new(Batch::new(kind)));
        let comes = Arc::new(Notify::new());
        let steps = TaskTracker::new().spawn(run(Arc::clone(&batch), Arc::clone(&comes)));
        Self { batch, comes, steps: steps.abort_handle() }
    }

    /// Begins an answer: one message comes for each of its words. Dropping the receiver ends it.
    pub(crate) fn begin(&self, prompt_tokens: usize, words: usize) -> UnboundedReceiver<()> {
        let (tell, told) = unbounded_channel();
        self.batch.lock().unwrap_or_else(PoisonError::into_inner).add(prompt_tokens, words, tell);
        self.comes.notify_one();
        told
    }
}

async fn run(batch: Arc<Mutex<Batch<UnboundedSender<()>>>>, comes: Arc<Notify>) {
    let mut due = tokio::time::Instant::now();
    loop {
        let step = batch.lock().unwrap_or_else(PoisonError::into_inner).step_time();
        let Some(step) = step else {
            comes.notified().await;
            due = tokio::time::Instant::now();
            continue;
        };
        // Steps follow one another, so that what a timer is late does not add up.
        due += step;
        tokio::time::sleep_until(due).await;
        batch.lock().unwrap_or_else(PoisonError::into_inner).step(|told| told.send(()).is_ok());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: Batching = Batching {
        slots: 4,
        prefill_per_token: Duration::from_micros(40),
        prefill_tokens_per_step: 512,
        step: Duration::from_millis(20),
        slower: 0.03,
    };

    #[test]
    fn every_answer_gets_all_of_its_words_and_no_more_than_the_slots_run() {
        let mut batch = Batch::new(KIND);
        let mut got = [0usize; 10];
        for answer in 0..got.len() {
            batch.add(100 * answer, 5 + answer, answer);
        }
        let mut took = Vec::new();
        while let Some(step) = batch.step_time() {
            assert!(batch.running.len() <= KIND.slots);
            took.push(step);
            batch.step(|answer| {
                got[*answer] += 1;
                true
            });
        }
        assert_eq!(got, std::array::from_fn(|answer| 5 + answer));
        assert!(batch.running.is_empty() && batch.waiting.is_empty());
        // With all slots writing and nothing to read, a step takes three times 3 % more.
        assert!(took.contains(&KIND.step.mul_f64(1.09)), "{took:?}");
    }

    #[test]
    fn a_long_prompt_is_read_in_pieces_between_which_others_get_their_words() {
        let mut batch = Batch::new(KIND);
        batch.add(1, 4, "short");
        assert_eq!(batch.step_time(), Some(KIND.prefill_per_token));
        batch.step(|_| true);
        batch.add(1024, 1, "long");
        assert_eq!(batch.step_time(), Some(KIND.step + KIND.prefill_per_token * 512));
        let mut words = Vec::new();
        while batch.step_time().is_some() {
            batch.step(|told| {
                words.push(*told);
                true
            });
        }
        assert_eq!(words, ["short", "short", "short", "long", "short"]);
    }

    #[test]
    fn an_answer_that_nobody_wants_any_more_leaves_its_slot() {
        let mut batch = Batch::new(KIND);
        batch.add(1, 100, "gone");
        batch.step_time();
        batch.step(|_| true);
        batch.step_time();
        batch.step(|_| false);
        assert_eq!(batch.step_time(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn words_come_when_their_steps_are_over() {
        let engine = Engine::start(KIND);
        let began = tokio::time::Instant::now();
        let mut told = engine.begin(250, 3);
        while told.recv().await.is_some() {}
        // 250 tokens of 40 us, and three steps.
        assert_eq!(began.elapsed(), Duration::from_millis(70));
    }
}
