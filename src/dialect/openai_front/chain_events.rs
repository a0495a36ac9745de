//! The reply of a stored chain as the stream of events that clients of OpenAI's chat API read (`docs/api.md`, chat with a
//! stored chain): for each choice who speaks, the text, why it ended; then the tokens where they are wanted; then `[DONE]`.
//! [`write()`] takes a whole reply; [`ChunksBeside`] is for one that arrives.

use serde_json::{Map, Value as Json, json};

use super::{chunks::ChatChunks, sse};
use crate::{
    dialect::stream::ReplyEncoder,
    domain::{chat::ReplyEvent, failure::Failure},
};

/// The text of the stream. `include_usage`: with a last event that tells the tokens. `beside`: a further member of the
/// last event.
pub fn write(reply: &Json, include_usage: bool, beside: Option<(&str, Json)>) -> String {
    let mut chunks = Vec::new();
    let choices = reply.get("choices").and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
    for (place, choice) in choices.iter().enumerate() {
        let index = choice.get("index").cloned().unwrap_or_else(|| json!(place));
        let mut push = |delta: Json, finish_reason: Json| {
            let choice = json!({"index": index, "delta": delta, "finish_reason": finish_reason});
            chunks.push(chunk(reply, json!([choice]), include_usage.then_some(Json::Null)));
        };
        let mut said = choice.get("message").and_then(Json::as_object).cloned().unwrap_or_default();
        let role = said.shift_remove("role").unwrap_or_else(|| json!("assistant"));
        push(json!({"role": role, "content": ""}), Json::Null);
        number_tool_calls(&mut said);
        push(Json::Object(said), Json::Null);
        let finish = choice.get("finish_reason").filter(|reason| !reason.is_null()).cloned();
        push(json!({}), finish.unwrap_or_else(|| json!("stop")));
    }
    if include_usage || chunks.is_empty() {
        let usage = include_usage.then(|| reply.get("usage").cloned().unwrap_or(Json::Null));
        chunks.push(chunk(reply, json!([]), usage));
    }
    if let (Some((name, value)), Some(last)) = (beside, chunks.last_mut()) {
        last.insert(name.to_owned(), value);
    }
    let mut text: String = chunks.into_iter().map(|chunk| format!("data: {}\n\n", Json::Object(chunk))).collect();
    text.push_str("data: [DONE]\n\n");
    text
}

fn chunk(reply: &Json, choices: Json, usage: Option<Json>) -> Map<String, Json> {
    let mut chunk = Map::new();
    let mut take = |name: &str, unless: Json| {
        let value = reply.get(name).filter(|value| !value.is_null()).cloned().unwrap_or(unless);
        chunk.insert(name.to_owned(), value);
    };
    take("id", json!(""));
    take("object", Json::Null);
    take("created", json!(0));
    take("model", json!(""));
    if reply.get("system_fingerprint").is_some() {
        take("system_fingerprint", Json::Null);
    }
    chunk.insert("object".to_owned(), json!("chat.completion.chunk"));
    chunk.insert("choices".to_owned(), choices);
    if let Some(usage) = usage {
        chunk.insert("usage".to_owned(), usage);
    }
    chunk
}

/// In a stream each call of a tool tells its place.
fn number_tool_calls(said: &mut Map<String, Json>) {
    let Some(Json::Array(calls)) = said.get_mut("tool_calls") else { return };
    for (place, call) in calls.iter_mut().enumerate() {
        if let Json::Object(call) = call {
            call.entry("index").or_insert_with(|| json!(place));
        }
    }
}

/// Writes chunks, the last of them with a further member whose value is known only then.
pub struct ChunksBeside<F> {
    chunks: ChatChunks,
    name: &'static str,
    value: F,
    /// What may end with the last chunk.
    held: Vec<u8>,
}

impl<F: Fn() -> Json + Send> ChunksBeside<F> {
    /// `value` is asked once, at the clean end.
    pub fn new(chunks: ChatChunks, name: &'static str, value: F) -> Self {
        Self { chunks, name, value, held: Vec::new() }
    }
}

impl<F: Fn() -> Json + Send> ReplyEncoder for ChunksBeside<F> {
    fn event(&mut self, event: ReplyEvent, out: &mut Vec<u8>) {
        // Tokens are never held back: nothing but the end of a choice can be the last chunk.
        let may_be_last = matches!(event, ReplyEvent::Finish { .. });
        let mut written = Vec::new();
        self.chunks.event(event, &mut written);
        if !written.is_empty() {
            out.append(&mut self.held);
            (if may_be_last { &mut self.held } else { out }).append(&mut written);
        }
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        self.chunks.end(&mut self.held);
        let held = std::mem::take(&mut self.held);
        let chunks = held.strip_suffix(sse::DONE).unwrap_or(&held);
        let last = chunks.trim_ascii_end().windows(2).rposition(|pair| pair == b"\n\n").map_or(0, |at| at + 2);
        let read = chunks[last..].strip_prefix(b"data: ").and_then(|chunk| serde_json::from_slice(chunk).ok());
        match read {
            Some(Json::Object(mut chunk)) => {
                chunk.insert(self.name.to_owned(), (self.value)());
                out.extend_from_slice(&chunks[..last]);
                sse::write(&chunk, out);
            }
            _ => out.extend_from_slice(chunks),
        }
        out.extend_from_slice(sse::DONE);
    }

