//! The road through: a client whose backend speaks its dialect gets the backend's own bytes, and sends it its own
//! (`docs/api.md`, the road through).

use loadtest::sim::{Route, Rule, SimBackend};
use penstock::config::Config;
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::support::{
    Answer, Client, TASKS, TestServer,
    dialects::{Front, same_dialect},
    soon,
};

async fn open(client: &Client, front: Front, body: impl Into<String>) -> Response {
    let request = client.request(Method::POST, front.chat()).header("content-type", "application/json");
    soon("the answer's beginning", request.body(body.into()).send()).await.unwrap()
}

async fn stream(client: &Client, front: Front) -> Answer {
    client.post(front.chat(), front.question("hi", true)).await
}

#[tokio::test]
async fn a_request_goes_on_byte_for_byte_but_for_the_models_name_and_so_does_its_answer() {
    for front in Front::ALL {
        let (server, sim, _) = same_dialect(front, &[]).await;
        let odd = "{\"what\": [1, 2.50, \"\\u00e4\"]   }";
        sim.script(Rule::on(Route::Chat).body(odd));
        let sent = |name: &str| {
            format!(
                "\n {{\"x\":{{\"model\":\"mine\"}}, \"mod\\u0065l\" :\"{name}\",\"messages\":[{{\"role\":\"user\",\
                 \"content\":\"\\u00e4 \\\"\"}}],\"stream\":false, \"seed\": 1.0e0}} "
            )
        };
        let answer = server.post_as(front.chat(), "application/json", sent("Chat:1B")).await.expect(200);
        assert_eq!(answer.text, odd);
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(answer.header("x-penstock-model"), "chat:1b");
        let record = sim.record();
        let seen = record.of(Route::Chat)[0];
        assert_eq!(std::str::from_utf8(&seen.body).unwrap(), sent("chat:1b"), "{front:?}");
        assert_eq!(seen.header("content-length"), Some(seen.body.len().to_string().as_str()));
        assert_eq!(seen.header("transfer-encoding"), None);
    }
}

#[tokio::test]
async fn a_stream_arrives_as_it_is_made_and_byte_for_byte() {
    for front in Front::ALL {
        let (server, sim, id) = same_dialect(front, &[]).await;
        let (one, two, end) = (front.piece("one"), front.piece("two \u{e4}"), front.end());
        // Cut where no line ends: only whole lines are sent on.
        let (head, tail) = two.split_at(20);
        let rule =
            sim.script(Rule::on(Route::Chat).raw_frames([&one, head, tail, &end].map(str::to_owned)).stall_after(2));
        let mut answer = open(&server, front, front.question("hi", true).to_string()).await;
        assert_eq!(answer.status(), 200);
        let first = soon("the first piece", answer.chunk()).await.unwrap().unwrap();
        assert_eq!(std::str::from_utf8(&first).unwrap(), one, "{front:?}: the second piece is not made yet");
        server.wait_for_slots(&id, "a taken slot", |slots| slots.in_use == 1).await;
        rule.release();
        assert_eq!(soon("the rest", answer.text()).await.unwrap(), format!("{two}{end}"));
        server.wait_until_idle(&id).await;
        assert_eq!(sim.record().aborted, 0);
    }
}

#[tokio::test]
async fn streams_that_end_well_leave_their_connection_for_the_next() {
    for front in Front::ALL {
        let (server, sim, _) = same_dialect(front, &[]).await;
        stream(&server, front).await.expect(200);
        let before = sim.connections();
        for _ in 0..5 {
            assert!(stream(&server, front).await.expect(200).text.ends_with(&*end_of(front, &sim)));
        }
        assert_eq!(sim.connections(), before, "{front:?}");
    }
}

/// What the simulated backend's streams end with.
fn end_of(front: Front, _sim: &SimBackend) -> String {
    if front == Front::Openai { front.end() } else { "}\n".to_owned() }
}

