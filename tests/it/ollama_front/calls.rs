//! What is asked and answered, over every kind of backend.

use loadtest::sim::{Route, Routes, Rule, embedding};
use serde_json::{Value, json};

use super::{OTHERS, lines, user};
use crate::support::{
    TASKS,
    one_backend::{KINDS, OneBackend, sim_of},
    shape::assert_time,
};

fn text_of(lines: &[Value], pointer: &str) -> String {
    lines.iter().map(|line| line.pointer(pointer).unwrap().as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_chat_streams_in_lines_unless_it_says_no_over_every_kind_of_backend() {
    for kind in KINDS {
        let behind = OneBackend::of(kind).await;
        behind.sim.script(Rule::on(Routes::CALLS).reply("Paris it is"));
        let asked = json!({"model": "chat:1b", "messages": user("Capital of France?")});
        let answer = behind.post("/api/chat", asked.clone()).await.expect(200);
        assert_eq!(
            (answer.header("x-penstock-backend"), answer.header("x-penstock-model")),
            (behind.id.as_str(), "chat:1b")
        );
        let lines = lines(&answer);
        assert_eq!(text_of(&lines, "/message/content"), "Paris it is", "{kind}");
        let (last, pieces) = lines.split_last().unwrap();
        assert!(!pieces.is_empty() && pieces.iter().all(|line| line["done"] == false), "{kind}: {lines:?}");
        assert_eq!(
            (&last["done"], &last["done_reason"], &last["model"]),
            (&json!(true), &json!("stop"), &json!("chat:1b"))
        );
        assert!(
            last["total_duration"].as_u64().unwrap() > 0 && last["eval_count"].as_u64().unwrap() > 0,
            "{kind}: {last}"
        );
        assert!(last["prompt_eval_count"].as_u64().unwrap() > 0, "{kind}: {last}");

        let mut whole = asked;
        whole["stream"] = json!(false);
        let answer = behind.post("/api/chat", whole).await.expect(200);
        assert!(answer.header("content-type").starts_with("application/json"), "{kind}");
        let whole = answer.json();
        assert_eq!(whole["message"], json!({"role": "assistant", "content": "Paris it is"}), "{kind}");
        assert_eq!((&whole["done"], &whole["done_reason"]), (&json!(true), &json!("stop")));
        if kind != "ollama" {
            assert_time(&whole["created_at"]);
        }
    }
}

#[tokio::test]
async fn a_prompt_is_generated_from_with_its_instruction_over_every_kind_of_backend() {
    for kind in KINDS {
        let behind = OneBackend::of(kind).await;
        behind.sim.script(Rule::on(Routes::CALLS).containing("Be brief.").reply("Paris it is"));
        let asked = json!({"model": "chat:1b", "prompt": "Capital?", "system": "Be brief."});
        let answered = lines(&behind.post("/api/generate", asked.clone()).await.expect(200));
        assert_eq!(text_of(&answered, "/response"), "Paris it is", "{kind}");
        assert_eq!(answered.last().unwrap()["done"], true);
        let mut whole = asked;
        whole["stream"] = json!(false);
        let whole = behind.post("/api/generate", whole).await.expect(200).json();
        assert_eq!((&whole["response"], &whole["done_reason"]), (&json!("Paris it is"), &json!("stop")), "{kind}");
    }
}

#[tokio::test]
async fn an_ollama_gets_the_clients_own_bytes() {
    let behind = OneBackend::of("ollama").await;
    let body = r#"{ "unheard" : {"of":[1, 2.50]}, "model":"chat:1b","messages":[{"role":"user","content":"Hi"}],"options":{"mirostat":2},"stream":false}"#;
    behind.server.post_as("/api/chat", "application/json", body).await.expect(200);
    assert_eq!(behind.sim.record().of(Route::Chat)[0].body, body.as_bytes());
}

#[tokio::test]
async fn options_and_forms_reach_the_backend_in_its_words() {
    let behind = OneBackend::of("vllm").await;
    let asked = json!({"model": "chat:1b", "messages": user("Hi"), "stream": false,
        "options": {"temperature": 0.5, "num_predict": 7, "stop": ["x"], "num_ctx": 4096},
        "format": {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}});
    behind.post("/api/chat", asked).await.expect(200);
    let sent = behind.sim.record().of(Route::Chat)[0].json();
    assert_eq!((&sent["temperature"], &sent["max_tokens"], &sent["stop"]), (&json!(0.5), &json!(7), &json!(["x"])));
    assert_eq!(sent["response_format"]["json_schema"]["schema"]["required"], json!(["age"]));
    assert!(sent.get("options").is_none() && sent.get("num_ctx").is_none(), "{sent}");
}

#[tokio::test]
async fn a_request_that_says_nothing_loads_the_model_or_lets_it_go() {
    for kind in KINDS {
        let behind = OneBackend::of(kind).await;
        for (path, body, reason) in [
            ("/api/chat", json!({"model": "chat:1b"}), "load"),
            ("/api/chat", json!({"model": "chat:1b", "messages": [], "keep_alive": 0}), "unload"),
            ("/api/generate", json!({"model": "chat:1b", "prompt": ""}), "load"),
            ("/api/generate", json!({"model": "chat:1b", "keep_alive": "0s", "stream": false}), "unload"),
        ] {
            let answer = behind.post(path, body).await.expect(200).json();
            // The simulated Ollama reads numbers only.
            let reason =
                if kind == "ollama" && reason == "unload" && path == "/api/generate" { "load" } else { reason };
            assert_eq!((&answer["done"], &answer["done_reason"]), (&json!(true), &json!(reason)), "{kind} {path}");
            let text = answer.pointer("/message/content").or(answer.get("response"));
            assert_eq!(text, Some(&json!("")), "{kind} {path}");
        }
        let asked = behind.sim.record().of(Route::Chat).len() + behind.sim.record().of(Route::Generate).len();
        assert_eq!(
            asked,
            if kind == "ollama" { 4 } else { 0 },
            "{kind}: a backend that loads what it likes is not asked"
        );
    }
}

#[tokio::test]
async fn what_only_ollama_can_do_is_refused_by_others_and_goes_to_an_ollama_where_there_is_one() {
    let behind = OneBackend::of("vllm").await;
    let raw = json!({"model": "chat:1b", "prompt": "<s>Hi", "raw": true, "stream": false});
    for (field, value) in
        [("raw", json!(true)), ("template", json!("{{ .Prompt }}")), ("suffix", json!("}")), ("context", json!([1]))]
    {
        let refused = behind.post("/api/generate", json!({"model": "chat:1b", "prompt": "Hi", field: value})).await;
        assert!(refused.expect(400).error().contains(field), "{field}");
    }
    assert!(behind.sim.record().of(Route::Chat).is_empty());

    let ollama = sim_of("ollama").await;
    let id = behind.server.register("second", "ollama", &ollama, &[TASKS]).await;
    behind.server.wait_for_model(&id, "chat:1b").await;
    for _ in 0..6 {
        let answer = behind.post("/api/generate", raw.clone()).await.expect(200);
        assert_eq!(answer.header("x-penstock-backend"), id);
    }
    assert_eq!(ollama.record().of(Route::Generate).len(), 6);
}

#[tokio::test]
async fn texts_become_vectors_over_every_kind_of_backend() {
    for kind in KINDS {
        let behind = OneBackend::of(kind).await;
        let near = |vector: &Value, text: &str| {
            let wanted = embedding(text, 8);
            let length = wanted.iter().map(|number| number * number).sum::<f32>().sqrt();
            let seen: Vec<f32> =
                vector.as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect();
            assert_eq!(seen.len(), 8, "{kind}");
            let is_near = seen
                .iter()
                .zip(&wanted)
                .all(|(seen, wanted)| (seen - wanted).abs() < 1e-3 || (seen - wanted / length).abs() < 1e-3);
            assert!(is_near, "{kind} {text}: {seen:?} {wanted:?}");
        };
        let one = behind.post("/api/embed", json!({"model": "embed:1b", "input": "a cat"})).await.expect(200).json();
        assert_eq!(one["model"], "embed:1b");
        near(&one["embeddings"][0], "a cat");
        let two = json!({"model": "embed:1b", "input": ["a cat", "a dog"], "truncate": true, "keep_alive": "5m"});
        let two = behind.post("/api/embed", two).await.expect(200).json();
        assert_eq!(two["embeddings"].as_array().unwrap().len(), 2, "{kind}");
        near(&two["embeddings"][1], "a dog");
        let old =
            behind.post("/api/embeddings", json!({"model": "embed:1b", "prompt": "a cat"})).await.expect(200).json();
        near(&old["embedding"], "a cat");
        let none = behind.post("/api/embed", json!({"model": "embed:1b", "input": ""})).await.expect(200).json();
        assert_eq!(none["embeddings"], json!([]), "{kind}");
        let none = behind.post("/api/embeddings", json!({"model": "embed:1b"})).await.expect(200).json();
        assert_eq!(none["embedding"], json!([]), "{kind}");
    }
}

#[tokio::test]
async fn a_stream_that_breaks_off_ends_with_an_error_and_is_never_done() {
    for kind in OTHERS {
        let behind = OneBackend::of(kind).await;
        behind.sim.script(Rule::on(Routes::CALLS).reply("one two three four").cut_after(1));
        let asked = json!({"model": "chat:1b", "messages": user("Count")});
        let answer = behind.post("/api/chat", asked).await;
        // A backend whose whole reply broke off has said nothing yet.
        if answer.status == 200 {
            let lines = lines(&answer);
            assert!(lines.iter().all(|line| line["done"] != true), "{kind}: {lines:?}");
            assert!(lines.last().unwrap()["error"].is_string(), "{kind}: {lines:?}");
        } else {
            assert!(!answer.error().is_empty(), "{kind}");
        }
    }
    let behind = OneBackend::of("ollama").await;
    behind.sim.script(Rule::on(Route::Chat).reply("one two three four").cut_after(2));
    let answer = behind.post("/api/chat", json!({"model": "chat:1b", "messages": user("Count")})).await.expect(200);
    let lines = lines(&answer);
    assert_eq!(text_of(&lines[..lines.len() - 1], "/message/content"), "one two");
    assert!(lines.last().unwrap()["error"].is_string(), "{lines:?}");
}

#[tokio::test]
async fn the_headers_of_a_request_choose_where_it_goes() {
    let behind = OneBackend::of("vllm").await;
    let request = |name: &str, value: &str| {
        let body = json!({"model": "chat:1b", "prompt": "Hi", "stream": false}).to_string();
        behind.server.request(reqwest::Method::POST, "/api/generate").header(name, value).body(body)
    };
    let answer = behind.server.send(request("x-penstock-pool", TASKS)).await.expect(200);
    assert_eq!(answer.header("x-penstock-pool"), TASKS);
    let refused = behind.server.send(request("x-penstock-require", "zone=on-prem")).await;
    assert!(refused.status >= 400 && !refused.error().is_empty());
    let wrong = behind.server.send(request("x-penstock-provider", "nobody")).await.expect(400);
    assert!(wrong.error().contains("X-Penstock-Provider"));
}
