//! Ollama's bodies, as `docs/backends.md` has them.

use hyper::Method;
use loadtest::sim::{Route, Rule, SimBackend, SimModel};
use serde_json::{Value, json};

use crate::client::{get, post, send, vector};

async fn sim() -> std::io::Result<SimBackend> {
    let thinker = SimModel::new("deep:1b").capabilities(["completion", "thinking"]).context_length(2_048);
    SimBackend::ollama().model("all-minilm").model(thinker).model(SimModel::new("qwen3:4b").size(300)).start().await
}

/// Times and other numbers that are free to change, replaced by their names.
fn steady(mut value: Value, keys: &[&str]) -> Value {
    for key in keys.iter().filter(|key| value.get(**key).is_some()).collect::<Vec<_>>() {
        value[*key] = json!(key);
    }
    value
}

#[tokio::test]
async fn the_plain_routes() {
    let sim = sim().await.unwrap();
    assert_eq!(get(sim.addr(), "/").await.unwrap().text(), "Ollama is running");
    for path in ["/", "/api/tags", "/api/version"] {
        let head = send(sim.addr(), Method::HEAD, path, "").await.unwrap();
        assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    }
    assert_eq!(get(sim.addr(), "/api/version").await.unwrap().json(), json!({"version": "0.30.1"}));
    let missing = post(sim.addr(), "/api/nope", json!({})).await.unwrap();
    assert_eq!((missing.status.as_u16(), missing.text().as_str()), (404, "404 page not found"));
    assert_eq!(get(sim.addr(), "/api/chat").await.unwrap().status, 405);
    assert_eq!(get(sim.addr(), "/health").await.unwrap().status, 404);
    assert_eq!(sim.record().aborted, 0, "an answer to HEAD is an answer");
}

#[tokio::test]
async fn tags_show_and_ps() {
    let sim = sim().await.unwrap();
    let tags = get(sim.addr(), "/api/tags").await.unwrap().json();
    let first = steady(tags["models"][0].clone(), &["modified_at", "digest"]);
    let details = json!({"parent_model": "", "format": "gguf", "family": "llama", "families": ["llama"],
        "parameter_size": "0.00M", "quantization_level": "Q4_1", "context_length": 131_072, "embedding_length": 8});
    assert_eq!(
        first,
        json!({"name": "qwen3:4b", "model": "qwen3:4b", "modified_at": "modified_at", "size": 300, "digest": "digest",
            "details": details, "capabilities": ["completion", "tools"]})
    );
    assert_eq!(tags["models"][0]["digest"].as_str().unwrap().len(), 64);

    let shown = post(sim.addr(), "/api/show", json!({"model": "deep:1b"})).await.unwrap().json();
    assert_eq!(shown["capabilities"], json!(["completion", "thinking"]));
    assert_eq!(shown["model_info"]["general.architecture"], "llama");
    assert_eq!(shown["model_info"]["llama.context_length"], 2_048);
    let old = post(sim.addr(), "/api/show", json!({"name": "all-minilm:latest"})).await.unwrap().json();
    assert_eq!(old["capabilities"], json!(["embedding"]));

    assert_eq!(get(sim.addr(), "/api/ps").await.unwrap().json(), json!({"models": []}));
    let loaded = post(sim.addr(), "/api/generate", json!({"model": "deep:1b"})).await.unwrap().json();
    assert_eq!((&loaded["done_reason"], &loaded["response"]), (&json!("load"), &json!("")));
    let running = get(sim.addr(), "/api/ps").await.unwrap().json();
    assert_eq!(
        (&running["models"][0]["name"], &running["models"][0]["context_length"]),
        (&json!("deep:1b"), &json!(2_048))
    );
    let gone = json!({"model": "deep:1b", "messages": [], "keep_alive": 0});
    assert_eq!(post(sim.addr(), "/api/chat", gone).await.unwrap().json()["done_reason"], "unload");
    assert_eq!(get(sim.addr(), "/api/ps").await.unwrap().json(), json!({"models": []}));
}