#[tokio::test]
async fn a_stream_that_breaks_off_ends_in_an_error_of_the_dialect_and_never_within_a_line() {
    for front in Front::ALL {
        let (server, sim, id) = same_dialect(front, &[]).await;
        let (one, two) = (front.piece("one"), front.piece("two"));
        let whole = format!("{one}{two}");
        for cut in [one.len(), one.len() + 1, one.len() + two.len() / 2, whole.len() - 3, whole.len()] {
            sim.clear_script();
            let frames = [one.clone(), two.clone(), front.end()];
            sim.script(Rule::on(Route::Chat).raw_frames(frames).cut_after_bytes(cut));
            let answer = stream(&server, front).await.expect(200);
            // A line counts as whole with its end; the blank one behind an event is not missed.
            let beginning = if cut == whole.len() { &whole } else { &one };
            let error = front.error_behind(&answer.text, beginning);
            assert!(error.contains("broke off"), "{error}");
            server.wait_until_idle(&id).await;
        }
    }
}

#[tokio::test]
async fn a_stream_that_ends_without_its_end_mark_ends_in_an_error() {
    for front in Front::ALL {
        let (server, sim, _) = same_dialect(front, &[]).await;
        let one = front.piece("data: [DONE] \"done\":true");
        // In good order, though perhaps in the middle of a line.
        for end in [0, 3, 20] {
            sim.clear_script();
            sim.script(Rule::on(Route::Chat).raw_frames([one.clone(), front.piece("two")[..end].to_owned()]));
            let answer = stream(&server, front).await.expect(200);
            assert!(front.error_behind(&answer.text, &one).contains("broke off"), "{end}: {}", answer.text);
        }
    }
}

#[tokio::test]
async fn a_stream_whose_server_forgets_the_end_mark_gets_one_where_nothing_else_is_missing() {
    let (server, sim, _) = same_dialect(Front::Openai, &[]).await;
    let chunk =
        |choices: Value| format!("data: {}\n\n", json!({"object": "chat.completion.chunk", "choices": choices}));
    let one = chunk(json!([{"index": 0, "delta": {"content": "one"}, "finish_reason": null}]));
    let finish = chunk(json!([{"index": 0, "delta": {}, "finish_reason": "stop"}]));
    let usage = chunk(json!([]));
    for frames in [vec![&one, &finish], vec![&one, &finish, &usage]] {
        let said: String = frames.iter().map(|frame| frame.as_str()).collect();
        // With its last line end, and without.
        for said in [said.as_str(), said.trim_end()] {
            sim.clear_script();
            sim.script(Rule::on(Route::Chat).raw_frames([said.to_owned()]));
            let answer = stream(&server, Front::Openai).await.expect(200);
            assert!(answer.text.starts_with(said) && answer.text.ends_with("\n\ndata: [DONE]\n\n"), "{}", answer.text);
            assert_eq!(answer.text.matches("data: ").count(), frames.len() + 1);
        }
        // A connection that breaks is no end, whatever was said before.
        sim.clear_script();
        sim.script(Rule::on(Route::Chat).raw_frames([said.clone(), "data: [DONE]\n\n".to_owned()]).cut_after(1));
        let answer = stream(&server, Front::Openai).await.expect(200);
        assert!(Front::Openai.error_behind(&answer.text, &said).contains("broke off"), "{}", answer.text);
    }
}

#[tokio::test]
async fn a_stream_that_falls_silent_ends_in_an_error_and_its_call_is_given_up() {
    for front in Front::ALL {
        let impatient = |config: &mut Config| config.upstream.idle_timeout = std::time::Duration::from_millis(100);
        let server = TestServer::start_tuned(&[], impatient).await;
        let sim = front.sim().await;
        let id = server.ready("a", front.kind(), &sim).await;
        let (one, end) = (front.piece("one"), front.end());
        sim.script(Rule::on(Route::Chat).raw_frames([one.clone(), end]).stall_after(1));
        let answer = stream(&server, front).await.expect(200);
        assert!(front.error_behind(&answer.text, &one).contains("silent"), "{}", answer.text);
        sim.wait_for_aborts(1).await.unwrap();
        server.wait_until_idle(&id).await;
    }
}

