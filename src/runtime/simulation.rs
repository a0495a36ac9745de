//! Pools and backends in virtual time: the decisions that are in force, on backends that behave as batching engines do.
//!
//! What decides is what decides in production: the policies, the limiter, the breaker, rests, latencies and the budget of
//! repeats. Who is simulated are the clients and the backends ([`engine`]), and the road of a call between them ([`run`]),
//! which is dispatch and queue without sockets, actors and classes. The clock is Tokio's, paused: nothing here waits, and
//! the same seed gives the same run. What the policies must do stands in [`tests`]; what they did, in figures, in
//! `docs/performance.md`, which [`report`] keeps true.

mod engine;
mod outcome;
mod report;
mod run;
mod scenario;
mod tests;

/// Microseconds since the simulation began.
type Micros = u64;
