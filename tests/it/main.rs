//! Behaviour of the whole server, one file a behaviour: a real server on a free port, simulated backends behind it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    unreachable_pub,
    reason = "a test fails by panicking"
)]

mod support;

mod architecture;
mod associations;
mod auth;
mod backends;
mod bad_input;
mod bodies;
mod fields;
mod first_light;
mod hooks_crud;
mod models;
mod paging;
mod pools;
mod providers;
mod queue_answers;
mod restart;
mod service;
