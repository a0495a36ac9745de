//! Who may ask a model now: requests in flight in all, and a caller's requests and tokens a minute (`docs/operations.md`,
//! admission).

use loadtest::sim::{HoldGate, Route, Routes, Rule, SimBackend};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Client, Scene, TestServer, dialects::Front, eventually, raw::RawClient, soon};

fn chain() -> Value {
    json!({"tasks": [
        {"id": "a", "handler": "raw_string", "prompt_template": "one", "transition": {"branches": [{"goto": "b"}]}},
        {"id": "b", "handler": "embedding", "prompt_template": "two", "transition": {"branches": [{"goto": "end"}]}}]})
}

/// Every route that asks a model, with a body that it takes.
fn asking_routes() -> Vec<(&'static str, Value)> {
    let chat = |model: &str| json!({"model": model, "messages": [{"role": "user", "content": "hi"}], "stream": false});
    let prompt = json!({"model": "chat:1b", "prompt": "hi", "stream": false});
    vec![
        ("/execute", json!({"prompt": "hi"})),
        ("/embed", json!({"text": "hi"})),
        ("/tasks", json!({"input": "x", "chain": chain()})),
        ("/talk/v1/chat/completions", chat("chat:1b")),
        ("/v1/chat/completions", chat("chat:1b")),
        ("/v1/completions", prompt.clone()),
        ("/v1/embeddings", json!({"model": "embed:1b", "input": "hi"})),
        ("/v1/responses", json!({"model": "chat:1b", "input": "hi"})),
        ("/api/chat", chat("chat:1b")),
        ("/api/generate", prompt),
        ("/api/embed", json!({"model": "embed:1b", "input": "hi"})),
        ("/api/embeddings", json!({"model": "embed:1b", "prompt": "hi"})),
    ]
}

/// Asks something about the server and its models that asks no model.
const OTHER_ROUTES: [&str; 8] =
    ["/health", "/ready", "/state", "/backends", "/pools", "/v1/models", "/api/tags", "/runs/active"];

/// The message of an error in the dialect of its route.
#[track_caller]
fn message(path: &str, answer: &Answer) -> String {
    let error = &answer.json()["error"];
    if path.starts_with("/v1/") {
        assert_eq!(error["code"], answer.header("x-penstock-reason"), "{path}");
        return error["message"].as_str().unwrap().to_owned();
    }
    error.as_str().unwrap_or_else(|| panic!("{path}: {}", answer.text)).to_owned()
}

fn number(answer: &Answer, header: &str) -> u64 {
    answer.header(header).parse().unwrap_or_else(|_| panic!("{header}: {:?}", answer.headers))
}

/// What a caller has left after what was asked before: a request that costs no tokens tells.
async fn tokens_left(client: &Client) -> u64 {
    let told = client.post("/v1/chat/completions", json!({})).await;
    number(&told, "x-ratelimit-remaining-tokens")
}

#[tokio::test]
async fn beyond_the_bound_every_route_that_asks_is_refused_and_no_other() {
    let Scene { server, sim, .. } = Scene::start(&[("MAX_IN_FLIGHT", "2")]).await;
    let gate = sim.hold();
    let running = [server.execute_later("a"), server.execute_later("b")];
    gate.wait_for_arrivals(2).await.unwrap();
    for (path, body) in asking_routes() {
        let refused = server.post(path, body).await.expect(503);
        assert_eq!((refused.header("x-penstock-reason"), refused.header("retry-after")), ("overloaded", "1"), "{path}");
        assert!(message(path, &refused).contains("safe to retry"), "{path}");
        assert_eq!(refused.header("x-ratelimit-limit-requests"), "", "the caller is not at fault");
    }
    for path in OTHER_ROUTES {
        server.get(path).await.expect(200);
    }
    server.post("/pools", json!({"name": "mine"})).await.expect(201);
    server.post("/taskchains/validate", chain()).await.expect(200);
    assert_eq!(sim.record().of(Routes::CALLS).len(), 2, "nothing of it was sent");
    gate.release_all();
    for answer in running {
        answer.await.unwrap().expect(200);
    }
    for _ in 0..5 {
        server.post("/execute", json!({"prompt": "again"})).await.expect(200);
    }
}

