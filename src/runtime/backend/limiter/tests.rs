//! The limiter against backends that are simulated in virtual time.

use std::{cmp::Reverse, collections::BinaryHeap};

use proptest::prelude::*;

use super::*;

/// A backend that works on so many calls at once and lets the others wait: its knee is known.
struct SlotServer {
    knee: usize,
    /// When each slot is free again, in microseconds.
    free_at: Vec<u64>,
}

/// A closed loop of clients that always want more than the limit allows.
struct Load {
    now: u64,
    running: BinaryHeap<Reverse<(u64, u64, usize)>>,
    samples: Vec<CallSample>,
    random: fastrand::Rng,
    /// Whether answers come piece by piece.
    streams: bool,
    /// The part of prompts whose beginning the server knows: they are read ten times as fast.
    cached: f64,
    clients: usize,
}

impl SlotServer {
    fn new(knee: usize) -> Self {
        Self { knee, free_at: vec![0; knee] }
    }

    fn move_to(&mut self, knee: usize) {
        self.knee = knee;
        self.free_at.resize(knee, 0);
    }

    /// When a call that arrives now is begun.
    fn begin(&mut self, now: u64, work: u64) -> u64 {
        let slot = self.free_at.iter_mut().min().unwrap();
        let begin = now.max(*slot);
        *slot = begin + work;
        begin
    }
}

impl Load {
    fn new(seed: u64, clients: usize) -> Self {
        Self {
            now: 0,
            running: BinaryHeap::new(),
            samples: Vec::new(),
            random: fastrand::Rng::with_seed(seed),
            streams: true,
            cached: 0.0,
            clients,
        }
    }

    /// Answers so many calls.
    fn run(&mut self, limiter: &mut Limiter, server: &mut SlotServer, calls: usize) {
        for _ in 0..calls {
            while self.running.len() < usize::from(limiter.limit()).min(self.clients) {
                let tokens = (self.random.f64() * 5.0 + 3.5).exp() as u32;
                let reads = if self.random.f64() < self.cached { 50 } else { 500 };
                let prefill = 20_000 + u64::from(tokens) * reads;
                let work = prefill + self.random.u64(5..200) * 10_000;
                let begin = server.begin(self.now, work);
                let jitter = self.random.u64(0..2_000);
                let micros = Duration::from_micros;
                let sample = CallSample {
                    in_flight: u16::try_from(self.running.len() + 1).unwrap(),
                    prompt_tokens: tokens,
                    first_token: self.streams.then_some(micros(begin - self.now + prefill + jitter)),
                    worked: None,
                    total: micros(begin - self.now + work + jitter),
                };
                self.samples.push(sample);
                self.running.push(Reverse((begin + work, self.now, self.samples.len() - 1)));
            }
            let Reverse((end, _, at)) = self.running.pop().unwrap();
            self.now = end;
            limiter.on_answer(self.samples[at]);
        }
    }

    /// The limit on average over so many calls.
    fn mean(&mut self, limiter: &mut Limiter, server: &mut SlotServer, calls: usize) -> f64 {
        let mut sum = 0.0;
        for _ in 0..calls {
            self.run(limiter, server, 1);
            sum += f64::from(limiter.limit());
        }
        sum / calls as f64
    }
}

#[test]
fn the_knee_is_found_within_a_hundred_calls() {
    for knee in [1, 2, 4, 8, 16, 32] {
        for seed in 0..20 {
            let (mut limiter, mut server, mut load) = (Limiter::new(), SlotServer::new(knee), Load::new(seed, 1000));
            load.run(&mut limiter, &mut server, 100);
            let found = load.mean(&mut limiter, &mut server, 300);
            let knee = knee as f64;
            assert!((knee * 0.75..=knee * 1.5 + 1.0).contains(&found), "knee {knee}, seed {seed}: {found}");
        }
    }
}

#[test]
fn prompts_that_are_partly_known_are_not_taken_for_waiting_ones() {
    for cached in [0.1, 0.5, 0.9] {
        for seed in 0..20 {
            let (mut limiter, mut server, mut load) = (Limiter::new(), SlotServer::new(16), Load::new(seed, 1000));
            load.cached = cached;
            load.run(&mut limiter, &mut server, 600);
            let found = load.mean(&mut limiter, &mut server, 600);
            assert!((8.0..=32.0).contains(&found), "{cached} cached, seed {seed}: {found}");
        }
    }
}

#[test]
fn a_knee_that_moves_is_followed_down_and_up() {
    for seed in 0..20 {
        let (mut limiter, mut server, mut load) = (Limiter::new(), SlotServer::new(16), Load::new(seed, 1000));
        load.run(&mut limiter, &mut server, 400);
        server.move_to(4);
        load.run(&mut limiter, &mut server, 300);
        let low = load.mean(&mut limiter, &mut server, 200);
        assert!((3.0..=7.0).contains(&low), "seed {seed}: {low}");
        server.move_to(24);
        load.run(&mut limiter, &mut server, 600);
        let high = load.mean(&mut limiter, &mut server, 300);
        assert!((18.0..=37.0).contains(&high), "seed {seed}: {high}");
    }
}