#[tokio::test]
async fn chat_streams_unless_it_is_told_not_to() {
    let sim = sim().await.unwrap();
    let ask = json!({"model": "qwen3:4b", "messages": [{"role": "user", "content": "a <b>"}]});
    let reply = post(sim.addr(), "/api/chat", ask.clone()).await.unwrap();
    assert_eq!(reply.header("content-type"), "application/x-ndjson");
    assert!(reply.text().contains(r" \u003cb\u003e"), "as Go writes it: {}", reply.text());
    let lines: Vec<Value> = reply.lines().into_iter().map(|line| steady(line, &["created_at"])).collect();
    let content: String = lines.iter().filter_map(|line| line["message"]["content"].as_str()).collect();
    assert_eq!(content, "You said: a <b>");
    let message = json!({"role": "assistant", "content": "You"});
    assert_eq!(lines[0], json!({"model": "qwen3:4b", "created_at": "created_at", "message": message, "done": false}));
    let last = json!({"model": "qwen3:4b", "created_at": "created_at", "message": {"role": "assistant", "content": ""},
        "done": true, "done_reason": "stop", "total_duration": 5_400_000, "load_duration": 1_200_000,
        "prompt_eval_count": 2, "prompt_eval_duration": 200_000, "eval_count": 4, "eval_duration": 4_000_000});
    assert_eq!(lines[4], last);

    let mut plain = ask;
    plain["stream"] = json!(false);
    plain["options"] = json!({"num_predict": 2, "temperature": 0});
    let whole = post(sim.addr(), "/api/chat", plain).await.unwrap();
    assert_eq!(whole.header("content-type"), "application/json; charset=utf-8");
    assert_eq!(
        (&whole.json()["message"]["content"], &whole.json()["done_reason"]),
        (&json!("You said:"), &json!("length"))
    );
}

#[tokio::test]
async fn generate_has_a_response_a_context_and_no_zero_counters() {
    let sim = sim().await.unwrap();
    let ask = json!({"model": "qwen3:4b", "prompt": "hi", "system": "brief"});
    let lines = post(sim.addr(), "/api/generate", ask).await.unwrap().lines();
    assert_eq!((&lines[0]["response"], lines[0].get("message")), (&json!("You"), None));
    assert_eq!((&lines[3]["context"], &lines[3]["prompt_eval_count"]), (&json!([1, 2, 3]), &json!(3)));

    sim.script(Rule::on(Route::Generate).reply(""));
    let ask = json!({"model": "qwen3:4b", "prompt": "hi", "raw": true, "stream": false});
    let empty = post(sim.addr(), "/api/generate", ask).await.unwrap().json();
    assert_eq!((&empty["response"], empty.get("eval_count"), empty.get("context")), (&json!(""), None, None));
}

#[tokio::test]
async fn a_schema_is_kept_and_thoughts_come_apart() {
    let sim = sim().await.unwrap();
    let ask = json!({"model": "qwen3:4b", "prompt": "hi", "stream": false, "format": {"type": "string", "enum": ["yes", "no"]}});
    assert_eq!(post(sim.addr(), "/api/generate", ask.clone()).await.unwrap().json()["response"], "\"yes\"");
    sim.script(Rule::on(Route::Generate).times(1).reply("no"));
    assert_eq!(post(sim.addr(), "/api/generate", ask).await.unwrap().json()["response"], "\"no\"");

    sim.script(Rule::on(Route::Chat).thinking("hm well").reply("ok"));
    let mut ask = json!({"model": "deep:1b", "think": true, "messages": [{"role": "user", "content": "hi"}]});
    let lines = post(sim.addr(), "/api/chat", ask.clone()).await.unwrap().lines();
    let message = json!({"role": "assistant", "content": "", "thinking": "hm"});
    assert_eq!((lines.len(), &lines[0]["message"]), (4, &message));
    ask["think"] = json!(false);
    assert_eq!(post(sim.addr(), "/api/chat", ask).await.unwrap().lines().len(), 2);
}

