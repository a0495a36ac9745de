//! What requests become and replies look like, by golden files in `tests/golden/dialects/openai_front`; what is refused; and
//! that a stream tells the same as the whole answer. With `WRITE_GOLDENS` set the files are written anew; look at the diff.

mod goldens;
mod large;
mod property;
mod refusals;

use serde_json::{Value as Json, json};

use super::{Stamp, chunks::ChatChunks, response::Frame, response_events::ResponseEvents, text_chunks::TextChunks};
use crate::{
    dialect::stream::ReplyEncoder,
    domain::{chat::ReplyEvent, failure::Failure},
};

fn stamp() -> Stamp {
    Stamp { id: "0123abcd".to_owned(), created: 1_754_654_400, model: "m:1b".to_owned() }
}

fn frame() -> Frame {
    let request = json!({"input": "Hi", "metadata": {"trace": "7"}, "temperature": 0.5});
    Frame { stamp: stamp(), repeated: super::read_response(&request).unwrap().repeated }
}

fn words(failure: &Failure) -> Json {
    json!({"message": failure.message, "type": "server_error", "param": null, "code": "upstream_failed"})
}

/// The streams of all three kinds, each from the same events. `echo`: what texts of completions begin with.
fn encoders(include_usage: bool, echo: &str) -> [(&'static str, Box<dyn ReplyEncoder>); 3] {
    [
        ("chat", Box::new(ChatChunks::new(stamp(), include_usage, words))),
        ("text", Box::new(TextChunks::new(stamp(), include_usage, words, echo.to_owned()))),
        ("response", Box::new(ResponseEvents::new(frame(), words))),
    ]
}

/// All that is written of these events, and the end.
fn written(encoder: &mut dyn ReplyEncoder, events: &[ReplyEvent], failure: Option<&Failure>) -> String {
    let mut out = Vec::new();
    for event in events {
        encoder.event(event.clone(), &mut out);
    }
    match failure {
        None => encoder.end(&mut out),
        Some(failure) => encoder.failed(failure, &mut out),
    }
    String::from_utf8(out).unwrap()
}

/// The data of a stream's events, read as any client of server-sent events does. Those that have a name tell it in their
/// data too.
fn data(stream: &str) -> Vec<Json> {
    assert!(stream.ends_with("\n\n"), "an event has no end: {stream}");
    let read = |event: &str| {
        let (name, data) = match event.split_once('\n') {
            Some((name, data)) => (Some(name.strip_prefix("event: ").unwrap()), data),
            None => (None, event),
        };
        let text = data.strip_prefix("data: ").unwrap();
        let data: Json = if text == "[DONE]" { json!(text) } else { serde_json::from_str(text).unwrap() };
        assert!(name.is_none_or(|name| data["type"] == name), "{event}");
        data
    };
    stream.split_terminator("\n\n").map(read).collect()
}
