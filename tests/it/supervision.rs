//! Actors that crash come back, and what was going on meanwhile has a defined end (`docs/operations.md`, supervision).

use loadtest::sim::{Route, Routes};
use penstock::{
    domain::{
        ids::{BackendId, PoolId},
        pool::Policy,
    },
    runtime::SystemActor,
};
use serde_json::json;

use crate::support::{README_CHAIN, Scene, TASKS, eventually, in_background};

#[tokio::test]
async fn a_crashed_backend_comes_back_while_its_calls_go_on() {
    let Scene { server, sim, id } = Scene::with(&[], json!({"maxConcurrency": 2})).await;
    let gate = sim.hold();
    let running = server.execute_later("before");
    gate.wait_for_arrivals(1).await.unwrap();
    server.runtime.directory.backend(&BackendId::new(&*id)).unwrap().crash();
    // Its place stays in service all the time, with the slot of the running call.
    let during = server.execute_later("during");
    gate.wait_for_waiting(2).await.unwrap();
    assert_eq!(server.slots(&id).in_use, 2);
    server.wait_for_backend(&id, "a second life", |view| view.generation == 2).await;
    let waiting = server.execute_later("after");
    server.wait_for_waiters(&id, 1).await;
    gate.release_all();
    for answer in [running, during, waiting] {
        answer.await.unwrap().expect(200);
    }
    assert_eq!(sim.record().calls.max, 2);
    server.wait_until_idle(&id).await;
}

#[tokio::test]
async fn a_backend_that_crashes_again_and_again_keeps_serving() {
    let Scene { server, id, sim: _sim } = Scene::start(&[]).await;
    for life in 2..6 {
        server.runtime.directory.backend(&BackendId::new(&*id)).unwrap().crash();
        server.wait_for_backend(&id, "another life", |view| view.generation == life).await;
        server.post("/execute", json!({"prompt": "hi"})).await.expect(200);
    }
    let shown = server.get(&format!("/backends/{id}")).await.expect(200).json();
    assert!(shown.get("error").is_none(), "{shown}");
}

#[tokio::test]
async fn a_change_made_while_a_backend_is_down_is_in_force_when_it_is_back() {
    let Scene { server, sim, id } = Scene::start(&[]).await;
    server.runtime.directory.backend(&BackendId::new(&*id)).unwrap().crash();
    let body = json!({"name": "a", "baseUrl": sim.url(), "type": "ollama", "maxConcurrency": 3});
    server.put(&format!("/backends/{id}"), body).await.expect(200);
    server.wait_for_slots(&id, "the new limit", |slots| slots.limit == 3).await;
}

#[tokio::test]
async fn waiters_of_a_crashed_pool_are_told_to_come_back() {
    let Scene { server, sim, id } = Scene::with(&[], json!({"maxConcurrency": 1})).await;
    let gate = sim.hold();
    let running = server.execute_later("runs");
    gate.wait_for_arrivals(1).await.unwrap();
    let waiters = [server.execute_later("waits"), server.execute_later("waits")];
    server.wait_for_waiters(&id, 2).await;
    let pool = server.runtime.directory.pool(&PoolId::new(TASKS)).unwrap();
    pool.crash();
    for answer in waiters {
        let answer = answer.await.unwrap().expect(503);
        assert!(answer.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds > 0));
        assert!(answer.error().contains("safe to retry"), "{}", answer.text);
    }
    assert_eq!((pool.table().members.len(), pool.queue_depth()), (1, 0), "the table stays readable");
    // The queue works again: whoever comes is refused until it is there, and waits from then on.
    let queued = eventually("a queue again", || async {
        let waiting = server.execute_later("again");
        eventually("an answer or a place", || async {
            match (waiting.is_finished(), pool.queue_depth()) {
                (false, 0) => Err("neither".to_owned()),
                _ => Ok(()),
            }
        })
        .await;
        if waiting.is_finished() { Err(waiting.await.unwrap().text) } else { Ok(waiting) }
    })
    .await;
    gate.release_all();
    running.await.unwrap().expect(200);
    queued.await.unwrap().expect(200);
    server.wait_until_idle(&id).await;
}

