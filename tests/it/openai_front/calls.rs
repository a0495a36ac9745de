//! Chats, completions and embeddings.

use base64::{Engine, engine::general_purpose::STANDARD};
use loadtest::sim::{Route, Routes, Rule};
use serde_json::{Value, json};

use super::{CHAT, OTHERS, chat, data};
use crate::support::{
    Scene,
    one_backend::{KINDS, OneBackend},
    shape::assert_keys,
};

#[tokio::test]
async fn a_chat_is_answered_over_every_kind_of_backend() {
    for kind in KINDS {
        let front = OneBackend::of(kind).await;
        front.sim.script(Rule::on(Routes::CALLS).reply_chunks(["Hel", "lo"]));
        let answer = front.chat(json!({})).await.expect(200);
        assert_eq!(
            (answer.header("x-penstock-backend"), answer.header("x-penstock-model")),
            (front.id.as_str(), "chat:1b")
        );
        let reply = answer.json();
        assert_eq!((&reply["object"], &reply["model"]), (&json!("chat.completion"), &json!("chat:1b")), "{kind}");
        assert!(reply["id"].as_str().unwrap().starts_with("chatcmpl-") && reply["created"].is_u64(), "{kind}: {reply}");
        let choice = &reply["choices"][0];
        assert_eq!(
            (&choice["message"]["content"], &choice["finish_reason"]),
            (&json!("Hello"), &json!("stop")),
            "{kind}"
        );
        let tokens = |name: &str| reply["usage"][name].as_u64().unwrap();
        assert_eq!(tokens("total_tokens"), tokens("prompt_tokens") + tokens("completion_tokens"), "{kind}");
        assert!(tokens("prompt_tokens") > 0, "{kind}");
    }
}

#[tokio::test]
async fn a_chat_is_streamed_over_every_kind_of_backend() {
    for kind in KINDS {
        let front = OneBackend::of(kind).await;
        front.sim.script(Rule::on(Routes::CALLS).reply_chunks(["Hel", "lo"]));
        let answer = front.chat(json!({"stream": true, "stream_options": {"include_usage": true}})).await.expect(200);
        assert_eq!(answer.header("x-penstock-backend"), front.id);
        let mut chunks = data(&answer);
        assert_eq!(chunks.pop(), Some(json!("[DONE]")), "{kind}");
        let last = chunks.pop().unwrap();
        assert_eq!(last["choices"], json!([]), "{kind}");
        assert!(last["usage"]["total_tokens"].as_u64().unwrap() > 0, "{kind}: {last}");
        let (mut text, mut finish) = (String::new(), Value::Null);
        for chunk in &chunks {
            assert_eq!((&chunk["object"], &chunk["id"]), (&json!("chat.completion.chunk"), &chunks[0]["id"]), "{kind}");
            assert!(chunk["usage"].is_null(), "{kind}");
            text += chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default();
            let reason = &chunk["choices"][0]["finish_reason"];
            finish = if reason.is_null() { finish } else { reason.clone() };
        }
        assert_eq!((text.as_str(), finish), ("Hello", json!("stop")), "{kind}");
        assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant", "{kind}");
        let plain = data(&front.chat(json!({"stream": true})).await.expect(200));
        assert!(plain[..plain.len() - 1].iter().all(|chunk| chunk["choices"][0].is_object()), "{kind}");
    }
}

