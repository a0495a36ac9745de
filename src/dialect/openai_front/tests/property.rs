//! However a reply is cut into events, its chunks put together again are the whole answer.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::{data, encoders, frame, stamp, written};
use crate::{
    dialect::openai_front::{reply, response},
    domain::chat::{ChatReply, Finish, ReplyEvent, ToolCall, Usage},
};

/// What texts of completions begin with.
const ECHO: &str = "Once upon";

#[derive(Debug, Default, PartialEq)]
struct Choice {
    content: String,
    reasoning: String,
    /// Id, name, arguments of each.
    calls: BTreeMap<u64, [String; 3]>,
    logprobs: Vec<Json>,
    finish: Option<String>,
}

fn text_of(value: &Json) -> &str {
    value.as_str().unwrap_or_default()
}

/// What a client makes of the chunks.
fn collected(chunks: &[Json]) -> BTreeMap<u64, Choice> {
    let mut choices: BTreeMap<u64, Choice> = BTreeMap::new();
    for told in chunks.iter().flat_map(|chunk| chunk["choices"].as_array().unwrap()) {
        let is_known = choices.contains_key(&told["index"].as_u64().unwrap());
        let choice = choices.entry(told["index"].as_u64().unwrap()).or_default();
        let delta = &told["delta"];
        assert_eq!(delta["role"].is_string(), !is_known, "who speaks is told once, first: {told}");
        assert!(choice.finish.is_none() || delta.as_object().unwrap().is_empty(), "after the end: {told}");
        choice.content += text_of(&delta["content"]);
        choice.reasoning += text_of(&delta["reasoning_content"]);
        for call in delta["tool_calls"].as_array().unwrap_or(&Vec::new()) {
            let [id, name, arguments] = choice.calls.entry(call["index"].as_u64().unwrap()).or_default();
            *id += text_of(&call["id"]);
            *name += text_of(&call["function"]["name"]);
            *arguments += text_of(&call["function"]["arguments"]);
        }
        choice.logprobs.extend(told["logprobs"]["content"].as_array().cloned().unwrap_or_default());
        if let Some(finish) = told["finish_reason"].as_str() {
            assert_eq!(choice.finish.replace(finish.to_owned()), None, "it ends once");
        }
    }
    choices
}

/// The same of a whole answer.
fn of_whole(whole: &Json) -> BTreeMap<u64, Choice> {
    let choice = |told: &Json| {
        let message = &told["message"];
        let calls = message["tool_calls"].as_array().cloned().unwrap_or_default();
        let call = |call: &Json| {
            [&call["id"], &call["function"]["name"], &call["function"]["arguments"]]
                .map(|part| text_of(part).to_owned())
        };
        let choice = Choice {
            content: text_of(&message["content"]).to_owned(),
            reasoning: text_of(&message["reasoning_content"]).to_owned(),
            calls: (0u64..).zip(calls.iter().map(call)).collect(),
            logprobs: told["logprobs"]["content"].as_array().cloned().unwrap_or_default(),
            finish: told["finish_reason"].as_str().map(str::to_owned),
        };
        (told["index"].as_u64().unwrap(), choice)
    };
    whole["choices"].as_array().unwrap().iter().map(choice).collect()
}

/// Thoughts, words and calls of a response's items.
fn of_items(items: &Json) -> (String, String, Vec<[String; 3]>) {
    let (mut thought, mut said, mut calls) = (String::new(), String::new(), Vec::new());
    for item in items.as_array().unwrap() {
        match text_of(&item["type"]) {
            "reasoning" => thought += text_of(&item["content"][0]["text"]),
            "message" => said += text_of(&item["content"][0]["text"]),
            _ => calls.push(["call_id", "name", "arguments"].map(|name| text_of(&item[name]).to_owned())),
        }
    }
    (thought, said, calls)
}

/// The items that a client puts together from the deltas alone.
fn of_deltas(events: &[Json]) -> (String, String, Vec<[String; 3]>) {
    let (mut thought, mut said, mut calls) = (String::new(), String::new(), BTreeMap::new());
    for event in events {
        let place = event["output_index"].as_u64().unwrap_or_default();
        let item = &event["item"];
        match text_of(&event["type"]) {
            "response.output_item.added" if item["type"] == "function_call" => {
                let call = [text_of(&item["call_id"]).to_owned(), text_of(&item["name"]).to_owned(), String::new()];
                calls.insert(place, call);
            }
            "response.reasoning_text.delta" => thought += text_of(&event["delta"]),
            "response.output_text.delta" => said += text_of(&event["delta"]),
            "response.function_call_arguments.delta" => {
                calls.get_mut(&place).unwrap()[2] += text_of(&event["delta"]);
            }
            _ => {}
        }
    }
    (thought, said, calls.into_values().collect())
}

