//! What does it cost to read a request's body, in JSON and in YAML?

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, criterion_group};
use penstock::{
    dialect::{document, loose},
    domain::chain::Chain,
};

const CHAIN: &str = include_str!("../deploy/examples/sky_question.yaml");

fn request(criterion: &mut Criterion) {
    let yaml = Bytes::from_static(CHAIN.as_bytes());
    criterion.bench_function("document/yaml/readme_chain", |bencher| {
        bencher.iter(|| document::read(Some("application/yaml"), black_box(&yaml)));
    });
    let document = document::read(Some("application/yaml"), &yaml).unwrap().value;
    let json = Bytes::from(document.to_string());
    criterion.bench_function("document/json/readme_chain", |bencher| {
        bencher.iter(|| document::read(Some("application/json"), black_box(&json)));
    });
    criterion.bench_function("loose/chain/readme_chain", |bencher| {
        bencher.iter(|| loose::from_value::<Chain>(black_box(document["chain"].clone())));
    });
}

criterion_group!(benches, request);
