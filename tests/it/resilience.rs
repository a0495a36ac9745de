//! One backend in trouble costs its own calls and nobody else's (`docs/operations.md`, when a backend fails): breakers,
//! failover, the budget of what is tried again. Rests and hedges have files of their own.

mod hedges;
mod rests;

use loadtest::sim::{Route, Routes, Rule, SimBackend};
use serde_json::{Value, json};

use crate::support::{Answer, TASKS, TestServer, dialects::Front, eventually, soon};

/// A simulated backend and its id.
struct Member {
    sim: SimBackend,
    id: String,
}

impl Member {
    fn calls(&self) -> usize {
        self.sim.record().of(Routes::CALLS).len()
    }

    /// What `GET /state` says of it.
    async fn state(&self, server: &TestServer) -> Value {
        let all = server.get("/state").await.expect(200).json();
        all.as_array().unwrap().iter().find(|entry| entry["id"] == self.id.as_str()).unwrap().clone()
    }

    async fn breaker(&self, server: &TestServer) -> Value {
        self.state(server).await["breaker"].clone()
    }

    async fn reset(&self, server: &TestServer) {
        let answer = server.post(&format!("/backends/{}/breaker/reset", self.id), Value::Null).await.expect(200);
        assert_eq!(answer.json(), "breaker reset");
    }
}

/// Backends of the pool of tasks, tried in this order; each with further fields.
async fn ranked(server: &TestServer, front: Front, fields: &[Value]) -> Vec<Member> {
    let mut members = Vec::new();
    for (tier, fields) in fields.iter().enumerate() {
        let sim = front.sim().await;
        let mut body = json!({"name": format!("b{tier}"), "baseUrl": sim.url(), "type": front.kind(), "tier": tier});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let id = server.register_as(body, &[TASKS]).await;
        server.wait_for_model(&id, "chat:1b").await;
        members.push(Member { sim, id });
    }
    members
}

/// Two of them.
async fn pair(server: &TestServer) -> (Member, Member) {
    let mut members = ranked(server, Front::Ollama, &[json!({}), json!({})]).await;
    let second = members.pop().unwrap();
    (members.pop().unwrap(), second)
}

async fn ask(server: &TestServer) -> Answer {
    server.post("/execute", json!({"prompt": "hi"})).await
}

/// Answers with this status to prompts and chats, so many times.
fn failing(status: u16, times: usize) -> Rule {
    Rule::on(Routes::GENERATING).status(status).times(times)
}

#[tokio::test]
async fn a_dead_backend_costs_nobody_an_answer() {
    let server = TestServer::start(&[]).await;
    let (first, second) = pair(&server).await;
    first.sim.stop().await;
    for _ in 0..20 {
        ask(&server).await.expect(200);
    }
    assert_eq!(second.calls(), 20);
    server.wait_until_idle(&first.id).await;
}

#[tokio::test]
async fn a_silent_backend_is_waited_for_by_few_and_then_by_nobody() {
    let server = TestServer::start(&[("FIRST_BYTE_TIMEOUT", "300ms")]).await;
    let (first, second) = pair(&server).await;
    let silent = first.sim.script(Rule::on(Route::Generate).hang_before_headers());
    for _ in 0..5 {
        assert_eq!(ask(&server).await.expect(200).header("x-penstock-attempts"), "2");
    }
    assert_eq!(first.breaker(&server).await["state"], "open");
    // It is open for half a second at least, and a failed trial of another backend's call is no loss either.
    assert_eq!(ask(&server).await.expect(200).header("x-penstock-backend"), second.id);
    assert!(silent.hits() <= 6, "{}", silent.hits());
    server.wait_until_idle(&first.id).await;
}

#[tokio::test]
async fn a_burst_of_server_errors_opens_the_breaker_and_trials_that_go_well_close_it() {
    let server = TestServer::start(&[]).await;
    let (first, second) = pair(&server).await;
    assert_eq!(first.breaker(&server).await, json!({"state": "closed", "opened": 0}));
    // What a backend says of a call that it could not make is told, and not tried elsewhere.
    first.sim.script(failing(500, 5));
    for _ in 0..5 {
        ask(&server).await.expect(500);
    }
    let open = first.breaker(&server).await;
    assert_eq!((&open["state"], &open["opened"]), (&json!("open"), &json!(1)), "{open}");
    assert!(open["retryAt"].is_string(), "{open}");
    let spared = ask(&server).await.expect(200);
    assert_eq!((spared.header("x-penstock-backend"), spared.header("x-penstock-attempts")), (&*second.id, "1"));
    eventually("a closed breaker", || async {
        ask(&server).await.expect(200);
        let now = first.breaker(&server).await;
        if now["state"] == "closed" { Ok(()) } else { Err(now.to_string()) }
    })
    .await;
    assert_eq!(ask(&server).await.expect(200).header("x-penstock-backend"), first.id);
    assert_eq!(first.breaker(&server).await, json!({"state": "closed", "opened": 1}));
}

