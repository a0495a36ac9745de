//! A crowd on a fleet of four of which one is in trouble (`docs/operations.md`, when a backend fails; the same in virtual
//! time: `docs/performance.md`). Each scenario asserts counts: every request gets one answer, none fails on a backend that is
//! well, none waits for the one that is not, and all slots come back. How long it took is told and not asserted.

mod crowd;

use std::{collections::HashMap, time::Instant};

use futures_util::future::join_all;
use loadtest::sim::{Route, Routes, Rule, SimBackend};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::support::{Answer, TASKS, TestServer, dialects::Front, eventually, soon};

/// Slots of each backend, and requests of a crowd: each backend could get a quarter of them.
const SLOTS: usize = 4;
const CROWD: usize = 120;

/// Four backends of one pool that take turns, and the one that a scenario brings into trouble.
struct Fleet {
    server: TestServer,
    sims: Vec<SimBackend>,
    ids: Vec<String>,
    began: Instant,
}

impl Fleet {
    async fn start(settings: &[(&str, &str)]) -> Self {
        let server = TestServer::start(settings).await;
        server.put(&format!("/pools/{TASKS}"), json!({"policy": "round-robin"})).await.expect(200);
        let (mut sims, mut ids) = (Vec::new(), Vec::new());
        for at in 0..4 {
            let sim = Front::Openai.sim().await;
            let body = json!({"name": format!("b{at}"), "baseUrl": sim.url(), "type": "vllm", "maxConcurrency": SLOTS});
            let id = server.register_as(body, &[TASKS]).await;
            server.wait_for_model(&id, "chat:1b").await;
            server.wait_for_member(TASKS, &id).await;
            sims.push(sim);
            ids.push(id);
        }
        Self { server, sims, ids, began: Instant::now() }
    }

    /// The backend that gets into trouble.
    fn bad(&self) -> &SimBackend {
        &self.sims[3]
    }

    fn is_bad(&self, answer: &Answer) -> bool {
        answer.header("x-penstock-backend") == self.ids[3]
    }

    /// All of them at once.
    fn send(&self, count: usize, stream: bool) -> Vec<JoinHandle<Answer>> {
        let send = |at: usize| {
            let client = (*self.server).clone();
            let question = Front::Openai.question(&format!("request {at}"), stream);
            crate::support::in_background(async move { client.post(Front::Openai.chat(), question).await })
        };
        (0..count).map(send).collect()
    }

    async fn crowd(&self, count: usize, stream: bool) -> Vec<Answer> {
        answers(self.send(count, stream)).await
    }

    /// What the good backends were asked: each request at most once by all of them.
    fn asked_of_good_ones(&self) -> usize {
        let mut asked: HashMap<Value, usize> = HashMap::new();
        for sim in &self.sims[..3] {
            for request in sim.record().of(Routes::CALLS) {
                *asked.entry(request.json()["messages"].clone()).or_default() += 1;
            }
        }
        assert!(asked.values().all(|times| *times == 1), "a good backend's answer was thrown away: {asked:?}");
        asked.len()
    }

    /// Everything has come back, and nobody was ever asked for more at once than it has slots. `what`: the scenario, for the
    /// report.
    async fn rest(&self, what: &str) {
        for id in &self.ids {
            self.server.wait_until_idle(id).await;
        }
        for sim in &self.sims {
            let most = sim.record().calls.max;
            assert!(most <= SLOTS, "{most} calls at once in {SLOTS} slots");
        }
        let asked: Vec<usize> = self.sims.iter().map(|sim| sim.record().of(Routes::CALLS).len()).collect();
        eprintln!("chaos, {what}: {} ms, calls of each backend {asked:?}", self.began.elapsed().as_millis());
    }
}

async fn answers(sent: Vec<JoinHandle<Answer>>) -> Vec<Answer> {
    soon("an answer for everybody", join_all(sent)).await.into_iter().map(Result::unwrap).collect()
}

fn count(answers: &[Answer], status: u16) -> usize {
    answers.iter().filter(|answer| answer.status == status).count()
}

