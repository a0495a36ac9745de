//! What the simulated servers promise, seen through a bare HTTP client: a file a behaviour.

mod aborts;
mod capacity;
mod client;
mod control;
mod gates;
mod gemini;
mod hooks;
mod ollama;
mod openai;
mod pulls;
mod scripts;
mod tokenizer;
