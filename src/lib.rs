//! Penstock runs prompts, chats, embeddings and declarative task chains on pools of LLM backends.
//!
//! # Layout, from the bottom up
//! - [`error`], [`domain`]: pure values every layer speaks; [`faults`]: what tests can break; [`telemetry`]: what is counted
//! - [`config`]: what the environment says, checked before any socket opens; [`shutdown`]: how far a stop has come
//! - [`engine`]: the chain language as a machine of events and effects, without I/O
//! - [`dialect`]: wire formats as pure functions
//! - [`stores`]: where configuration is kept
//! - [`providers`], [`hooks`]: calls to backends and to remote hooks
//! - [`runtime`]: supervised actors for backends, pools and runs; the dispatch of calls
//! - [`api`]: what each route does; [`http`]: hyper, and all routes in one place
//! - [`app`], [`cli`]: how a process is put together, ends, and is told what to do
//!
//! # The life of a request
//! 1. [`http`] accepts the connection, gives the request an id, checks its token, finds its route and admits it or not.
//! 2. It reads the body (JSON or YAML, bounded) into the route's typed input.
//! 3. [`api`] checks the input. Configuration goes to [`stores`], then `reconcile` is poked.
//! 4. Calls go to [`runtime::dispatch`]: it picks a pool and candidates from published route tables,
//! 5. takes a lease on one backend, or waits in the pool's queue until a freed slot is granted,
//! 6. and lets the backend's [`providers`] adapter call it, in the request's own task.
//! 7. Chains go to an actor of their own, which drives [`engine::Machine`] and sends its model steps down the same road.
//! 8. The reply goes back up; dropping the lease frees the slot, dropping the request aborts the call.

pub mod error;

pub mod faults;

pub mod telemetry;

pub mod domain;

pub mod config;

pub mod shutdown;

pub mod engine;

pub mod dialect;

pub mod stores;

pub mod providers;

pub mod hooks;

pub mod runtime;

pub mod api;

pub mod http;

pub mod app;

pub mod cli;
