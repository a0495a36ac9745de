//! OpenAI's bodies, and those of the servers that speak like it, as `docs/backends.md` has them.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use loadtest::sim::{Flavour, Route, Rule, SimBackend, SimModel, embedding};
use serde_json::{Value, json};

use crate::client::{get, post, send, vector};

async fn sim(flavour: Flavour) -> std::io::Result<SimBackend> {
    SimBackend::openai().flavour(flavour).model(SimModel::new("m").context_length(10)).api_key("k").start().await
}

fn chat(stream: bool) -> Value {
    json!({"model": "m", "stream": stream, "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]})
}

#[tokio::test]
async fn a_chat_completion_has_all_its_fields() {
    let sim = sim(Flavour::OpenAi).await.unwrap();
    let reply = post(sim.addr(), "/v1/chat/completions", chat(false)).await.unwrap();
    let mut body = reply.json();
    assert!(body["created"].as_u64().unwrap() > 1_700_000_000);
    body["created"] = json!(1);
    let id = body["id"].take();
    let again = post(sim.addr(), "/v1/chat/completions", chat(false)).await.unwrap().json();
    assert!(id.as_str().unwrap().starts_with("chatcmpl-") && again["id"] != id, "{id}");
    let message = json!({"role": "assistant", "content": "You said: hi", "refusal": null, "annotations": []});
    let usage = json!({"prompt_tokens": 1, "completion_tokens": 3, "total_tokens": 4,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0, "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0}});
    let expected = json!({"id": null, "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "message": message, "logprobs": null, "finish_reason": "stop"}],
        "usage": usage, "service_tier": "default", "system_fingerprint": "fp_1"});
    assert_eq!(body, expected);
    assert_eq!((reply.header("openai-version"), reply.header("x-ratelimit-reset-tokens")), ("2020-10-01", "3ms"));
}

#[tokio::test]
async fn a_stream_has_role_text_finish_usage_and_done() {
    let sim = sim(Flavour::OpenAi).await.unwrap();
    let mut ask = chat(true);
    ask["stream_options"] = json!({"include_usage": true});
    let reply = post(sim.addr(), "/v1/chat/completions", ask).await.unwrap();
    assert_eq!(reply.header("content-type"), "text/event-stream");
    let events = reply.events();
    let deltas: Vec<&Value> = events[..5].iter().map(|event| &event["choices"][0]["delta"]).collect();
    let role = json!({"role": "assistant", "content": ""});
    assert_eq!(
        deltas,
        [&role, &json!({"content": "You"}), &json!({"content": " said:"}), &json!({"content": " hi"}), &json!({})]
    );
    assert_eq!(
        (&events[3]["choices"][0]["finish_reason"], &events[4]["choices"][0]["finish_reason"]),
        (&Value::Null, &json!("stop"))
    );
    assert!(events[..5].iter().all(|event| event.get("usage") == Some(&Value::Null)));
    assert_eq!((&events[5]["choices"], &events[5]["usage"]["total_tokens"]), (&json!([]), &json!(4)));
    assert_eq!(events[6], "[DONE]");
    assert!(events[..5].iter().all(|event| event["obfuscation"].is_string() && event["id"] == events[0]["id"]));
    let mut plain = chat(true);
    plain["stream_options"] = json!({"include_obfuscation": false});
    let plain = post(sim.addr(), "/v1/chat/completions", plain).await.unwrap().events();
    assert!(plain[0].get("obfuscation").is_none());

    let events = post(sim.addr(), "/v1/chat/completions", chat(true)).await.unwrap().events();
    assert!(events.len() == 6 && events[0].get("usage").is_none());
}

#[tokio::test]
async fn text_completions_in_both_ways() {
    let sim = sim(Flavour::OpenAi).await.unwrap();
    let plain = post(sim.addr(), "/v1/completions", json!({"model": "m", "prompt": "hi"})).await.unwrap().json();
    assert_eq!((&plain["object"], &plain["choices"][0]["text"]), (&json!("text_completion"), &json!("You said: hi")));
    let ask = json!({"model": "m", "prompt": ["hi"], "stream": true});
    let events = post(sim.addr(), "/v1/completions", ask).await.unwrap().events();
    let text: String = events.iter().filter_map(|event| event["choices"][0]["text"].as_str()).collect();
    assert_eq!((text.as_str(), events.len()), ("You said: hi", 5));
}

#[tokio::test]
async fn embeddings_as_numbers_and_as_base64() {
    let sim = sim(Flavour::OpenAi).await.unwrap();
    let numbers = post(sim.addr(), "/v1/embeddings", json!({"model": "m", "input": "a"})).await.unwrap().json();
    let expected = json!({"object": "list", "model": "m", "usage": {"prompt_tokens": 1, "total_tokens": 1},
        "data": [{"object": "embedding", "index": 0, "embedding": vector("a", 8)}]});
    assert_eq!(numbers, expected);
    let ask = json!({"model": "m", "input": ["x", "a"], "encoding_format": "base64", "dimensions": 4});
    let encoded = post(sim.addr(), "/v1/embeddings", ask).await.unwrap().json();
    let bytes = STANDARD.decode(encoded["data"][1]["embedding"].as_str().unwrap()).unwrap();
    let floats: Vec<f32> = bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect();
    assert_eq!(floats, embedding("a", 4));
    let many = json!({"model": "m", "input": vec!["x".repeat(40); 2048]});
    assert_eq!(post(sim.addr(), "/v1/embeddings", many).await.unwrap().status, 200);
    let tokens = json!({"model": "m", "input": [[1, 2], [3]]});
    assert_eq!(post(sim.addr(), "/v1/embeddings", tokens).await.unwrap().json()["data"][1]["index"], 1);
}

#[tokio::test]
async fn a_response_format_is_kept() {
    let sim = sim(Flavour::LlamaCpp).await.unwrap();
    let mut ask = chat(false);
    for (schema, text) in [(json!({"enum": ["yes", "no"]}), "\"yes\""), (json!({"const": 3}), "3")] {
        ask["response_format"] = json!({"type": "json_schema", "json_schema": {"name": "n", "schema": schema}});
        let reply = post(sim.addr(), "/v1/chat/completions", ask.clone()).await.unwrap().json();
        assert_eq!(reply["choices"][0]["message"]["content"], text);
    }
}

#[tokio::test]
async fn openai_takes_objects_only_and_closed_ones_when_it_is_strict() {
    let sim = sim(Flavour::OpenAi).await.unwrap();
    let open = json!({"type": "object", "properties": {"a": {"const": 1}}});
    let closed =
        json!({"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"], "additionalProperties": false});
    for (strict, schema, status) in [
        (false, json!({"type": "array", "items": {"const": 1}}), 400),
        (false, open.clone(), 200),
        (true, open, 400),
        (true, closed, 200),
    ] {
        let mut ask = chat(false);
        ask["response_format"] =
            json!({"type": "json_schema", "json_schema": {"name": "n", "strict": strict, "schema": schema}});
        let reply = post(sim.addr(), "/v1/chat/completions", ask).await.unwrap();
        assert_eq!(reply.status.as_u16(), status, "{schema}");
    }
    let mut ask = chat(false);
    ask["structured_outputs"] = json!({"choice": ["a"]});
    assert_eq!(post(sim.addr(), "/v1/chat/completions", ask).await.unwrap().status.as_u16(), 400);
}

#[tokio::test]
async fn vllm_holds_a_reply_to_a_choice_or_a_pattern() {
    let sim = sim(Flavour::Vllm).await.unwrap();
    for (form, text) in [
        (json!({"choice": ["valid", "invalid"]}), "valid"),
        (json!({"regex": "[0-9]+-[0-9]+"}), "1-1"),
        (json!({"json": {"const": 3}}), "3"),
    ] {
        let mut ask = chat(false);
        ask["structured_outputs"] = form;
        let reply = post(sim.addr(), "/v1/chat/completions", ask).await.unwrap().json();
        assert_eq!(reply["choices"][0]["message"]["content"], text);
    }
    for form in [json!({}), json!({"choice": []}), json!({"choice": ["a"], "regex": "a"}), json!({"regexp": "a"})] {
        let mut ask = chat(false);
        ask["structured_outputs"] = form;
        assert_eq!(post(sim.addr(), "/v1/chat/completions", ask).await.unwrap().status.as_u16(), 400);
    }
}

#[tokio::test]
async fn llama_cpp_and_vllm_count_tokens_in_their_own_words() {
    let llama = sim(Flavour::LlamaCpp).await.unwrap();
    let counted = post(llama.addr(), "/tokenize", json!({"content": "12345678"})).await.unwrap().json();
    assert_eq!(counted, json!({"tokens": [1, 2]}));
    let vllm = sim(Flavour::Vllm).await.unwrap();
    let counted = post(vllm.addr(), "/tokenize", json!({"model": "m", "prompt": "12345678"})).await.unwrap().json();
    assert_eq!((&counted["count"], &counted["max_model_len"]), (&json!(2), &json!(10)));
    for (sim, body) in [(&llama, json!({"prompt": "a"})), (&vllm, json!({"model": "m", "content": "a"}))] {
        assert_eq!(post(sim.addr(), "/tokenize", body).await.unwrap().status.as_u16(), 400);
    }
    let openai = sim(Flavour::OpenAi).await.unwrap();
    assert_eq!(post(openai.addr(), "/tokenize", json!({"content": "a"})).await.unwrap().status.as_u16(), 404);
}

#[tokio::test]
async fn a_call_without_the_key_is_refused() {
    let sim = SimBackend::openai().model("m").api_key("other").start().await.unwrap();
    let refused = get(sim.addr(), "/v1/models").await.unwrap();
    assert_eq!((refused.status.as_u16(), &refused.json()["error"]["code"]), (401, &json!("invalid_api_key")));
    assert!(sim.record().requests[0].authorized());
}

#[tokio::test]
async fn every_flavour_has_its_own_errors() {
    let (openai, llama, vllm) =
        (sim(Flavour::OpenAi).await.unwrap(), sim(Flavour::LlamaCpp).await.unwrap(), sim(Flavour::Vllm).await.unwrap());
    let mut other = chat(false);
    other["model"] = json!("x");
    let unknown = post(openai.addr(), "/v1/chat/completions", other.clone()).await.unwrap();
    let message = "The model `x` does not exist or you do not have access to it.";
    let error = json!({"error": {"message": message, "type": "invalid_request_error", "param": null, "code": "model_not_found"}});
    assert_eq!((unknown.status.as_u16(), unknown.json()), (404, error));
    let unknown = post(vllm.addr(), "/v1/chat/completions", other.clone()).await.unwrap();
    assert_eq!((unknown.status.as_u16(), &unknown.json()["error"]["code"]), (404, &json!(404)));
    let served = post(llama.addr(), "/v1/chat/completions", other).await.unwrap();
    assert_eq!((served.status.as_u16(), &served.json()["model"]), (200, &json!("m")));

    let long = json!({"model": "m", "messages": [{"role": "user", "content": "long ".repeat(10)}]});
    let too_long = post(openai.addr(), "/v1/chat/completions", long.clone()).await.unwrap();
    assert_eq!((too_long.status.as_u16(), &too_long.json()["error"]["code"]), (400, &json!("context_length_exceeded")));
    let too_long = post(llama.addr(), "/v1/chat/completions", long).await.unwrap().json();
    assert_eq!(
        (&too_long["error"]["type"], &too_long["error"]["n_ctx"]),
        (&json!("exceed_context_size_error"), &json!(10))
    );
    for (body, kind) in [("{", "Bad Request"), ("{\"model\":\"m\",\"messages\":[]}", "BadRequestError")] {
        let refused = send(vllm.addr(), hyper::Method::POST, "/v1/chat/completions", body).await.unwrap();
        assert_eq!((refused.status.as_u16(), &refused.json()["error"]["type"]), (400, &json!(kind)));
    }
    let missing = post(vllm.addr(), "/v1/embeddings", json!({"model": "m", "input": "a"})).await.unwrap();
    assert_eq!((missing.status.as_u16(), missing.json()), (404, json!({"detail": "Not Found"})), "it only chats");
    let broken = send(openai.addr(), hyper::Method::POST, "/v1/embeddings", "{").await.unwrap();
    assert_eq!((broken.status.as_u16(), &broken.json()["error"]["type"]), (400, &json!("invalid_request_error")));
}

#[tokio::test]
async fn every_flavour_shows_itself_in_its_probes() {
    let llama = sim(Flavour::LlamaCpp).await.unwrap();
    assert_eq!(get(llama.addr(), "/health").await.unwrap().json(), json!({"status": "ok"}));
    assert_eq!(get(llama.addr(), "/props").await.unwrap().json()["default_generation_settings"]["n_ctx"], 10);
    let models = get(llama.addr(), "/v1/models").await.unwrap();
    let entry = &models.json()["data"][0];
    assert_eq!(
        (&entry["owned_by"], &entry["meta"]["n_ctx"], models.header("server")),
        (&json!("llamacpp"), &json!(10), "llama.cpp")
    );
    assert_eq!(get(llama.addr(), "/api/version").await.unwrap().status, 404);
    let events = post(llama.addr(), "/v1/chat/completions", chat(true)).await.unwrap().events();
    assert_eq!(events[0]["choices"][0]["delta"], json!({"role": "assistant", "content": null}));
    assert_eq!(events[4]["timings"]["predicted_n"], 3);
    let whole = post(llama.addr(), "/v1/chat/completions", chat(false)).await.unwrap().json();
    assert_eq!(whole["usage"]["prompt_tokens_details"], json!({"cached_tokens": 0}));

    let vllm = sim(Flavour::Vllm).await.unwrap();
    assert_eq!(get(vllm.addr(), "/version").await.unwrap().json(), json!({"version": "0.32.0"}));
    assert_eq!(get(vllm.addr(), "/health").await.unwrap().body.len(), 0);
    assert_eq!(get(vllm.addr(), "/v1/models").await.unwrap().json()["data"][0]["max_model_len"], 10);
    let events = post(vllm.addr(), "/v1/chat/completions", chat(true)).await.unwrap().events();
    assert_eq!((&events[3]["choices"][0]["finish_reason"], &events[4]), (&json!("stop"), &json!("[DONE]")));
    let whole = post(vllm.addr(), "/v1/chat/completions", chat(false)).await.unwrap().json();
    for key in ["/prompt_logprobs", "/kv_transfer_params", "/choices/0/stop_reason", "/choices/0/message/reasoning"] {
        assert_eq!(whole.pointer(key), Some(&Value::Null), "{key}");
    }
    let unauthorized = SimBackend::vllm().model("m").api_key("other").start().await.unwrap();
    let refused = get(unauthorized.addr(), "/v1/models").await.unwrap();
    assert_eq!((refused.status.as_u16(), refused.json()), (401, json!({"error": "Unauthorized"})));

    let openai = sim(Flavour::OpenAi).await.unwrap();
    let entry = get(openai.addr(), "/v1/models/m").await.unwrap().json();
    assert_eq!((&entry["id"], &entry["owned_by"]), (&json!("m"), &json!("openai")));
    assert_eq!(get(openai.addr(), "/health").await.unwrap().status, 404);
}

fn tool(name: &str) -> Value {
    json!({"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {"n": {"const": 7}}}}})
}

#[tokio::test]
async fn a_tool_that_is_offered_is_called_whole_and_in_pieces() {
    for flavour in [Flavour::OpenAi, Flavour::LlamaCpp, Flavour::Vllm, Flavour::Ollama] {
        let sim = sim(flavour).await.unwrap();
        let mut body = chat(false);
        body["tools"] = json!([tool("f"), tool("g")]);
        let whole = post(sim.addr(), "/v1/chat/completions", body.clone()).await.unwrap().json();
        let (message, finish) = (&whole["choices"][0]["message"], &whole["choices"][0]["finish_reason"]);
        assert_eq!((&message["content"], finish), (&Value::Null, &json!("tool_calls")), "{flavour:?}");
        let function = json!({"name": "f", "arguments": "{\"n\":7}"});
        let call = &message["tool_calls"][0];
        assert_eq!((&call["type"], &call["function"]), (&json!("function"), &function));
        let is_vllms = call["id"].as_str().unwrap().starts_with("chatcmpl-tool-");
        assert_eq!(is_vllms, flavour == Flavour::Vllm, "{call}");
        body["stream"] = json!(true);
        let events = post(sim.addr(), "/v1/chat/completions", body.clone()).await.unwrap().events();
        let pieces: String = events
            .iter()
            .filter_map(|event| event.pointer("/choices/0/delta/tool_calls/0/function/arguments")?.as_str())
            .collect();
        assert_eq!(pieces, "{\"n\":7}", "{flavour:?}");
        sim.script(Rule::on(Route::Chat).tool_call("h", "{}").reply("Wait."));
        body["stream"] = json!(false);
        let message =
            post(sim.addr(), "/v1/chat/completions", body.clone()).await.unwrap().json()["choices"][0]["message"]
                .clone();
        assert_eq!(
            (&message["content"], &message["tool_calls"][0]["function"]["name"]),
            (&json!("Wait."), &json!("h"))
        );
    }
}

#[tokio::test]
async fn openai_refuses_what_it_does_not_know_and_names_the_field() {
    let sim = sim(Flavour::OpenAi).await.unwrap();
    for (name, value, param, words) in [
        ("top_k", json!(3), Value::Null, "Unrecognized request argument supplied: top_k"),
        ("tool_choice", json!("required"), json!("tool_choice"), "only allowed when 'tools'"),
        ("stream_options", json!({"include_usage": true}), json!("stream_options"), "only allowed when 'stream'"),
        (
            "messages",
            json!([{"role": "tool", "content": "x", "tool_call_id": "y"}]),
            json!("messages.[0].role"),
            "must be a response",
        ),
    ] {
        let mut body = chat(false);
        body[name] = value;
        let answer = post(sim.addr(), "/v1/chat/completions", body.clone()).await.unwrap();
        assert_eq!(answer.status, 400, "{name}");
        let error = &answer.json()["error"];
        assert!(error["message"].as_str().unwrap().contains(words), "{error}");
        assert_eq!(error["param"], param);
    }
}

#[tokio::test]
async fn several_replies_and_probabilities_are_told_where_they_are_asked_for() {
    let sim = sim(Flavour::Vllm).await.unwrap();
    let mut body = chat(false);
    (body["n"], body["logprobs"], body["top_logprobs"]) = (json!(2), json!(true), json!(1));
    let choices = post(sim.addr(), "/v1/chat/completions", body.clone()).await.unwrap().json()["choices"].clone();
    assert_eq!((choices.as_array().unwrap().len(), &choices[1]["index"]), (2, &json!(1)));
    assert_eq!(choices[0]["logprobs"]["content"][0]["top_logprobs"].as_array().unwrap().len(), 1);
}