#[tokio::test]
async fn a_dead_backend_costs_no_request_its_answer() {
    let fleet = Fleet::start(&[]).await;
    fleet.bad().stop().await;
    let answers = fleet.crowd(CROWD, false).await;
    assert_eq!(count(&answers, 200), CROWD);
    assert_eq!(fleet.asked_of_good_ones(), CROWD);
    fleet.rest("dead").await;
}

#[tokio::test]
async fn a_silent_backend_holds_its_own_requests_and_nobody_elses() {
    let fleet = Fleet::start(&[]).await;
    let silent = fleet.bad().script(Rule::on(Routes::CALLS).hang_before_headers());
    let mut sent = fleet.send(CROWD, false);
    // All but those that it holds are answered while it holds them.
    eventually("everybody else's answers", || async {
        let pending = sent.iter().filter(|request| !request.is_finished()).count();
        if pending <= SLOTS && silent.hits() == SLOTS { Ok(()) } else { Err(format!("{pending} pending")) }
    })
    .await;
    let (done, held): (Vec<_>, Vec<_>) = sent.drain(..).partition(|request| request.is_finished());
    assert_eq!((done.len(), silent.hits()), (CROWD - SLOTS, SLOTS));
    let done = answers(done).await;
    assert!(done.iter().all(|answer| answer.status == 200 && !fleet.is_bad(answer)));
    silent.release();
    let held = answers(held).await;
    assert!(held.iter().all(|answer| answer.status == 200 && fleet.is_bad(answer)), "{held:?}");
    assert_eq!(fleet.asked_of_good_ones(), CROWD - SLOTS);
    fleet.rest("silent").await;
}

#[tokio::test]
async fn a_silent_backend_loses_its_requests_to_others_in_the_end() {
    let fleet = Fleet::start(&[("FIRST_BYTE_TIMEOUT", "300ms")]).await;
    let silent = fleet.bad().script(Rule::on(Routes::CALLS).hang_before_headers());
    let answers = fleet.crowd(CROWD, false).await;
    assert_eq!(count(&answers, 200), CROWD);
    assert!(answers.iter().all(|answer| !fleet.is_bad(answer)));
    assert!(silent.hits() <= 2 * SLOTS, "its breaker keeps the others out: {}", silent.hits());
    fleet.rest("silent, given up").await;
}

#[tokio::test]
async fn a_backend_that_starts_slowly_is_waited_for_by_its_own_requests_alone() {
    let fleet = Fleet::start(&[]).await;
    let starting = fleet.bad().hold_on(Routes::CALLS);
    let sent = fleet.send(CROWD, false);
    eventually("everybody else's answers", || async {
        let pending = sent.iter().filter(|request| !request.is_finished()).count();
        if pending <= SLOTS && starting.waiting() == SLOTS { Ok(()) } else { Err(format!("{pending} pending")) }
    })
    .await;
    starting.release_all();
    let first = answers(sent).await;
    assert_eq!((count(&first, 200), fleet.asked_of_good_ones()), (CROWD, CROWD - SLOTS));
    // Warm, it gets its part again.
    drop(starting);
    let second = fleet.crowd(SLOTS * 4, false).await;
    assert!(second.iter().all(|answer| answer.status == 200) && second.iter().any(|answer| fleet.is_bad(answer)));
    fleet.rest("slow start").await;
}

#[tokio::test]
async fn a_storm_of_429_is_met_by_a_rest_and_costs_no_answer() {
    let fleet = Fleet::start(&[]).await;
    let storm = fleet.bad().script(Rule::on(Routes::CALLS).status(429).header("retry-after", "60"));
    let answers = fleet.crowd(CROWD, false).await;
    assert_eq!((count(&answers, 200), fleet.asked_of_good_ones()), (CROWD, CROWD));
    assert!((1..=SLOTS).contains(&storm.hits()), "only those that were on their way: {}", storm.hits());
    fleet.rest("429 storm").await;
}

