//! Private instances of the services that Penstock stands on in production: PostgreSQL, Valkey (or Redis), NATS,
//! and of Prometheus, which watches it.
//!
//! Each is the real server of the system's packages, on a free port of the loopback interface, with its files in a
//! temporary folder. It ends, and its folder goes, when the value is dropped or the process ends, however that happens.

mod guarded;
pub mod nats;
pub mod postgres;
pub mod prometheus;
pub mod small_disk;
pub mod valkey;

use std::{io, path::PathBuf};

pub use guarded::Guarded;

/// A program of the first of these names, in `PATH` or one of `folders`.
fn program(names: &[&str], folders: &[PathBuf]) -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "it is where programs are looked for")]
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).chain(folders.iter().cloned()).collect();
    names.iter().find_map(|name| folders.iter().map(|folder| folder.join(name)).find(|file| file.is_file()))
}

/// Whether a service is installed; where the tests are told to require the real parts (`PENSTOCK_TEST_REQUIRE_REAL`), one that is
/// missing is a failure.
fn is_there(program: Option<PathBuf>, what: &str) -> bool {
    #[expect(clippy::disallowed_methods, reason = "it is for tests alone")]
    let is_required = std::env::var_os("PENSTOCK_TEST_REQUIRE_REAL").is_some();
    assert!(program.is_some() || !is_required, "{what} is required and not installed");
    program.is_some()
}

/// A port of the loopback interface that nobody uses at this moment.
fn free_port() -> io::Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
