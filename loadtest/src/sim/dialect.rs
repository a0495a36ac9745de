//! What the desk asks of a server's protocol; one file a dialect implements it (`ollama`, `openai`, `gemini`, `hook`, `tokenizer`).

use bytes::Bytes;
use hyper::Method;

use crate::sim::{answer::Answer, call::Call, route::Route, script::Effect};

/// A protocol a simulated server speaks, with the models behind it.
pub(crate) trait Dialect: Send + Sync {
    /// Where a request goes.
    fn route(&self, method: &Method, path: &str) -> Route;

    /// The answer to a request without the right key.
    fn refusal(&self, _call: &Call) -> Option<Answer> {
        None
    }

    /// The answer of a healthy server; of the effect, only what the model says matters here.
    fn answer(&self, call: &Call, effect: &Effect) -> Answer;

    /// An error body in the protocol's shape.
    fn error(&self, call: &Call, status: u16, message: &str) -> Answer;

    /// The content type of streams.
    fn stream_type(&self, call: &Call) -> &'static str;

    /// An error inside a stream that has begun.
    fn error_frame(&self, call: &Call, message: &str) -> Bytes;
}
