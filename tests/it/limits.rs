//! How many calls a backend gets at once, who waits, who is refused, and that no slot is ever lost (`docs/operations.md`, backpressure).

use loadtest::sim::{Route, Routes, Rule, SimBackend};
use penstock::domain::ids::PoolId;
use serde_json::{Value, json};

use crate::support::{Scene, TASKS, TestServer, eventually, in_background};

async fn narrow(limit: u32) -> Scene {
    Scene::with(&[], json!({"maxConcurrency": limit})).await
}

fn prompts(sim: &SimBackend) -> Vec<String> {
    let record = sim.record();
    record.of(Route::Generate).iter().map(|call| call.json()["prompt"].as_str().unwrap().to_owned()).collect()
}

async fn set_queue(server: &TestServer, queue: Value) {
    let changed = server.put(&format!("/pools/{TASKS}"), json!({"queue": queue})).await.expect(200).json();
    eventually("the queue's bounds in force", || async {
        let table = server.runtime.directory.pool(&PoolId::new(TASKS)).unwrap().table();
        let now = serde_json::to_value(table.pool.queue).unwrap();
        if now == changed["queue"] { Ok(()) } else { Err(now.to_string()) }
    })
    .await;
}

#[tokio::test]
async fn a_backend_never_runs_more_calls_than_its_limit() {
    let Scene { server, sim, id } = narrow(3).await;
    let gate = sim.hold();
    let running: Vec<_> = (0..12).map(|at| server.execute_later(&at.to_string())).collect();
    gate.wait_for_waiting(3).await.unwrap();
    server.wait_for_waiters(&id, 9).await;
    assert_eq!(sim.record().calls.now, 3);
    gate.release_all();
    for answer in running {
        answer.await.unwrap().expect(200);
    }
    assert_eq!(sim.record().calls.max, 3);
    server.wait_until_idle(&id).await;
}

#[tokio::test]
async fn without_a_limit_of_its_own_a_backend_begins_with_eight_calls() {
    let Scene { server, sim, id } = Scene::start(&[]).await;
    let gate = sim.hold();
    let running: Vec<_> = (0..24).map(|at| server.execute_later(&at.to_string())).collect();
    gate.wait_for_waiting(8).await.unwrap();
    server.wait_for_waiters(&id, 16).await;
    assert_eq!((server.slots(&id).limit, sim.record().calls.max), (8, 8));
    gate.release_all();
    for answer in running {
        answer.await.unwrap().expect(200);
    }
}

#[tokio::test]
async fn those_who_wait_are_served_oldest_first() {
    let Scene { server, sim, id } = narrow(1).await;
    let gate = sim.hold();
    let mut running = vec![server.execute_later("0")];
    gate.wait_for_arrivals(1).await.unwrap();
    for at in 1..6 {
        running.push(server.execute_later(&at.to_string()));
        server.wait_for_waiters(&id, at).await;
    }
    gate.release_all();
    for answer in running {
        let answer = answer.await.unwrap().expect(200);
        assert_eq!(answer.header("x-penstock-attempts"), "1");
    }
    assert_eq!(prompts(&sim), ["0", "1", "2", "3", "4", "5"]);
    assert_eq!(sim.record().calls.max, 1);
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_and_says_when_to_come_back() {
    let Scene { server, sim, id } = narrow(1).await;
    set_queue(&server, json!({"capacity": 2})).await;
    let gate = sim.hold();
    let mut running = vec![server.execute_later("0")];
    gate.wait_for_arrivals(1).await.unwrap();
    running.extend([server.execute_later("1"), server.execute_later("2")]);
    server.wait_for_waiters(&id, 2).await;
    let refused = server.post("/execute", json!({"prompt": "one too many"})).await.expect(503);
    assert_eq!(refused.header("x-penstock-reason"), "queue_full");
    assert!(refused.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds > 0));
    assert!(refused.error().contains("full"), "{}", refused.text);
    gate.release_all();
    for answer in running {
        answer.await.unwrap().expect(200);
    }
    assert_eq!(prompts(&sim).len(), 3, "what was refused was never sent");
}

