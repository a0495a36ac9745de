//! Many slow readers of a fast backend: the backend waits, and what we hold for each of them is bounded
//! (`docs/api.md`, slow readers).

use loadtest::sim::{Route, Rule, SimBackend};
use serde_json::json;

use crate::support::{Process, TASKS, dialects::Front, eventually, raw::RawClient, soon};

const READERS: usize = 1000;
/// Translating what all of them have room for takes an unoptimised build too long; what counts is what one of them costs.
const TRANSLATED_READERS: usize = if cfg!(debug_assertions) { 200 } else { READERS };
/// What the backend would send to each.
const OFFERED_BYTES: usize = 8 << 20;
/// What is in the process's memory for each at most: what was read from its backend, and what waits to be written. Measured
/// 221 KiB where bytes are relayed, 286 where they are translated.
const MEMORY_BYTES: u64 = 576 << 10;
/// What the backend gets rid of for each at most, of eight: the kernel's buffers on both sides are in it, which it makes as large
/// as it likes. Measured 1.0 to 1.3 MiB.
const TAKEN_BYTES: u64 = 4 << 20;

async fn slow_readers(count: usize, front: Front, behind: Front) {
    let folder = tempfile::tempdir().unwrap();
    let (process, client) = Process::serve(folder.path(), &[]).await;
    let sim = behind.sim().await;
    let backend = json!({"name": "a", "baseUrl": sim.url(), "type": behind.kind(), "maxConcurrency": count + 1});
    let id = client.post("/backends", backend).await.expect(201).json()["id"].as_str().unwrap().to_owned();
    client.post(&format!("/backend-associations/{TASKS}/backends/{id}"), json!(null)).await.expect(201);
    eventually("an answer", || async {
        let answer = client.post(front.chat(), front.question("hi", true)).await;
        if answer.status == 200 { Ok(()) } else { Err(answer.text) }
    })
    .await;
    let piece = behind.piece(&"word ".repeat(3000));
    let pieces = vec![bytes::Bytes::from(piece.clone()); OFFERED_BYTES / piece.len()];
    sim.script(Rule::on(Route::Chat).raw_frames(pieces));
    let before = (process.resident_bytes(), sim.bytes_taken());
    let mut readers = Vec::new();
    for _ in 0..count {
        let mut reader = RawClient::connect_slow(client.addr()).await;
        reader.post(front.chat(), &front.question("hi", true).to_string()).await;
        readers.push(reader);
    }
    for reader in &mut readers {
        reader.until("word").await;
    }
    until_nothing_moves(&sim).await;
    let taken = (sim.bytes_taken() - before.1) / count as u64;
    assert!(taken < TAKEN_BYTES, "{front:?} over {behind:?}: {} KiB taken a reader", taken >> 10);
    // What has only gone through is given back within seconds; what is held for the readers stays, for they read nothing.
    let held = eventually("memory within its bound", || async {
        let held = process.resident_bytes().saturating_sub(before.0) / count as u64;
        if held < MEMORY_BYTES { Ok(held) } else { Err(format!("{} KiB in memory a reader", held >> 10)) }
    })
    .await;
    eprintln!("{front:?} over {behind:?}: {} KiB in memory, {} KiB taken a reader", held >> 10, taken >> 10);
    drop(readers);
    soon("the end of all calls", sim.wait_until("all calls aborted", |record| record.calls.now == 0)).await.unwrap();
}

/// Waits until the backend has not got rid of anything for a while. What it can get rid of is bounded, so that this ends; how
/// soon depends on what else the machine does.
async fn until_nothing_moves(sim: &SimBackend) {
    let mut is_moving = true;
    while is_moving {
        let (before, looks) = (sim.bytes_taken(), std::cell::Cell::new(0));
        is_moving = eventually("a backend that goes on, or does not", || async {
            looks.set(looks.get() + 1);
            match sim.bytes_taken() != before {
                true => Ok(true),
                false if looks.get() > 100 => Ok(false),
                false => Err(format!("{before} bytes taken")),
            }
        })
        .await;
    }
}

#[tokio::test]
async fn a_thousand_slow_readers_of_relayed_streams_do_not_grow_the_memory() {
    slow_readers(READERS, Front::Openai, Front::Openai).await;
}

#[tokio::test]
async fn a_thousand_slow_readers_of_translated_streams_do_not_grow_the_memory() {
    slow_readers(TRANSLATED_READERS, Front::Ollama, Front::Openai).await;
}