#[tokio::test]
async fn an_error_in_the_middle_of_a_stream_is_the_last_thing_said() {
    for front in Front::ALL {
        let (server, sim, _) = same_dialect(front, &[]).await;
        sim.script(Rule::on(Route::Chat).reply("one two").error_after(1, "out of memory"));
        let answer = stream(&server, front).await.expect(200);
        assert_eq!(answer.text.matches("\"error\"").count(), 1, "{}", answer.text);
        assert!(answer.text.contains("out of memory"));
        assert!(!answer.text.contains("[DONE]") && !answer.text.contains("\"done\":true"));
    }
}

/// Streams from two backends in turn, of which one always fails before it has said a word; and how often each was asked.
async fn first_words(front: Front, rule: Rule) -> (Vec<Answer>, [usize; 2]) {
    let (server, sim, id) = same_dialect(front, &[]).await;
    server.put(&format!("/pools/{TASKS}"), json!({"policy": "round-robin"})).await.expect(200);
    let other = front.sim().await;
    sim.script(rule);
    let other_id = server.ready("b", front.kind(), &other).await;
    server.wait_for_member(TASKS, &other_id).await;
    let answers = vec![stream(&server, front).await, stream(&server, front).await];
    server.wait_until_idle(&id).await;
    server.wait_until_idle(&other_id).await;
    (answers, [&sim, &other].map(|sim| sim.record().of(Route::Chat).len()))
}

#[tokio::test]
async fn an_error_instead_of_a_stream_has_a_status_and_another_backend_may_take_over() {
    let said = |front: Front, error: Value| match front {
        Front::Openai => format!("data: {}\n\n", json!({"error": error})),
        Front::Ollama => format!("{}\n", json!({"error": error["message"]})),
    };
    for front in Front::ALL {
        let busy = said(front, json!({"message": "overloaded", "type": "server_error"}));
        let failing = Rule::on(Route::Chat);
        for rule in [failing.clone().raw_frames([busy.clone()]), failing.clone().close_before_headers()] {
            let (answers, asked) = first_words(front, rule).await;
            assert_eq!(answers.iter().map(|answer| answer.status).collect::<Vec<_>>(), [200, 200], "{front:?}");
            assert!(asked[0] >= 1 && asked[1] == 2, "{front:?}: the other took over: {asked:?}");
        }
        let (server, sim, _) = same_dialect(front, &[]).await;
        sim.script(failing.raw_frames([busy]));
        let answer = stream(&server, front).await.expect(502);
        assert!(answer.text.contains("overloaded"), "{}", answer.text);
    }
    let wrong = said(Front::Openai, json!({"message": "no such grammar", "type": "BadRequestError", "code": 400}));
    let (answers, asked) = first_words(Front::Openai, Rule::on(Route::Chat).raw_frames([wrong])).await;
    let refused = answers.iter().find(|answer| answer.status != 200).unwrap();
    assert_eq!((refused.status, asked.iter().sum::<usize>()), (400, 2), "{}", refused.text);
    assert_eq!(refused.json()["error"]["type"], "invalid_request_error");
}

