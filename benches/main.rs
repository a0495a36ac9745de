//! What the hot paths cost, one file a question. Run with `cargo bench`.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "a bench fails by panicking")]

mod admission;
mod chain;
mod head;
mod pool;
mod reply;
mod request;

/// The server's own.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

criterion::criterion_main!(
    admission::benches,
    chain::benches,
    head::benches,
    pool::benches,
    reply::benches,
    request::benches
);
