//! What the hot paths cost, one file a question. Run with `cargo bench`; `benches/gate.sh` counts instructions.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "a bench fails by panicking")]

mod admission;
mod chain;
mod client;
mod count;
mod envelope;
mod hand_over;
mod head;
mod http;
mod lease;
mod metrics;
mod pool;
mod reply;
mod request;
mod route;
mod served;
mod steps;
mod store;
mod stream;
mod template;
mod translate;
mod wire;

/// The server's own.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Each runs what `cargo bench` names of it.
const GROUPS: [fn(); 15] = [
    admission::benches,
    chain::benches,
    envelope::benches,
    hand_over::benches,
    head::benches,
    http::benches,
    lease::benches,
    pool::benches,
    reply::benches,
    request::benches,
    route::benches,
    store::benches,
    stream::benches,
    template::benches,
    translate::benches,
];

fn main() -> Result<(), String> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        Some(("--count", rest)) => return count::run(rest),
        // Cargo adds one of its own.
        Some(("--metrics", rest)) => return metrics::run(rest.strip_suffix(&["--bench".to_owned()]).unwrap_or(rest)),
        _ => {}
    }
    GROUPS.iter().for_each(|group| group());
    criterion::Criterion::default().configure_from_args().final_summary();
    Ok(())
}
