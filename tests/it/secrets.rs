//! Planted secrets: none of them appears in anything that a server writes, answers or exports, whatever goes wrong
//! (`docs/operations.md`, secrets).

mod watched;

use std::{fs, path::Path};

use loadtest::{
    services::{
        nats::{self, Nats},
        postgres::{self, Postgres},
        valkey::{self, Valkey},
    },
    sim::{Route, Routes, Rule, Scripted, SimBackend},
};
use reqwest::Method;
use serde_json::{Value, json};

use self::watched::Watched;
use crate::support::{Cuttable, TASKS, eventually};

/// `TOKEN`.
const OWNER: &str = "planted-owner-7d41-sesame";
/// `SECRET_KEY`.
const SEALING: &str = "planted-sealing-2c90-sealing-wax";
const PASSPHRASE: &str = "planted-passphrase-6e13-battery";
/// Keys of a provider, of a backend, and of those that repeat what they were sent.
const PROVIDERS: &str = "sk-planted-provider-5b1e-limetree";
const OWN: &str = "sk-planted-own-91ac-elmtree";
const ECHOED: &str = "sk-planted-echoed-c7f2-ashtree";
/// Keys that open nothing, and of servers that are not there.
const WRONG: &str = "sk-planted-wrong-38d0-oaktree";
const NOWHERE: &str = "sk-planted-nowhere-f45b-yewtree";
/// A key where none belongs.
const MISPLACED: &str = "sk-planted-misplaced-a06c-figtree";
/// A token that nobody has made.
const STRANGER: &str = "planted-stranger-e872-knock-knock";

const PLANTED: [&str; 13] = [
    OWNER,
    SEALING,
    PASSPHRASE,
    PROVIDERS,
    OWN,
    ECHOED,
    WRONG,
    NOWHERE,
    MISPLACED,
    STRANGER,
    postgres::PASSWORD,
    nats::PASSWORD,
    valkey::PASSWORD,
];

/// What servers say who repeat the key that they were sent.
fn echo() -> String {
    let words = format!("Incorrect API key provided: Bearer {ECHOED}");
    json!({"error": {"message": words, "type": ECHOED, "param": ECHOED, "code": ECHOED, "status": ECHOED}}).to_string()
}

/// A server that does it in every way: as an error with each status, within a stream, in a whole answer, in a header. Beside it,
/// what brings it to that.
async fn echoing() -> (SimBackend, Vec<(String, Scripted)>) {
    let sim = SimBackend::openai().model("echo").api_key(ECHOED).start().await.unwrap();
    let mut rules = Vec::new();
    for status in [400, 401, 404, 422, 500, 503, 429] {
        let words = format!("say {status}");
        let rule = Rule::on(Routes::CALLS).containing(&words).status(status).body(echo()).header("retry-after", "0.02");
        rules.push((words, sim.script(rule.header("x-echo", ECHOED).header("www-authenticate", ECHOED))));
    }
    let words = |words: &str| (words.to_owned(), Rule::on(Routes::CALLS).containing(words));
    let (spent, whole) = (words("break"), words("begin"));
    rules.push((spent.0, sim.script(spent.1.error_after(2, format!("the key {ECHOED} is spent")))));
    let frames = [format!("data: {}\n\n", echo())];
    rules.push((whole.0.clone(), sim.script(whole.1.clone().streams(true).raw_frames(frames))));
    rules.push((whole.0, sim.script(whole.1.body(echo()))));
    (sim, rules)
}

