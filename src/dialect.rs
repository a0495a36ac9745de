//! Wire formats as pure functions: bytes in, values out. No I/O and no knowledge of who sends.
//!
//! `json`, `yaml`, `loose` and `document` read what our own clients send; `openai`, `vllm`, `ollama` and `gemini` write
//! what those backends read and read what they answer (`tokenizer` what counts tokens), `constraint` being what they share in forcing replies into a form
//! and `error_body` what they say when they refuse; `ndjson` cuts a byte stream into lines.

mod constraint;
pub mod document;
pub mod error_body;
pub mod gemini;
pub mod json;
pub mod loose;
pub mod ndjson;
pub mod ollama;
pub mod openai;
pub mod reply;
pub mod tokenizer;
pub mod vllm;
pub mod yaml;
