//! Several instances on one database, and what becomes of them when it goes: real processes, a real PostgreSQL
//! (`docs/operations.md`, several instances).

mod slots;

use std::time::{Duration, Instant};

use loadtest::{
    services::{
        nats::{self, Nats},
        postgres::{Durability, Postgres},
        valkey::{self, Valkey},
    },
    sim::{Outcome, Route, SimBackend},
};
use serde_json::{Value, json};

use crate::support::{Client, Cuttable, Process, TASKS, eventually, in_background, soon};

const SECRET: &str = "a secret that all instances have";

/// An instance with a folder of its own, on this database.
struct Instance {
    process: Process,
    client: Client,
    _folder: tempfile::TempDir,
}

impl Instance {
    async fn start(url: &str) -> Self {
        Self::with(url, &[]).await
    }

    async fn with(url: &str, more: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = [&[("DATABASE_URL", url), ("SECRET_KEY", SECRET)], more].concat();
        let (process, client) = Process::serve(folder.path(), &settings).await;
        Self { process, client, _folder: folder }
    }
}

fn alias(name: &str) -> Value {
    json!({"name": name, "targets": [{"model": "chat:1b"}]})
}

async fn asks(client: &Client, model: &str) -> Result<(), String> {
    let answer =
        client.post("/v1/chat/completions", json!({"model": model, "messages": [{"role": "user", "content": "x"}]}));
    let answer = answer.await;
    if answer.status == 200 { Ok(()) } else { Err(answer.text) }
}

#[tokio::test]
async fn a_change_made_on_one_instance_is_live_on_the_others() {
    let Some(server) = Postgres::shared() else { return };
    let url = server.database_url().unwrap();
    let sim = SimBackend::ollama().model("chat:1b").start().await.unwrap();
    let (one, other) = (Instance::start(&url).await, Instance::start(&url).await);
    one.client.add_ollama(&sim).await;
    eventually("the backend on the other one", || asks(&other.client, "chat:1b")).await;
    // So that it is known what is waited for: an alias needs nobody to be looked at.
    for turn in 0..5 {
        let name = format!("alias-{turn}");
        one.client.post("/aliases", alias(&name)).await.expect(201);
        let made = Instant::now();
        eventually("the alias on the other one", || asks(&other.client, &name)).await;
        // Without a word it would be half a minute.
        assert!(made.elapsed() < Duration::from_secs(5), "it took {:?}", made.elapsed());
    }
    other.client.delete("/aliases/alias-0").await.expect(200);
    eventually("the end of the alias", || async {
        match asks(&one.client, "alias-0").await {
            Ok(()) => Err("it is still there".to_owned()),
            Err(_) => Ok(()),
        }
    })
    .await;
}

/// Models that an Ollama has been told to download.
fn pulled(sim: &SimBackend) -> Vec<String> {
    sim.record().of(Route::Pull).iter().map(|call| call.model.clone().unwrap()).collect()
}

#[tokio::test]
async fn one_instance_at_a_time_downloads_and_another_one_when_it_has_died() {
    let Some(server) = Postgres::shared() else { return };
    let url = server.database_url().unwrap();
    let catalog = ["m1:1b", "m2:1b", "m3:1b"];
    let sim = SimBackend::ollama().model("chat:1b").catalog(catalog).start().await.unwrap();
    let (one, other) = (Instance::start(&url).await, Instance::start(&url).await);
    one.client.add_ollama(&sim).await;
    eventually("the backend on the other one", || asks(&other.client, "chat:1b")).await;
    let declare = async |client: &Client, model: &str| {
        client.post("/models", json!({"model": model})).await.expect(201);
        client.post(&format!("/model-associations/{TASKS}/models/{model}"), Value::Null).await.expect(200);
    };
    for model in ["m1:1b", "m2:1b"] {
        declare(&other.client, model).await;
        for client in [&one.client, &other.client] {
            eventually(model, || asks(client, model)).await;
        }
    }
    assert_eq!(pulled(&sim), ["m1:1b", "m2:1b"], "each once");
    assert!(one.process.log().contains("this instance keeps the models of backends in sync"));
    assert!(!other.process.log().contains("this instance keeps the models of backends in sync"));

    one.process.signal("KILL").await;
    eventually("the other one takes it over", || async {
        let text = other.process.log();
        if text.contains("this instance keeps the models") { Ok(()) } else { Err(text) }
    })
    .await;
    declare(&other.client, "m3:1b").await;
    eventually("m3:1b", || asks(&other.client, "m3:1b")).await;
    assert_eq!(pulled(&sim), catalog);
}