#[tokio::test]
async fn a_queue_of_capacity_nothing_refuses_whatever_cannot_run_now() {
    let Scene { server, sim, id } = narrow(1).await;
    set_queue(&server, json!({"capacity": 0})).await;
    let gate = sim.hold();
    let running = server.execute_later("0");
    gate.wait_for_arrivals(1).await.unwrap();
    let refused = server.post("/execute", json!({"prompt": "1"})).await.expect(503);
    assert_eq!(refused.header("x-penstock-reason"), "queue_full");
    gate.release_all();
    running.await.unwrap().expect(200);
    server.wait_until_idle(&id).await;
    server.post("/execute", json!({"prompt": "2"})).await.expect(200);
}

#[tokio::test]
async fn whoever_waits_too_long_is_told_so() {
    let Scene { server, sim, id } = narrow(1).await;
    set_queue(&server, json!({"maxWaitMs": 50})).await;
    let gate = sim.hold();
    let running = server.execute_later("0");
    gate.wait_for_arrivals(1).await.unwrap();
    let refused = server.post("/execute", json!({"prompt": "late"})).await.expect(503);
    assert_eq!(refused.header("x-penstock-reason"), "queue_timeout");
    assert!(refused.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds > 0));
    gate.release_all();
    running.await.unwrap().expect(200);
    server.wait_until_idle(&id).await;
    assert_eq!(prompts(&sim), ["0"]);
}

#[tokio::test]
async fn a_waiter_whose_client_has_gone_is_never_started() {
    let Scene { server, sim, id } = narrow(1).await;
    let gate = sim.hold();
    let running = server.execute_later("0");
    gate.wait_for_arrivals(1).await.unwrap();
    let leaver = server.execute_later("gone");
    server.wait_for_waiters(&id, 1).await;
    let stayer = server.execute_later("stays");
    server.wait_for_waiters(&id, 2).await;
    leaver.abort();
    server.wait_for_waiters(&id, 1).await;
    gate.release_all();
    running.await.unwrap().expect(200);
    stayer.await.unwrap().expect(200);
    assert_eq!(prompts(&sim), ["0", "stays"]);
    server.wait_until_idle(&id).await;
}

#[tokio::test]
async fn a_client_that_hangs_up_frees_its_slot_for_the_one_who_waits() {
    let Scene { server, sim, id } = narrow(1).await;
    let gate = sim.hold();
    let leaver = server.execute_later("gone");
    gate.wait_for_arrivals(1).await.unwrap();
    let stayer = server.execute_later("stays");
    server.wait_for_waiters(&id, 1).await;
    leaver.abort();
    sim.wait_for_aborts(1).await.unwrap();
    gate.wait_for_arrivals(2).await.unwrap();
    gate.release_all();
    stayer.await.unwrap().expect(200);
    server.wait_until_idle(&id).await;
}

#[tokio::test]
async fn no_slot_is_lost_whatever_the_backend_does() {
    let settings = [("FIRST_BYTE_TIMEOUT", "150ms"), ("IDLE_TIMEOUT", "150ms")];
    let Scene { server, sim, id } = Scene::with(&settings, json!({"maxConcurrency": 1})).await;
    for rule in [
        Rule::on(Route::Generate).hang_before_headers(),
        Rule::on(Route::Generate).stall_after(1),
        Rule::on(Route::Generate).cut_after(1),
        Rule::on(Route::Generate).cut_after_bytes(3),
        Rule::on(Route::Generate).close_before_headers(),
        Rule::on(Route::Generate).body("not json"),
        Rule::on(Route::Generate).body("[1, 2]"),
        Rule::on(Route::Generate).body(""),
        Rule::on(Route::Generate).status(500),
        Rule::on(Route::Generate).status(429),
        Rule::on(Route::Generate).finish("error"),
        Rule::on(Route::Generate).reply(""),
    ] {
        sim.clear_script();
        sim.script(rule.clone());
        // One fails while the other waits for its slot.
        let both = [server.execute_later("a"), server.execute_later("b")];
        for answer in both {
            let answer = answer.await.unwrap();
            assert!(matches!(answer.status, 500 | 503) && !answer.error().is_empty(), "{rule:?}: {}", answer.text);
        }
        server.wait_until_idle(&id).await;
    }
    sim.clear_script();
    assert_eq!(sim.record().calls.max, 1);
    server.post("/execute", json!({"prompt": "still there?"})).await.expect(200);
}

