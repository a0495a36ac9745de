//! Stored chains as models of both dialects, and the tokens of their last model step while they are made (`docs/api.md`,
//! chains as models).

use std::time::{Duration, Instant};

use loadtest::sim::{Route, Routes, Rule, SimBackend};
use serde_json::{Value, json};

use crate::support::{Answer, TestServer, dialects::Front, eventually, raw::RawClient};

/// A server, a backend that streams, and chains of several kinds.
struct Stage {
    server: TestServer,
    sim: SimBackend,
    id: String,
}

/// All chains of a stage: `talk` ends with a response, `say` with a text, `keep` with a conversation; `shout` changes the
/// text of its model; `sturdy` tries again; `data` asks nobody.
fn chains() -> [Value; 6] {
    let end = || json!({"branches": [{"goto": "end"}]});
    let ask = |more: Value| {
        let mut task =
            json!({"id": "ask", "handler": "model_execution", "transition": {"branches": [{"goto": "tell"}]}});
        task.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        task
    };
    [
        json!({"id": "talk", "tasks": [
            {"id": "first", "handler": "raw_string", "prompt_template": "step one", "transition": {"branches": [{"goto": "ask"}]}},
            ask(json!({"input_var": "input"})),
            {"id": "tell", "handler": "convert_to_openai_chat_response", "transition": end()}]}),
        json!({"id": "say", "tasks": [{"id": "ask", "handler": "raw_string", "transition": end()}]}),
        json!({"id": "keep", "tasks": [ask(json!({"transition": end()}))]}),
        json!({"id": "shout", "tasks": [ask(json!({"handler": "raw_string"})),
            {"id": "tell", "handler": "noop", "prompt_template": "{{.ask}}!", "transition": end()}]}),
        json!({"id": "sturdy", "tasks": [ask(json!({"handler": "raw_string", "retry_on_failure": 2,
            "transition": {"on_failure": "tell", "branches": [{"goto": "end"}]}})),
            {"id": "tell", "handler": "noop", "prompt_template": "sorry", "transition": end()}]}),
        json!({"id": "data", "tasks": [{"id": "a", "handler": "noop", "prompt_template": "just a text", "transition": end()}]}),
    ]
}

impl Stage {
    async fn start() -> Self {
        let server = TestServer::start(&[]).await;
        let sim = Front::Openai.sim().await;
        let id = server.ready("a", Front::Openai.kind(), &sim).await;
        for chain in chains() {
            server.post("/taskchains", chain).await.expect(201);
        }
        Self { server, sim, id }
    }

    async fn ask(&self, front: Front, chain: &str, stream: bool) -> Answer {
        self.server.post(front.chat(), question(front, chain, stream)).await
    }

    /// A client that has asked for a stream.
    async fn listen(&self, path: &str, body: &Value) -> RawClient {
        let mut client = RawClient::connect(self.server.addr).await;
        client.post(path, &body.to_string()).await;
        client
    }

    fn asked(&self) -> usize {
        self.sim.record().of(Routes::CALLS).len()
    }
}

fn question(front: Front, chain: &str, stream: bool) -> Value {
    let mut body = front.question("Hi", stream);
    body["model"] = json!(format!("chain/{chain}"));
    body
}

/// The text of a whole answer.
fn text_of(front: Front, answer: &Value) -> &str {
    let at = if front == Front::Openai { "/choices/0/message/content" } else { "/message/content" };
    answer.pointer(at).and_then(Value::as_str).unwrap_or_else(|| panic!("no text: {answer}"))
}

/// The pieces of text in a stream, and its last event before the end mark.
#[track_caller]
fn pieces(front: Front, text: &str) -> (Vec<String>, Value) {
    let read = |line: &str| serde_json::from_str::<Value>(line).unwrap_or_else(|_| panic!("{line:?} in {text:?}"));
    let (events, at): (Vec<Value>, _) = match front {
        Front::Openai => {
            let events = text.strip_suffix("data: [DONE]\n\n").unwrap_or_else(|| panic!("no end: {text}"));
            let events = events.split_terminator("\n\n").map(|event| read(event.strip_prefix("data: ").unwrap()));
            (events.collect(), "/choices/0/delta/content")
        }
        Front::Ollama => (text.lines().map(read).collect(), "/message/content"),
    };
    let texts = events.iter().filter_map(|event| event.pointer(at)?.as_str()).filter(|text| !text.is_empty());
    (texts.map(str::to_owned).collect(), events.last().cloned().unwrap())
}

