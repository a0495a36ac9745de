//! What Penstock is tested and measured with: scriptable simulated backends, and the `loadtest` binary around them.
//!
//! Nothing here depends on `penstock`: the servers are driven over the wire, so any runtime can stand in front of them.
//!
//! # Layout
//! - [`sim`]: simulated LLM backends (Ollama, OpenAI-compatible) and a simulated hook server

pub mod sim;