/// Pieces of three choices, calls numbered in the order in which they begin; each choice ends at most once, at its end.
fn events() -> impl Strategy<Value = Vec<ReplyEvent>> {
    let piece = prop_oneof![
        4 => (0u32..3, ".{0,9}").prop_map(|(choice, text)| ReplyEvent::Text { choice, text }),
        2 => (0u32..3, ".{0,9}").prop_map(|(choice, text)| ReplyEvent::Reasoning { choice, text }),
        3 => (0u32..3, 0u32..3, "[a-z]{0,3}", "[a-z]{1,5}", ".{0,4}").prop_map(|(choice, index, id, name, arguments)| {
            ReplyEvent::ToolCall {
                choice,
                index,
                piece: ToolCall { id, name, arguments, signature: String::new() },
            }
        }),
        1 => (0u32..3, -9.0..0.0f64).prop_map(|(choice, logprob)| ReplyEvent::Logprobs {
            choice,
            logprobs: json!({"content": [{"token": "t", "logprob": logprob, "bytes": [116], "top_logprobs": []}]}),
        }),
        1 => (0u64..9, 0u64..9).prop_map(|(input, output)| {
            ReplyEvent::Usage(Usage { input_tokens: Some(input), output_tokens: Some(output), ..Usage::default() })
        }),
    ];
    let end = prop_oneof![
        Just(None),
        Just(Some(Finish::Stop)),
        Just(Some(Finish::Length)),
        Just(Some(Finish::ToolCalls)),
        Just(Some(Finish::ContentFilter)),
    ];
    (prop::collection::vec(piece, 1..16), prop::array::uniform3(end)).prop_map(|(mut events, ends)| {
        let mut begun: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for event in &mut events {
            if let ReplyEvent::ToolCall { choice, index, .. } = event {
                let begun = begun.entry(*choice).or_default();
                let place = begun.iter().position(|known| known == index).unwrap_or(begun.len());
                if place == begun.len() {
                    begun.push(*index);
                }
                *index = u32::try_from(place).unwrap();
            }
        }
        first_pieces_tell(&mut events);
        // Choices are numbered without gaps.
        events.insert(0, ReplyEvent::Text { choice: 0, text: String::new() });
        events.insert(1, ReplyEvent::Text { choice: 1, text: String::new() });
        events.insert(2, ReplyEvent::Text { choice: 2, text: String::new() });
        let ends = (0u32..).zip(ends).filter_map(|(choice, end)| Some(ReplyEvent::Finish { choice, reason: end? }));
        events.extend(ends);
        events
    })
}

/// Id and name stand in the first piece of a call and only there.
fn first_pieces_tell(events: &mut [ReplyEvent]) {
    let mut told = std::collections::BTreeSet::new();
    for event in events {
        if let ReplyEvent::ToolCall { choice, index, piece } = event
            && !told.insert((*choice, *index))
        {
            piece.id.clear();
            piece.name.clear();
        }
    }
}

proptest! {
    #[test]
    fn pieces_put_together_are_the_whole_answer(events in events(), include_usage in any::<bool>()) {
        let whole = ChatReply::collect(events.clone());
        let [(_, mut chat), (_, mut text), (_, mut response_stream)] = encoders(include_usage, ECHO);

        let mut chunks = data(&written(&mut *chat, &events, None));
        prop_assert_eq!(chunks.pop(), Some(json!("[DONE]")));
        let expected = reply::chat_completion(&whole, &stamp());
        if include_usage {
            let last = chunks.pop().unwrap();
            prop_assert_eq!((&last["choices"], &last["usage"]), (&json!([]), &expected["usage"]));
        }
        for chunk in &chunks {
            prop_assert_eq!(chunk.get("usage"), include_usage.then_some(&Json::Null));
        }
        prop_assert_eq!(collected(&chunks), of_whole(&expected));

        let chunks = data(&written(&mut *text, &events, None));
        let expected = reply::text_completion(&whole, &stamp(), ECHO);
        let mut texts = [String::new(), String::new(), String::new()];
        for told in chunks.iter().filter_map(|chunk| chunk.get("choices")).flat_map(|told| told.as_array().unwrap()) {
            texts[usize::try_from(told["index"].as_u64().unwrap()).unwrap()] += text_of(&told["text"]);
        }
        for (choice, text) in texts.iter().enumerate() {
            prop_assert_eq!(&expected["choices"][choice]["text"], text);
        }

        let told = data(&written(&mut *response_stream, &events, None));
        for (number, event) in told.iter().enumerate() {
            prop_assert_eq!(&event["sequence_number"], number);
        }
        let last = &told.last().unwrap()["response"];
        let expected = response::response(&whole, &frame());
        prop_assert_eq!(of_items(&last["output"]), of_items(&expected["output"]));
        prop_assert_eq!(of_deltas(&told), of_items(&expected["output"]));
        for name in ["id", "status", "usage", "incomplete_details", "metadata"] {
            prop_assert_eq!(&last[name], &expected[name]);
        }
        let count = |name: &str| told.iter().filter(|event| event["type"] == name).count();
        prop_assert_eq!(count("response.output_item.added"), count("response.output_item.done"));
    }
}
