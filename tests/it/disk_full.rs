//! A disk that is full: changes are refused until there is room again, everything else goes on, and nothing that was
//! accepted is lost (`docs/operations.md`, data folder).

use std::collections::BTreeSet;

use futures_util::future::join_all;
use loadtest::{services::small_disk::SmallDisk, sim::SimBackend};
use serde_json::{Value, json};

use crate::support::{Answer, Client, Process, TASKS, shape::column, soon};

/// Room for a start, and for a few hundred changes.
const SIZE: &str = "3m";
/// More than the database keeps in memory until it is committed, and than the disk has.
const LARGE: usize = 6 << 20;
/// Changes that are asked for at once: the store makes them together.
const AT_ONCE: usize = 8;

/// Few of them fit.
fn chain(id: &str) -> Value {
    chain_of(id, 3000)
}

fn chain_of(id: &str, bytes: usize) -> Value {
    let task =
        json!({"id": "t", "handler": "noop", "transition": {"branches": [{"operator": "default", "goto": "end"}]}});
    json!({"id": id, "description": "x".repeat(bytes), "tasks": [task]})
}

#[track_caller]
fn refused(answer: Answer) {
    let answer = answer.expect(503);
    assert_eq!(answer.header("x-penstock-reason"), "store_unavailable", "{}", answer.text);
    assert!(!answer.header("retry-after").is_empty() && answer.error().contains("store"), "{}", answer.text);
}

/// Stores chains until one is refused; those that are accepted are added.
async fn store_until_full(client: &Client, accepted: &mut BTreeSet<String>) {
    for turn in 0.. {
        let ids: Vec<String> = (0..AT_ONCE).map(|number| format!("c-{}-{turn}-{number}", accepted.len())).collect();
        let answers = join_all(ids.iter().map(|id| client.post("/taskchains", chain(id)))).await;
        let mut is_full = false;
        for (id, answer) in ids.into_iter().zip(answers) {
            if answer.status == 201 {
                accepted.insert(id);
            } else {
                refused(answer);
                is_full = true;
            }
        }
        if is_full {
            return;
        }
    }
}

/// Every chain that there is.
async fn stored(client: &Client) -> BTreeSet<String> {
    let listed = client.get("/taskchains?limit=1000").await.expect(200).json();
    column(&listed, "id").into_iter().collect()
}

/// Nothing can be changed, everything can be seen, prompts are answered.
async fn goes_on(client: &Client, backend: &str, accepted: &BTreeSet<String>) {
    let there = accepted.first().unwrap();
    let named = json!({"name": "meanwhile", "targets": [{"model": "chat:1b"}]});
    let ollama = json!({"name": "b", "baseUrl": "http://127.0.0.1:9", "type": "ollama"});
    refused(client.post("/taskchains", chain("meanwhile")).await);
    // It meets the end of the disk before it is committed, and must not take its neighbours with it in any other way.
    let both = [chain_of("meanwhile-large", LARGE), chain("meanwhile-small")];
    join_all(both.map(|chain| client.post("/taskchains", chain))).await.into_iter().for_each(refused);
    refused(client.put(&format!("/taskchains/{there}"), chain(there)).await);
    refused(client.post("/aliases", named).await);
    refused(client.post("/pools", json!({"name": "meanwhile"})).await);
    refused(client.post("/backends", ollama.clone()).await);
    refused(client.put(&format!("/backends/{backend}"), ollama).await);
    refused(client.post("/providers/gemini/configure", json!({"apiKey": "meanwhile-0123456789"})).await);
    refused(client.delete(&format!("/backend-associations/{TASKS}/backends/{backend}")).await);
    refused(client.delete(&format!("/taskchains/{there}")).await);
    // What is not there is not there, full or not.
    client.get("/backends/none").await.expect(404);

    for path in ["/backends", "/pools", "/aliases", "/providers/configs", "/state", "/health", "/ready", "/metrics"] {
        let answer = client.get(path).await.expect(200);
        assert!(!answer.text.contains("meanwhile"), "{path}: {}", answer.text);
    }
    client.get(&format!("/backends/{backend}")).await.expect(200);
    client.post("/execute", json!({"prompt": "x"})).await.expect(200);
    let chat = json!({"model": "chat:1b", "messages": [{"role": "user", "content": "x"}], "stream": true});
    assert!(client.post("/v1/chat/completions", chat).await.expect(200).text.contains("[DONE]"));
    let ran = client.post("/tasks", json!({"input": "x", "inputType": "string", "chain": chain("sent")})).await;
    ran.expect(200);
    assert_eq!(&stored(client).await, accepted);
}

#[tokio::test]
async fn a_full_disk_refuses_changes_and_nothing_else_and_loses_nothing() {
    if !SmallDisk::is_permitted() {
        return;
    }
    let disk = SmallDisk::mount(SIZE).unwrap();
    let sim = SimBackend::ollama().model("chat:1b").start().await.unwrap();
    let (mut process, client) = Process::serve_on(&disk, &[]).await;
    let backend = client.add_ollama(&sim).await;
    let mut accepted = BTreeSet::new();
    client.post("/taskchains", chain("early")).await.expect(201);
    accepted.insert("early".to_owned());

    disk.fill().unwrap();
    soon("the end of the room", store_until_full(&client, &mut accepted)).await;
    goes_on(&client, &backend, &accepted).await;

    disk.make_room().unwrap();
    client.post("/taskchains", chain("again")).await.expect(201);
    client.delete("/taskchains/early").await.expect(200);
    accepted.insert("again".to_owned());
    accepted.remove("early");
    assert_eq!(stored(&client).await, accepted);

    // Ended by force on a full disk, and started on it.
    disk.fill().unwrap();
    soon("the end of the room", store_until_full(&client, &mut accepted)).await;
    process.signal("KILL").await;
    process.ended().await;
    let (mut process, client) = Process::serve_on(&disk, &[]).await;
    assert_eq!(stored(&client).await, accepted);
    disk.make_room().unwrap();
    client.post("/taskchains", chain("late")).await.expect(201);
    accepted.insert("late".to_owned());
    process.signal("TERM").await;
    assert!(process.ended().await.success());
    let (_process, client) = Process::serve_on(&disk, &[]).await;
    assert_eq!(stored(&client).await, accepted);
}