#[test]
fn without_enough_calls_the_limit_stays() {
    let (mut limiter, mut server, mut load) = (Limiter::new(), SlotServer::new(64), Load::new(1, 5));
    load.run(&mut limiter, &mut server, 1000);
    assert_eq!(limiter.limit(), INITIAL_LIMIT, "five at a time teach nothing about nine");
}

#[test]
fn a_refusal_lowers_the_limit_once_for_all_of_its_moment() {
    let mut limiter = Limiter::new();
    assert_eq!(limiter.on_refusal(8), Some(6));
    assert_eq!(limiter.on_refusal(8), None);
    assert_eq!(limiter.on_refusal(7), None);
    assert_eq!(limiter.on_refusal(6), Some(4));
    for _ in 0..20 {
        let at = limiter.limit();
        limiter.on_refusal(at);
    }
    assert_eq!(limiter.limit(), 1, "one is always tried");
}

#[test]
fn what_a_backend_tells_of_itself_need_not_be_searched_for() {
    let mut limiter = Limiter::new();
    let told = LoadSignal { slots: Some(4), ..LoadSignal::default() };
    assert_eq!(limiter.on_load(told, 0), Some(4));
    assert_eq!(limiter.on_load(told, 4), None);
    let (mut server, mut load) = (SlotServer::new(4), Load::new(1, 1000));
    load.run(&mut limiter, &mut server, 500);
    assert!(limiter.limit() <= 4, "nothing above what it told is tried");
    assert_eq!(limiter.on_load(LoadSignal { slots: Some(9), ..told }, 4), Some(9));
}

#[test]
fn calls_that_wait_in_the_backend_lower_the_limit_by_their_share() {
    let mut limiter = Limiter::new();
    let signal = LoadSignal { slots: None, running: Some(6), waiting: Some(2) };
    assert_eq!(limiter.on_load(signal, 8), Some(6));
    let idle = LoadSignal { slots: None, running: Some(0), waiting: Some(0) };
    assert_eq!(limiter.on_load(idle, 0), None);
    let of_others = LoadSignal { slots: None, running: Some(10), waiting: Some(100) };
    assert_eq!(limiter.on_load(of_others, 0), None, "none of them is ours");
}

#[test]
fn a_backend_that_says_how_long_it_worked_is_believed_without_first_tokens() {
    let mut limiter = Limiter::new();
    let sample = CallSample {
        in_flight: 8,
        prompt_tokens: 100,
        first_token: None,
        worked: Some(Duration::from_millis(500)),
        total: Duration::from_secs(1),
    };
    let limits: Vec<u16> = (0..LEAST_WINDOW).filter_map(|_| limiter.on_answer(sample)).collect();
    assert_eq!(limits, [4], "half of the time was waited, so half of the calls were worked on");
}

#[test]
fn answers_that_come_whole_do_not_lower_it() {
    let (mut limiter, mut server, mut load) = (Limiter::new(), SlotServer::new(4), Load::new(1, 12));
    load.streams = false;
    load.run(&mut limiter, &mut server, 200);
    assert!(limiter.limit() >= INITIAL_LIMIT, "long answers are not waiting");
}

proptest! {
    #[test]
    fn whatever_is_seen_the_limit_stays_within_its_bounds(
        samples in prop::collection::vec((0u16..600, 0u32..200_000, prop::option::of(0u64..10_000_000), prop::option::of(0u64..10_000_000), 0u64..20_000_000, 0u8..10), 0..400),
    ) {
        let mut limiter = Limiter::new();
        for (in_flight, prompt_tokens, first, worked, total, kind) in samples {
            let micros = Duration::from_micros;
            match kind {
                0 => { limiter.on_refusal(in_flight); }
                1 => {
                    let signal = LoadSignal { slots: first.map(|slots| slots as u16), running: worked.map(|n| n as u32), waiting: Some(total as u32) };
                    limiter.on_load(signal, in_flight);
                }
                _ => {
                    let sample = CallSample { in_flight, prompt_tokens, first_token: first.map(micros), worked: worked.map(micros), total: micros(total) };
                    limiter.on_answer(sample);
                }
            }
            prop_assert!(LIMITS.contains(&limiter.limit()));
        }
    }
}

#[test]
fn a_backend_of_which_nothing_is_told_is_given_no_more_than_most_bear() {
    let blind = |limiter: &mut Limiter| {
        for _ in 0..2_000 {
            limiter.on_answer(CallSample {
                in_flight: limiter.limit(),
                prompt_tokens: 100,
                first_token: None,
                worked: None,
                total: Duration::from_secs(1),
            });
        }
        limiter.limit()
    };
    let mut limiter = Limiter::new();
    assert_eq!(blind(&mut limiter), BLIND_LIMIT);
    limiter.on_load(LoadSignal { waiting: Some(0), ..LoadSignal::default() }, 16);
    assert_eq!(blind(&mut limiter), *LIMITS.end(), "it says that nothing waits");
}
