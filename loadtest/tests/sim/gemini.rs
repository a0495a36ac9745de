//! Gemini's bodies and refusals, as `docs/backends.md` has them.

use loadtest::sim::{Route, Rule, SimBackend, SimModel, embedding};
use serde_json::{Value, json};

use crate::client::{get, post};

async fn sim() -> std::io::Result<SimBackend> {
    let chat = SimModel::new("gemini-x").context_length(100);
    SimBackend::gemini().model(chat).model("embed-x").start().await
}

fn path(method: &str) -> String {
    format!("/v1beta/models/gemini-x:{method}")
}

fn said(role: &str, text: &str) -> Value {
    json!({"role": role, "parts": [{"text": text}]})
}

#[tokio::test]
async fn a_reply_has_one_candidate_and_its_cost() {
    let sim = sim().await.unwrap();
    let body = json!({"systemInstruction": {"parts": [{"text": "Be brief"}]}, "contents": [said("user", "hi")],
        "generationConfig": {"maxOutputTokens": 2}});
    let mut reply = post(sim.addr(), &path("generateContent"), body.clone()).await.unwrap().json();
    let id = reply["responseId"].take();
    assert_ne!(id, post(sim.addr(), &path("generateContent"), body).await.unwrap().json()["responseId"]);
    let expected = json!({
        "candidates": [{"content": {"role": "model", "parts": [{"text": "You"}, {"text": " said:"}]}, "index": 0,
            "finishReason": "MAX_TOKENS"}],
        "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5},
        "modelVersion": "gemini-x", "responseId": null,
    });
    assert_eq!(reply, expected);
    assert_eq!(sim.record().requests[0].model.as_deref(), Some("gemini-x"));
}

#[tokio::test]
async fn a_reply_is_held_to_either_kind_of_schema() {
    let sim = sim().await.unwrap();
    for (config, text) in [
        (json!({"responseSchema": {"type": "STRING", "enum": ["yes", "no"]}}), "\"yes\""),
        (json!({"responseSchema": {"type": "OBJECT", "properties": {"a": {"type": "INTEGER"}}}}), "{\"a\":0}"),
        (json!({"responseJsonSchema": {"type": "array", "items": {"const": 1}}}), "[1]"),
    ] {
        let mut config = config;
        config["responseMimeType"] = json!("application/json");
        let body = json!({"contents": [said("user", "hi")], "generationConfig": config});
        let reply = post(sim.addr(), &path("generateContent"), body).await.unwrap().json();
        assert_eq!(reply["candidates"][0]["content"]["parts"][0]["text"], text);
    }
}

#[tokio::test]
async fn bodies_the_service_would_refuse_are_refused() {
    let sim = sim().await.unwrap();
    let config = |config: Value| json!({"contents": [said("user", "a")], "generationConfig": config});
    for (body, words) in [
        (json!({}), "contents is not specified"),
        (json!({"contents": [said("system", "a")]}), "valid role"),
        (json!({"contents": [{"role": "user", "parts": []}]}), "text parameter"),
        (json!({"contents": [said("user", "a")], "model": "gemini-x"}), "Unknown name \"model\""),
        (config(json!({"max_tokens": 1})), "Unknown name \"max_tokens\""),
        (config(json!({"seed": 5_000_000_000_u64})), "TYPE_INT32"),
        (config(json!({"responseSchema": {"type": "STRING"}})), "mime type"),
        (config(json!({"responseMimeType": "application/json", "responseSchema": {"type": "string"}})), "TYPE_ENUM"),
        (
            config(json!({"responseMimeType": "application/json", "responseSchema": {"type": "STRING", "const": 1}})),
            "const",
        ),
        (json!({"contents": [said("user", &"long ".repeat(200))]}), "token count"),
    ] {
        let reply = post(sim.addr(), &path("generateContent"), body.clone()).await.unwrap();
        let error = reply.json()["error"].clone();
        assert_eq!((reply.status.as_u16(), &error["status"]), (400, &json!("INVALID_ARGUMENT")), "{body}");
        assert!(error["message"].as_str().unwrap().contains(words), "{error}");
    }
    let unknown = post(sim.addr(), "/v1beta/models/absent:generateContent", json!({})).await.unwrap();
    assert_eq!((unknown.status.as_u16(), &unknown.json()["error"]["status"]), (404, &json!("NOT_FOUND")));
    let stream = post(sim.addr(), &(path("streamGenerateContent") + "?alt=sse"), json!({})).await.unwrap();
    assert_eq!(stream.json()[0]["error"]["status"], "INVALID_ARGUMENT", "a refused stream comes in an array");
}

#[tokio::test]
async fn a_stream_is_events_where_it_is_asked_for_as_such_and_an_array_elsewhere() {
    let sim = sim().await.unwrap();
    sim.script(Rule::on(Route::Chat).thinking("hm").reply("a b"));
    let config = json!({"thinkingConfig": {"includeThoughts": true}, "responseLogprobs": true, "logprobs": 1});
    let body = json!({"contents": [said("user", "hi")], "generationConfig": config});
    let events = post(sim.addr(), &(path("streamGenerateContent") + "?alt=sse"), body.clone()).await.unwrap();
    assert_eq!(events.header("content-type"), "text/event-stream");
    let text = events.text();
    assert!(text.starts_with("data: {") && text.ends_with("\r\n\r\n"), "{text:?}");
    let read = |event: &str| serde_json::from_str::<Value>(event.strip_prefix("data: ").unwrap()).unwrap();
    let mut pieces: Vec<Value> = text.trim_end().split("\r\n\r\n").map(read).collect();
    let mut array = post(sim.addr(), &path("streamGenerateContent"), body.clone()).await.unwrap().json();
    for piece in pieces.iter_mut().chain(array.as_array_mut().unwrap()) {
        piece["responseId"].take();
    }
    assert_eq!(array, json!(pieces));
    let part = |at: usize| &pieces[at]["candidates"][0]["content"]["parts"][0];
    assert_eq!((part(0), part(1)), (&json!({"text": "hm", "thought": true}), &json!({"text": "a"})));
    assert_eq!(pieces[1]["candidates"][0]["logprobsResult"]["chosenCandidates"][0]["token"], "a");
    assert_eq!(
        (&pieces[3]["candidates"][0]["finishReason"], pieces[3]["usageMetadata"]["thoughtsTokenCount"].as_u64()),
        (&json!("STOP"), Some(1))
    );
    let quiet = post(sim.addr(), &path("generateContent"), json!({"contents": [said("user", "hi")]})).await.unwrap();
    assert_eq!(quiet.json()["candidates"][0]["content"]["parts"][0]["text"], "a", "nobody asked for thoughts");
}