#[tokio::test]
async fn a_chain_answers_as_a_model_of_both_dialects() {
    let stage = Stage::start().await;
    stage.sim.script(Rule::on(Route::Chat).reply("  Fine, thanks.\n"));
    for front in Front::ALL {
        for (chain, text, served) in [
            ("talk", "  Fine, thanks.\n", stage.id.as_str()),
            ("keep", "  Fine, thanks.\n", &stage.id),
            ("say", "Fine, thanks.", &stage.id),
            ("shout", "Fine, thanks.!", &stage.id),
            ("data", "just a text", ""),
        ] {
            let answer = stage.ask(front, chain, false).await.expect(200);
            let reply = answer.json();
            assert_eq!(text_of(front, &reply), text, "{front:?} {chain}");
            assert_eq!(answer.header("x-penstock-backend"), served, "{front:?} {chain}");
            assert_eq!(reply["model"], format!("chain/{chain}"));
            let tokens =
                if front == Front::Openai { &reply["usage"]["completion_tokens"] } else { &reply["eval_count"] };
            assert!(served.is_empty() || tokens.as_u64().unwrap() > 0, "{front:?} {chain}: {reply}");
        }
    }
    let sent = stage.sim.record().of(Route::Chat).last().unwrap().json();
    assert_eq!(sent["model"], "chat:1b", "a chain is no model of a backend");
}

#[tokio::test]
async fn how_the_reply_is_drawn_reaches_the_chains_models() {
    let stage = Stage::start().await;
    let mut body = question(Front::Openai, "keep", false);
    body["temperature"] = json!(0.25);
    body["max_tokens"] = json!(9);
    body["seed"] = json!(1);
    let answer = stage.server.post("/v1/chat/completions", body).await.expect(200);
    let sent = stage.sim.record().of(Route::Chat)[0].json();
    assert_eq!(sent["temperature"], 0.25);
    assert!(sent["max_tokens"] == 9 || sent["max_completion_tokens"] == 9, "{sent}");
    assert!(answer.header("x-penstock-warning").contains("seed"), "{:?}", answer.headers);
}

#[tokio::test]
async fn that_a_chain_gives_one_reply_where_more_were_asked_for_is_told_once() {
    let stage = Stage::start().await;
    for stream in [false, true] {
        let mut body = question(Front::Openai, "say", stream);
        body["n"] = json!(2);
        let answer = stage.server.post("/v1/chat/completions", body).await.expect(200);
        let warnings: Vec<_> = answer.headers.get_all("x-penstock-warning").iter().collect();
        assert_eq!(warnings, ["2 replies were asked for, a chain gives one"], "stream {stream}");
    }
}

#[tokio::test]
async fn the_tokens_of_the_last_model_step_come_while_they_are_made() {
    let stage = Stage::start().await;
    let ollama = |model: &str| json!({"model": model, "prompt": "Hi"});
    let openai = |model: &str| json!({"model": model, "prompt": "Hi", "stream": true});
    for (path, body) in [
        ("/v1/chat/completions", question(Front::Openai, "talk", true)),
        ("/v1/chat/completions", question(Front::Openai, "say", true)),
        ("/v1/completions", openai("chain/keep")),
        ("/api/chat", question(Front::Ollama, "talk", true)),
        ("/api/generate", ollama("chain/say")),
        ("/talk/v1/chat/completions", json!({"messages": [{"role": "user", "content": "Hi"}], "stream": true})),
    ] {
        stage.sim.clear_script();
        stage.sim.script(Rule::on(Route::Chat).containing("step one").reply("one"));
        let held = stage.sim.script(Rule::on(Route::Chat).reply_chunks(["Hel", "lo ", "you"]).stall_after(1));
        let mut client = stage.listen(path, &body).await;
        let begun = client.until("Hel").await;
        assert!(begun.starts_with("HTTP/1.1 200"), "{path} {begun}");
        let head = begun.to_ascii_lowercase();
        assert!(head.contains(&format!("x-penstock-backend: {}", stage.id)), "{path} {begun}");
        assert!(!begun.contains("you"), "{path}: the backend has not said it yet");
        held.release();
        client.until("you").await;
    }
}

