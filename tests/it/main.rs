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
mod cli;
mod cloud;
mod downloads;
mod embed;
mod execute;
mod first_light;
mod hook_tasks;
mod limits;
mod model_sync;
mod real_model;
mod routing;
mod shutdown;
mod supervision;
mod tasks;
mod waiting;