#[tokio::test]
async fn a_backend_that_flaps_stays_out_for_longer_and_nobody_notices() {
    let server = TestServer::start(&[]).await;
    let (first, _second) = pair(&server).await;
    let mut opened = Vec::new();
    for round in 1..=2 {
        first.sim.script(failing(503, 5));
        let began = std::time::Instant::now();
        eventually("an open breaker", || async {
            ask(&server).await.expect(200);
            let now = first.breaker(&server).await;
            if now["opened"] == round { Ok(()) } else { Err(now.to_string()) }
        })
        .await;
        opened.push((began, first.breaker(&server).await));
        eventually("a closed breaker", || async {
            ask(&server).await.expect(200);
            let now = first.breaker(&server).await;
            if now["state"] == "closed" { Ok(()) } else { Err(now.to_string()) }
        })
        .await;
    }
    assert_eq!(opened[1].1["opened"], 2);
}

#[tokio::test]
async fn when_all_are_in_trouble_one_is_tried_and_what_it_says_is_told() {
    let server = TestServer::start(&[]).await;
    let (first, second) = pair(&server).await;
    for member in [&first, &second] {
        member.sim.script(Rule::on(Route::Generate).status(502));
    }
    for _ in 0..5 {
        ask(&server).await.expect(500);
    }
    for member in [&first, &second] {
        assert_eq!(member.breaker(&server).await["opened"], 1);
    }
    let before = first.calls() + second.calls();
    assert_eq!(before, 10);
    // Both are open; a refusal would be of no use to anybody.
    let told = ask(&server).await.expect(500);
    assert!(told.error().contains("502") && told.header("x-penstock-attempts") == "1", "{}", told.text);
    assert_eq!(first.calls() + second.calls(), before + 1);
    for member in [&first, &second] {
        member.sim.clear_script();
    }
    ask(&server).await.expect(200);
}

#[tokio::test]
async fn who_waits_when_the_last_breaker_opens_is_served_all_the_same() {
    let server = TestServer::start(&[]).await;
    let only = ranked(&server, Front::Ollama, &[json!({"maxConcurrency": 5})]).await.pop().unwrap();
    only.sim.script(failing(503, 5));
    let gate = only.sim.hold();
    let running: Vec<_> = (0..5).map(|_| server.execute_later("runs")).collect();
    gate.wait_for_arrivals(5).await.unwrap();
    let waiting: Vec<_> = (0..3).map(|_| server.execute_later("waits")).collect();
    server.wait_for_waiters(&only.id, 3).await;
    gate.release_all();
    for answer in running {
        answer.await.unwrap().expect(500);
    }
    for answer in waiting {
        soon("an answer", answer).await.unwrap().expect(200);
    }
    server.wait_until_idle(&only.id).await;
}

#[tokio::test]
async fn a_breaker_is_reset_by_hand() {
    let server = TestServer::start(&[]).await;
    let (first, _second) = pair(&server).await;
    first.sim.script(failing(429, 1).header("retry-after", "600"));
    ask(&server).await.expect(200);
    assert!(first.state(&server).await["restsUntil"].is_string());
    first.reset(&server).await;
    assert!(first.state(&server).await.get("restsUntil").is_none());
    first.sim.script(failing(500, 5));
    for _ in 0..5 {
        ask(&server).await.expect(500);
    }
    assert_eq!(first.breaker(&server).await["state"], "open");
    first.reset(&server).await;
    assert_eq!(first.breaker(&server).await, json!({"state": "closed", "opened": 1}));
    assert_eq!(ask(&server).await.expect(200).header("x-penstock-backend"), first.id);

    let unknown = server.post("/backends/none/breaker/reset", Value::Null).await.expect(404);
    assert!(unknown.error().contains("none"), "{}", unknown.text);
    // One that serves nothing yet has nothing to be reset.
    let body = json!({"name": "spare", "baseUrl": "http://127.0.0.1:9", "type": "openai"});
    let spare = server.post("/backends", body).await.expect(201).json()["id"].as_str().unwrap().to_owned();
    server.post(&format!("/backends/{spare}/breaker/reset"), Value::Null).await.expect(200);
}

#[tokio::test]
async fn another_address_or_key_begins_with_a_closed_breaker_and_another_name_does_not() {
    let server = TestServer::start(&[]).await;
    let (first, _second) = pair(&server).await;
    first.sim.script(failing(500, 5));
    for _ in 0..5 {
        ask(&server).await.expect(500);
    }
    let moved = SimBackend::ollama().model("chat:1b").start().await.unwrap();
    for (name, url, opened) in [("renamed", first.sim.url(), true), ("moved", moved.url(), false)] {
        let body = json!({"name": name, "baseUrl": url, "type": "ollama"});
        server.put(&format!("/backends/{}", first.id), body).await.expect(200);
        server.wait_for_backend(&first.id, "the change", |view| view.backend.name == name).await;
        // By now it may be half-open.
        assert_eq!(first.breaker(&server).await["state"] != "closed", opened, "{name}");
    }
}

