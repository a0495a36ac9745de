//! How fast is the head of a request found, beside what memory itself allows and what reading all of it costs?

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group};
use penstock::dialect::head;
use serde_json::json;

/// Code, in which every third character is escaped or so.
const ESCAPES: &str = "{\"a\": \"b\\n\"}\n\t\"c\": \"\\\"d\\\"\"\n";

/// A chat of this size, its model named last.
fn chat(line: &str, size: usize) -> Bytes {
    let mut prompt = line.repeat(size / line.len() + 1);
    prompt.truncate(size);
    let mut chat =
        json!({"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": prompt}]});
    chat["model"] = json!("qwen3:4b");
    Bytes::from(chat.to_string())
}

fn head_scan(criterion: &mut Criterion) {
    let cases =
        [("plain", "She said the sky is blue, and went on to the next line of the text. "), ("escapes", ESCAPES)];
    for (case, line) in cases {
        for (size, label) in [(1 << 10, "1KB"), (100 << 10, "100KB"), (1 << 20, "1MB")] {
            let body = chat(line, size);
            let mut group = criterion.benchmark_group("head");
            group.throughput(Throughput::Bytes(body.len() as u64));
            group.bench_function(format!("scan_{case}/{label}"), |bencher| {
                bencher.iter(|| head::scan(black_box(&body)).unwrap());
            });
            group.bench_function(format!("splice_{case}/{label}"), |bencher| {
                let head = head::scan(&body).unwrap();
                bencher.iter(|| head.splice(black_box(&body), "other"));
            });
            // A byte that is not there: one pass over all of them.
            group.bench_function(format!("memchr_{case}/{label}"), |bencher| {
                bencher.iter(|| memchr::memchr(0, black_box(&body)));
            });
            group.bench_function(format!("copy_{case}/{label}"), |bencher| {
                let mut copy = vec![0u8; body.len()];
                bencher.iter(|| copy.copy_from_slice(black_box(&body)));
            });
            group.bench_function(format!("simd_json_{case}/{label}"), |bencher| {
                let mut copy = Vec::new();
                bencher.iter(|| {
                    copy.clear();
                    copy.extend_from_slice(black_box(&body));
                    simd_json::to_tape(&mut copy).unwrap().0.len()
                });
            });
            group.finish();
        }
    }
}

/// A prompt of 1 KB in which much is escaped.
pub(crate) fn counted() -> Box<dyn FnMut()> {
    let body = chat(ESCAPES, 1 << 10);
    Box::new(move || {
        let head = head::scan(black_box(&body)).unwrap();
        black_box(head.splice(&body, "other"));
    })
}

criterion_group!(benches, head_scan);
