//! What requests become and replies look like, by golden files in `tests/golden/dialects/ollama_front`; what is refused; and
//! that a stream tells the same as the whole answer. With `WRITE_GOLDENS` set the files are written anew; look at the diff.

mod goldens;
mod property;
mod refusals;

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::{
    lines::LineEncoder,
    reply::{Moment, Shape},
};
use crate::{
    dialect::stream::ReplyEncoder,
    domain::{
        chat::{Finish, ReplyEvent, ToolCall, Usage},
        time::Timestamp,
    },
};

/// The slot was there after two milliseconds.
const WAITED: Duration = Duration::from_millis(2);

/// The first reading is 5 ms after the request came, each further one 1 ms later.
fn ticking() -> impl FnMut() -> Moment + Send {
    let mut millis = 4;
    move || {
        millis += 1;
        at(millis)
    }
}

fn at(millis: u64) -> Moment {
    let elapsed = Duration::from_millis(millis);
    Moment { now: Timestamp::from_micros(1_754_654_400_000_000).after(elapsed), elapsed }
}

/// Everything a stream of these events holds.
fn stream(shape: Shape, events: &[ReplyEvent]) -> Vec<u8> {
    let mut encoder = LineEncoder::new(shape, "m:1b".to_owned(), WAITED, ticking());
    let mut out = Vec::new();
    for event in events {
        encoder.event(event.clone(), &mut out);
    }
    encoder.end(&mut out);
    out
}

fn lines(bytes: &[u8]) -> Vec<Json> {
    let text = std::str::from_utf8(bytes).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "a line has no end: {text}");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn text(text: &str) -> ReplyEvent {
    ReplyEvent::Text { choice: 0, text: text.to_owned() }
}

fn call(index: u32, id: &str, name: &str, arguments: &str) -> ReplyEvent {
    let [id, name, arguments] = [id, name, arguments].map(str::to_owned);
    ReplyEvent::ToolCall { choice: 0, index, piece: ToolCall { id, name, arguments, signature: String::new() } }
}

fn finish(reason: Finish) -> ReplyEvent {
    ReplyEvent::Finish { choice: 0, reason }
}

fn usage(input: u64, output: u64) -> ReplyEvent {
    ReplyEvent::Usage(Usage { input_tokens: Some(input), output_tokens: Some(output), ..Usage::default() })
}

fn event(told: &Json) -> ReplyEvent {
    let (name, value) = told.as_object().unwrap().iter().next().unwrap();
    let words = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
    let plain = || value.as_str().unwrap().to_owned();
    match name.as_str() {
        "text" => ReplyEvent::Text { choice: 0, text: plain() },
        "reasoning" => ReplyEvent::Reasoning { choice: 0, text: plain() },
        "other_choice" => ReplyEvent::Text { choice: 1, text: plain() },
        "call" => ReplyEvent::ToolCall {
            choice: 0,
            index: u32::try_from(value["index"].as_u64().unwrap()).unwrap(),
            piece: ToolCall {
                id: words("id"),
                name: words("name"),
                arguments: words("arguments"),
                signature: words("signature"),
            },
        },
        "logprobs" => ReplyEvent::Logprobs { choice: 0, logprobs: json!({"content": value}) },
        "finish" => finish(match value.as_str().unwrap() {
            "stop" => Finish::Stop,
            "length" => Finish::Length,
            "tool_calls" => Finish::ToolCalls,
            "content_filter" => Finish::ContentFilter,
            other => panic!("no such end: {other}"),
        }),
        "usage" => usage(value["input"].as_u64().unwrap(), value["output"].as_u64().unwrap()),
        other => panic!("no such event: {other}"),
    }
}