#[tokio::test]
async fn what_breaks_off_before_its_first_byte_is_tried_elsewhere_and_what_breaks_off_later_is_not() {
    for front in Front::ALL {
        let server = TestServer::start(&[]).await;
        let members = ranked(&server, front, &[json!({}), json!({})]).await;
        let (first, second) = (&members[0], &members[1]);
        for stream in [false, true] {
            for early in [Rule::on(Route::Chat).close_before_headers(), Rule::on(Route::Chat).cut_after_bytes(0)] {
                first.sim.clear_script();
                first.sim.script(early.clone());
                first.reset(&server).await;
                let answer = server.post(front.chat(), front.question("hi", stream)).await.expect(200);
                assert_eq!(answer.header("x-penstock-attempts"), "2", "{front:?} {stream} {early:?}");
            }
        }
        let before = second.calls();
        first.sim.clear_script();
        first.sim.script(Rule::on(Route::Chat).reply("one two three").cut_after(2));
        first.reset(&server).await;
        let cut = server.post(front.chat(), front.question("hi", true)).await.expect(200);
        assert!(cut.text.contains("one") && cut.text.contains("error"), "{}", cut.text);
        assert_eq!((cut.header("x-penstock-attempts"), second.calls()), ("1", before));
    }
}

#[tokio::test]
async fn a_stream_that_says_nothing_but_comments_is_given_up_in_time() {
    let server = TestServer::start(&[("FIRST_BYTE_TIMEOUT", "400ms")]).await;
    let members = ranked(&server, Front::Openai, &[json!({}), json!({})]).await;
    // Each comes in time, and none of them is a word.
    let pings = vec![": ping\n\n"; 1_000];
    let pings = Rule::on(Route::Chat).raw_frames(pings).chunk_delay(std::time::Duration::from_millis(50));
    members[0].sim.script(pings);
    for front in Front::ALL {
        members[0].reset(&server).await;
        let request = server.post(front.chat(), front.question("hi", true));
        let answer = soon("an answer of another backend", request).await.expect(200);
        assert_eq!(answer.header("x-penstock-backend"), members[1].id, "{front:?}");
    }
}

#[tokio::test]
async fn an_empty_budget_ends_what_is_tried_again() {
    let server = TestServer::start(&[]).await;
    let (first, second) = pair(&server).await;
    let budget = json!({"retryBudget": {"ratio": 0.2, "minPerSecond": 0}});
    server.put(&format!("/pools/{TASKS}"), budget).await.expect(200);
    first.sim.script(Rule::on(Route::Generate).status(503));
    let mut answered = 0;
    for _ in 0..20 {
        // Otherwise its breaker would spare it.
        first.reset(&server).await;
        let answer = ask(&server).await;
        assert!(answer.status == 200 || answer.error().contains("503"), "{}", answer.text);
        answered += usize::from(answer.status == 200);
    }
    // Fifths of a few calls; what was paid in loses a little of its worth meanwhile.
    assert!((3..=4).contains(&answered), "{answered}");
    assert_eq!((first.calls(), second.calls()), (20, answered));
}

#[tokio::test]
async fn labels_hold_whatever_happens_to_those_who_have_them() {
    let server = TestServer::start(&[]).await;
    let labelled = json!({"labels": {"zone": "on-prem"}, "maxConcurrency": 2});
    let members = ranked(&server, Front::Ollama, &[labelled, json!({})]).await;
    let hedging = json!({"hedging": {"afterMs": 1, "maxTokens": 4096}, "queue": {"maxWaitMs": 300}});
    server.put(&format!("/pools/{TASKS}"), hedging).await.expect(200);
    let (allowed, other) = (&members[0], &members[1]);
    let ask = || async {
        let request = server.request(reqwest::Method::POST, "/execute").header("x-penstock-require", "zone=on-prem");
        server.send(request.header("content-type", "application/json").body(r#"{"prompt": "secret"}"#)).await
    };
    let is_refused = |answer: &Answer, reason: &str| answer.header("x-penstock-reason") == reason;
    // Too busy, too late for a hedge, in trouble, and resting.
    let gate = allowed.sim.hold();
    let answers = futures_util::future::join_all((0..4).map(|_| ask()));
    let release = async {
        gate.wait_for_arrivals(2).await.unwrap();
        eventually("the waits to be over", || async {
            if server.slots(&allowed.id).waiters == 0 { Ok(()) } else { Err("they wait".to_owned()) }
        })
        .await;
        gate.release_all();
    };
    let (answers, ()) = tokio::join!(answers, release);
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 2);
    assert_eq!(answers.iter().filter(|answer| is_refused(answer, "queue_timeout")).count(), 2);
    allowed.sim.script(failing(503, 20));
    for _ in 0..20 {
        ask().await.expect(500);
    }
    allowed.sim.clear_script();
    allowed.sim.script(failing(429, 1).header("retry-after", "60"));
    allowed.reset(&server).await;
    ask().await.expect(500);
    assert!(is_refused(&ask().await.expect(503), "cooling_down"));
    allowed.sim.stop().await;
    allowed.reset(&server).await;
    ask().await;
    assert_eq!(other.calls(), 0);
}