#[tokio::test]
async fn a_streamed_text_is_the_one_that_a_whole_answer_has() {
    let stage = Stage::start().await;
    stage.sim.script(Rule::on(Route::Chat).reply_chunks([
        " ",
        "<think>",
        "hm</think>\n",
        " Fine",
        ", ",
        "thanks",
        " \n",
    ]));
    for front in Front::ALL {
        for chain in ["talk", "keep", "say", "shout", "sturdy", "data"] {
            let whole = stage.ask(front, chain, false).await.expect(200).json();
            let streamed = stage.ask(front, chain, true).await.expect(200);
            let kind = if front == Front::Openai { "text/event-stream" } else { "application/x-ndjson" };
            assert_eq!(streamed.header("content-type"), kind, "{chain}");
            let (texts, last) = pieces(front, &streamed.text);
            assert_eq!(texts.concat(), text_of(front, &whole), "{front:?} {chain}");
            let is_one = matches!(chain, "shout" | "data");
            assert_eq!(texts.len() == 1, is_one, "{front:?} {chain}: {texts:?}");
            if front == Front::Ollama {
                assert_eq!((&last["done"], &last["done_reason"]), (&json!(true), &json!("stop")));
                assert!(chain == "data" || last["eval_count"].as_u64().unwrap() > 0, "{last}");
            }
        }
    }
}

#[tokio::test]
async fn thoughts_are_told_as_thoughts() {
    let stage = Stage::start().await;
    let thought = json!({"choices": [{"index": 0, "delta": {"reasoning": "let me see"}}]});
    let frames = [format!("data: {thought}\n\n"), Front::Openai.piece("yes"), Front::Openai.end()];
    stage.sim.script(Rule::on(Route::Chat).raw_frames(frames));
    let streamed = stage.ask(Front::Ollama, "say", true).await.expect(200);
    assert_eq!(pieces(Front::Ollama, &streamed.text).0, ["yes"]);
    let thoughts = streamed.text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let thoughts: String = thoughts.filter_map(|line| Some(line["message"]["thinking"].as_str()?.to_owned())).collect();
    assert_eq!(thoughts, "let me see");
}

#[tokio::test]
async fn a_cut_reply_says_so() {
    let stage = Stage::start().await;
    stage.sim.script(Rule::on(Route::Chat).reply("half a").finish("length"));
    for chain in ["talk", "say"] {
        let whole = stage.ask(Front::Openai, chain, false).await.expect(200).json();
        let (_, last) = pieces(Front::Openai, &stage.ask(Front::Openai, chain, true).await.expect(200).text);
        assert_eq!(whole["choices"][0]["finish_reason"], "length", "{chain}");
        assert_eq!(last["choices"][0]["finish_reason"], "length", "{chain}");
    }
}

#[tokio::test]
async fn what_fails_before_the_first_token_has_its_status_and_is_tried_again() {
    let stage = Stage::start().await;
    for front in Front::ALL {
        stage.sim.clear_script();
        stage.sim.script(Rule::on(Routes::CALLS).status(500).times(2));
        stage.sim.script(Rule::on(Routes::CALLS).reply("at last"));
        let answer = stage.ask(front, "sturdy", true).await.expect(200);
        assert_eq!(pieces(front, &answer.text).0.concat(), "at last");

        // A reply of thoughts alone told nothing.
        stage.sim.clear_script();
        stage.sim.script(Rule::on(Routes::CALLS).reply("<think>hm</think>").times(3));
        let answer = stage.ask(front, "sturdy", true).await.expect(200);
        assert_eq!(pieces(front, &answer.text).0, ["sorry"]);

        stage.sim.clear_script();
        stage.sim.script(Rule::on(Routes::CALLS).status(500));
        for stream in [false, true] {
            let failed = stage.ask(front, "say", stream).await.expect(500);
            assert_eq!(failed.header("content-type"), "application/json");
            assert!(failed.text.contains("task ask"), "{}", failed.text);
        }
    }
}

