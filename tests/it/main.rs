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

mod admission;
mod aliases;
mod architecture;
mod associations;
mod auth;
mod backends;
mod backpressure;
mod bad_dialect_input;
mod bad_input;
mod batching;
mod bodies;
mod chain_chat;
mod chain_model;
mod chain_places;
mod chain_run;
mod chain_tools;
mod chain_values;
mod chaos;
mod choosing;
mod cli;
mod client_gone;
mod cloud;
mod constraints;
mod deadlines;
mod deploy;
mod disk_full;
mod downloads;
mod drain;
mod embed;
mod examples;
mod execute;
mod extensions;
mod fields;
mod first_light;
mod found_limit;
mod fuzz;
mod gemini;
mod hook_server;
mod hook_tasks;
mod hooks_crud;
mod instances;
mod kept_answers;
mod limiter;
mod limits;
mod live_events;
mod live_runs;
mod live_steps;
mod matrix;
mod metrics;
mod model_sync;
mod models;
mod ollama_front;
mod openai_backend;
mod openai_dialect;
mod openai_front;
mod openapi;
mod other_backends;
mod other_dialects;
mod paging;
mod parsing;
mod pools;
mod prometheus;
mod providers;
mod queue_answers;
mod real_model;
mod relay;
mod resilience;
mod restart;
mod routing;
mod secrets;
mod service;
mod shared_rates;
mod shutdown;
mod single_flight;
mod supervision;
mod taskchains;
mod tasks;
mod timing;
mod token_counts;
mod tokens;
mod transfer;
mod validation;
mod vllm;
mod waiting;
