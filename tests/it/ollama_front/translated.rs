//! What goes through the translation beside plain text: tools, thoughts, log probabilities, pictures, and how a stream ends
//! that says nothing a client could read.

use loadtest::sim::{Route, Rule};
use serde_json::{Value, json};

use super::{lines, user};
use crate::support::{one_backend::OneBackend, soon};

/// Backends whose streams are OpenAI's.
const EVENT_KINDS: [&str; 2] = ["vllm", "openai"];

/// A stream of OpenAI's chat API with these deltas.
fn events(deltas: &[Value], finish: &str) -> Vec<String> {
    let event = |choices: Value| {
        let chunk =
            json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "chat:1b", "choices": choices});
        format!("data: {chunk}\n\n")
    };
    let choice = |delta: &Value, end: Value| json!([{"index": 0, "delta": delta, "finish_reason": end}]);
    let mut events: Vec<String> = deltas.iter().map(|delta| event(choice(delta, Value::Null))).collect();
    events.push(event(choice(&json!({}), json!(finish))));
    let usage = json!({"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12});
    let chunk = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "chat:1b", "choices": [], "usage": usage});
    events.push(format!("data: {chunk}\n\n"));
    events.push("data: [DONE]\n\n".to_owned());
    events
}

fn piece(index: u32, id: &str, name: &str, arguments: &str) -> Value {
    let mut function = json!({"arguments": arguments});
    let mut call = json!({"index": index});
    if !id.is_empty() {
        function["name"] = json!(name);
        call["id"] = json!(id);
        call["type"] = json!("function");
    }
    call["function"] = function;
    json!({"tool_calls": [call]})
}

fn asked() -> Value {
    json!({"model": "chat:1b", "messages": user("Weather?"), "tools": [{"type": "function",
        "function": {"name": "weather", "description": "d", "parameters": {"type": "object", "properties": {}}}}]})
}

#[tokio::test]
async fn calls_of_tools_come_in_one_line_with_their_arguments_as_objects() {
    for kind in EVENT_KINDS {
        let behind = OneBackend::of(kind).await;
        let deltas = [
            json!({"role": "assistant", "content": "Let me see."}),
            piece(0, "call_a", "weather", ""),
            piece(0, "", "", "{\"city\":"),
            piece(1, "call_b", "weather", "{\"city\":\"Oslo\"}"),
            piece(0, "", "", "\"Rome\"}"),
        ];
        behind.sim.script(Rule::on(Route::Chat).raw_frames(events(&deltas, "tool_calls")));
        let answered = lines(&behind.post("/api/chat", asked()).await.expect(200));
        assert_eq!(answered.len(), 3, "{kind}: {answered:?}");
        assert_eq!(answered[0]["message"]["content"], "Let me see.");
        assert_eq!(
            answered[1]["message"]["tool_calls"],
            json!([
                {"id": "call_a", "function": {"index": 0, "name": "weather", "arguments": {"city": "Rome"}}},
                {"id": "call_b", "function": {"index": 1, "name": "weather", "arguments": {"city": "Oslo"}}}
            ]),
            "{kind}"
        );
        let last = &answered[2];
        assert_eq!(
            (&last["done_reason"], &last["prompt_eval_count"], &last["eval_count"]),
            (&json!("stop"), &json!(5), &json!(7))
        );
        let sent = behind.sim.record().of(Route::Chat)[0].json();
        assert_eq!(
            (&sent["tools"][0]["function"]["name"], &sent["stream"]),
            (&json!("weather"), &json!(true)),
            "{kind}"
        );
    }
}

#[tokio::test]
async fn answers_of_tools_reach_a_backend_under_the_ids_of_their_calls() {
    let behind = OneBackend::of("vllm").await;
    let messages = json!([
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": "", "tool_calls": [
            {"function": {"name": "weather", "arguments": {"city": "Rome"}}}, {"function": {"name": "now", "arguments": {}}}]},
        {"role": "tool", "tool_name": "now", "content": "noon"},
        {"role": "tool", "tool_name": "weather", "content": "sun"}
    ]);
    behind.post("/api/chat", json!({"model": "chat:1b", "messages": messages, "stream": false})).await.expect(200);
    let sent = behind.sim.record().of(Route::Chat)[0].json();
    let calls = &sent["messages"][1]["tool_calls"];
    assert_eq!(calls[0]["function"], json!({"name": "weather", "arguments": "{\"city\":\"Rome\"}"}));
    assert_eq!(sent["messages"][2]["tool_call_id"], calls[1]["id"]);
    assert_eq!(sent["messages"][3]["tool_call_id"], calls[0]["id"]);
    assert_ne!(calls[0]["id"], calls[1]["id"]);
}