#[tokio::test]
async fn no_slot_is_lost_when_the_client_leaves_in_the_middle_of_an_answer() {
    let Scene { server, sim, id } = narrow(1).await;
    let stalled = sim.script(Rule::on(Route::Generate).times(1).stall_after(1));
    let leaver = server.execute_later("a");
    sim.wait_until("a call", |record| record.calls.now == 1).await.unwrap();
    leaver.abort();
    sim.wait_for_aborts(1).await.unwrap();
    assert_eq!(stalled.hits(), 1);
    server.wait_until_idle(&id).await;
    server.post("/execute", json!({"prompt": "b"})).await.expect(200);
}

#[tokio::test]
async fn a_backend_that_dies_with_calls_and_waiters_answers_all_of_them() {
    let Scene { server, sim, id } = narrow(2).await;
    let gate = sim.hold();
    let running: Vec<_> = (0..6).map(|at| server.execute_later(&at.to_string())).collect();
    gate.wait_for_waiting(2).await.unwrap();
    server.wait_for_waiters(&id, 4).await;
    sim.stop().await;
    for answer in running {
        let answer = answer.await.unwrap();
        assert!(matches!(answer.status, 500 | 503) && !answer.error().is_empty(), "{}", answer.text);
    }
    server.wait_until_idle(&id).await;
}

#[tokio::test]
async fn pools_that_share_a_backend_share_its_limit() {
    let Scene { server, sim, id } = narrow(2).await;
    let gate = sim.hold();
    let prompts: Vec<_> = (0..6).map(|at| server.execute_later(&at.to_string())).collect();
    let embeds = (0..6).map(|at| {
        let client = (*server).clone();
        in_background(async move { client.post("/embed", json!({"text": at.to_string()})).await })
    });
    let all: Vec<_> = prompts.into_iter().chain(embeds).collect();
    gate.wait_for_waiting(2).await.unwrap();
    server.wait_for_waiters(&id, 10).await;
    gate.release_all();
    for answer in all {
        answer.await.unwrap().expect(200);
    }
    assert_eq!(sim.record().calls.max, 2);
    assert_eq!(sim.record().of(Routes::CALLS).len(), 12);
    server.wait_until_idle(&id).await;
}

#[tokio::test]
async fn a_raised_limit_wakes_those_who_wait_and_a_lowered_one_holds_for_newcomers() {
    let Scene { server, sim, id } = narrow(1).await;
    let gate = sim.hold();
    let mut running: Vec<_> = (0..4).map(|at| server.execute_later(&at.to_string())).collect();
    gate.wait_for_waiting(1).await.unwrap();
    server.wait_for_waiters(&id, 3).await;
    let limited = |limit: u32| json!({"name": "a", "baseUrl": sim.url(), "type": "ollama", "maxConcurrency": limit});
    server.put(&format!("/backends/{id}"), limited(3)).await.expect(200);
    gate.wait_for_waiting(3).await.unwrap();
    server.wait_for_waiters(&id, 1).await;
    server.put(&format!("/backends/{id}"), limited(2)).await.expect(200);
    server.wait_for_slots(&id, "the lower limit", |slots| slots.limit == 2).await;
    running.push(server.execute_later("4"));
    server.wait_for_waiters(&id, 2).await;
    gate.release(1);
    server.wait_for_slots(&id, "two calls", |slots| slots.in_use == 2).await;
    assert_eq!(server.slots(&id).waiters, 2, "the place of the third is gone");
    gate.release_all();
    for answer in running {
        answer.await.unwrap().expect(200);
    }
    assert_eq!(sim.record().calls.max, 3);
}