/// A key in every place where none belongs.
async fn misplace_a_key(watched: &Watched) {
    let whole = |body: Value| body.to_string();
    for (path, body) in [
        ("/backends", whole(json!({"name": "x", "baseUrl": "http://h", "type": "vllm", "apiKey": {"is": MISPLACED}}))),
        ("/backends", whole(json!({"name": "x", "baseUrl": "http://h", "type": "vllm", "apiKey": [MISPLACED]}))),
        ("/backends", whole(json!({"name": "x", "baseUrl": "http://h", "type": "vllm", "weight": MISPLACED}))),
        ("/backends", whole(json!({"name": "x", "baseUrl": "http://h", "type": MISPLACED}))),
        ("/backends", whole(json!({"name": "x", "baseUrl": MISPLACED, "type": "vllm"}))),
        ("/backends", whole(json!({"name": "x", "baseUrl": "http://h", "key": MISPLACED}))),
        ("/backends", format!("{{\"apiKey\": \"{MISPLACED}\"")),
        ("/backends", format!("\"{MISPLACED}\"")),
        ("/backends", MISPLACED.to_owned()),
        ("/providers/openai/configure", whole(json!({"apiKey": {"is": MISPLACED}}))),
        ("/providers/openai/configure", whole(json!({"key": MISPLACED}))),
        ("/providers/openai/configure", whole(json!({"apiKey": PROVIDERS, "upsert": MISPLACED}))),
        ("/tokens", whole(json!({"name": "x", "scopes": [MISPLACED]}))),
        ("/tokens", whole(json!({"name": "x", "scopes": ["run"], "expiresAt": MISPLACED}))),
        ("/execute", whole(json!({"prompt": {"apiKey": MISPLACED}}))),
    ] {
        let answer = watched.ask_as(OWNER, "POST", path, &body).await;
        assert!((400..500).contains(&answer.status), "{body}: {} {}", answer.status, answer.text);
    }
    watched.get(&format!("/backends?api_key={MISPLACED}")).await.expect(200);
    watched.get(&format!("/backends?limit={MISPLACED}")).await.expect(422);
}

/// Tokens that open nothing, or not everything, and the one that was just made, of which this is the only sight.
async fn knock(watched: &Watched) -> String {
    let made = watched.client.request(Method::POST, "/tokens").bearer_auth(OWNER);
    let made =
        watched.client.send(made.body(json!({"name": "ci", "scopes": ["run", "read"]}).to_string())).await.expect(201);
    let token = made.json()["token"].as_str().unwrap().to_owned();
    watched.note("a new token", format!("{:?} {}", made.headers, made.text.replacen(&token, "", 1)));
    watched.ask_as(&token, "DELETE", "/backends/none", "").await.expect(403);
    watched.ask_as(STRANGER, "GET", "/backends", "").await.expect(401);
    watched.ask_as(STRANGER, "POST", "/v1/chat/completions", "{}").await.expect(401);
    let request = watched.client.request(Method::GET, &format!("/backends?token={STRANGER}"));
    let answer = watched.client.send(request.header("x-api-key", STRANGER)).await.expect(401);
    watched.note("a stranger's answer", format!("{answer:?}"));
    token
}

