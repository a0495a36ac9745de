//! Wire formats as pure functions: bytes in, values out. No I/O and no knowledge of who sends.
//!
//! `json`, `yaml`, `loose` and `document` read what our own clients send, `source` knows where in it everything stands;
//! `openai_request` and `openai_events` are what clients of OpenAI's API send and read; `openai` and `ollama` write what
//! those backends read and read what they answer; `ndjson` cuts a byte stream into lines.

pub mod document;
pub mod json;
pub mod loose;
pub mod ndjson;
pub mod ollama;
pub mod openai;
pub mod openai_events;
pub mod openai_request;
pub mod reply;
pub mod source;
pub mod yaml;