#[tokio::test]
async fn what_was_cancelled_anywhere_is_not_begun_again_by_who_takes_over() {
    let (Some(server), Some(valkey)) = (Postgres::shared(), Valkey::shared()) else { return };
    let (url, host) = (server.database_url().unwrap(), format!("127.0.0.1:{}", valkey.port()));
    let settings = [("KV_HOST", host.as_str()), ("KV_PASSWORD", valkey::PASSWORD)];
    let sim = SimBackend::ollama().model("chat:1b").catalog(["m1:1b", "m2:1b"]).start().await.unwrap();
    let (one, other) = (Instance::with(&url, &settings).await, Instance::with(&url, &settings).await);
    one.client.add_ollama(&sim).await;
    eventually("the backend on the other one", || asks(&other.client, "chat:1b")).await;
    let gate = sim.hold_pulls_at(10);
    let declare = async |model: &str| {
        one.client.post("/models", json!({"model": model})).await.expect(201);
        let path = format!("/model-associations/{TASKS}/models/{model}");
        one.client.post(&path, Value::Null).await.expect(200);
    };
    declare("m1:1b").await;
    eventually("the download", || async {
        if gate.waiting() == 1 { Ok(()) } else { Err("it has not begun".to_owned()) }
    })
    .await;
    // Through the one that does not do it.
    other.client.delete("/queue/m1:1b").await.expect(200);
    eventually("its end", || async {
        let is_over = sim.record().of(Route::Pull).iter().all(|call| call.outcome == Outcome::Aborted);
        if is_over { Ok(()) } else { Err("it goes on".to_owned()) }
    })
    .await;
    gate.release_all();
    // Told behind it on the same way: whoever knows this knows that.
    declare("m2:1b").await;
    eventually("m2:1b", || asks(&other.client, "m2:1b")).await;
    one.process.signal("KILL").await;
    eventually("the other one takes it over", || async {
        let text = other.process.log();
        if text.contains("this instance keeps the models") { Ok(()) } else { Err(text) }
    })
    .await;
    // What it would begin it begins before this.
    other.client.post("/models", json!({"model": "m3:1b"})).await.expect(201);
    other.client.post(&format!("/model-associations/{TASKS}/models/m3:1b"), Value::Null).await.expect(200);
    eventually("the next download", || async {
        let pulled = pulled(&sim);
        if pulled.contains(&"m3:1b".to_owned()) { Ok(()) } else { Err(format!("{pulled:?}")) }
    })
    .await;
    let begun = pulled(&sim);
    assert_eq!(begun.iter().filter(|model| *model == "m1:1b").count(), 1, "{begun:?}");
}

/// What holds while the database is away: prompts are answered, the store's routes say that they cannot.
async fn holds_out(client: &Client, backend: &str) {
    asks(client, "chat:1b").await.unwrap();
    client.post("/execute", json!({"prompt": "x"})).await.expect(200);
    let pool = json!({"name": "meanwhile"});
    let ask = |method: &'static str, path: String| client.request(method.parse().unwrap(), &path);
    for request in [
        ask("GET", "/backends".to_owned()),
        ask("GET", format!("/backends/{backend}")),
        ask("GET", "/backends/no-such-backend".to_owned()),
        ask("DELETE", "/pools/no-such-pool".to_owned()),
        ask("POST", "/pools".to_owned()).header("content-type", "application/json").body(pool.to_string()),
        ask("GET", "/supported".to_owned()),
    ] {
        let answer = soon("an answer", client.send(request)).await.expect(503);
        assert!(!answer.header("retry-after").is_empty() && answer.error().contains("store"), "{}", answer.text);
    }
    client.get("/state").await.expect(200);
    client.get("/health").await.expect(200);
}

/// Waits until a change is stored again.
async fn comes_back(client: &Client, name: &str) {
    eventually("the database", || async {
        let answer = client.post("/pools", json!({"name": name})).await;
        // Whether an attempt that was not answered has been made after all, nobody can know.
        if matches!(answer.status, 201 | 409) { Ok(()) } else { Err(answer.text) }
    })
    .await;
    let names = client.get("/pools").await.expect(200).json();
    assert!(names.as_array().unwrap().iter().any(|pool| pool["name"] == name), "{names}");
}

#[tokio::test]
async fn prompts_go_on_without_the_database_and_everything_is_back_with_it() {
    if !Postgres::is_installed() {
        return;
    }
    let mut server = Postgres::start(Durability::Full).unwrap();
    let road = Cuttable::to(server.port()).await.unwrap();
    let database = server.database().unwrap();
    let sim = SimBackend::ollama().model("chat:1b").start().await.unwrap();
    let (one, other) = (
        Instance::start(&server.url_by(server.port(), &database)).await,
        Instance::start(&server.url_by(road.port, &database)).await,
    );
    let backend = one.client.add_ollama(&sim).await;
    eventually("the backend on the other one", || asks(&other.client, "chat:1b")).await;

    // The server dies.
    server.stop();
    holds_out(&one.client, &backend).await;
    server.resume().unwrap();
    comes_back(&one.client, "after-its-death").await;

    // It hangs.
    server.server().unwrap().freeze();
    holds_out(&one.client, &backend).await;
    server.server().unwrap().thaw();
    comes_back(&one.client, "after-its-sleep").await;

    // One of the two cannot reach it, and misses what the other one changes meanwhile.
    road.cut();
    one.client.post("/aliases", alias("missed")).await.expect(201);
    holds_out(&other.client, &backend).await;
    road.mend();
    comes_back(&other.client, "after-the-cut").await;
    eventually("what was missed", || asks(&other.client, "missed")).await;
    for instance in [&one, &other] {
        let wrote = instance.process.log();
        assert!(!wrote.contains(loadtest::services::postgres::PASSWORD) && !wrote.contains(SECRET), "{wrote}");
    }
}