/// What happens while the database, or the bus, cannot be reached.
async fn cut_off(watched: &Watched, road: &Cuttable, token: &str) {
    road.cut();
    let backend = json!({"name": "late", "baseUrl": "http://127.0.0.1:9", "type": "vllm", "apiKey": NOWHERE});
    watched.post("/backends", backend).await;
    watched.post("/providers/gemini/configure", json!({"apiKey": NOWHERE, "upsert": true})).await;
    watched.post("/keys/rotate", Value::Null).await;
    watched.ask_as(token, "POST", "/execute", r#"{"prompt": "hi"}"#).await.expect(200);
    watched.look_around(&[]).await;
    road.mend();
    eventually("the database", || async {
        let answer = watched.get("/backends").await;
        if answer.status == 200 { Ok(()) } else { Err(answer.text) }
    })
    .await;
}

async fn export(watched: &Watched, folder: &Path, store: &[(&str, &str)]) {
    let plain = watched.run(folder, &["export"], store).await;
    assert!(plain.contains("echoing"), "{plain}");
    let sealed = [store, &[("PENSTOCK_PASSPHRASE", PASSPHRASE)]].concat();
    watched.run(folder, &["export", "sealed.jsonl", "--with-secrets"], &sealed).await;
    let text = fs::read_to_string(folder.join("sealed.jsonl")).unwrap();
    assert!(text.contains("echoing"), "{text}");
    watched.note("an export with secrets", text);
}

/// All that can go wrong, on a server with this bus.
async fn nothing_shows(bus: &[(&str, &str)], bus_road: &Cuttable) {
    let server = Postgres::shared().unwrap();
    let (road, database) = (Cuttable::to(server.port()).await.unwrap(), server.database().unwrap());
    let url = server.url_by(road.port, &database);
    let provider = SimBackend::openai().model("gpt").api_key(PROVIDERS).start().await.unwrap();
    let own = SimBackend::openai().model("chat:1b").api_key(OWN).start().await.unwrap();
    let (echoing, rules) = echoing().await;
    let deaf = SimBackend::vllm().start().await.unwrap();
    deaf.script(Rule::always().status(500).body(echo()));
    let google = SimBackend::gemini().start().await.unwrap();
    google.script(Rule::always().status(400).body(echo()));
    let loading = SimBackend::ollama().catalog(["chat:1b"]).start().await.unwrap();
    let pull = loading.script(Rule::on(Route::Pull).error_after(1, format!("Bearer {ECHOED} is not let in")));
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();

    let folder = tempfile::tempdir().unwrap();
    let provider_url = provider.v1_url();
    let store = [("DATABASE_URL", url.as_str()), ("SECRET_KEY", SEALING), ("LOG_LEVEL", "trace")];
    let settings = [&store, &[("TOKEN", OWNER), ("OPENAI_BASE_URL", &provider_url)][..], bus].concat();
    let mut watched = Watched::serve(&folder.path().join("data"), &settings).await;

    watched.post("/providers/openai/configure", json!({"apiKey": PROVIDERS})).await.expect(200);
    watched.post(&format!("/backend-associations/{TASKS}/backends/openai"), Value::Null).await.expect(201);
    let mut ids = vec![
        watched.add("own", "openai", &own.url(), OWN).await,
        watched.add("echoing", "openai", &echoing.url(), ECHOED).await,
        watched.add("loading", "ollama", &loading.url(), ECHOED).await,
    ];
    for (name, kind, url, key) in [
        // Another address of a server that is there: each can be registered once.
        ("wrong", "openai", format!("{}/v1/", own.url()), WRONG),
        ("nowhere", "vllm", format!("http://{nobody}"), NOWHERE),
        ("nowhere, encrypted", "openai", format!("https://{nobody}"), NOWHERE),
        ("not encrypted", "openai", own.url().replace("http:", "https:"), NOWHERE),
        ("deaf", "vllm", deaf.url(), ECHOED),
        ("google", "gemini", google.url(), ECHOED),
    ] {
        let id = watched.add(name, kind, &url, key).await;
        watched.wait_for_failure(&id).await;
        ids.push(id);
    }
    eventually("a download", || async { if pull.hits() > 0 { Ok(()) } else { Err("none".to_owned()) } }).await;
    for body in [
        json!({"prompt": "hi"}),
        json!({"prompt": "hi", "model_name": "echo"}),
        json!({"prompt": "hi", "model_name": "gpt", "model_provider": "openai"}),
    ] {
        eventually("an answer", || async {
            let answer = watched.post("/execute", body.clone()).await;
            if answer.status == 200 { Ok(()) } else { Err(answer.text) }
        })
        .await;
    }
    let token = knock(&watched).await;
    for (words, rule) in &rules {
        // Whoever has failed rests for a while.
        eventually(words, || async {
            watched.post(&format!("/backends/{}/breaker/reset", ids[1]), Value::Null).await;
            watched.ask_model("echo", words).await;
            if rule.hits() > 0 { Ok(()) } else { Err("it was not asked".to_owned()) }
        })
        .await;
    }
    misplace_a_key(&watched).await;
    cut_off(&watched, &road, &token).await;
    cut_off(&watched, bus_road, &token).await;
    watched.look_around(&ids).await;
    export(&watched, folder.path(), &store).await;

    watched.process.signal("TERM").await;
    assert!(watched.process.ended().await.success());
    assert!(watched.process.log().contains("\"level\":\"TRACE\""), "the log tells all there is");
    watched.check(&[&PLANTED[..], &[&token]].concat());
}

#[tokio::test]
async fn no_secret_shows_on_postgresql_and_nats_whatever_goes_wrong() {
    if !Postgres::is_installed() {
        return;
    }
    let Some(server) = Nats::shared() else { return };
    let port = server.url().rsplit(':').next().unwrap().parse().unwrap();
    let road = Cuttable::to(port).await.unwrap();
    let url = server.url_by(road.port);
    let bus = [("NATS_URL", url.as_str()), ("NATS_USER", nats::USER), ("NATS_PASSWORD", nats::PASSWORD)];
    nothing_shows(&bus, &road).await;
}

#[tokio::test]
async fn no_secret_shows_on_postgresql_and_valkey_whatever_goes_wrong() {
    if !Postgres::is_installed() {
        return;
    }
    let Some(server) = Valkey::shared() else { return };
    let road = Cuttable::to(server.port()).await.unwrap();
    let host = format!("127.0.0.1:{}", road.port);
    nothing_shows(&[("KV_HOST", host.as_str()), ("KV_PASSWORD", valkey::PASSWORD)], &road).await;
}
