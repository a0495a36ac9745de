//! Rates that are counted over all instances, and what becomes of them without the Valkey they are counted in: real processes
//! (`docs/operations.md`, Valkey).

use loadtest::{
    services::{
        postgres::Postgres,
        valkey::{PASSWORD, Valkey},
    },
    sim::SimBackend,
};
use serde_json::json;

use crate::support::{Answer, Client, Process, eventually};

/// Two instances that share a database and a Valkey, with these settings and a backend.
async fn pair(
    database: &Postgres,
    valkey: &Valkey,
    settings: &[(&str, &str)],
) -> ([(Process, Client); 2], SimBackend, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let (url, host) = (database.database_url().unwrap(), format!("127.0.0.1:{}", valkey.port()));
    let own = [("DATABASE_URL", url.as_str()), ("SECRET_KEY", "s"), ("KV_HOST", &host), ("KV_PASSWORD", PASSWORD)];
    let settings = [&own, settings].concat();
    let one = Process::serve(&folder.path().join("one"), &settings).await;
    let other = Process::serve(&folder.path().join("other"), &settings).await;
    let sim = SimBackend::ollama().model("chat:1b").start().await.unwrap();
    // What it asks to find out whether it is there costs nothing.
    one.1.add_ollama(&sim).await;
    eventually("the backend on the other one", || async {
        let state = other.1.get("/state").await;
        if state.json()[0]["pulledModels"].as_array().is_some_and(|seen| !seen.is_empty()) {
            Ok(())
        } else {
            Err(state.text)
        }
    })
    .await;
    ([one, other], sim, folder)
}

async fn ask(client: &Client) -> Answer {
    let body = json!({"model": "chat:1b", "messages": [{"role": "user", "content": "x"}]});
    client.post("/v1/chat/completions", body).await
}

#[tokio::test]
async fn a_callers_rate_is_that_of_all_instances_together() {
    let (Some(database), Some(valkey)) = (Postgres::shared(), Valkey::shared()) else { return };
    let limits = [("RATE_LIMIT_RPM", "1"), ("RATE_LIMIT_BURST", "4")];
    let ([(_one, first), (_other, second)], _sim, _folder) = pair(database, valkey, &limits).await;
    for (turn, left) in [(&first, "3"), (&second, "2"), (&first, "1"), (&second, "0")] {
        let answer = ask(turn).await.expect(200);
        assert_eq!(answer.header("x-ratelimit-remaining-requests"), left);
    }
    for client in [&first, &second] {
        let refused = ask(client).await.expect(429);
        let wait: u64 = refused.header("retry-after").parse().unwrap();
        assert!((50..=60).contains(&wait), "{wait}");
    }
}

#[tokio::test]
async fn without_the_valkey_each_instance_counts_by_itself_and_then_together_again() {
    let Some(database) = Postgres::shared() else { return };
    if !Valkey::is_installed() {
        return;
    }
    let mut valkey = Valkey::start().unwrap();
    let limits = [("RATE_LIMIT_RPM", "1"), ("RATE_LIMIT_BURST", "300"), ("RATE_LIMIT_TPM", "1000000")];
    let ([(one, first), (other, second)], _sim, _folder) = pair(database, &valkey, &limits).await;
    let left = async |client: &Client| -> u64 {
        let answer = ask(client).await.expect(200);
        answer.header("x-ratelimit-remaining-requests").parse().unwrap()
    };
    for (turn, lost) in [(0, "the server hangs"), (1, "the server is gone")] {
        let together = left(&first).await;
        assert_eq!(left(&second).await, together - 1, "before {lost}");
        if turn == 0 {
            valkey.server().unwrap().freeze()
        } else {
            valkey.stop()
        }
        let before = std::time::Instant::now();
        let (mut here, mut there) = (left(&first).await, left(&second).await);
        for _ in 0..10 {
            let (next_here, next_there) = (left(&first).await, left(&second).await);
            assert_eq!((next_here, next_there), (here - 1, there - 1), "{lost}: each counts by itself");
            (here, there) = (next_here, next_there);
        }
        assert!(before.elapsed().as_secs() < 10, "{lost}: {:?}", before.elapsed());
        assert!(one.log().contains("Valkey is away"), "{}", one.log());
        if turn == 0 {
            valkey.server().unwrap().thaw()
        } else {
            valkey.resume().unwrap()
        }
        let is_back = |log: &str| log.matches("Valkey is used again").count() > turn;
        eventually("the way back", || async {
            left(&first).await;
            left(&second).await;
            if is_back(&one.log()) && is_back(&other.log()) { Ok(()) } else { Err(one.log()) }
        })
        .await;
    }
    let together = left(&first).await;
    assert_eq!(left(&second).await, together - 1, "together again");
}
