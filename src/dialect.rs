//! Wire formats as pure functions: bytes in, values out. No I/O and no knowledge of who sends.
//!
//! `json`, `yaml`, `loose` and `document` read what our own clients send, `source` knows where in it everything stands, `members`
//! finds parts of it that are known by their bytes;
//! `head` finds in a request just what routing must know, so that its bytes can be sent on as they are, and
//! `stream_watch` in the stream that comes back, `whole_answer` in an answer that does not stream, `told_usage` the tokens in either;
//! `openai_front` is what clients of OpenAI's API send and read, `ollama_front` what those of Ollama's do. `openai`, `vllm`,
//! `ollama` and `gemini` write what those backends read and read what they answer; `constraint` is what they share in forcing
//! replies into a form, `open_calls` in matching the answers of tools to their calls, `lenient` in reading what helps and is
//! not needed, `tokenizer` counts tokens, `error_body` is what servers say when they refuse, `load` what they say of how busy
//! they are. `ndjson` cuts a byte stream into lines, `sse` into server-sent events.

mod call_id;
mod constraint;
pub mod document;
pub mod error_body;
pub mod gemini;
pub mod head;
pub mod json;
mod lenient;
pub mod load;
pub mod loose;
pub mod media_type;
pub mod members;
pub mod ndjson;
pub mod ollama;
pub mod ollama_front;
mod open_calls;
pub mod openai;
pub mod openai_front;
pub mod reply;
pub mod source;
pub mod sse;
pub mod stream;
pub mod stream_watch;
pub mod tokenizer;
pub mod told_usage;
mod tool_arguments;
pub mod unsayable;
pub mod vllm;
pub mod whole_answer;
pub mod yaml;

/// A language that model calls are made in. vLLM and many others speak OpenAI's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// OpenAI's API.
    Openai,
    /// Ollama's own API.
    Ollama,
    /// Google's Gemini API.
    Gemini,
}
