//! `POST /{chainID}/v1/chat/completions`: a stored chain behind OpenAI's chat API (`docs/api.md`, chat with a stored
//! chain).

use loadtest::sim::{Route, Routes, Rule, SimHook};
use serde_json::{Value, json};

use crate::support::{Answer, Scene, TestServer, eventually, in_background, shape::assert_keys};

const CHAT: &str = "/talk/v1/chat/completions";

/// A chain that asks a model and turns the conversation into a reply.
fn talk(config: Value) -> Value {
    json!({"id": "talk", "tasks": [
        {"id": "ask", "handler": "model_execution", "system_instruction": "Be nice.", "execute_config": config,
            "transition": {"branches": [{"goto": "tell"}]}},
        {"id": "tell", "handler": "convert_to_openai_chat_response", "transition": {"branches": [{}]}}]})
}

async fn scene(config: Value) -> Scene {
    let scene = Scene::start(&[]).await;
    scene.server.post("/taskchains", talk(config)).await.expect(201);
    scene.sim.script(Rule::on(Route::Chat).reply("Fine, thanks.\nAnd you?"));
    scene
}

fn hello() -> Value {
    json!({"messages": [{"role": "user", "content": "Hi"}]})
}

fn with(name: &str, value: Value) -> Value {
    let mut body = hello();
    body[name] = value;
    body
}

/// The events of a stream that ends as it should.
#[track_caller]
fn events(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.header("content-type"), "text/event-stream");
    assert_eq!(answer.header("cache-control"), "no-cache");
    let events = answer.text.strip_suffix("data: [DONE]\n\n").unwrap_or_else(|| panic!("no end: {}", answer.text));
    let read = |event: &str| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap();
    events.split_terminator("\n\n").map(read).collect()
}

#[tokio::test]
async fn a_stored_chain_answers_as_a_chat_model_does() {
    let Scene { server, sim, id } = scene(json!({})).await;
    let body = json!({"model": "chat:1b", "temperature": 0.5, "max_tokens": 9, "top_p": 0.9, "stop": "END", "messages": [
        {"role": "user", "content": [{"type": "text", "text": "How "}, {"type": "text", "text": "are you?"}]}]});
    let answer = server.post(CHAT, body).await.expect(200);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!((answer.header("x-penstock-backend"), answer.header("x-penstock-model")), (id.as_str(), "chat:1b"));
    let reply = answer.json();
    assert_keys(&reply, "id object created model choices usage");
    assert!(reply["id"].as_str().unwrap().starts_with("chatcmpl-"));
    assert_eq!((&reply["object"], &reply["model"]), (&json!("chat.completion"), &json!("chat:1b")));
    assert!(reply["created"].as_u64().unwrap() > 1_700_000_000);
    let said = json!({"role": "assistant", "content": "Fine, thanks.\nAnd you?"});
    assert_eq!(reply["choices"], json!([{"index": 0, "message": said, "finish_reason": "stop"}]));
    let tokens = |name: &str| reply["usage"][name].as_u64().unwrap();
    assert!(tokens("prompt_tokens") > 0 && tokens("completion_tokens") > 0);
    assert_eq!(tokens("total_tokens"), tokens("prompt_tokens") + tokens("completion_tokens"));
    let sent = sim.record().of(Route::Chat)[0].json();
    let messages = json!([{"role": "system", "content": "Be nice."}, {"role": "user", "content": "How are you?"}]);
    assert_eq!(sent["messages"], messages);
    let options = &sent["options"];
    assert_eq!((&options["temperature"], &options["num_predict"]), (&json!(0.5), &json!(9)));
    assert_eq!((&options["top_p"], &options["stop"]), (&json!(0.9), &json!(["END"])));
}

#[tokio::test]
async fn the_chains_own_model_makes_the_requested_name_a_mere_name() {
    let Scene { server, sim: _sim, .. } = scene(json!({"model": "chat:1b"})).await;
    let answer = server.post(CHAT, with("model", json!("gpt-4o"))).await.expect(200);
    assert_eq!(answer.header("x-penstock-model"), "chat:1b");
    let Scene { server, sim: _sim, .. } = scene(json!({})).await;
    let refused = server.post(CHAT, with("model", json!("gpt-4o"))).await.expect(503);
    assert!(refused.error().contains("gpt-4o"), "{}", refused.text);
    assert_eq!(refused.header("x-penstock-reason"), "no_backend");
    assert_eq!(refused.json()["state"][0]["taskID"], "ask");
}