#[tokio::test]
async fn arguments_that_are_no_object_end_the_stream_with_an_error_and_fail_a_whole_answer() {
    let behind = OneBackend::of("vllm").await;
    let deltas = [piece(0, "call_a", "weather", "{\"city\":")];
    behind.sim.script(Rule::on(Route::Chat).times(1).raw_frames(events(&deltas, "tool_calls")));
    let answered = lines(&behind.post("/api/chat", asked()).await.expect(200));
    assert!(answered[0]["error"].as_str().unwrap().contains("weather"), "{answered:?}");
    assert_eq!(answered.len(), 1);

    let call = json!({"id": "call_a", "type": "function", "function": {"name": "weather", "arguments": "[1]"}});
    let message = json!({"role": "assistant", "content": null, "tool_calls": [call]});
    let choice = json!({"index": 0, "message": message, "finish_reason": "tool_calls"});
    let whole = json!({"id": "c", "object": "chat.completion", "created": 1, "model": "chat:1b", "choices": [choice]});
    behind.sim.script(Rule::on(Route::Chat).body(whole.to_string()));
    let mut request = asked();
    request["stream"] = json!(false);
    let failed = behind.post("/api/chat", request).await.expect(502);
    assert!(failed.error().contains("weather"));
    assert_eq!(failed.header("x-penstock-backend"), behind.id);
}

#[tokio::test]
async fn thoughts_and_log_probabilities_stand_in_their_own_places() {
    let behind = OneBackend::of("vllm").await;
    let deltas = [json!({"reasoning_content": "hm"}), json!({"content": "42"})];
    behind.sim.script(Rule::on(Route::Chat).raw_frames(events(&deltas, "length")));
    let asked = json!({"model": "chat:1b", "messages": user("?"), "think": true, "logprobs": true, "top_logprobs": 2});
    let answered = lines(&behind.post("/api/chat", asked).await.expect(200));
    assert_eq!(answered[0]["message"], json!({"role": "assistant", "content": "", "thinking": "hm"}));
    assert_eq!(answered[1]["message"], json!({"role": "assistant", "content": "42"}));
    assert_eq!(answered[2]["done_reason"], "length");
    let sent = behind.sim.record().of(Route::Chat)[0].json();
    assert_eq!((&sent["logprobs"], &sent["top_logprobs"]), (&json!(true), &json!(2)));
    let generated = lines(&behind.post("/api/generate", json!({"model": "chat:1b", "prompt": "?"})).await.expect(200));
    assert_eq!((&generated[0]["thinking"], &generated[0]["response"]), (&json!("hm"), &json!("")));
}

#[tokio::test]
async fn pictures_reach_a_backend_with_their_type() {
    let behind = OneBackend::of("openai").await;
    let png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
    let asked = json!({"model": "chat:1b", "prompt": "What is it?", "images": [png], "stream": false});
    behind.post("/api/generate", asked).await.expect(200);
    let sent = behind.sim.record().of(Route::Chat)[0].json();
    let parts = sent["messages"][0]["content"].as_array().unwrap();
    assert_eq!(parts[1]["image_url"]["url"], format!("data:image/png;base64,{png}"));
}

#[tokio::test]
async fn pieces_are_passed_on_before_the_reply_is_over() {
    let behind = OneBackend::of("vllm").await;
    let rule = behind.sim.script(Rule::on(Route::Chat).reply("one two three").stall_after(1));
    let body = json!({"model": "chat:1b", "messages": user("Count")}).to_string();
    let mut response = behind.server.request(reqwest::Method::POST, "/api/chat").body(body).send().await.unwrap();
    let first = soon("the first piece", response.chunk()).await.unwrap().unwrap();
    let line: Value = serde_json::from_slice(first.trim_ascii_end()).unwrap();
    assert_eq!((&line["message"]["content"], &line["done"]), (&json!("one"), &json!(false)));
    behind.server.wait_for_slots(&behind.id, "the slot of the stream", |slots| slots.in_use == 1).await;
    rule.release();
    while response.chunk().await.unwrap().is_some() {}
    behind.server.wait_until_idle(&behind.id).await;
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_call() {
    let behind = OneBackend::of("vllm").await;
    behind.sim.script(Rule::on(Route::Chat).reply("one two three").stall_after(1));
    let body = json!({"model": "chat:1b", "messages": user("Count")}).to_string();
    let mut response = behind.server.request(reqwest::Method::POST, "/api/chat").body(body).send().await.unwrap();
    soon("the first piece", response.chunk()).await.unwrap().unwrap();
    drop(response);
    behind.server.wait_until_idle(&behind.id).await;
}