#[tokio::test]
async fn a_request_is_in_flight_until_its_last_byte_or_its_client_has_gone() {
    for front in Front::ALL {
        let server = TestServer::start(&[("MAX_IN_FLIGHT", "1")]).await;
        let sim = front.sim().await;
        server.ready("a", front.kind(), &sim).await;
        let frames = [front.piece("w0 "), front.piece("w1 "), front.end()];
        let kept = sim.script(Rule::on(Route::Chat).times(1).raw_frames(frames).stall_after(1));
        let mut first = RawClient::connect(server.addr).await;
        first.post(front.chat(), &front.question("hi", true).to_string()).await;
        first.until("w0 ").await;
        let refused = server.post("/execute", json!({"prompt": "too many"})).await.expect(503);
        assert_eq!(refused.header("x-penstock-reason"), "overloaded");
        kept.release();
        first.until("w1 ").await;
        // The last bytes are there: so is the place, on the same connection as on another.
        eventually("a free place", || async {
            let answer = server.post("/execute", json!({"prompt": "next"})).await;
            if answer.status == 200 { Ok(()) } else { Err(answer.text) }
        })
        .await;
        let _kept = sim
            .script(Rule::on(Route::Chat).times(1).raw_frames([front.piece("w0 "), front.piece("w1 ")]).stall_after(1));
        let mut leaver = RawClient::connect(server.addr).await;
        leaver.post(front.chat(), &front.question("hi", true).to_string()).await;
        leaver.until("w0 ").await;
        server.post("/execute", json!({"prompt": "too many"})).await.expect(503);
        drop(leaver);
        eventually("the place of one who has left", || async {
            let answer = server.post("/execute", json!({"prompt": "next"})).await;
            if answer.status == 200 { Ok(()) } else { Err(answer.text) }
        })
        .await;
    }
}

#[tokio::test]
async fn a_burst_of_requests_goes_through_and_the_next_is_told_when_to_come() {
    let settings = [("RATE_LIMIT_RPM", "1"), ("RATE_LIMIT_BURST", "12")];
    let Scene { server, sim, .. } = Scene::start(&settings).await;
    server
        .post(
            "/taskchains",
            json!({"id": "talk", "tasks": [{"id": "a", "handler": "model_execution",
        "transition": {"branches": [{"goto": "b"}]}}, {"id": "b", "handler": "convert_to_openai_chat_response",
        "transition": {"branches": [{"goto": "end"}]}}]}),
        )
        .await
        .expect(201);
    for (at, (path, body)) in asking_routes().into_iter().enumerate() {
        let answer = server.post(path, body).await.expect(200);
        assert_eq!(number(&answer, "x-ratelimit-limit-requests"), 12, "{path}");
        assert_eq!(number(&answer, "x-ratelimit-remaining-requests"), 11 - at as u64, "{path}");
        assert!(answer.header("x-ratelimit-reset-requests").ends_with('s'), "{path}");
        assert_eq!(answer.header("x-ratelimit-limit-tokens"), "", "no rate of tokens is set");
    }
    let sent = sim.record().of(Routes::CALLS).len();
    for (path, body) in asking_routes() {
        let refused = server.post(path, body).await.expect(429);
        assert_eq!(refused.header("x-penstock-reason"), "request_rate", "{path}");
        // One a minute: of the first minute only what the requests took has passed.
        assert!((30..=60).contains(&number(&refused, "retry-after")), "{path}");
        let exact = number(&refused, "retry-after-ms");
        assert!((29_001..=60_000).contains(&exact), "{exact}");
        assert_eq!(exact.div_ceil(1000), number(&refused, "retry-after"));
        assert_eq!(number(&refused, "x-ratelimit-remaining-requests"), 0);
        assert!(message(path, &refused).contains("too many requests"), "{path}");
    }
    assert_eq!(sim.record().of(Routes::CALLS).len(), sent, "nothing of it was sent");
    for path in OTHER_ROUTES {
        assert_eq!(server.get(path).await.expect(200).header("x-ratelimit-limit-requests"), "", "{path}");
    }
}

