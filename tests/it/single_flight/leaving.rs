//! Clients that leave a shared call: it goes on while anybody waits for it, and is given up in time when nobody does.

use std::time::Instant;

use loadtest::sim::{Route, Rule};

use super::{Road, Scene, roads, wait_for_sharing};
use crate::{
    client_gone::{TRIES, assert_in_time},
    support::{TASKS, raw::RawClient},
};

/// Three clients share a call, and leave one after the other.
async fn leave_one_by_one(road: Road, has_begun: bool) {
    let scene = Scene::start(road.behind, true).await;
    let mut took = Vec::new();
    for at in 1..=TRIES {
        let gate = (!has_begun).then(|| scene.sim.hold());
        let rule = if road.stream { road.pieces(20, "w") } else { Rule::on(Route::Chat).reply("all of it") };
        let stalled = has_begun.then(|| scene.sim.script(rule.stall_after(1)));
        let mut clients = Vec::new();
        for guests in 0..3 {
            let mut client = RawClient::connect(scene.server.addr).await;
            client.post(road.front.chat(), &road.question("hi").to_string()).await;
            clients.push(client);
            scene.sim.wait_until("the call", |record| record.calls.now == 1).await.unwrap();
            wait_for_sharing(&scene.server, TASKS, guests).await;
        }
        if has_begun && road.stream {
            for client in &mut clients {
                client.until("w0 ").await;
            }
        }
        // The first one, and then one that came later.
        drop(clients.remove(0));
        drop(clients.remove(0));
        wait_for_sharing(&scene.server, TASKS, 1).await;
        assert_eq!(scene.sim.record().aborted, at - 1, "{road:?}");
        let left = Instant::now();
        drop(clients);
        scene.sim.wait_for_aborts(at).await.unwrap();
        took.push(left.elapsed());
        scene.wait_until_idle().await;
        scene.sim.clear_script();
        drop((gate, stalled));
    }
    assert_in_time(&format!("{road:?}, begun: {has_begun}"), took);
    // A call that was given up is nobody's to join.
    scene.server.post(road.front.chat(), road.question("hi")).await.expect(200);
    assert_eq!(scene.calls(), TRIES + 1);
}

#[tokio::test]
async fn a_call_goes_on_when_the_first_client_leaves_and_is_given_up_in_time_when_the_last_does() {
    for road in roads() {
        leave_one_by_one(road, false).await;
    }
}

#[tokio::test]
async fn so_is_a_call_whose_answer_has_begun() {
    for road in roads() {
        leave_one_by_one(road, true).await;
    }
}