#[tokio::test]
async fn a_stream_is_chunks_that_end_with_done() {
    let Scene { server, sim: _sim, id } = scene(json!({})).await;
    let answer = server.post(CHAT, with("stream", json!(true))).await.expect(200);
    assert_eq!(answer.header("x-penstock-backend"), id);
    let chunks = events(&answer);
    for chunk in &chunks {
        assert_keys(chunk, "id object created model choices");
        assert_eq!((&chunk["object"], &chunk["id"]), (&json!("chat.completion.chunk"), &chunks[0]["id"]));
        assert_eq!(chunk["choices"][0]["index"], 0);
    }
    let part = |at: usize| (&chunks[at]["choices"][0]["delta"], &chunks[at]["choices"][0]["finish_reason"]);
    let end = chunks.len() - 1;
    assert_eq!(part(0), (&json!({"role": "assistant", "content": ""}), &json!(null)));
    let text: String = (1..end).map(|at| part(at).0["content"].as_str().unwrap()).collect();
    assert_eq!(text, "Fine, thanks.\nAnd you?");
    assert!((1..end).all(|at| part(at).1.is_null()));
    assert_eq!(part(end), (&json!({}), &json!("stop")));

    let mut wanting_usage = with("stream", json!(true));
    wanting_usage["stream_options"] = json!({"include_usage": true});
    let chunks = events(&server.post(CHAT, wanting_usage).await.expect(200));
    let (last, others) = chunks.split_last().unwrap();
    assert!(others.iter().all(|chunk| chunk["usage"].is_null()));
    assert_eq!(last["choices"], json!([]));
    assert!(last["usage"]["total_tokens"].as_u64().unwrap() > 0);
}

#[tokio::test]
async fn the_steps_are_told_on_demand() {
    let Scene { server, sim: _sim, .. } = scene(json!({})).await;
    for query in ["?stackTrace=true", "?stackTrace=TRUE", "?stacktrace=True"] {
        let reply = server.post(&format!("{CHAT}{query}"), hello()).await.expect(200).json();
        let steps: Vec<&Value> = reply["stackTrace"].as_array().unwrap().iter().map(|unit| &unit["taskID"]).collect();
        assert_eq!(steps, ["ask", "tell"], "{query}");
        assert_eq!(reply["choices"].as_array().unwrap().len(), 1);
    }
    for query in ["?stackTrace=false", "?stackTrace=", ""] {
        let reply = server.post(&format!("{CHAT}{query}"), hello()).await.expect(200).json();
        assert!(reply.get("stackTrace").is_none(), "{query}");
    }
    let streamed = server.post(&format!("{CHAT}?stackTrace=true"), with("stream", json!(true))).await.expect(200);
    assert_eq!(events(&streamed).last().unwrap()["stackTrace"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn what_is_no_chat_request_is_refused_before_anything_is_asked() {
    let Scene { server, sim, .. } = scene(json!({})).await;
    for (body, word) in [
        (json!({}), "messages"),
        (json!({"messages": []}), "messages"),
        (json!({"Messages": [{"role": "user", "content": "Hi"}]}), "messages"),
        (json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}), "image_url"),
        (json!({"messages": [{"content": "Hi"}]}), "role"),
        (with("stream", json!("yes")), "stream"),
        (with("temperature", json!("warm")), "temperature"),
        (json!([1]), "object"),
    ] {
        let refused = server.post(CHAT, body.clone()).await.expect(400);
        assert!(refused.error().contains(word), "{body}: {}", refused.text);
    }
    server.post_as(CHAT, "application/json", "{\"messages\": ").await.expect(400);
    server.post_as(CHAT, "application/x-www-form-urlencoded", "a=1").await.expect(415);
    let unknown = server.post("/nobody/v1/chat/completions", hello()).await.expect(404);
    assert!(unknown.error().contains("'nobody' not found"), "{}", unknown.text);
    assert!(sim.record().of(Route::Chat).is_empty());
}

#[tokio::test]
async fn fields_that_have_no_effect_are_named_in_a_warning() {
    let Scene { server, sim: _sim, .. } = scene(json!({})).await;
    let mut body = hello();
    for (name, value) in [("tools", json!([])), ("maxTokens", json!(5)), ("n", json!(2)), ("seed", json!(null))] {
        body[name] = value;
    }
    let answer = server.post(CHAT, body).await.expect(200);
    let warnings: Vec<&str> =
        answer.headers.get_all("x-penstock-warning").iter().map(|value| value.to_str().unwrap()).collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("tools, maxTokens") && !warnings[0].contains("seed"), "{warnings:?}");
    assert!(warnings[1].contains("n is 2"), "{warnings:?}");
}