#[tokio::test]
async fn a_server_of_the_dialect_gets_the_clients_own_bytes_and_others_what_they_know() {
    let front = OneBackend::of("vllm").await;
    let body = chat(json!({"logit_bias": {"1": 5}, "guided_regex": "a+"}));
    let answer = front.post(CHAT, body.clone()).await.expect(200);
    assert_eq!(answer.header("x-penstock-warning"), "");
    assert_eq!(front.sim.record().of(Route::Chat)[0].json(), body);

    let front = OneBackend::of("ollama").await;
    let fields = json!({"logit_bias": {"1": 5}, "guided_regex": "a+", "user": "me", "temperature": 0.5, "seed": 7,
        "max_completion_tokens": 9, "stop": "END", "store": false});
    let answer = front.chat(fields).await.expect(200);
    assert_eq!(answer.header("x-penstock-warning"), "not used: logit_bias, guided_regex");
    let sent = front.sim.record().of(Route::Chat)[0].json();
    assert_eq!(sent["messages"][0]["content"], "Hi");
    let options = &sent["options"];
    assert_eq!(
        (&options["temperature"], &options["num_predict"], &options["stop"]),
        (&json!(0.5), &json!(9), &json!(["END"]))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_conversation_is_translated_as_a_small_one_is() {
    let front = OneBackend::of("ollama").await;
    // Above what is decoded in place; of words, so that it fits the model.
    let padding = " ".repeat(200 << 10);
    let body = format!("{padding}{}", chat(json!({})));
    let answer = front.server.post_as(CHAT, "application/json", body).await.expect(200);
    assert_eq!(answer.json()["object"], "chat.completion");
}

#[tokio::test]
async fn a_prompt_is_completed_over_every_kind_of_backend() {
    for kind in KINDS {
        let front = OneBackend::of(kind).await;
        front.sim.script(Rule::on(Routes::CALLS).reply_chunks(["Hel", "lo"]));
        let body = json!({"model": "chat:1b", "prompt": "Say hello", "max_tokens": 20});
        let reply = front.post("/v1/completions", body.clone()).await.expect(200).json();
        assert_eq!(
            (&reply["object"], &reply["choices"][0]["text"]),
            (&json!("text_completion"), &json!("Hello")),
            "{kind}"
        );
        let mut streamed = body;
        streamed["stream"] = json!(true);
        let chunks = data(&front.post("/v1/completions", streamed).await.expect(200));
        let text = |chunk: &Value| chunk["choices"][0]["text"].as_str().unwrap_or_default().to_owned();
        assert_eq!(chunks.iter().map(text).collect::<String>(), "Hello", "{kind}");
        assert_eq!(chunks.last(), Some(&json!("[DONE]")), "{kind}");
    }
}

#[tokio::test]
async fn what_only_servers_of_the_dialect_can_do_is_done_there_and_refused_elsewhere() {
    for (path, fields, param) in [
        ("/v1/completions", json!({"model": "chat:1b", "prompt": ["a", "b"]}), "prompt"),
        ("/v1/completions", json!({"model": "chat:1b", "prompt": "a", "logprobs": 1}), "logprobs"),
        ("/v1/embeddings", json!({"model": "embed:1b", "input": [[1, 2]]}), "input"),
    ] {
        for kind in OTHERS {
            let refused = OneBackend::of(kind).await.post(path, fields.clone()).await.expect(400);
            assert_eq!(super::fault(&refused)["param"], param, "{kind}");
        }
        let front = OneBackend::of("vllm").await;
        front.post(path, fields.clone()).await;
        let record = front.sim.record();
        let got = record.requests.iter().find(|call| call.path == path).map(|call| call.json());
        assert_eq!(got, Some(fields), "vllm judges it itself");
    }
}

#[tokio::test]
async fn a_prompt_is_told_again_where_it_is_wanted() {
    for kind in OTHERS {
        let front = OneBackend::of(kind).await;
        front.sim.script(Rule::on(Routes::CALLS).reply_chunks(["Hel", "lo"]));
        let body = json!({"model": "chat:1b", "prompt": "Say: ", "echo": true});
        let reply = front.post("/v1/completions", body.clone()).await.expect(200).json();
        assert_eq!(reply["choices"][0]["text"], "Say: Hello", "{kind}");
        let mut streamed = body;
        streamed["stream"] = json!(true);
        let chunks = data(&front.post("/v1/completions", streamed).await.expect(200));
        let text = |chunk: &Value| chunk["choices"][0]["text"].as_str().unwrap_or_default().to_owned();
        assert_eq!(chunks.iter().map(text).collect::<Vec<_>>()[..3], ["Say: ", "Hel", "lo"], "{kind}");
    }
}

#[tokio::test]
async fn what_stands_behind_the_reply_is_told_to_those_who_can_take_it() {
    let body = json!({"model": "chat:1b", "prompt": "fn main() {", "suffix": "}"});
    for kind in ["vllm", "openai", "ollama"] {
        let front = OneBackend::of(kind).await;
        front.post("/v1/completions", body.clone()).await.expect(200);
        let record = front.sim.record();
        let sent = record.of(Route::Generate)[0].json();
        assert_eq!((&sent["prompt"], &sent["suffix"]), (&body["prompt"], &body["suffix"]), "{kind}");
    }
    for stream in [false, true] {
        let front = OneBackend::of("gemini").await;
        let mut body = body.clone();
        body["stream"] = json!(stream);
        let refused = front.post("/v1/completions", body).await.expect(400);
        let error = super::fault(&refused);
        assert_eq!((&error["param"], &error["type"]), (&json!("suffix"), &json!("invalid_request_error")));
        assert!(error["message"].as_str().unwrap().contains("X-Penstock-Provider: ollama"), "{error}");
        assert!(front.sim.record().of(Route::Chat).is_empty());
    }
}

#[tokio::test]
async fn only_the_tools_that_are_allowed_are_offered() {
    let tool = |name: &str| json!({"type": "function", "function": {"name": name}});
    for kind in OTHERS {
        let front = OneBackend::of(kind).await;
        let allowed = json!({"mode": "required", "tools": [tool("get_time")]});
        let choice = json!({"type": "allowed_tools", "allowed_tools": allowed});
        let fields = json!({"tools": [tool("wipe_disk"), tool("get_time")], "tool_choice": choice});
        front.chat(fields).await.expect(200);
        let sent = String::from_utf8(front.sim.record().of(Route::Chat)[0].body.to_vec()).unwrap();
        assert!(sent.contains("get_time") && !sent.contains("wipe_disk"), "{kind}: {sent}");
    }
}

#[tokio::test]
async fn vectors_come_as_numbers_or_as_their_bytes_over_every_kind_of_backend() {
    for kind in KINDS {
        let front = OneBackend::of(kind).await;
        let ask = async |encoding: &str| {
            let body = json!({"model": "embed:1b", "input": ["a cat", "a dog"], "encoding_format": encoding});
            front.post("/v1/embeddings", body).await.expect(200).json()
        };
        let reply = ask("float").await;
        assert_keys(&reply, "object data model usage");
        let data = reply["data"].as_array().unwrap();
        assert_eq!((data.len(), &data[1]["index"], &data[1]["object"]), (2, &json!(1), &json!("embedding")), "{kind}");
        let numbers: Vec<f64> = serde_json::from_value(data[0]["embedding"].clone()).unwrap();
        assert!(!numbers.is_empty() && reply["usage"]["prompt_tokens"].is_u64(), "{kind}");
        if OTHERS.contains(&kind) {
            let coded = ask("base64").await;
            let bytes = STANDARD.decode(coded["data"][0]["embedding"].as_str().unwrap()).unwrap();
            let floats = bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap()));
            assert!(floats.zip(&numbers).all(|(coded, number)| (f64::from(coded) - number).abs() < 1e-6), "{kind}");
            assert_eq!(bytes.len(), numbers.len() * 4, "{kind}");
        }
    }
}