#[tokio::test]
async fn who_may_not_call_uses_up_nothing() {
    let settings = [("RATE_LIMIT_RPM", "1"), ("RATE_LIMIT_BURST", "1"), ("MAX_IN_FLIGHT", "1"), ("TOKEN", "sesame")];
    let server = TestServer::start(&settings).await;
    for _ in 0..3 {
        let refused = server.post("/v1/chat/completions", json!({})).await.expect(401);
        assert_eq!(refused.header("x-ratelimit-limit-requests"), "");
    }
    let ask = || {
        let request = server.request(Method::POST, "/v1/chat/completions").header("authorization", "Bearer sesame");
        server.send(request.header("content-type", "application/json").body("{}"))
    };
    assert_eq!(number(&ask().await.expect(400), "x-ratelimit-remaining-requests"), 0, "it was let in");
    ask().await.expect(429);
}

/// One token comes in a second, so that what a call has cost can be told from what has come in meanwhile.
const TOKENS: &[(&str, &str)] = &[("RATE_LIMIT_TPM", "60")];
/// What may have come in while a test was asking.
const SLACK: u64 = 4;

#[track_caller]
fn assert_cost(what: &str, left: u64, cost: u64) {
    let wanted = 60_u64.saturating_sub(cost);
    assert!((wanted..=wanted + SLACK).contains(&left), "{what}: {left} are left, {wanted} should be");
}

/// The sum of these members of an answer.
fn sum(answer: &Value, members: [&str; 2]) -> u64 {
    members.iter().filter_map(|member| answer.pointer(member).and_then(Value::as_u64)).sum()
}

#[tokio::test]
async fn every_kind_of_answer_is_charged_with_the_tokens_that_it_tells() {
    let words = "one two three four five six seven eight nine ten";
    let openai = ["/usage/prompt_tokens", "/usage/completion_tokens"];
    let ollama = ["/prompt_eval_count", "/eval_count"];
    for behind in Front::ALL {
        for (path, body, members) in [
            ("/v1/chat/completions", Front::Openai.question("Tell me all of it", false), openai),
            ("/v1/completions", json!({"model": "chat:1b", "prompt": "Tell me all of it"}), openai),
            ("/v1/embeddings", json!({"model": "embed:1b", "input": ["a b c", "d e f g"]}), openai),
            ("/api/chat", Front::Ollama.question("Tell me all of it", false), ollama),
            ("/api/embed", json!({"model": "embed:1b", "input": ["a b c", "d e f g"]}), ollama),
            (
                "/v1/responses",
                json!({"model": "chat:1b", "input": "Tell me"}),
                ["/usage/input_tokens", "/usage/output_tokens"],
            ),
        ] {
            let (server, sim) = charged(behind).await;
            sim.script(Rule::on(Routes::CALLS).reply(words));
            let answer = server.post(path, body).await.expect(200);
            let cost = sum(&answer.json(), members);
            assert!(cost > 2, "{path}: {}", answer.text);
            assert_cost(&format!("{path} over {behind:?}"), number(&answer, "x-ratelimit-remaining-tokens"), cost);
        }
    }
}

/// A server with a rate of tokens, and a backend with both default models.
async fn charged(behind: Front) -> (TestServer, SimBackend) {
    let server = TestServer::start(TOKENS).await;
    let builder = if behind == Front::Openai { SimBackend::vllm() } else { SimBackend::ollama() };
    let sim = builder.model("chat:1b").model("embed:1b").start().await.unwrap();
    let id = server.register("a", behind.kind(), &sim, &[crate::support::TASKS, crate::support::EMBED]).await;
    server.wait_for_model(&id, "chat:1b").await;
    server.wait_for_member(crate::support::EMBED, &id).await;
    (server, sim)
}