#[tokio::test]
async fn a_run_that_fails_or_ends_in_another_type_is_an_error_with_its_steps() {
    let Scene { server, sim, id } = scene(json!({})).await;
    sim.clear_script();
    sim.script(Rule::on(Route::Chat).status(500));
    for body in [hello(), with("stream", json!(true))] {
        let failed = server.post(CHAT, body).await.expect(500);
        assert!(failed.error().starts_with("task ask"), "{}", failed.text);
        assert_eq!(failed.header("content-type"), "application/json");
        assert_eq!((failed.json()["state"].as_array().unwrap().len(), failed.header("x-penstock-backend")), (1, &*id));
    }
    sim.clear_script();
    let mut unended = talk(json!({}));
    unended["tasks"][0]["transition"]["branches"] = json!([{}]);
    server.put("/taskchains/talk", unended).await.expect(200);
    let failed = server.post(CHAT, hello()).await.expect(500);
    for part in ["chat_history", "openai_chat_response", "convert_to_openai_chat_response"] {
        assert!(failed.error().contains(part), "{part} is missing: {}", failed.text);
    }
    assert_eq!(failed.json()["state"][0]["taskID"], "ask");
    server.wait_until_idle(&id).await;
}

#[tokio::test]
async fn a_version_can_be_pinned_and_without_one_the_latest_runs_at_once() {
    let server = TestServer::start(&[]).await;
    let hook = SimHook::start().await.unwrap();
    let body = json!({"name": "h", "endpointUrl": hook.url(), "method": "POST", "timeoutMs": 5000});
    server.post("/hooks/remote", body).await.expect(201);
    hook.reply(json!({"choices": [], "extra": {"kept": 1.50}}), "openai_chat_response", "ok");
    let chain = |text: &str| {
        json!({"id": "c", "tasks": [{"id": "t", "handler": "hook", "prompt_template": text, "hook": {"name": "h"},
            "transition": {"branches": [{}]}}]})
    };
    let ask = async |query: &str| {
        let answer = server.post(&format!("/c/v1/chat/completions{query}"), hello()).await.expect(200);
        assert_eq!(answer.json(), json!({"choices": [], "extra": {"kept": 1.5}}), "a hook's own reply is the body");
        let record = hook.record();
        record.of(Route::Hook).last().unwrap().json()["input"].as_str().unwrap().to_owned()
    };
    for text in ["one", "two", "three"] {
        server.post("/taskchains", chain(text)).await.expect(201);
        // Twice: compiled, and from memory.
        assert_eq!([ask("").await, ask("").await], [text, text]);
    }
    assert_eq!([ask("?version=1").await, ask("?version=3").await, ask("").await], ["one", "three", "three"]);
    server.post("/c/v1/chat/completions?version=4", hello()).await.expect(404);
    server.post("/c/v1/chat/completions?version=0", hello()).await.expect(422);
    server.delete("/taskchains/c").await.expect(200);
    server.post("/c/v1/chat/completions", hello()).await.expect(404);
    server.post("/taskchains", chain("again")).await.expect(201);
    assert_eq!(ask("").await, "again");
    server.post("/c/v1/chat/completions?version=1", hello()).await.expect(404);
}