#[tokio::test]
async fn a_burst_of_5xx_is_told_to_whom_it_hit_or_taken_over() {
    for (status, is_taken_over) in [(503, true), (500, false)] {
        let fleet = Fleet::start(&[]).await;
        let burst = fleet.bad().script(Rule::on(Routes::CALLS).status(status));
        let answers = fleet.crowd(CROWD, false).await;
        let failed: Vec<&Answer> = answers.iter().filter(|answer| answer.status != 200).collect();
        assert!(failed.iter().all(|answer| fleet.is_bad(answer)), "{failed:?}");
        let told = if is_taken_over { 0 } else { burst.hits() };
        assert_eq!((failed.len(), fleet.asked_of_good_ones()), (told, CROWD - told));
        assert!(burst.hits() <= 5 + SLOTS, "its breaker is open after five: {}", burst.hits());
        fleet.rest(&format!("burst of {status}")).await;
    }
}

#[tokio::test]
async fn streams_that_are_cut_end_in_one_error_and_the_others_are_whole() {
    let fleet = Fleet::start(&[]).await;
    fleet.sims.iter().take(3).for_each(|sim| {
        sim.script(Rule::on(Routes::CALLS).reply_chunks(["one", "two", "three"]));
    });
    let cut = fleet.bad().script(Rule::on(Routes::CALLS).reply_chunks(["one", "two", "three"]).cut_after(2));
    let answers = fleet.crowd(CROWD, true).await;
    let (own, others): (Vec<&Answer>, Vec<&Answer>) = answers.iter().partition(|answer| fleet.is_bad(answer));
    let ends = |answer: &Answer| answer.text.matches("data: [DONE]").count();
    let errors = |answer: &Answer| answer.text.matches("\"error\"").count();
    assert!(others.iter().all(|answer| (answer.status, ends(answer), errors(answer)) == (200, 1, 0)));
    assert!(own.iter().all(|answer| (answer.status, ends(answer), errors(answer)) == (200, 0, 1)), "{own:?}");
    assert_eq!(
        (own.len(), others.len(), fleet.asked_of_good_ones()),
        (cut.hits(), CROWD - cut.hits(), CROWD - cut.hits())
    );
    fleet.rest("cut streams").await;
}

#[tokio::test]
async fn a_backend_that_flaps_costs_no_answer() {
    let fleet = Fleet::start(&[]).await;
    for _ in 0..3 {
        fleet.bad().stop().await;
        assert_eq!(count(&fleet.crowd(CROWD / 2, false).await, 200), CROWD / 2);
        fleet.bad().restart().await.unwrap();
        assert_eq!(count(&fleet.crowd(CROWD / 2, false).await, 200), CROWD / 2);
    }
    fleet.rest("flapping").await;
}

#[tokio::test]
async fn a_backend_whose_name_nobody_knows_is_never_asked() {
    let fleet = Fleet::start(&[]).await;
    let body = json!({"name": "nowhere", "baseUrl": "http://no-such-host.invalid:8000", "type": "vllm"});
    let id = fleet.server.register_as(body, &[TASKS]).await;
    fleet.server.wait_for_member(TASKS, &id).await;
    let answers = fleet.crowd(CROWD, false).await;
    assert!(answers.iter().all(|answer| answer.status == 200 && answer.header("x-penstock-attempts") == "1"));
    fleet.server.wait_for_backend(&id, "what is wrong with it", |view| view.error().is_some()).await;
    fleet.rest("DNS failure").await;
}

#[tokio::test]
async fn half_of_the_fleet_goes_and_its_requests_end_once_while_the_others_go_on() {
    let fleet = Fleet::start(&[]).await;
    let gates: Vec<_> = fleet.sims.iter().map(|sim| sim.hold_on(Routes::CALLS)).collect();
    let sent = fleet.send(CROWD, false);
    for gate in &gates {
        gate.wait_for_waiting(SLOTS).await.unwrap();
    }
    fleet.sims[2].stop().await;
    fleet.sims[3].stop().await;
    gates.iter().for_each(loadtest::sim::HoldGate::release_all);
    let answers = answers(sent).await;
    let lost: Vec<&Answer> = answers.iter().filter(|answer| answer.status != 200).collect();
    let was_there = |answer: &&Answer| fleet.ids[2..].iter().any(|id| id == answer.header("x-penstock-backend"));
    assert!(lost.iter().all(was_there) && lost.len() <= 2 * SLOTS, "{lost:?}");
    fleet.rest("half of the fleet gone").await;
}
