//! Rules: which requests they take, and what they make of the answer.

use std::time::{Duration, Instant};

use hyper::Method;
use loadtest::sim::{Outcome, Route, Routes, Rule, SimBackend};
use serde_json::{Value, json};

use crate::client::{Client, get, post, read};

fn chat(text: &str, stream: bool) -> Value {
    json!({"model": "m", "stream": stream, "messages": [{"role": "user", "content": text}]})
}

async fn ollama() -> std::io::Result<SimBackend> {
    SimBackend::ollama().model("m").model("n").start().await
}

async fn openai() -> std::io::Result<SimBackend> {
    SimBackend::openai().model("m").start().await
}

#[tokio::test]
async fn rules_are_tried_in_order_until_they_are_used_up() {
    let sim = ollama().await.unwrap();
    let first = sim.script(Rule::on(Route::Chat).times(1).status(503).header("retry-after", "1"));
    sim.script(Rule::on(Route::Chat).containing("capital").reply("Paris"));
    sim.script(Rule::on(Routes::GENERATING).model("n").reply("from n"));

    let busy = post(sim.addr(), "/api/chat", chat("the capital?", false)).await.unwrap();
    assert_eq!((busy.status.as_u16(), busy.header("retry-after")), (503, "1"));
    assert!(busy.json()["error"].is_string());
    assert_eq!(first.hits(), 1);

    let paris = post(sim.addr(), "/api/chat", chat("the capital?", false)).await.unwrap();
    assert_eq!(paris.json()["message"]["content"], "Paris");
    let echo = post(sim.addr(), "/api/chat", chat("hi", false)).await.unwrap();
    assert_eq!(echo.json()["message"]["content"], "You said: hi");
    let other = json!({"model": "n", "prompt": "hi", "stream": false});
    assert_eq!(post(sim.addr(), "/api/generate", other).await.unwrap().json()["response"], "from n");

    sim.clear_script();
    let echo = post(sim.addr(), "/api/chat", chat("capital", false)).await.unwrap();
    assert_eq!(echo.json()["message"]["content"], "You said: capital");
}