    fn failed(&mut self, failure: &Failure, out: &mut Vec<u8>) {
        out.append(&mut self.held);
        self.chunks.failed(failure, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dialect::openai_front::Stamp,
        domain::{
            chat::{Finish, Usage},
            failure::FailureClass,
        },
    };

    fn arriving(include_usage: bool) -> ChunksBeside<fn() -> Json> {
        let stamp = Stamp { id: "1".to_owned(), created: 7, model: "m".to_owned() };
        let chunks = ChatChunks::new(stamp, include_usage, |failure| json!(failure.message));
        ChunksBeside::new(chunks, "stackTrace", || json!([1]))
    }

    #[test]
    fn the_last_chunk_that_arrives_carries_what_is_told_beside_and_no_token_waits() {
        for include_usage in [false, true] {
            let (mut chunks, mut out) = (arriving(include_usage), Vec::new());
            chunks.event(ReplyEvent::Text { choice: 0, text: "hi".to_owned() }, &mut out);
            assert!(String::from_utf8_lossy(&out).contains(r#"{"content":"hi"}"#), "it is told at once");
            chunks.event(ReplyEvent::Finish { choice: 0, reason: Finish::Stop }, &mut out);
            chunks.event(ReplyEvent::Usage(Usage { input_tokens: Some(3), ..Usage::default() }), &mut out);
            chunks.end(&mut out);
            let events = events(std::str::from_utf8(&out).unwrap());
            let (last, others) = events.split_last().unwrap();
            assert_eq!(last["stackTrace"], json!([1]));
            assert!(others.iter().all(|event| event.get("stackTrace").is_none()), "{events:?}");
            assert_eq!(events.len(), if include_usage { 4 } else { 3 });
        }
    }

    #[test]
    fn a_stream_that_breaks_off_ends_with_the_error() {
        let (mut chunks, mut out) = (arriving(false), Vec::new());
        chunks.event(ReplyEvent::Finish { choice: 0, reason: Finish::Stop }, &mut out);
        chunks.failed(&Failure::new(FailureClass::Connection, "broken"), &mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("finish_reason") && text.ends_with("data: {\"error\":\"broken\"}\n\n"), "{text}");
    }

    fn events(text: &str) -> Vec<Json> {
        let (events, rest) = text.split_at(text.len() - "data: [DONE]\n\n".len());
        assert_eq!(rest, "data: [DONE]\n\n");
        let read = |event: &str| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap();
        events.split_terminator("\n\n").map(read).collect()
    }

    fn reply() -> Json {
        json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 7, "model": "m",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "two\nlines"}, "finish_reason": "length"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}})
    }

    #[test]
    fn a_reply_is_who_speaks_the_text_and_the_end() {
        let head = |choices: Json| json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 7, "model": "m", "choices": choices});
        let choice = |delta: Json, end: Json| json!([{"index": 0, "delta": delta, "finish_reason": end}]);
        assert_eq!(
            events(&write(&reply(), false, None)),
            [
                head(choice(json!({"role": "assistant", "content": ""}), json!(null))),
                head(choice(json!({"content": "two\nlines"}), json!(null))),
                head(choice(json!({}), json!("length"))),
            ]
        );
    }

    #[test]
    fn tokens_are_told_last_when_they_are_wanted() {
        let events = events(&write(&reply(), true, Some(("stackTrace", json!([1])))));
        assert_eq!(events.len(), 4);
        assert!(events[..3].iter().all(|event| event["usage"].is_null() && event.get("stackTrace").is_none()));
        let last = &events[3];
        assert_eq!((&last["choices"], &last["usage"]["total_tokens"]), (&json!([]), &json!(3)));
        assert_eq!(last["stackTrace"], json!([1]));
    }

    #[test]
    fn what_a_reply_leaves_out_is_filled_in() {
        let bare = events(&write(&json!({"choices": [{}]}), false, None));
        assert_eq!(bare[0]["choices"][0]["delta"]["role"], "assistant");
        assert_eq!((&bare[0]["id"], &bare[0]["created"], &bare[0]["model"]), (&json!(""), &json!(0), &json!("")));
        assert_eq!(bare[2]["choices"][0]["finish_reason"], "stop");
        let empty = events(&write(&json!({"choices": []}), false, None));
        assert_eq!((empty.len(), &empty[0]["choices"]), (1, &json!([])));
    }

    #[test]
    fn calls_of_tools_are_numbered() {
        let calling = json!({"choices": [{"message": {"role": "assistant", "tool_calls": [{"id": "a"}, {"id": "b"}]},
            "finish_reason": "tool_calls"}]});
        let events = events(&write(&calling, false, None));
        assert_eq!(events[1]["choices"][0]["delta"]["tool_calls"][1], json!({"id": "b", "index": 1}));
        assert_eq!(events[2]["choices"][0]["finish_reason"], "tool_calls");
    }
}
