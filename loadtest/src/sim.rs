//! Simulated servers: LLM backends in three dialects, a remote hook and a tokenizer service, scripted by the test that owns
//! them.
//!
//! The life of a request: `server` accepts it -> `desk` reads it, writes it into the [`Record`], asks the [`Rule`]s what
//! shall happen, lets the [`HoldGate`]s hold it and waits for a slot where they are counted (`capacity`) -> a dialect (`ollama`, `openai`, `gemini`, `hook`, `tokenizer`) makes the answer -> `body`
//! plays it, with the stalls and cuts that the rule wants. A request that ends early is noticed by the drop of its ticket.
//! Wire formats are those of `docs/backends.md`.
//!
//! ```no_run
//! # use loadtest::sim::{Route, Rule, SimBackend};
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let sim = SimBackend::ollama().model("qwen3:4b").catalog(["nomic-embed-text:latest"]).start().await?;
//! sim.script(Rule::on(Route::Chat).containing("capital").reply("Paris"));
//! sim.script(Rule::on(Route::Chat).times(1).status(503).header("retry-after", "1"));
//! // … point a client at sim.url() …
//! sim.wait_for_requests(2).await?;
//! assert_eq!(sim.record().requests[0].model.as_deref(), Some("qwen3:4b"));
//! # Ok(())
//! # }
//! ```

// Foundations: no knowledge of requests.
mod clock;
mod hash;
mod pattern;
mod schema;
mod vector;
mod wait;

// A request, what is known of it and what shall become of it.
mod answer;
mod batching;
mod call;
mod canned;
mod capacity;
mod dialect;
mod gate;
mod profile;
mod record;
mod route;
mod script;
mod speech;

// Servers.
mod body;
mod desk;
mod server;

// Dialects.
mod gemini;
mod library;
mod model;
mod ollama;
mod openai;
mod pull;

// What tests hold.
mod backend;
mod hook;
mod tokenizer;

pub use backend::{SimBackend, SimBuilder, SimServer};
pub use batching::{Batching, Engine};
pub(crate) use clock::rfc3339;
pub use gate::HoldGate;
pub use hook::SimHook;
pub use model::SimModel;
pub use openai::Flavour;
pub use profile::{Delay, Profile};
pub use record::{Load, Outcome, Record, SeenRequest};
pub use route::{Route, Routes};
pub use script::{Rule, Scripted};
pub use tokenizer::SimTokenizer;
pub use vector::embedding;
pub use wait::WaitError;
