//! Slots of a backend that several instances share, and what they see of each other (`docs/operations.md`, several instances).

use loadtest::{
    services::{
        postgres::Postgres,
        valkey::{self, Valkey},
    },
    sim::SimBackend,
};
use serde_json::{Value, json};

use super::{Instance, asks};
use crate::support::{Answer, Client, TASKS, eventually, in_background, soon};

/// Instances on a database of their own, and a backend with so many slots for all of them.
async fn share(slots: u64, settings: &[(&str, &str)], count: usize) -> Option<(Vec<Instance>, SimBackend)> {
    let url = Postgres::shared()?.database_url().unwrap();
    let sim = SimBackend::ollama().model("chat:1b").start().await.unwrap();
    let mut instances = Vec::new();
    for _ in 0..count {
        instances.push(Instance::with(&url, settings).await);
    }
    let client = &instances[0].client;
    let body = json!({"name": "a", "baseUrl": sim.url(), "type": "ollama", "maxConcurrency": slots});
    let id = client.post("/backends", body).await.expect(201).json()["id"].as_str().unwrap().to_owned();
    client.post(&format!("/backend-associations/{TASKS}/backends/{id}"), Value::Null).await.expect(201);
    for instance in &instances {
        eventually("the backend on all of them", || asks(&instance.client, "chat:1b")).await;
    }
    Some((instances, sim))
}

async fn state(client: &Client) -> Value {
    client.get("/state").await.expect(200).json()[0].take()
}

/// Waits until an instance has so many slots.
async fn has_slots(instance: &Instance, slots: u64) {
    eventually(&format!("{slots} slots"), || async {
        let state = state(&instance.client).await;
        if state["slots"]["limit"] == slots { Ok(()) } else { Err(state.to_string()) }
    })
    .await;
}

/// Asks so many things of each at once.
fn crowd(instances: &[Instance], each: usize) -> Vec<tokio::task::JoinHandle<Answer>> {
    let ask = |client: Client| in_background(async move { client.post("/execute", json!({"prompt": "x"})).await });
    instances.iter().flat_map(|instance| (0..each).map(|_| ask(instance.client.clone())).collect::<Vec<_>>()).collect()
}

/// Waits until so many requests wait in each for a slot, or have one.
async fn are_there(instances: &[Instance], each: u64) {
    for instance in instances {
        eventually(&format!("{each} requests"), || async {
            let slots = state(&instance.client).await["slots"].take();
            let there = slots["inUse"].as_u64().unwrap() + slots["waiters"].as_u64().unwrap();
            if there == each { Ok(()) } else { Err(slots.to_string()) }
        })
        .await;
    }
}

#[tokio::test]
async fn a_set_number_of_slots_is_divided_among_those_who_are_there() {
    let Some((mut instances, sim)) = share(5, &[], 2).await else { return };
    let limits = eventually("all slots divided", || async {
        let mut limits = [state(&instances[0].client).await, state(&instances[1].client).await]
            .map(|state| state["slots"]["limit"].as_u64().unwrap());
        limits.sort_unstable();
        if limits.iter().sum::<u64>() == 5 { Ok(limits) } else { Err(format!("{limits:?}")) }
    })
    .await;
    assert_eq!(limits, [2, 3]);
    let gate = sim.hold();
    let asked = crowd(&instances, 6);
    are_there(&instances, 6).await;
    eventually("all slots in use", || async {
        if gate.waiting() >= 5 { Ok(()) } else { Err(gate.waiting().to_string()) }
    })
    .await;
    assert_eq!(gate.waiting(), 5, "the backend gets as many calls as it has slots, from all together");
    gate.release_all();
    for answer in asked {
        soon("an answer", answer).await.unwrap().expect(200);
    }

    instances.remove(1).process.signal("KILL").await;
    has_slots(&instances[0], 5).await;
}