#[tokio::test]
async fn many_chats_at_once_all_get_their_own_answer() {
    let server = TestServer::start(&[]).await;
    let hook = SimHook::start().await.unwrap();
    let body = json!({"name": "h", "endpointUrl": hook.url(), "method": "POST", "timeoutMs": 20000});
    server.post("/hooks/remote", body).await.expect(201);
    hook.script(
        Rule::on(Routes::from(Route::Hook))
            .body("{\"output\": {\"choices\": []}, \"dataType\": \"openai_chat_response\", \"transition\": \"ok\"}"),
    );
    let chain = json!({"id": "c", "tasks": [{"id": "t", "handler": "hook", "hook": {"name": "h"},
        "transition": {"branches": [{}]}}]});
    server.post("/taskchains", chain).await.expect(201);
    let asking = (0..50).map(|_| server.post("/c/v1/chat/completions", hello()));
    for answer in futures_util::future::join_all(asking).await {
        answer.expect(200);
    }
    assert_eq!(hook.record().of(Route::Hook).len(), 50);
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_run() {
    let Scene { server, sim, id } = scene(json!({})).await;
    let gate = sim.hold();
    let client = (*server).clone();
    let leaver = in_background(async move { client.post(CHAT, with("stream", json!(true))).await });
    gate.wait_for_arrivals(1).await.unwrap();
    leaver.abort();
    sim.wait_for_aborts(1).await.unwrap();
    server.wait_until_idle(&id).await;
    eventually("the end of the run", || async {
        let active = server.runtime.runs.active();
        if active == 0 { Ok(()) } else { Err(active.to_string()) }
    })
    .await;
}

#[tokio::test]
async fn the_token_of_a_stock_client_is_ignored_without_one_of_ours_and_needed_with_it() {
    let open = TestServer::start(&[]).await;
    let ask = async |server: &TestServer, token: &str| {
        let request = server.request(reqwest::Method::POST, "/nobody/v1/chat/completions").bearer_auth(token);
        server.send(request.header("content-type", "application/json").body(hello().to_string())).await.status
    };
    assert_eq!(ask(&open, "sk-anything").await, 404);
    let closed = TestServer::start(&[("TOKEN", "t")]).await;
    assert_eq!((ask(&closed, "sk-anything").await, ask(&closed, "t").await), (401, 404));
}

#[tokio::test]
async fn a_stock_client_gets_errors_in_the_shape_it_shows_and_repeats_no_failed_run() {
    let Scene { server, sim, .. } = scene(json!({"models": ["absent:1b"]})).await;
    let ask = async |path: &str, body: &Value| {
        let request = server.request(reqwest::Method::POST, path).header("content-type", "application/json");
        // As its libraries in all languages send it.
        server.send(request.header("x-stainless-lang", "python").body(body.to_string())).await
    };
    let unknown = ask("/nobody/v1/chat/completions", &hello()).await.expect(404).json();
    let error = json!({"message": "task chain 'nobody' not found", "type": "invalid_request_error", "param": null,
        "code": "not_found"});
    assert_eq!(unknown, json!({"error": error}));
    let refused = ask(CHAT, &json!({})).await.expect(400).json();
    assert!(refused["error"]["message"].as_str().unwrap().contains("messages"), "{refused}");
    let nobody = ask(CHAT, &hello()).await.expect(503);
    let told = &nobody.json()["error"];
    assert_eq!((&told["type"], &told["code"]), (&json!("server_error"), &json!("no_backend")));
    assert_eq!((nobody.header("x-should-retry"), nobody.json()["state"][0]["taskID"].as_str()), ("", Some("ask")));
    server.put("/taskchains/talk", talk(json!({}))).await.expect(200);
    sim.clear_script();
    sim.script(Rule::on(Route::Chat).status(500));
    let failed = ask(CHAT, &hello()).await.expect(500);
    assert_eq!((failed.header("x-should-retry"), &failed.json()["error"]["type"]), ("false", &json!("server_error")));
    // Elsewhere, the same client is answered as everybody.
    assert!(ask("/execute", &json!({})).await.expect(400).error().contains("prompt"));

    let closed = TestServer::start(&[("TOKEN", "t")]).await;
    let request = closed.request(reqwest::Method::POST, CHAT).header("user-agent", "OpenAI/Python 1.0");
    let refused = closed.send(request.body(hello().to_string())).await.expect(401).json();
    assert_eq!(refused["error"]["type"], "authentication_error");
}
