//! How many events of a stream are read a second, however the network cuts it: cut into events and lines, decoded for a
//! client of another dialect, and only watched where it is relayed as it is?

use std::hint::black_box;

use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, measurement::WallTime};
use penstock::{
    dialect::{
        Dialect, gemini,
        ndjson::Lines,
        ollama,
        openai::{self, Server},
        sse::Events,
        stream::ReplyDecoder,
        stream_watch::StreamWatch,
    },
    domain::chat::ChatCall,
};

use crate::wire;

const EVENTS: usize = 256;

/// How a stream arrives: each event by itself, as a server sends it; all that a full buffer holds; in the middle of events,
/// as a segment of 1460 bytes ends; in crumbs.
fn arrivals(chunks: &[Vec<u8>]) -> [(&'static str, Vec<Vec<u8>>); 4] {
    let whole = chunks.concat();
    let cut = |size: usize| whole.chunks(size).map(<[u8]>::to_vec).collect();
    [("event_by_event", chunks.to_vec()), ("16KB", cut(16 << 10)), ("1460B", cut(1460)), ("24B", cut(24))]
}

/// What a decoder makes of all pieces.
fn decoded(mut decoder: impl ReplyDecoder, pieces: &[Vec<u8>]) -> usize {
    let (mut events, mut seen) = (Vec::new(), 0);
    for piece in pieces {
        decoder.push(piece, &mut events).unwrap();
        seen += events.len();
        events.clear();
    }
    decoder.end(&mut events).unwrap();
    seen + events.len()
}

fn cut_sse(pieces: &[Vec<u8>]) -> usize {
    let (mut events, mut seen) = (Events::default(), 0);
    for piece in pieces {
        events.push(piece);
        while let Some(event) = events.next_event().unwrap() {
            seen += event.data.len();
        }
    }
    seen
}

fn cut_lines(pieces: &[Vec<u8>]) -> usize {
    let (mut lines, mut seen) = (Lines::default(), 0);
    for piece in pieces {
        lines.push(piece).unwrap();
        while let Some(line) = lines.next_line() {
            seen += line.len();
        }
    }
    seen
}

/// The side decoder of a relayed stream; it is given whole lines.
fn watched(dialect: Dialect, chunks: &[Vec<u8>]) -> u64 {
    let mut watch = StreamWatch::new(dialect, 1);
    for chunk in chunks {
        watch.look(black_box(chunk));
    }
    assert!(watch.is_complete());
    watch.pieces()
}

fn read(
    group: &mut BenchmarkGroup<'_, WallTime>,
    case: &str,
    chunks: &[Vec<u8>],
    reader: impl Fn(&[Vec<u8>]) -> usize,
) {
    for (label, pieces) in arrivals(chunks) {
        group.bench_function(format!("{case}/{label}"), |bencher| bencher.iter(|| reader(black_box(&pieces))));
    }
}

fn streams(criterion: &mut Criterion) {
    let (openai, ollama) = (wire::openai_stream(EVENTS), wire::ollama_stream(EVENTS));
    let mut group = criterion.benchmark_group("stream");
    group.throughput(Throughput::Elements(EVENTS as u64 + 1));
    read(&mut group, "sse_cut", &openai, cut_sse);
    read(&mut group, "ndjson_cut", &ollama, cut_lines);
    let call = ChatCall::default();
    read(&mut group, "openai_decode", &openai, |pieces| {
        decoded(openai::ChatDecoder::new(&call, Server::LlamaCpp), pieces)
    });
    read(&mut group, "ollama_decode", &ollama, |pieces| decoded(ollama::LineDecoder::default(), pieces));
    read(&mut group, "gemini_decode", &wire::gemini_stream(EVENTS), |pieces| {
        decoded(gemini::EventDecoder::default(), pieces)
    });
    group.bench_function("watch/openai", |bencher| bencher.iter(|| watched(Dialect::Openai, &openai)));
    group.bench_function("watch/ollama", |bencher| bencher.iter(|| watched(Dialect::Ollama, &ollama)));
    group.finish();
}

/// A stream that is relayed, event by event.
pub(crate) fn counted() -> Box<dyn FnMut()> {
    let chunks = wire::openai_stream(EVENTS);
    Box::new(move || {
        black_box(watched(Dialect::Openai, &chunks));
    })
}

criterion_group!(benches, streams);
