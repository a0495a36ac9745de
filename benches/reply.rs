//! What does it cost to read a backend's answer?

use std::hint::black_box;

use criterion::{Criterion, criterion_group};
use penstock::dialect::{ollama, openai};
use serde_json::json;

fn reply(criterion: &mut Criterion) {
    let words = "The sky looks blue because air scatters short waves more than long ones. ".repeat(20);
    let chat = json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": words}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 12, "completion_tokens": 300, "total_tokens": 312}})
    .to_string();
    criterion.bench_function("dialect/openai_chat/1.6KB", |bencher| {
        bencher.iter(|| openai::parse_reply(black_box(chat.as_bytes()), None, openai::Server::Openai));
    });
    let generate = json!({"model": "m", "response": words, "done": true, "done_reason": "stop"}).to_string();
    criterion.bench_function("dialect/ollama_generate/1.6KB", |bencher| {
        bencher.iter(|| ollama::parse_answer(black_box(generate.as_bytes())));
    });
    let vector: Vec<f64> = (0..384).map(|at| f64::from(at) / 1000.0).collect();
    let embedding = json!({"data": [{"index": 0, "embedding": vector}]}).to_string();
    criterion.bench_function("dialect/openai_embedding/384", |bencher| {
        bencher.iter(|| openai::parse_embeddings(black_box(embedding.as_bytes()), 1));
    });
}

criterion_group!(benches, reply);