/// What instances tell each other, over whatever bus: one cancels the other's run, and hears of its alerts.
async fn hears_the_other(settings: &[(&str, &str)]) -> Option<(Instance, Instance, SimBackend)> {
    let url = Postgres::shared()?.database_url().unwrap();
    let sim = SimBackend::ollama().model("chat:1b").start().await.unwrap();
    let (one, other) = (Instance::with(&url, settings).await, Instance::with(&url, settings).await);
    one.client.add_ollama(&sim).await;
    eventually("the backend on the other one", || asks(&other.client, "chat:1b")).await;
    Some((one, other, sim))
}

/// Starts a run on one instance, lets the other one end it, and waits until an alert of one is shown by the other.
async fn talk((one, other, sim): &(Instance, Instance, SimBackend)) {
    let gate = sim.hold();
    let task = json!({"id": "ask", "handler": "raw_string", "prompt_template": "x",
        "transition": {"branches": [{"operator": "default", "goto": "end"}], "on_failure": ""}});
    let body = json!({"input": "x", "chain": {"id": "c", "tasks": [task]}});
    let client = one.client.clone();
    let asked = in_background(async move { client.post("/tasks", body).await });
    let run = eventually("the run", || async {
        let active = one.client.get("/runs/active").await.json();
        active[0]["id"].as_str().map(str::to_owned).ok_or_else(|| active.to_string())
    })
    .await;
    // Until it is known there, it is a run of nobody.
    eventually("its end", || async {
        let answer = other.client.post(&format!("/runs/{run}/cancel"), Value::Null).await;
        if answer.status == 200 { Ok(()) } else { Err(answer.text) }
    })
    .await;
    assert!(soon("its answer", asked).await.unwrap().error().contains("cancelled"));
    assert_eq!(one.client.get("/runs/active").await.json(), json!([]));
    other.client.post(&format!("/runs/{run}/cancel"), Value::Null).await.expect(404);
    gate.release_all();

    let message = format!("alert of {run}");
    let task = json!({"id": "alarm", "handler": "noop",
        "transition": {"branches": [{"operator": "default", "goto": "end", "alert_on_match": message}]}});
    eventually("the alert on the other one", || async {
        let body = json!({"input": "x", "inputType": "string", "chain": {"id": "a", "tasks": [task]}});
        one.client.post("/tasks", body).await.expect(200);
        let shown = other.client.get("/alerts").await.expect(200).text;
        if shown.contains(&message) { Ok(()) } else { Err(shown) }
    })
    .await;
}

#[tokio::test]
async fn instances_talk_over_nats_and_do_without_it_while_it_is_away() {
    if !Nats::is_installed() {
        return;
    }
    let mut server = Nats::start().unwrap();
    let url = server.url();
    let settings = [("NATS_URL", url.as_str()), ("NATS_USER", nats::USER), ("NATS_PASSWORD", nats::PASSWORD)];
    let Some(instances) = hears_the_other(&settings).await else { return };
    talk(&instances).await;
    server.stop();
    goes_on_alone(&instances).await;
    server.resume().unwrap();
    talk(&instances).await;
    server.server().unwrap().freeze();
    goes_on_alone(&instances).await;
    server.server().unwrap().thaw();
    talk(&instances).await;
    for instance in [&instances.0, &instances.1] {
        assert!(!instance.process.log().contains(nats::PASSWORD));
    }
}

#[tokio::test]
async fn instances_talk_over_valkey_and_do_without_it_while_it_is_away() {
    if !Valkey::is_installed() {
        return;
    }
    let mut server = Valkey::start().unwrap();
    let host = format!("127.0.0.1:{}", server.port());
    let settings = [("KV_HOST", host.as_str()), ("KV_PASSWORD", valkey::PASSWORD)];
    let Some(instances) = hears_the_other(&settings).await else { return };
    talk(&instances).await;
    server.stop();
    goes_on_alone(&instances).await;
    server.resume().unwrap();
    talk(&instances).await;
    server.server().unwrap().freeze();
    goes_on_alone(&instances).await;
    server.server().unwrap().thaw();
    talk(&instances).await;
    for instance in [&instances.0, &instances.1] {
        assert!(!instance.process.log().contains(valkey::PASSWORD));
    }
}

