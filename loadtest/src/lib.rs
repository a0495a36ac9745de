//! What Penstock is tested and measured with: scriptable simulated backends, and the `loadtest` binary around them.
//!
//! Nothing here depends on `penstock`: the servers are driven over the wire, so any runtime can stand in front of them.
//!
//! # Layout
//! - [`sim`]: simulated LLM backends (Ollama, OpenAI-compatible, Gemini), a simulated hook and a simulated tokenizer service
//! - [`rules`]: what such a server shall answer, as a file
//! - [`floor`]: the least that a proxy costs; [`refusal`]: what it costs to be refused
//! - [`scenario`]: what is asked, how much of it, and what must come of it; [`target`]: whom it is asked of
//! - [`play`]: plays scenarios against targets, turn by turn, on a rig of backends and servers; the generator drives each turn
//! - [`fleet`]: the simulated backends of a scenario
//! - [`process`]: what the kernel counts of a server
//! - [`services`]: private instances of PostgreSQL, Valkey and NATS
//! - [`report`]: what is told of a measurement: tables, and a page with plots

mod drive;
pub mod fleet;
pub mod floor;
mod machine;
pub mod play;
pub mod process;
pub mod refusal;
pub mod report;
mod rig;
pub mod rules;
pub mod scenario;
mod served;
pub mod services;
pub mod sim;
pub mod target;
mod watch;