#[tokio::test]
async fn a_change_made_while_a_pool_is_down_is_in_force_when_it_is_back() {
    let Scene { server, sim: _sim, .. } = Scene::start(&[]).await;
    for policy in Policy::ALL.into_iter().rev() {
        let pool = server.runtime.directory.pool(&PoolId::new(TASKS)).unwrap();
        pool.crash();
        server.put(&format!("/pools/{TASKS}"), json!({"policy": policy.as_str()})).await.expect(200);
        eventually("the policy in force", || async {
            if pool.policy() == policy { Ok(()) } else { Err(format!("{:?}", pool.policy())) }
        })
        .await;
        server.post("/execute", json!({"prompt": "hi"})).await.expect(200);
    }
}

#[tokio::test]
async fn runs_whose_supervisor_crashes_end_with_an_error_and_later_ones_work() {
    let Scene { server, sim, id } = Scene::start(&[]).await;
    let gate = sim.hold();
    let runs: Vec<_> = (0..3)
        .map(|_| {
            let client = (*server).clone();
            in_background(async move { client.post_as("/tasks", "application/yaml", README_CHAIN).await })
        })
        .collect();
    gate.wait_for_waiting(3).await.unwrap();
    server.runtime.crash(SystemActor::Runs);
    for run in runs {
        let answer = run.await.unwrap().expect(500);
        assert!(answer.error().contains("crashed"), "{}", answer.text);
    }
    sim.wait_for_aborts(3).await.unwrap();
    server.wait_until_idle(&id).await;
    gate.release_all();
    let answer = eventually("a run", || async {
        let answer = server.post_as("/tasks", "application/yaml", README_CHAIN).await;
        if answer.status == 503 { Err(answer.text) } else { Ok(answer) }
    })
    .await;
    answer.expect(200);
    assert_eq!(server.runtime.runs.active(), 0);
    assert!(sim.record().of(Routes::CALLS).iter().all(|call| call.route == Route::Generate));
}

#[tokio::test]
async fn a_crashed_fleet_makes_its_backends_and_pools_anew_and_loses_no_running_call() {
    let Scene { server, sim, id } = Scene::with(&[], json!({"maxConcurrency": 1})).await;
    let gate = sim.hold();
    let running = server.execute_later("runs");
    gate.wait_for_arrivals(1).await.unwrap();
    let waiting = server.execute_later("waits");
    server.wait_for_waiters(&id, 1).await;
    server.runtime.crash(SystemActor::Fleet);
    let told = waiting.await.unwrap().expect(503);
    assert!(told.error().contains("safe to retry"), "{}", told.text);
    server.wait_for_backend(&id, "a second life", |view| view.generation == 2).await;
    assert_eq!(server.slots(&id).in_use, 1, "the running call keeps its slot");
    gate.release_all();
    running.await.unwrap().expect(200);
    server.wait_until_idle(&id).await;
    server.post("/execute", json!({"prompt": "after"})).await.expect(200);
    // What is stored from now on reaches the new actors.
    let body = json!({"name": "a", "baseUrl": sim.url(), "type": "ollama", "maxConcurrency": 3});
    server.put(&format!("/backends/{id}"), body).await.expect(200);
    server.wait_for_slots(&id, "the new limit", |slots| slots.limit == 3).await;
}

#[tokio::test]
async fn changes_stored_while_reconcile_is_down_are_in_force_when_it_is_back() {
    let Scene { server, sim, id } = Scene::start(&[]).await;
    server.runtime.crash(SystemActor::Reconcile);
    let body = json!({"name": "a", "baseUrl": sim.url(), "type": "ollama", "maxConcurrency": 5});
    server.put(&format!("/backends/{id}"), body).await.expect(200);
    server.wait_for_slots(&id, "the new limit", |slots| slots.limit == 5).await;
}

#[tokio::test]
async fn listeners_of_a_crashed_event_actor_are_let_go_and_can_come_back() {
    let Scene { server, sim: _sim, .. } = Scene::start(&[]).await;
    let mut events = server.runtime.events.listen().unwrap();
    server.runtime.crash(SystemActor::Events);
    assert!(events.recv().await.is_none(), "the stream ends");
    eventually("a new stream", || async { server.runtime.events.listen().map_err(|error| error.to_string()) }).await;
}