#[tokio::test]
async fn a_stored_chain_is_a_model_on_these_routes() {
    let Scene { server, sim, id } = Scene::start(&[]).await;
    let chain = json!({"id": "talk", "tasks": [
        {"id": "ask", "handler": "model_execution", "execute_config": {"model": "chat:1b"},
            "transition": {"branches": [{"goto": "tell"}]}},
        {"id": "tell", "handler": "convert_to_openai_chat_response", "transition": {"branches": [{}]}}]});
    server.post("/taskchains", chain).await.expect(201);
    sim.script(Rule::on(Routes::CALLS).reply("Fine."));
    let model = |fields: Value| {
        let mut body = chat(fields);
        body["model"] = json!("chain/talk");
        body
    };
    let answer = server.post(CHAT, model(json!({}))).await.expect(200);
    assert_eq!(answer.header("x-penstock-backend"), id);
    let reply = answer.json();
    assert_eq!((&reply["model"], &reply["choices"][0]["message"]["content"]), (&json!("chain/talk"), &json!("Fine.")));
    let chunks = data(&server.post(CHAT, model(json!({"stream": true}))).await.expect(200));
    let text = |chunk: &Value| chunk["choices"][0]["delta"]["content"].as_str().unwrap_or_default().to_owned();
    assert_eq!(chunks.iter().map(text).collect::<String>(), "Fine.");
    let response = server.post("/v1/responses", json!({"model": "chain/talk", "input": "Hi"})).await.expect(200).json();
    assert_eq!(response["output"][0]["content"][0]["text"], "Fine.");
    let embed = server.post("/v1/embeddings", json!({"model": "chain/talk", "input": "Hi"})).await.expect(400);
    assert_eq!(super::fault(&embed)["param"], "model");
    let unknown = server.post(CHAT, json!({"model": "chain/nobody", "messages": [{"role": "user", "content": "Hi"}]}));
    assert_eq!(super::fault(&unknown.await.expect(404))["code"], "model_not_found");
}
