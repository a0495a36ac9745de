//! The whole road on a real language model: a prompt, embeddings, the README's chain, constrained numbers and JSON, a limit
//! of tokens, and examples. `tests/run.sh` starts the model servers and names them in the environment.

use serde_json::json;

use crate::support::{Answer, EMBED, README_CHAIN, TASKS, TestServer};

const CHAT_URL: &str = "PENSTOCK_TEST_CHAT_URL";
const EMBED_URL: &str = "PENSTOCK_TEST_EMBED_URL";
const REQUIRED: &str = "PENSTOCK_TEST_REQUIRE_REAL";
const CHAT_MODEL: &str = "smollm2:135m";
const EMBED_MODEL: &str = "all-minilm:l6-v2";

#[expect(clippy::disallowed_methods, reason = "the one place where a test is told where real servers are")]
fn told(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A server with the real models behind it; nothing, with the reason printed, where there are none.
async fn server() -> Option<TestServer> {
    let (Some(chat), Some(embed)) = (told(CHAT_URL), told(EMBED_URL)) else {
        assert!(told(REQUIRED).as_deref() != Some("1"), "{REQUIRED} is 1, but {CHAT_URL} or {EMBED_URL} is not set");
        eprintln!("not tested on a real model: {CHAT_URL} or {EMBED_URL} is not set (tests/run.sh sets both)");
        return None;
    };
    let server = TestServer::start(&[("TASK_MODEL", CHAT_MODEL), ("EMBED_MODEL", EMBED_MODEL)]).await;
    for (name, url, pool, model) in [("chat", chat, TASKS, CHAT_MODEL), ("embed", embed, EMBED, EMBED_MODEL)] {
        let id = server.register_as(json!({"name": name, "baseUrl": url, "type": "openai"}), &[pool]).await;
        server.wait_for_model(&id, model).await;
    }
    Some(server)
}

fn vector(answer: &Answer) -> Vec<f64> {
    answer.json()["vector"].as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[tokio::test]
async fn a_real_model_answers_a_prompt() {
    let Some(server) = server().await else { return };
    let prompt = "What is the capital of France? Answer in one short sentence.";
    let answer = server.post("/execute", json!({"prompt": prompt})).await.expect(200);
    let reply = answer.json()["response"].as_str().unwrap().to_owned();
    assert!(reply.contains("Paris"), "{reply}");
    assert_eq!(answer.header("x-penstock-model"), CHAT_MODEL);
}

#[tokio::test]
async fn vectors_of_a_real_model_tell_meanings_apart() {
    let Some(server) = server().await else { return };
    let mut vectors = Vec::new();
    for text in [
        "A cat sleeps on the sofa.",
        "A kitten is napping on the couch.",
        "The central bank raised its interest rate by half a percent.",
    ] {
        let vector = vector(&server.post("/embed", json!({"text": text})).await.expect(200));
        assert_eq!(vector.len(), 384);
        vectors.push(vector);
    }
    let (alike, apart) = (cosine(&vectors[0], &vectors[1]), cosine(&vectors[0], &vectors[2]));
    assert!(alike > apart + 0.2, "two cats: {alike}, a cat and a bank: {apart}");
}

#[tokio::test]
async fn a_real_model_finds_its_way_through_the_readmes_chain() {
    let Some(server) = server().await else { return };
    let answer = server.post_as("/tasks", "application/json", README_CHAIN).await.expect(200).json();
    let state = answer["state"].as_array().unwrap();
    assert_eq!(state.len(), 2, "{answer}");
    let (key, next) = (state[0]["transition"].as_str().unwrap(), state[1]["taskID"].as_str().unwrap());
    assert!(matches!((key, next), ("valid", "answer") | ("invalid", "reject")), "{answer}");
    assert!(!answer["output"].as_str().unwrap().is_empty());
    assert!(state.iter().all(|unit| unit["model"] == CHAT_MODEL && unit["duration"].as_f64().unwrap() > 0.0));
}

#[tokio::test]
async fn a_real_model_answers_in_numbers_and_ranges_only() {
    let Some(server) = server().await else { return };
    for (handler, prompt, output_type) in [
        ("parse_number", "How many legs does a cat have?", "int"),
        ("parse_score", "Rate this poem from 0 to 10: Roses are red.", "float"),
        ("parse_range", "How many days does a delivery take? Give a range such as 3-5.", "string"),
    ] {
        let tasks = json!([{"id": "t", "handler": handler, "transition": {"branches": [{"operator": "default"}]}}]);
        let answer =
            server.post("/tasks", json!({"input": prompt, "chain": {"tasks": tasks}})).await.expect(200).json();
        assert_eq!(answer["outputType"], output_type, "{answer}");
    }
}

#[tokio::test]
async fn a_real_model_answers_in_json_of_a_schema() {
    let Some(server) = server().await else { return };
    let object = json!({"type": "object", "additionalProperties": false, "required": ["city", "mood", "stars"], "properties": {
        "city": {"type": "string", "maxLength": 20},
        "mood": {"enum": ["good", "bad"]},
        "stars": {"type": "integer", "minimum": 1, "maximum": 5}}});
    // A root that is no object, too.
    let list = json!({"type": "array", "items": {"enum": ["red", "green", "blue"]}, "minItems": 2, "maxItems": 3});
    for schema in [object, list] {
        let tasks = json!([{"id": "t", "handler": "parse_json", "output_schema": schema, "repair_attempts": 0,
            "transition": {"branches": [{"operator": "default"}]}}]);
        let body = json!({"input": "I loved my stay in Oslo, all was red and blue.", "chain": {"tasks": tasks}});
        let answer = server.post("/tasks", body).await.expect(200).json();
        let fits = jsonschema::validator_for(&schema).unwrap().is_valid(&answer["output"]);
        assert!(fits, "{answer}");
    }
}

#[tokio::test]
async fn a_real_models_own_count_decides_a_token_limit() {
    let Some(server) = server().await else { return };
    let text = "国际化是让软件适应不同语言的过程。";
    let counted = reqwest::Client::new()
        .post(format!("{}/tokenize", told(CHAT_URL).unwrap()))
        .body(json!({"content": text}).to_string())
        .header("content-type", "application/json");
    let counted: serde_json::Value =
        serde_json::from_str(&counted.send().await.unwrap().text().await.unwrap()).unwrap();
    let tokens = counted["tokens"].as_array().unwrap().len() as u64;
    assert!(tokens > penstock::engine::tokens::count(text) + 5, "the built-in vocabulary would do as well: {tokens}");
    let limited = |token_limit: u64| {
        let tasks = json!([{"id": "t", "handler": "model_execution", "execute_config": {"max_tokens": 4},
            "transition": {"branches": [{"operator": "default"}]}}]);
        json!({"input": text, "chain": {"token_limit": token_limit, "tasks": tasks}})
    };
    server.post("/tasks", limited(tokens)).await.expect(200);
    let refused = server.post("/tasks", limited(tokens - 1)).await;
    assert!(refused.status >= 400 && refused.error().contains(&tokens.to_string()), "{}", refused.text);
}

#[tokio::test]
async fn a_real_model_sorts_the_tickets_of_the_triage_example() {
    let Some(server) = server().await else { return };
    let file = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/examples/triage.yaml")).unwrap();
    let answer = server.post_as("/tasks", "application/yaml", file).await.expect(200).json();
    let state = answer["state"].as_array().unwrap();
    assert_eq!(state.len(), 2, "the first reply is one of the queues: {answer}");
    let (queue, next) = (state[0]["transition"].as_str().unwrap(), state[1]["taskID"].as_str().unwrap());
    assert!(
        matches!((queue, next), ("billing", "billing") | ("technical", "technical") | ("other", "person")),
        "{answer}"
    );
    assert!(!answer["output"].as_str().unwrap().is_empty());
}
