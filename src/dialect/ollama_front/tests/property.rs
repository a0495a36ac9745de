//! However a reply is cut into events, its lines put together again are the whole answer.

use proptest::prelude::*;
use serde_json::{Map, Value as Json, json};

use super::{WAITED, at, call, finish, lines, stream, text, usage};
use crate::{
    dialect::ollama_front::reply::{self, Shape},
    domain::chat::{ChatReply, Finish, ReplyEvent},
};

/// What a client makes of the lines: texts joined, lists grown, everything else from the last.
fn collected(shape: Shape, lines: &[Json]) -> Json {
    let mut whole = Map::new();
    let (mut text, mut thinking, mut calls, mut logprobs) = (String::new(), String::new(), Vec::new(), Vec::new());
    for line in lines {
        let said = if shape == Shape::Chat { &line["message"] } else { line };
        text += said[if shape == Shape::Chat { "content" } else { "response" }].as_str().unwrap();
        thinking += said["thinking"].as_str().unwrap_or_default();
        calls.extend(said["tool_calls"].as_array().cloned().unwrap_or_default());
        logprobs.extend(line["logprobs"].as_array().cloned().unwrap_or_default());
        whole.extend(line.as_object().unwrap().clone());
    }
    let mut said = Map::new();
    if shape == Shape::Chat {
        said.insert("role".to_owned(), json!("assistant"));
    }
    said.insert(if shape == Shape::Chat { "content" } else { "response" }.to_owned(), json!(text));
    if !thinking.is_empty() {
        said.insert("thinking".to_owned(), json!(thinking));
    }
    if !calls.is_empty() {
        said.insert("tool_calls".to_owned(), json!(calls));
    }
    for name in ["thinking", "tool_calls", "logprobs"] {
        whole.remove(name);
    }
    if shape == Shape::Chat {
        whole.insert("message".to_owned(), Json::Object(said));
    } else {
        whole.extend(said);
    }
    if !logprobs.is_empty() {
        whole.insert("logprobs".to_owned(), json!(logprobs));
    }
    timeless(Json::Object(whole))
}

/// Without what the clock says: a whole answer does not know when its first word came.
fn timeless(mut answer: Json) -> Json {
    for name in ["created_at", "total_duration", "load_duration", "prompt_eval_duration", "eval_duration"] {
        answer.as_object_mut().unwrap().remove(name);
    }
    answer
}

fn events() -> impl Strategy<Value = Vec<ReplyEvent>> {
    let piece = prop_oneof![
        4 => ".{0,9}".prop_map(|piece| text(&piece)),
        2 => ".{0,9}".prop_map(|text| ReplyEvent::Reasoning { choice: 0, text }),
        2 => (0u32..3, "[a-z]{0,3}", "[a-z]{1,5}", "[a-z]{0,4}").prop_map(|(index, id, name, value)| {
            // Each a whole call: pieces of the same index would not be an object together.
            call(index, &id, &name, if value.is_empty() { "" } else { "{\"a\":1}" })
        }),
        1 => (-9.0..0.0f64).prop_map(|logprob| ReplyEvent::Logprobs {
            choice: 0,
            logprobs: json!({"content": [{"token": "t", "logprob": logprob, "bytes": [116], "top_logprobs": []}]}),
        }),
        1 => ".{0,3}".prop_map(|text| ReplyEvent::Text { choice: 1, text }),
        1 => (0u64..9, 0u64..9).prop_map(|(input, output)| usage(input, output)),
    ];
    let end = prop_oneof![
        Just(None),
        Just(Some(Finish::Stop)),
        Just(Some(Finish::Length)),
        Just(Some(Finish::ToolCalls)),
        Just(Some(Finish::ContentFilter)),
    ];
    (prop::collection::vec(piece, 0..12), end).prop_map(|(mut events, end)| {
        // One call of each number.
        let mut seen = std::collections::HashSet::new();
        events.retain(|event| !matches!(event, ReplyEvent::ToolCall { index, .. } if !seen.insert(*index)));
        events.extend(end.map(finish));
        events
    })
}

proptest! {
    #[test]
    fn lines_put_together_are_the_whole_answer(events in events(), is_chat in any::<bool>()) {
        let shape = if is_chat { Shape::Chat } else { Shape::Generate };
        let lines = lines(&stream(shape, &events));
        prop_assert!(lines.iter().rev().skip(1).all(|line| line["done"] == false), "{lines:?}");
        prop_assert_eq!(&lines.last().unwrap()["done"], &json!(true));
        // The first choice is there even when only the second spoke.
        let events = [text("")].into_iter().chain(events);
        let whole = reply::whole(shape, "m:1b", &ChatReply::collect(events), WAITED, at(9)).unwrap();
        let whole: Json = serde_json::from_slice(&whole).unwrap();
        prop_assert_eq!(collected(shape, &lines), timeless(whole));
    }
}