#[tokio::test]
async fn streams_are_charged_when_they_end_with_what_they_tell_or_about_a_token_a_piece() {
    for front in Front::ALL {
        for behind in Front::ALL {
            let (server, sim) = charged(behind).await;
            let pieces: Vec<String> = (0..20).map(|at| format!("w{at:02} ")).collect();
            sim.script(Rule::on(Routes::CALLS).reply_chunks(pieces));
            let mut question = front.question("Tell me", true);
            // Without it OpenAI's servers tell nothing, and it is guessed.
            for tells in [true, false] {
                if front == Front::Openai {
                    question["stream_options"] = json!({"include_usage": tells});
                }
                let before = tokens_left(&server).await;
                let stream = server.post(front.chat(), question.clone()).await.expect(200).text;
                let last = stream.trim_end().trim_end_matches("data: [DONE]").trim_end().lines().last().unwrap();
                let last: Value = serde_json::from_str(last.trim_start_matches("data: ")).unwrap();
                let told = match front {
                    Front::Openai => sum(&last, ["/usage/prompt_tokens", "/usage/completion_tokens"]),
                    Front::Ollama => sum(&last, ["/prompt_eval_count", "/eval_count"]),
                };
                let spent = before.saturating_sub(tokens_left(&server).await);
                let case = format!("{front:?} over {behind:?}, {tells}: {spent} spent, {told} told");
                if told > 0 {
                    assert!(spent <= told && spent + SLACK >= told, "{case}");
                } else {
                    assert!((14..60).contains(&spent), "{case}");
                }
                if front == Front::Ollama {
                    break;
                }
            }
        }
    }
}

#[tokio::test]
async fn a_stream_that_is_left_is_charged_with_what_has_come() {
    let (server, sim) = charged(Front::Openai).await;
    let pieces: Vec<String> = (0..30).map(|at| Front::Openai.piece(&format!("w{at} "))).collect();
    let _kept = sim.script(Rule::on(Route::Chat).raw_frames(pieces).stall_after(25));
    let mut client = RawClient::connect(server.addr).await;
    client.post(Front::Openai.chat(), &Front::Openai.question("Tell me", true).to_string()).await;
    client.until("w24 ").await;
    assert!(tokens_left(&server).await > 50, "nothing is charged while it goes on");
    drop(client);
    sim.wait_for_aborts(1).await.unwrap();
    eventually("the charge", || async {
        let left = tokens_left(&server).await;
        if left < 36 + SLACK { Ok(()) } else { Err(left.to_string()) }
    })
    .await;
}

#[tokio::test]
async fn the_steps_of_a_run_are_charged_to_the_caller_of_its_request() {
    let (server, sim) = charged(Front::Ollama).await;
    sim.script(Rule::on(Routes::CALLS).reply("one two three four five six seven eight nine ten"));
    let answer = server.post("/tasks", json!({"input": "x", "chain": chain()})).await.expect(200);
    let state = answer.json()["state"].clone();
    let of_step = |at: usize| sum(&state[at], ["/inputTokens", "/outputTokens"]);
    assert!(of_step(0) > 10, "{state}");
    let left = number(&answer, "x-ratelimit-remaining-tokens");
    let cost = 60 - left;
    assert!(cost + SLACK > of_step(0), "{cost} of {state}");
    let steps = sim.record().of(Routes::CALLS).len();
    assert_eq!(steps, 2, "one of them made a vector");
}