#[tokio::test]
async fn tools_are_called_and_probabilities_told() {
    let sim = sim().await.unwrap();
    let tool = json!({"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"n": {"type": "integer"}}}}});
    let mut ask = json!({"model": "qwen3:4b", "messages": [{"role": "user", "content": "hi"}], "tools": [tool]});
    let lines = post(sim.addr(), "/api/chat", ask.clone()).await.unwrap().lines();
    let call = json!({"id": "call_00000000", "function": {"index": 0, "name": "f", "arguments": {"n": 0}}});
    assert_eq!((lines.len(), &lines[0]["message"]["tool_calls"]), (2, &json!([call])));
    ask["messages"] = json!([{"role": "user", "content": "hi"}, {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "1", "tool_name": "f"}]);
    ask["stream"] = json!(false);
    ask["logprobs"] = json!(true);
    ask["top_logprobs"] = json!(2);
    let said = post(sim.addr(), "/api/chat", ask).await.unwrap().json();
    assert_eq!((&said["message"]["content"], said["message"].get("tool_calls")), (&json!("You said: hi"), None));
    assert_eq!(
        (&said["logprobs"][0]["token"], said["logprobs"][0]["top_logprobs"].as_array().unwrap().len()),
        (&json!("You"), 2)
    );
}

#[tokio::test]
async fn calls_that_a_real_server_refuses_are_refused() {
    let sim = sim().await.unwrap();
    let called =
        json!({"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]});
    for (field, value, words) in [
        ("messages", json!([called]), "cannot unmarshal string"),
        (
            "messages",
            json!([{"role": "user", "content": "a", "images": ["data:image/png;base64,AA=="]}]),
            "illegal base64",
        ),
        ("think", json!("hard"), "invalid think value"),
        ("top_logprobs", json!(21), "between 0 and 20"),
    ] {
        let mut ask = json!({"model": "deep:1b", "messages": [{"role": "user", "content": "hi"}]});
        ask[field] = value;
        let refused = post(sim.addr(), "/api/chat", ask).await.unwrap();
        assert_eq!(refused.status, 400, "{words}");
        assert!(refused.json()["error"].as_str().unwrap().contains(words), "{}", refused.text());
    }
}

#[tokio::test]
async fn embeddings_in_both_shapes() {
    let sim = sim().await.unwrap();
    let reply =
        post(sim.addr(), "/api/embed", json!({"model": "all-minilm", "input": ["a", "b"]})).await.unwrap().json();
    let expected = json!({"model": "all-minilm", "embeddings": [vector("a", 8), vector("b", 8)],
        "total_duration": 14_000_000, "load_duration": 1_000_000, "prompt_eval_count": 2});
    assert_eq!(reply, expected);
    let cut = json!({"model": "all-minilm", "input": "a", "dimensions": 2});
    assert_eq!(post(sim.addr(), "/api/embed", cut).await.unwrap().json()["embeddings"], json!([vector("a", 2)]));
    let empty = post(sim.addr(), "/api/embed", json!({"model": "all-minilm", "input": ""})).await.unwrap().json();
    assert_eq!((&empty["embeddings"], empty.get("prompt_eval_count")), (&json!([]), None));
    let old = post(sim.addr(), "/api/embeddings", json!({"model": "all-minilm", "prompt": "a"})).await.unwrap().json();
    assert_eq!(old, json!({"embedding": vector("a", 8)}));
}

#[tokio::test]
async fn errors_have_one_field_and_ollamas_words() {
    let sim = sim().await.unwrap();
    let cases = [
        ("/api/chat", json!({"model": "x", "messages": []}), 404, "model 'x' not found"),
        ("/api/chat", json!({"messages": []}), 400, "model is required"),
        ("/api/generate", json!({"model": "x"}), 404, "model 'x' not found"),
        ("/api/generate", json!({}), 404, "model '' not found"),
        ("/api/embed", json!({"model": "x"}), 404, "model \"x\" not found, try pulling it first"),
        ("/api/show", json!({"model": "x"}), 404, "model 'x:latest' not found"),
        ("/api/show", json!({}), 400, "model is required"),
        (
            "/api/generate",
            json!({"model": "all-minilm", "prompt": "a"}),
            400,
            "\"all-minilm\" does not support generate",
        ),
        (
            "/api/generate",
            json!({"model": "qwen3:4b", "prompt": "a", "think": true}),
            400,
            "\"qwen3:4b\" does not support thinking",
        ),
    ];
    for (path, body, status, text) in cases {
        let reply = post(sim.addr(), path, body).await.unwrap();
        assert_eq!((reply.status.as_u16(), reply.json()), (status, json!({"error": text})), "{path}");
    }
    let empty = send(sim.addr(), Method::POST, "/api/chat", "").await.unwrap();
    assert_eq!((empty.status.as_u16(), empty.json()), (400, json!({"error": "missing request body"})));
    assert_eq!(send(sim.addr(), Method::POST, "/api/chat", "{").await.unwrap().status, 400);
    let unknown = send(sim.addr(), Method::DELETE, "/api/delete", r#"{"model":"x"}"#).await.unwrap();
    assert_eq!((unknown.status.as_u16(), unknown.json()), (404, json!({"error": "model 'x' not found"})));
    let deleted = send(sim.addr(), Method::DELETE, "/api/delete", r#"{"model":"all-minilm"}"#).await.unwrap();
    assert_eq!((deleted.status.as_u16(), deleted.body.len(), sim.models().len()), (200, 0, 2));
}

#[tokio::test]
async fn it_serves_openais_routes_too() {
    let sim = sim().await.unwrap();
    let models = get(sim.addr(), "/v1/models").await.unwrap().json();
    assert_eq!(models["data"][2]["owned_by"], "library");
    let ask = json!({"model": "all-minilm", "input": "a"});
    assert_eq!(post(sim.addr(), "/v1/embeddings", ask).await.unwrap().json()["data"][0]["embedding"], vector("a", 8));
}