#[tokio::test]
async fn a_failure_after_the_first_token_ends_the_run_with_an_error_of_the_dialect() {
    let stage = Stage::start().await;
    stage.sim.script(Rule::on(Routes::CALLS).reply_chunks(["Hel", "lo", "!"]).cut_after(2));
    for front in Front::ALL {
        let before = stage.asked();
        let answer = stage.ask(front, "sturdy", true).await.expect(200);
        assert_eq!(stage.asked(), before + 1, "{front:?}: it is neither tried again nor caught");
        let error = match front {
            Front::Openai => answer.text.rfind("data: "),
            Front::Ollama => answer.text.trim_end().rfind('\n'),
        };
        let (beginning, _) = answer.text.split_at(error.unwrap());
        assert!(beginning.contains("Hel"), "{beginning}");
        let message = front.error_behind(&answer.text, beginning);
        assert!(message.starts_with("task ask: "), "{message}");
    }
    // Without a reader before the end everything works as ever.
    let answer = stage.ask(Front::Openai, "sturdy", false).await.expect(200);
    assert!(!text_of(Front::Openai, &answer.json()).is_empty());
    stage.server.wait_until_idle(&stage.id).await;
}

#[tokio::test]
async fn the_time_of_an_attempt_is_over_in_the_middle_of_a_stream_too() {
    let stage = Stage::start().await;
    let hasty = json!({"id": "hasty", "tasks": [{"id": "ask", "handler": "raw_string", "timeout": "200ms",
        "retry_on_failure": 3, "transition": {"branches": [{"goto": "end"}]}}]});
    stage.server.post("/taskchains", hasty).await.expect(201);
    stage.sim.script(Rule::on(Routes::CALLS).reply_chunks(["Hel", "lo"]).stall_after(1));
    let answer = stage.ask(Front::Openai, "hasty", true).await.expect(200);
    assert!(answer.text.contains("Hel") && answer.text.contains("took longer than 200ms"), "{}", answer.text);
    assert!(!answer.text.contains("[DONE]"));
    assert_eq!(stage.asked(), 1);
    stage.sim.wait_for_aborts(1).await.unwrap();
    stage.server.wait_until_idle(&stage.id).await;
}