#[tokio::test]
async fn who_has_used_up_its_tokens_is_refused_until_they_have_come_in() {
    let (server, sim) = charged(Front::Openai).await;
    let reply = json!({"id": "x", "object": "chat.completion", "created": 1, "model": "chat:1b", "choices": [{"index": 0,
        "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150}});
    sim.script(Rule::on(Route::Chat).body(reply.to_string()));
    let question = Front::Openai.question("hi", false);
    let answer = server.post("/v1/chat/completions", question.clone()).await.expect(200);
    assert_eq!(number(&answer, "x-ratelimit-remaining-tokens"), 0);
    for (path, body) in asking_routes() {
        let refused = server.post(path, body).await.expect(429);
        assert_eq!(refused.header("x-penstock-reason"), "token_rate", "{path}");
        // 90 are owed, and one must be there.
        assert!((60..=91).contains(&number(&refused, "retry-after")), "{path}");
        assert_eq!(number(&refused, "x-ratelimit-limit-tokens"), 60);
        assert!(message(path, &refused).contains("too many tokens"), "{path}");
    }
    assert_eq!(sim.record().of(Routes::CALLS).len(), 1);
}

/// A server that refuses whatever asks a model.
async fn busy() -> (Scene, HoldGate, tokio::task::JoinHandle<Answer>) {
    let scene = Scene::start(&[("MAX_IN_FLIGHT", "1")]).await;
    let gate = scene.sim.hold();
    let running = scene.server.execute_later("takes the place");
    gate.wait_for_arrivals(1).await.unwrap();
    (scene, gate, running)
}

#[tokio::test]
async fn a_refused_request_with_a_small_body_leaves_its_connection_in_use() {
    let (scene, _gate, _running) = busy().await;
    let mut client = RawClient::connect(scene.server.addr).await;
    for at in 0..3 {
        let body = json!({"prompt": "x".repeat(at * 30_000)}).to_string();
        let head = format!("POST /execute HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
        // Head and body come apart, as most clients send them.
        client.send_whole(head).await;
        client.send_whole(body).await;
        let answer = client.until("safe to retry\"}\n").await.to_lowercase();
        assert!(answer.starts_with("http/1.1 503") && !answer.contains("connection: close"), "{answer}");
    }
}

#[tokio::test]
async fn a_refused_request_with_a_large_body_is_answered_unread_and_its_connection_ends() {
    let (scene, _gate, _running) = busy().await;
    for announced in
        ["content-length: 10000000", "transfer-encoding: chunked", "content-length: 10\r\nexpect: 100-continue"]
    {
        let mut client = RawClient::connect(scene.server.addr).await;
        client.send_whole(format!("POST /execute HTTP/1.1\r\nhost: x\r\n{announced}\r\n\r\n")).await;
        if announced.starts_with("transfer") {
            // As much as is read of a body of unknown length.
            let chunk = format!("10000\r\n{}\r\n1\r\nx\r\n", "x".repeat(0x10000));
            client.send_whole(chunk).await;
        }
        let answer = soon("the answer and the end", client.rest()).await.to_lowercase();
        assert!(answer.starts_with("http/1.1 503"), "{announced}: {answer}");
        assert!(answer.contains("connection: close") && answer.contains("x-penstock-reason: overloaded"), "{answer}");
    }
}

#[tokio::test]
async fn a_refused_client_that_is_still_sending_is_not_reset() {
    let (scene, _gate, _running) = busy().await;
    let mut client = RawClient::connect(scene.server.addr).await;
    client.send_whole("POST /execute HTTP/1.1\r\nhost: x\r\ncontent-length: 200000\r\n\r\n").await;
    client.until("overloaded").await;
    // What comes now is read by nobody, and yet each of these writes succeeds: on a closed socket the second would not.
    for _ in 0..20 {
        client.send_whole("x".repeat(10_000)).await;
    }
    client.end().await;
    client.rest().await;
}

#[tokio::test]
async fn large_bodies_find_room_or_are_refused_before_they_are_read_and_small_ones_go_through() {
    let settings = [("MAX_BODY_BYTES", "200000"), ("MAX_HELD_BYTES", "300000")];
    let Scene { server, sim, id } = Scene::start(&settings).await;
    let large = || json!({"prompt": "x".repeat(180_000)});
    let gate = sim.hold();
    let client = Client::clone(&server);
    let running = crate::support::in_background(async move { client.post("/execute", large()).await });
    gate.wait_for_arrivals(1).await.unwrap();
    let refused = soon("a refusal", server.post("/execute", large())).await.expect(503);
    assert_eq!((refused.header("x-penstock-reason"), refused.header("retry-after")), ("overloaded", "1"));
    assert!(refused.error().contains("safe to retry"), "{}", refused.text);
    // One that does not say how long it is, is refused when it has become too long.
    let pieces = large().to_string().into_bytes().chunks(10_000).map(<[u8]>::to_vec).collect::<Vec<_>>();
    let pieces = futures_util::stream::iter(pieces.into_iter().map(Ok::<_, std::io::Error>));
    let request = server.request(Method::POST, "/execute").header("content-type", "application/json");
    let request = request.body(reqwest::Body::wrap_stream(pieces));
    let refused = soon("a refusal", server.send(request)).await.expect(503);
    assert_eq!(refused.header("x-penstock-reason"), "overloaded");
    let small = server.execute_later("small");
    gate.wait_for_arrivals(2).await.unwrap();
    assert_eq!(sim.record().of(Routes::CALLS).len(), 2, "nobody was asked for the others");
    gate.release_all();
    for answer in [running, small] {
        answer.await.unwrap().expect(200);
    }
    server.post("/execute", large()).await.expect(200);
    server.wait_until_idle(&id).await;
}