#[tokio::test]
async fn refusals_of_the_backend_are_told_as_everywhere() {
    for front in Front::ALL {
        let (server, sim, id) = same_dialect(front, &[]).await;
        for (status, seen) in [(400, 400), (401, 502), (404, 404), (429, 429), (500, 502), (503, 502)] {
            sim.clear_script();
            sim.script(Rule::on(Route::Chat).status(status).header("retry-after", "7"));
            for wants_stream in [false, true] {
                server.forget_failures();
                let answer = server.post(front.chat(), front.question("hi", wants_stream)).await;
                assert_eq!(answer.status, seen, "{front:?} {status}: {}", answer.text);
                assert_eq!(answer.header("x-penstock-backend"), id);
                assert_eq!(answer.json()["error"].is_object(), front == Front::Openai);
                if status == 429 {
                    assert_eq!(answer.header("retry-after"), "7");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_request_that_two_readers_would_read_differently_goes_nowhere() {
    for front in Front::ALL {
        let (server, sim, _) = same_dialect(front, &[]).await;
        for body in [
            r#"{"model":"chat:1b","messages":[],"model":"other"}"#,
            r#"{"model":"chat:1b","messages":[],"mod\u0065l":"other"}"#,
            r#"{"model":"chat:1b","messages":[],"Model":"other"}"#,
            r#"{"model":["chat:1b"],"messages":[]}"#,
            r#"{"model":"chat:1b","messages":[]"#,
            r#"{"model":"chat:1b","messages":[]}{}"#,
            r#"["chat:1b"]"#,
            "",
        ] {
            let answer = server.post_as(front.chat(), "application/json", body).await;
            assert_eq!(answer.status, 400, "{front:?} {body}: {}", answer.text);
        }
        assert_eq!(sim.record().of(Route::Chat).len(), 0);
    }
}

#[tokio::test]
async fn a_server_that_does_not_stream_is_told_as_a_stream() {
    let (server, sim, id) = same_dialect(Front::Openai, &[]).await;
    let usage = json!({"prompt_tokens": 1, "completion_tokens": 2});
    let choice =
        json!({"index": 0, "message": {"role": "assistant", "content": "all at once"}, "finish_reason": "stop"});
    let whole = json!({"object": "chat.completion", "choices": [choice], "usage": usage});
    sim.script(Rule::on(Route::Chat).body(whole.to_string()));
    let mut question = Front::Openai.question("hi", true);
    question["stream_options"] = json!({"include_usage": true});
    let answer = server.post("/v1/chat/completions", question).await.expect(200);
    assert_eq!((answer.header("content-type"), answer.header("x-penstock-backend")), ("text/event-stream", &*id));
    let events: Vec<&str> = answer.text.split_terminator("\n\n").collect();
    assert_eq!(events.last(), Some(&"data: [DONE]"), "{}", answer.text);
    assert!(events.iter().any(|event| event.contains("all at once")), "{}", answer.text);
    assert!(events.iter().any(|event| event.contains("\"completion_tokens\":2")), "{}", answer.text);
    // A text completion has pieces of its own form.
    let whole =
        json!({"object": "text_completion", "choices": [{"index": 0, "text": "once", "finish_reason": "stop"}]});
    sim.clear_script();
    sim.script(Rule::on(Route::Generate).body(whole.to_string()));
    let question = json!({"model": "chat:1b", "prompt": "hi", "stream": true});
    let answer = server.post("/v1/completions", question).await.expect(200);
    assert!(answer.text.contains("\"text\":\"once\"") && answer.text.ends_with("data: [DONE]\n\n"), "{}", answer.text);
    server.wait_until_idle(&id).await;
}

#[tokio::test]
async fn an_answer_that_is_not_whole_or_is_an_error_has_the_status_of_one() {
    for front in Front::ALL {
        let (server, sim, id) = same_dialect(front, &[]).await;
        let error = match front {
            Front::Openai => json!({"error": {"message": "out of memory", "type": "server_error", "code": 500}}),
            Front::Ollama => json!({"error": "out of memory"}),
        };
        for (body, words) in
            [("{\"choices\": [{\"mess".to_owned(), "ends in the middle"), (error.to_string(), "out of memory")]
        {
            for wants_stream in [false, true] {
                sim.clear_script();
                sim.script(Rule::on(Route::Chat).body(body.clone()));
                let answer = server.post(front.chat(), front.question("hi", wants_stream)).await;
                assert_eq!(answer.status, 502, "{front:?}, stream {wants_stream}: {}", answer.text);
                assert!(wants_stream || answer.text.contains(words), "{}", answer.text);
                assert_eq!(answer.header("x-penstock-backend"), id);
            }
        }
        server.wait_until_idle(&id).await;
    }
}

#[tokio::test]
async fn a_last_line_of_any_length_is_the_end_of_the_stream() {
    let (server, sim, _) = same_dialect(Front::Ollama, &[]).await;
    // A whole context in numbers, as Ollama repeats it.
    let context: Vec<u32> = (0..100_000).collect();
    let last = json!({"model": "chat:1b", "response": "", "done": true, "done_reason": "stop", "context": context});
    let first = json!({"model": "chat:1b", "response": "hello", "done": false});
    let sent = format!("{first}\n{last}\n");
    assert!(sent.len() > 512 << 10);
    sim.script(Rule::on(Route::Generate).raw_frames([sent.clone()]));
    let answer = server.post("/api/generate", json!({"model": "chat:1b", "prompt": "hi"})).await.expect(200);
    assert!(answer.text == sent, "{}", &answer.text[answer.text.len() - 200..]);
}

#[tokio::test]
async fn whatever_stands_behind_an_error_is_not_passed_on() {
    let (server, sim, id) = same_dialect(Front::Openai, &[]).await;
    let one = Front::Openai.piece("one");
    let error = "data: {\"error\": {\"message\": \"out of memory\", \"type\": \"server_error\", \"code\": 500}}\n\n";
    let named = "event: error\ndata: {\"message\": \"out of memory\"}\n\n";
    let last = "data: {\"error\":{\"message\":\"out of memory\"},\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"error\"}]}\n\n";
    for (told, in_pieces) in [(error, false), (error, true), (named, false), (last, true)] {
        sim.clear_script();
        let frames = [one.as_str(), told, &Front::Openai.piece("two"), &Front::Openai.end()].map(str::to_owned);
        let frames = if in_pieces { frames.to_vec() } else { vec![frames.concat()] };
        sim.script(Rule::on(Route::Chat).raw_frames(frames));
        let answer = stream(&server, Front::Openai).await.expect(200);
        let beginning = if told == named { format!("{one}event: error\n") } else { one.clone() };
        let words = Front::Openai.error_behind(&answer.text, &beginning);
        assert!(words.contains("out of memory"), "{}", answer.text);
        server.wait_until_idle(&id).await;
    }
    // A reply that the backend has given up is none.
    sim.clear_script();
    let given_up = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "abort"}]});
    sim.script(Rule::on(Route::Chat).raw_frames([one.clone(), format!("data: {given_up}\n\n"), Front::Openai.end()]));
    let answer = stream(&server, Front::Openai).await.expect(200);
    assert!(Front::Openai.error_behind(&answer.text, &one).contains("broke off"), "{}", answer.text);
}

#[tokio::test]
async fn a_line_that_nobody_could_read_ends_the_stream_in_an_error() {
    for front in Front::ALL {
        let (server, sim, id) = same_dialect(front, &[]).await;
        let (one, broken) = match front {
            Front::Openai => (front.piece("one"), "data: {\"choices\": [{\"ind\n\n"),
            Front::Ollama => (front.piece("one"), "{\"message\": {\"con\n"),
        };
        sim.script(Rule::on(Route::Chat).raw_frames([one.clone(), broken.to_owned(), front.end()]));
        let answer = stream(&server, front).await.expect(200);
        assert!(front.error_behind(&answer.text, &one).contains("no JSON object"), "{}", answer.text);
        // As the first word it is no stream at all.
        sim.clear_script();
        sim.script(Rule::on(Route::Chat).raw_frames([broken.to_owned(), front.end()]));
        stream(&server, front).await.expect(502);
        server.wait_until_idle(&id).await;
    }
}

#[tokio::test]
async fn a_server_that_forgets_the_end_mark_gets_it_added_once_every_reply_has_ended() {
    let (server, sim, _) = same_dialect(Front::Openai, &[]).await;
    let chunk = |index: u32, finish: Value| {
        let choice = json!({"index": index, "delta": {"content": "x"}, "finish_reason": finish});
        format!("data: {}\n\n", json!({"choices": [choice]}))
    };
    let (going, over, other) = (chunk(0, Value::Null), chunk(0, json!("stop")), chunk(1, json!("length")));
    let asked = |n: Value| {
        let mut question = Front::Openai.question("hi", true);
        question["n"] = n;
        question
    };
    for (n, frames, is_whole) in [
        (Value::Null, vec![&going, &over], true),
        (json!(1), vec![&over], true),
        (json!(2), vec![&going, &over, &other], true),
        (json!(2), vec![&over], false),
        (json!(1.5), vec![&over, &other], false),
        (Value::Null, vec![&going], false),
    ] {
        sim.clear_script();
        let sent = frames.iter().map(|frame| frame.as_str()).collect::<String>();
        sim.script(Rule::on(Route::Chat).raw_frames(frames.into_iter().cloned().collect::<Vec<_>>()));
        let answer = server.post("/v1/chat/completions", asked(n.clone())).await.expect(200);
        if is_whole {
            let end = answer.text.strip_prefix(&sent).unwrap_or_else(|| panic!("{}", answer.text));
            assert_eq!(end.trim_start(), "data: [DONE]\n\n", "n {n}");
        } else {
            assert!(Front::Openai.error_behind(&answer.text, &sent).contains("broke off"), "n {n}");
        }
    }
    // Bytes that are missing are missing, whatever the reply has told before.
    sim.clear_script();
    sim.script(Rule::on(Route::Chat).raw_frames([over.clone(), going]).cut_after_bytes(over.len()));
    let answer = stream(&server, Front::Openai).await.expect(200);
    assert!(Front::Openai.error_behind(&answer.text, &over).contains("broke off"), "{}", answer.text);
}

#[tokio::test]
async fn however_its_bytes_are_cut_a_stream_arrives_whole() {
    for front in Front::ALL {
        let (server, sim, _) = same_dialect(front, &[]).await;
        let sent = format!("{}{}{}", front.piece("one \u{e4}"), front.piece("\u{1f600}"), front.end());
        for sent in [sent.clone(), sent.replace('\n', "\r\n")] {
            sim.clear_script();
            sim.script(Rule::on(Route::Chat).raw_frames(sent.bytes().map(|byte| vec![byte]).collect::<Vec<_>>()));
            let answer = stream(&server, front).await.expect(200);
            assert_eq!(answer.text, sent, "{front:?}");
        }
    }
}

#[tokio::test]
async fn a_stream_that_never_ends_is_given_up_when_its_time_is_over() {
    for behind in Front::ALL {
        let short = |config: &mut Config| config.upstream.request_timeout = std::time::Duration::from_millis(300);
        let server = TestServer::start_tuned(&[], short).await;
        let sim = behind.sim().await;
        let id = server.ready("a", behind.kind(), &sim).await;
        let endless = std::iter::repeat_n(behind.piece("more "), 100_000).collect::<Vec<_>>();
        let pause = std::time::Duration::from_millis(10);
        sim.script(Rule::on(Route::Chat).raw_frames(endless).chunk_delay(pause));
        for (at, front) in (1..).zip(Front::ALL) {
            let answer = stream(&server, front).await.expect(200);
            assert!(answer.text.contains("more ") && answer.text.contains("took longer than 300ms"), "{front:?}");
            assert!(!answer.text.contains("[DONE]") && !answer.text.contains("\"done\":true"));
            sim.wait_for_aborts(at).await.unwrap();
            server.wait_until_idle(&id).await;
        }
    }
}
