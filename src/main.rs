//! The `penstock` command; everything it does is in the library.

use std::process::ExitCode;

/// It gives back what a crowd has left within seconds (`docs/performance.md`).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The commit it is built from: what the build says, else what the repository does.
const COMMIT: &str = match option_env!("PENSTOCK_COMMIT") {
    Some(commit) => commit,
    None => git_version::git_version!(args = ["--always", "--abbrev=12", "--exclude=*"], fallback = "unknown"),
};

fn main() -> ExitCode {
    penstock::telemetry::build::set_commit(COMMIT);
    penstock::cli::run()
}
