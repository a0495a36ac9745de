//! What Penstock is tested and measured with: scriptable simulated backends, and the `loadtest` binary around them.
//!
//! Nothing here depends on `penstock`: the servers are driven over the wire, so any runtime can stand in front of them.
//!
//! # Layout
//! - [`sim`]: simulated LLM backends (Ollama, OpenAI-compatible, Gemini), a simulated hook and a simulated tokenizer service
//! - [`rules`]: what such a server shall answer, as a file
//! - [`floor`]: the least that a proxy costs; [`cost`]: what a server costs beside it; [`refusal`]: what it costs to be refused;
//!   [`crowd`]: what a server remembers of many clients

pub mod cost;
pub mod crowd;
pub mod floor;
pub mod refusal;
pub mod rules;
mod served;
pub mod sim;