#[tokio::test]
async fn a_body_is_sent_as_it_is() {
    let sim = openai().await.unwrap();
    sim.script(Rule::on(Route::Chat).times(1).body(r#"{"choices": ["#));
    sim.script(Rule::on(Route::Chat).status(418).body("teapot").header("Content-Type", "text/plain"));
    let broken = post(sim.addr(), "/v1/chat/completions", chat("a", false)).await.unwrap();
    assert_eq!((broken.status.as_u16(), broken.text().as_str()), (200, r#"{"choices": ["#));
    let teapot = post(sim.addr(), "/v1/chat/completions", chat("a", false)).await.unwrap();
    assert_eq!((teapot.status.as_u16(), teapot.header("content-type")), (418, "text/plain"));
    assert_eq!(teapot.headers.get_all("content-type").iter().count(), 1);
}

#[tokio::test]
async fn raw_frames_keep_their_borders() {
    let sim = openai().await.unwrap();
    sim.script(Rule::on(Route::Chat).raw_frames(["data: {\"a\"", ":1}\n", "\n"]));
    let reply = post(sim.addr(), "/v1/chat/completions", chat("a", true)).await.unwrap();
    assert_eq!(reply.header("content-type"), "text/event-stream");
    assert_eq!(reply.events(), [json!({"a": 1})]);
}

#[tokio::test]
async fn a_header_http_forbids_is_told() {
    let sim = openai().await.unwrap();
    sim.script(Rule::on(Route::Chat).header("bad name", "x"));
    let reply = post(sim.addr(), "/v1/chat/completions", chat("a", false)).await.unwrap();
    assert_eq!((reply.status.as_u16(), reply.text().contains("header")), (500, true));
}

#[tokio::test]
async fn delays_come_before_the_head_and_before_each_chunk() {
    let sim = ollama().await.unwrap();
    let step = Duration::from_millis(20);
    sim.script(Rule::on(Route::Chat).reply("a b").delay(step).chunk_delay(step));
    let started = Instant::now();
    let mut client = Client::connect(sim.addr()).await.unwrap();
    let response = client.head(Method::POST, "/api/chat", chat("hi", true).to_string()).await.unwrap();
    assert!(started.elapsed() >= step);
    let reply = read(response).await.unwrap();
    assert!(started.elapsed() >= step * 3, "{:?}", started.elapsed());
    assert_eq!(reply.lines().len(), 3);
}

#[tokio::test]
async fn a_cut_stream_ends_after_its_chunks_without_an_end() {
    let both = [(ollama().await.unwrap(), "/api/chat"), (openai().await.unwrap(), "/v1/chat/completions")];
    for (sim, path) in both {
        sim.script(Rule::on(Route::Chat).reply("a b c").cut_after(2));
        let reply = post(sim.addr(), path, chat("hi", true)).await.unwrap();
        assert!(!reply.whole && reply.text().contains(" b") && !reply.text().contains(" c"), "{reply:?}");
        assert_eq!(sim.record().requests[0].outcome, Outcome::Broken);
    }
}

#[tokio::test]
async fn a_cut_body_is_shorter_than_its_length() {
    let sim = ollama().await.unwrap();
    sim.script(Rule::on(Route::Chat).times(1).cut_after(1));
    sim.script(Rule::on(Route::Chat).cut_after_bytes(7));
    for sent in [None, Some(7)] {
        let reply = post(sim.addr(), "/api/chat", chat("hi", false)).await.unwrap();
        let promised: usize = reply.header("content-length").parse().unwrap();
        assert!(!reply.whole);
        assert_eq!(reply.body.len(), sent.unwrap_or(promised / 2));
    }
}

#[tokio::test]
async fn a_stream_can_be_cut_inside_a_chunk() {
    let sim = openai().await.unwrap();
    sim.script(Rule::on(Route::Chat).cut_after_bytes(10));
    let reply = post(sim.addr(), "/v1/chat/completions", chat("hi", true)).await.unwrap();
    assert_eq!((reply.whole, reply.text().as_str()), (false, r#"data: {"id"#));
}

#[tokio::test]
async fn a_connection_can_close_without_a_word() {
    let sim = ollama().await.unwrap();
    sim.script(Rule::on(Route::Chat).close_before_headers());
    post(sim.addr(), "/api/chat", chat("hi", false)).await.unwrap_err();
    assert_eq!(sim.record().requests[0].outcome, Outcome::Broken);
    assert_eq!(get(sim.addr(), "/api/version").await.unwrap().status, 200);
}

#[tokio::test]
async fn hanging_and_stalled_answers_go_on_when_released() {
    let sim = openai().await.unwrap();
    let hanging = sim.script(Rule::on(Route::Chat).times(1).hang_before_headers());

    let first = post(sim.addr(), "/v1/chat/completions", chat("hi", false));
    let release = async {
        sim.wait_for_requests(1).await.unwrap();
        assert_eq!(sim.record().calls.now, 1);
        hanging.release();
    };
    assert_eq!(tokio::join!(first, release).0.unwrap().status, 200);

    // Streams and plain bodies stall alike; the head has come by then.
    for stream in [true, false] {
        let stalled = sim.script(Rule::on(Route::Chat).times(1).reply("a b c").stall_after(1));
        let mut client = Client::connect(sim.addr()).await.unwrap();
        let body = chat("hi", stream).to_string();
        let response = client.head(Method::POST, "/v1/chat/completions", body).await.unwrap();
        assert_eq!(sim.record().calls.now, 1);
        stalled.release();
        assert!(read(response).await.unwrap().whole);
    }
    assert_eq!(sim.record().answered, 3);
}

#[tokio::test]
async fn an_error_ends_a_stream_that_has_begun() {
    let (ollama, openai) = (ollama().await.unwrap(), openai().await.unwrap());
    for sim in [&ollama, &openai] {
        sim.script(Rule::on(Route::Chat).reply("a b c").error_after(1, "out of memory"));
    }
    let lines = post(ollama.addr(), "/api/chat", chat("hi", true)).await.unwrap().lines();
    assert_eq!((lines.len(), &lines[1]), (2, &json!({"error": "out of memory"})));
    let events = post(openai.addr(), "/v1/chat/completions", chat("hi", true)).await.unwrap().events();
    assert_eq!((events.len(), &events[2]["error"]["message"]), (3, &json!("out of memory")));
    let plain = post(ollama.addr(), "/api/chat", chat("hi", false)).await.unwrap();
    assert_eq!((plain.status.as_u16(), plain.json()), (500, json!({"error": "out of memory"})));
}

#[tokio::test]
async fn the_end_of_an_answer_can_be_scripted() {
    let (ollama, openai) = (ollama().await.unwrap(), openai().await.unwrap());
    for sim in [&ollama, &openai] {
        sim.script(Rule::on(Route::Chat).times(1).finish("length"));
        sim.script(Rule::on(Route::Chat).done_reason_absent());
    }
    let mut reasons = Vec::new();
    for _ in 0..2 {
        let line = post(ollama.addr(), "/api/chat", chat("hi", false)).await.unwrap().json();
        reasons.push(line["done_reason"].clone());
        let body = post(openai.addr(), "/v1/chat/completions", chat("hi", false)).await.unwrap().json();
        reasons.push(body["choices"][0]["finish_reason"].clone());
    }
    assert_eq!(reasons, [json!("length"), json!("length"), Value::Null, Value::Null]);
}
