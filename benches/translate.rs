//! What does it cost to stand between a client and a backend that speak different dialects: the request, the whole answer,
//! each chunk of a streamed one?

use std::{hint::black_box, time::Duration};

use criterion::{Criterion, Throughput, criterion_group};
use penstock::{
    dialect::{
        gemini, ollama,
        ollama_front::{
            self, Wish,
            lines::LineEncoder,
            reply::{Moment, Shape},
        },
        openai::{self, Server},
        openai_front::{self, Stamp, chunks::ChatChunks},
        stream::{ReplyDecoder, ReplyEncoder},
    },
    domain::{
        chat::{ChatCall, ChatReply},
        time::Timestamp,
    },
};
use serde_json::Value as Json;

use crate::wire;

const CHUNKS: usize = 64;
const NOW: Moment = Moment { now: Timestamp::ZERO, elapsed: Duration::from_millis(20) };

fn stamp() -> Stamp {
    Stamp { id: "0123456789abcdef".to_owned(), created: 1, model: "qwen3:4b".to_owned() }
}

fn from_openai(body: &[u8]) -> ChatCall {
    openai_front::read_chat(&openai_front::decode(body).unwrap()).unwrap().call
}

fn from_ollama(body: &[u8]) -> ChatCall {
    match ollama_front::read_chat(&ollama_front::decode(body).unwrap()).unwrap() {
        Wish::Ask(call) => call,
        Wish::Load | Wish::Unload => panic!("it has messages"),
    }
}

fn requests(criterion: &mut Criterion) {
    let (openai, ollama) = (wire::openai_request(), wire::ollama_request());
    let mut group = criterion.benchmark_group("translate/request");
    group.bench_function("openai_to_ollama", |bencher| {
        bencher.iter(|| ollama::ask("m", &from_openai(black_box(&openai)), false, None).unwrap());
    });
    group.bench_function("openai_to_gemini", |bencher| {
        bencher.iter(|| gemini::generate_body("m", &from_openai(black_box(&openai))).unwrap());
    });
    group.bench_function("ollama_to_openai", |bencher| {
        bencher.iter(|| openai::chat_body("m", &from_ollama(black_box(&ollama)), Server::LlamaCpp, false));
    });
    group.bench_function("ollama_to_gemini", |bencher| {
        bencher.iter(|| gemini::generate_body("m", &from_ollama(black_box(&ollama))).unwrap());
    });
    group.finish();
}

fn to_openai(reply: &ChatReply) -> Vec<u8> {
    openai_front::reply::chat_completion(reply, &stamp()).to_string().into_bytes()
}

fn to_ollama(reply: &ChatReply) -> Vec<u8> {
    ollama_front::reply::whole(Shape::Chat, "qwen3:4b", reply, Duration::ZERO, NOW).unwrap()
}

fn replies(criterion: &mut Criterion) {
    let (openai, ollama, gemini) = (wire::openai_reply(), wire::ollama_reply(), wire::gemini_reply());
    let mut group = criterion.benchmark_group("translate/reply");
    group.bench_function("ollama_to_openai", |bencher| {
        bencher.iter(|| to_openai(&ollama::parse_answer(black_box(&ollama)).unwrap()));
    });
    group.bench_function("gemini_to_openai", |bencher| {
        bencher.iter(|| to_openai(&gemini::parse_generate(black_box(&gemini)).unwrap()));
    });
    group.bench_function("openai_to_ollama", |bencher| {
        bencher.iter(|| to_ollama(&openai::parse_reply(black_box(&openai), None, Server::LlamaCpp).unwrap()));
    });
    group.bench_function("gemini_to_ollama", |bencher| {
        bencher.iter(|| to_ollama(&gemini::parse_generate(black_box(&gemini)).unwrap()));
    });
    group.finish();
}

/// A whole stream from one dialect to another, each chunk as it comes; the bytes that go out.
fn translated(mut decoder: impl ReplyDecoder, mut encoder: impl ReplyEncoder, chunks: &[Vec<u8>]) -> usize {
    let (mut events, mut out, mut sent) = (Vec::new(), Vec::new(), 0);
    for chunk in chunks {
        decoder.push(chunk, &mut events).unwrap();
        events.drain(..).for_each(|event| encoder.event(event, &mut out));
        sent += out.len();
        out.clear();
    }
    decoder.end(&mut events).unwrap();
    events.drain(..).for_each(|event| encoder.event(event, &mut out));
    encoder.end(&mut out);
    sent + out.len()
}

fn chunks(criterion: &mut Criterion) {
    let (openai, ollama, gemini) =
        (wire::openai_stream(CHUNKS), wire::ollama_stream(CHUNKS), wire::gemini_stream(CHUNKS));
    let as_openai = || ChatChunks::new(stamp(), true, |_| Json::Null);
    let as_ollama = || LineEncoder::new(Shape::Chat, "qwen3:4b".to_owned(), Duration::ZERO, || NOW);
    let call = ChatCall::default();
    let mut group = criterion.benchmark_group("translate/chunk");
    group.throughput(Throughput::Elements(CHUNKS as u64 + 1));
    group.bench_function("ollama_to_openai", |bencher| {
        bencher.iter(|| translated(ollama::LineDecoder::default(), as_openai(), black_box(&ollama)));
    });
    group.bench_function("gemini_to_openai", |bencher| {
        bencher.iter(|| translated(gemini::EventDecoder::default(), as_openai(), black_box(&gemini)));
    });
    group.bench_function("openai_to_ollama", |bencher| {
        let decoder = || openai::ChatDecoder::new(&call, Server::LlamaCpp);
        bencher.iter(|| translated(decoder(), as_ollama(), black_box(&openai)));
    });
    group.bench_function("gemini_to_ollama", |bencher| {
        bencher.iter(|| translated(gemini::EventDecoder::default(), as_ollama(), black_box(&gemini)));
    });
    group.finish();
}

criterion_group!(benches, requests, replies, chunks);
