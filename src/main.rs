//! The `penstock` command; everything it does is in the library.

use std::process::ExitCode;

/// It gives back what a crowd has left within seconds (`docs/performance.md`).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    penstock::cli::run()
}