#[tokio::test]
async fn one_slot_goes_round_among_more_instances_and_is_never_two() {
    let Some(valkey) = Valkey::shared() else { return };
    let host = format!("127.0.0.1:{}", valkey.port());
    let settings = [("KV_HOST", host.as_str()), ("KV_PASSWORD", valkey::PASSWORD)];
    let Some((instances, sim)) = share(1, &settings, 3).await else { return };
    eventually("everybody knows of everybody", || async {
        for instance in &instances {
            let state = state(&instance.client).await;
            if state["seenBy"].as_array().is_none_or(|seen| seen.len() != 2) {
                return Err(state.to_string());
            }
        }
        Ok(())
    })
    .await;
    eventually("one holder", || async {
        let mut held = 0;
        for instance in &instances {
            held += state(&instance.client).await["slots"]["limit"].as_u64().unwrap();
        }
        if held <= 1 { Ok(()) } else { Err(held.to_string()) }
    })
    .await;
    let gate = sim.hold();
    let asked = crowd(&instances, 3);
    are_there(&instances, 3).await;
    for left in (0..9).rev() {
        eventually("a call", || async { if gate.waiting() > 0 { Ok(()) } else { Err(format!("{left} to come")) } })
            .await;
        assert_eq!(gate.waiting(), 1, "{left} to come");
        gate.release(1);
    }
    for answer in asked {
        soon("an answer", answer).await.unwrap().expect(200);
    }
}

#[tokio::test]
async fn without_a_valkey_each_of_more_instances_than_slots_has_one() {
    let Some((instances, sim)) = share(1, &[], 2).await else { return };
    let gate = sim.hold();
    let asked = crowd(&instances, 2);
    are_there(&instances, 2).await;
    eventually("a call of each", || async {
        if gate.waiting() >= 2 { Ok(()) } else { Err(gate.waiting().to_string()) }
    })
    .await;
    assert_eq!(gate.waiting(), 2);
    gate.release_all();
    for answer in asked {
        soon("an answer", answer).await.unwrap().expect(200);
    }
}

#[tokio::test]
async fn each_shows_what_the_others_see_and_run() {
    let Some(valkey) = Valkey::shared() else { return };
    let host = format!("127.0.0.1:{}", valkey.port());
    let settings = [("KV_HOST", host.as_str()), ("KV_PASSWORD", valkey::PASSWORD)];
    let Some((instances, sim)) = share(4, &settings, 2).await else { return };
    let [one, other] = [&instances[0].client, &instances[1].client];
    let gate = sim.hold();
    let task = json!({"id": "ask", "handler": "raw_string", "prompt_template": "x",
        "transition": {"branches": [{"operator": "default", "goto": "end"}], "on_failure": ""}});
    let body = json!({"input": "x", "chain": {"id": "c", "tasks": [task]}});
    let client = one.clone();
    let asked = in_background(async move { client.post("/tasks", body).await });
    let mine = one.get("/version").await.json()["nodeInstanceID"].as_str().unwrap().to_owned();
    let run = eventually("the run, shown by the other one", || async {
        let active = other.get("/runs/active").await.expect(200).json();
        if active[0]["currentTask"] == "ask" { Ok(active[0].clone()) } else { Err(active.to_string()) }
    })
    .await;
    assert_eq!((run["chainID"].as_str(), run["instance"].as_str()), (Some("c"), Some(mine.as_str())));
    assert_eq!(other.get("/runs/active").await.json().as_array().unwrap().len(), 1, "it is nobody else's");
    eventually("the call, shown by the other one", || async {
        let seen = state(other).await["seenBy"].take();
        let is_so = seen[0]["instance"] == mine && seen[0]["inUse"] == 1 && seen[0]["limit"] == 2;
        if is_so && seen[0].get("error").is_none() { Ok(()) } else { Err(seen.to_string()) }
    })
    .await;
    gate.release_all();
    soon("its answer", asked).await.unwrap().expect(200);
    eventually("its end, seen by the other one", || async {
        let active = other.get("/runs/active").await.expect(200).json();
        if active == json!([]) { Ok(()) } else { Err(active.to_string()) }
    })
    .await;
}