/// Without the bus everything works but what is told over it; and what is stored spreads all the same.
async fn goes_on_alone((one, other, _): &(Instance, Instance, SimBackend)) {
    for client in [&one.client, &other.client] {
        for _ in 0..5 {
            asks(client, "chat:1b").await.unwrap();
        }
        client.get("/queue").await.expect(200);
        soon("an answer", client.post("/runs/none/cancel", Value::Null)).await.expect(404);
    }
    let name = format!("alias-{}", penstock::domain::ids::RunId::random());
    one.client.post("/aliases", alias(&name)).await.expect(201);
    eventually("the alias on the other one", || asks(&other.client, &name)).await;
    one.client.delete(&format!("/aliases/{name}")).await.expect(200);
}

#[tokio::test]
async fn a_start_waits_for_its_database() {
    if !Postgres::is_installed() {
        return;
    }
    let mut server = Postgres::start(Durability::Full).unwrap();
    let url = server.database_url().unwrap();
    server.stop();
    let folder = tempfile::tempdir().unwrap();
    let settings = [
        ("DATABASE_URL", url.as_str()),
        ("DATA_DIR", folder.path().to_str().unwrap()),
        ("PORT", "0"),
        ("ADDR", "127.0.0.1"),
    ];
    let process = Process::spawn(&["serve"], &settings);
    let says = async |words: &str| {
        eventually(words, || async {
            let text = process.log();
            if text.contains(words) { Ok(()) } else { Err(text) }
        })
        .await;
    };
    says("waiting for the database").await;
    server.resume().unwrap();
    says("penstock is ready").await;
}

#[tokio::test]
async fn a_start_without_its_database_ends_with_one_line() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = |query: &str| format!("postgres://me:hush-hush@127.0.0.1:{nobody}/penstock{query}");
    for (url, status, told) in [
        (url(""), 69, "was not reached within 1 s"),
        (url("?sslmode=maybe"), 64, "DATABASE_URL: has an sslmode"),
        ("mysql://me:hush-hush@db/x".to_owned(), 64, "DATABASE_URL: is not the URL of a PostgreSQL database"),
    ] {
        let settings = [("DATABASE_URL", url.as_str()), ("DATABASE_WAIT", "1s"), ("PORT", "0"), ("ADDR", "127.0.0.1")];
        let mut process = Process::spawn(&["serve"], &settings);
        assert_eq!(process.ended().await.code(), Some(status));
        let (line, log) = (process.complaint(), process.log());
        assert!(line.contains(told) && line.trim_end().lines().count() == 1, "{line}");
        assert!(!line.contains("hush") && !log.contains("hush"), "{line}{log}");
    }
}

#[tokio::test]
async fn a_signal_ends_a_start_that_waits() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("postgres://me@127.0.0.1:{nobody}/penstock");
    let settings = [("DATABASE_URL", url.as_str()), ("DATABASE_WAIT", "1h"), ("PORT", "0"), ("ADDR", "127.0.0.1")];
    let mut process = Process::spawn(&["serve"], &settings);
    eventually("its waiting", || async {
        let text = process.log();
        if text.contains("waiting for the database") { Ok(()) } else { Err(text) }
    })
    .await;
    process.signal("TERM").await;
    assert_eq!(process.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_wrong_secret_refuses_to_start() {
    let Some(server) = Postgres::shared() else { return };
    let url = server.database_url().unwrap();
    let mut one = Instance::start(&url).await;
    let key = json!({"name": "b", "baseUrl": "http://127.0.0.1:9", "type": "vllm", "apiKey": "sk-planted-0123456789"});
    one.client.post("/backends", key).await.expect(201);
    one.process.signal("TERM").await;
    one.process.ended().await;
    let settings = [("DATABASE_URL", url.as_str()), ("SECRET_KEY", "hush-hush"), ("PORT", "0"), ("ADDR", "127.0.0.1")];
    let mut process = Process::spawn(&["serve"], &settings);
    assert_eq!(process.ended().await.code(), Some(69));
    let line = process.complaint();
    assert!(line.contains("SECRET_KEY does not fit") && !line.contains("hush"), "{line}");

    let both = [("DATABASE_URL", url.as_str()), ("SECRET_KEY", "new"), ("SECRET_KEY_PREVIOUS", SECRET)];
    let folder = tempfile::tempdir().unwrap();
    let (_process, client) = Process::serve(folder.path(), &both).await;
    assert_eq!(client.post("/keys/rotate", Value::Null).await.expect(200).json(), json!({"rotated": 1}));
    client.post("/keys/rotate", Value::Null).await.expect(422);
}