#[tokio::test]
async fn what_a_chain_cannot_do_is_refused_in_the_words_of_the_dialect() {
    let stage = Stage::start().await;
    let openai = |answer: Answer, status: u16| answer.expect(status).json()["error"].clone();
    for stream in [false, true] {
        let unknown = openai(stage.ask(Front::Openai, "nobody", stream).await, 404);
        assert_eq!((&unknown["code"], &unknown["type"]), (&json!("model_not_found"), &json!("invalid_request_error")));
        assert!(stage.ask(Front::Ollama, "nobody", stream).await.expect(404).error().contains("chain/nobody"));
    }
    let image = json!([{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]);
    let tools = json!([{"type": "function", "function": {"name": "f"}}]);
    for (field, value, told) in
        [("messages", json!([{"role": "user", "content": image}]), "picture"), ("tools", tools, "tools")]
    {
        let mut body = question(Front::Openai, "say", true);
        body[field] = value;
        let refused = openai(stage.server.post("/v1/chat/completions", body).await, 400);
        assert!(refused["message"].as_str().unwrap().contains(told), "{refused}");
    }
    let wanted = json!({"model": "chain/say", "input": "hi"});
    let refused = openai(stage.server.post("/v1/embeddings", wanted.clone()).await, 400);
    assert!(refused["message"].as_str().unwrap().contains("embedding model"), "{refused}");
    assert!(stage.server.post("/api/embed", wanted).await.expect(400).error().contains("embedding model"));
    assert_eq!(stage.asked(), 0);
}

#[tokio::test]
async fn no_step_goes_where_the_request_does_not_allow_it() {
    let stage = Stage::start().await;
    for stream in [false, true] {
        let body = question(Front::Openai, "talk", stream).to_string();
        let request = stage.server.request(reqwest::Method::POST, "/v1/chat/completions").body(body);
        let refused = stage.server.send(request.header("x-penstock-require", "zone=moon")).await.expect(503);
        assert_eq!(refused.header("x-penstock-reason"), "no_backend", "{}", refused.text);
    }
    assert_eq!(stage.asked(), 0);
}

#[tokio::test]
async fn a_client_that_leaves_stops_the_run_and_aborts_its_call() {
    /// How often it is tried: the middle one counts, so that a busy machine fails no test.
    const TRIES: usize = 5;
    let stage = Stage::start().await;
    for front in Front::ALL {
        let mut took = Vec::new();
        for _ in 0..TRIES {
            stage.sim.clear_script();
            let rule = stage.sim.script(Rule::on(Route::Chat).reply_chunks(["Hel", "lo"]).stall_after(1));
            let aborts = stage.sim.record().aborted;
            let mut client = stage.listen(front.chat(), &question(front, "say", true)).await;
            client.until("Hel").await;
            let left = Instant::now();
            drop(client);
            stage.sim.wait_for_aborts(aborts + 1).await.unwrap();
            took.push(left.elapsed());
            stage.server.wait_until_idle(&stage.id).await;
            rule.release();
        }
        took.sort();
        assert!(took[TRIES / 2] < Duration::from_millis(50), "{front:?}: {took:?}");
    }
    eventually("no run", || async {
        let active = stage.server.runtime.runs.active();
        if active == 0 { Ok(()) } else { Err(format!("{active} runs")) }
    })
    .await;
}

#[tokio::test]
async fn a_client_that_does_not_read_slows_its_backend() {
    let stage = Stage::start().await;
    // Far more than all buffers on the way hold together.
    let piece = Front::Openai.piece(&"w".repeat(16 * 1024));
    let pieces = std::iter::repeat_n(piece.clone(), 4_000).chain([Front::Openai.end()]);
    stage.sim.script(Rule::on(Route::Chat).raw_frames(pieces.collect::<Vec<_>>()));
    let mut client = stage.listen("/v1/chat/completions", &question(Front::Openai, "say", true)).await;
    client.until("www").await;
    // The backend is held up when what it got rid of does not grow any more.
    let mut last = 0;
    eventually("a backend that is held up", || {
        let taken = stage.sim.bytes_taken();
        let stands = taken == std::mem::replace(&mut last, taken);
        async move {
            tokio::time::timeout(Duration::from_millis(200), std::future::pending::<()>()).await.ok();
            if stands { Ok(()) } else { Err(format!("{taken} bytes so far")) }
        }
    })
    .await;
    let all = u64::try_from(piece.len() * 4_000).unwrap();
    assert!(stage.sim.bytes_taken() < all / 2, "{} of {all}", stage.sim.bytes_taken());
    drop(client);
    stage.server.wait_until_idle(&stage.id).await;
}

#[tokio::test]
async fn a_chain_behind_its_own_route_tells_its_steps_in_the_last_event() {
    let stage = Stage::start().await;
    stage.sim.script(Rule::on(Route::Chat).containing("step one").reply("one"));
    stage.sim.script(Rule::on(Route::Chat).reply_chunks(["Hel", "lo"]));
    let body = json!({"model": "chat:1b", "messages": [{"role": "user", "content": "Hi"}], "stream": true});
    let answer = stage.server.post("/talk/v1/chat/completions?stackTrace=true", body.clone()).await.expect(200);
    let (texts, last) = pieces(Front::Openai, &answer.text);
    assert_eq!(texts, ["Hel", "lo"]);
    let steps: Vec<&Value> = last["stackTrace"].as_array().unwrap().iter().map(|unit| &unit["taskID"]).collect();
    assert_eq!(steps, ["first", "ask", "tell"]);
    assert_eq!(last["model"], "chat:1b");
    // What is no response is none before a token was told, either.
    let asked = stage.asked();
    let refused = stage.server.post("/say/v1/chat/completions", body.clone()).await.expect(500);
    assert!(refused.text.contains("must be openai_chat_response"), "{}", refused.text);
    assert_eq!(stage.asked(), asked + 1);
    stage.sim.clear_script();
    stage.sim.script(Rule::on(Route::Chat).status(500));
    let failed = stage.server.post("/talk/v1/chat/completions", body).await.expect(500);
    assert_eq!(failed.json()["state"][0]["taskID"], "first");
}