#[tokio::test]
async fn functions_are_called_and_wanted_back_with_their_signature() {
    let sim = SimBackend::gemini().model("gemini-3-pro").start().await.unwrap();
    let tools = json!([{"functionDeclarations": [{"name": "f", "parametersJsonSchema": {"type": "object", "properties": {"n": {"type": "integer"}}}}]}]);
    let path = "/v1beta/models/gemini-3-pro:generateContent";
    let ask = json!({"contents": [said("user", "hi")], "tools": tools});
    let made = post(sim.addr(), path, ask).await.unwrap().json()["candidates"][0]["content"].clone();
    assert_eq!(made["parts"][0]["functionCall"], json!({"name": "f", "args": {"n": 0}}));
    let answer = json!({"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"n": 1}}}]});
    let mut talk = json!({"contents": [said("user", "hi"), made, answer], "tools": tools});
    let reply = post(sim.addr(), path, talk.clone()).await.unwrap();
    assert_eq!(reply.json()["candidates"][0]["content"]["parts"][0].get("functionCall"), None, "{}", reply.text());
    talk["contents"][1]["parts"][0].as_object_mut().unwrap().remove("thoughtSignature");
    let refused = post(sim.addr(), path, talk).await.unwrap();
    assert!(refused.status == 400 && refused.text().contains("thought_signature"), "{}", refused.text());
    let both = json!({"contents": [said("user", "hi")], "tools": tools,
        "toolConfig": {"functionCallingConfig": {"mode": "AUTO", "allowedFunctionNames": ["f"]}}});
    assert_eq!(post(sim.addr(), path, both).await.unwrap().status, 400);
}

#[tokio::test]
async fn texts_are_embedded_and_counted() {
    let sim = sim().await.unwrap();
    let body = json!({"model": "models/embed-x", "content": {"parts": [{"text": "a cat"}]}});
    let reply = post(sim.addr(), "/v1beta/models/embed-x:embedContent", body.clone()).await.unwrap().json();
    let numbers: Vec<f32> = serde_json::from_value(reply["embedding"]["values"].clone()).unwrap();
    assert_eq!(numbers, embedding("a cat", 8));
    let batch = json!({"requests": [body, {"model": "models/embed-x", "content": {"parts": [{"text": "b"}]}, "outputDimensionality": 2}]});
    let batched = post(sim.addr(), "/v1beta/models/embed-x:batchEmbedContents", batch).await.unwrap().json();
    assert_eq!(batched["embeddings"][0], reply["embedding"]);
    assert_eq!(batched["embeddings"][1]["values"].as_array().unwrap().len(), 2);
    let many: Vec<Value> = std::iter::repeat_n(body.clone(), 101).collect();
    let many =
        post(sim.addr(), "/v1beta/models/embed-x:batchEmbedContents", json!({ "requests": many })).await.unwrap();
    assert_eq!(many.status, 400, "a hundred at once");
    assert_eq!(post(sim.addr(), &path("embedContent"), body).await.unwrap().status.as_u16(), 404, "it does not embed");
    let counted =
        post(sim.addr(), &path("countTokens"), json!({"contents": [said("user", "12345678")]})).await.unwrap();
    assert_eq!(counted.json(), json!({"totalTokens": 2}));
}

#[tokio::test]
async fn the_list_comes_in_pages() {
    let sim = SimBackend::gemini().page_size(2).model("a").model("b").model("c").start().await.unwrap();
    let first = get(sim.addr(), "/v1beta/models?pageSize=1000").await.unwrap().json();
    assert_eq!((first["models"].as_array().unwrap().len(), &first["nextPageToken"]), (2, &json!("2")));
    assert_eq!(first["models"][0]["name"], "models/c");
    assert_eq!(first["models"][0]["supportedGenerationMethods"], json!(["generateContent", "countTokens"]));
    let last = get(sim.addr(), "/v1/models?pageToken=2").await.unwrap().json();
    assert_eq!((last["models"].as_array().unwrap().len(), last.get("nextPageToken")), (1, None));
    assert_eq!(sim.record().requests[0].query, "pageSize=1000");
}

#[tokio::test]
async fn keys_come_in_their_own_header_and_errors_in_their_own_shape() {
    let sim = SimBackend::gemini().model("a").api_key("key").start().await.unwrap();
    let refused = get(sim.addr(), "/v1beta/models?key=key").await.unwrap();
    assert_eq!((refused.status.as_u16(), &refused.json()["error"]["status"]), (403, &json!("PERMISSION_DENIED")));
    let open = SimBackend::gemini().model("a").start().await.unwrap();
    open.script(Rule::on(Route::List).status(429));
    let slow = get(open.addr(), "/v1beta/models").await.unwrap().json();
    assert_eq!(slow["error"]["details"][0]["retryDelay"], "7s");
}
