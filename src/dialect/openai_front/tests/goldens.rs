//! The golden files. What stands in `body` and `events` is written by hand.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value as Json, json};

use super::{data, encoders, frame, stamp, words, written};
use crate::{
    dialect::openai_front::{self, ReadError, chunks, reply, response},
    domain::{
        chat::{ChatCall, ChatReply, ChatTurn, Finish, Image, Part, ReplyEvent, ToolCall, ToolChoice, Usage},
        failure::{Failure, FailureClass},
    },
};

#[expect(clippy::disallowed_methods, reason = "the one setting of these tests")]
fn is_writing() -> bool {
    std::env::var_os("WRITE_GOLDENS").is_some()
}

/// Hands each file of a folder to `see` and compares what comes back with the file.
fn each(folder: &str, see: impl Fn(&Json) -> Json) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/dialects/openai_front").join(folder);
    let files: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!files.is_empty());
    let mut wrong = Vec::new();
    for file in files {
        let kept = fs::read_to_string(&file).unwrap();
        let seen = see(&serde_json::from_str(&kept).unwrap_or_else(|error| panic!("{}: {error}", file.display())));
        let pretty = format!("{}\n", serde_json::to_string_pretty(&seen).unwrap());
        if is_writing() {
            fs::write(&file, pretty).unwrap();
        } else if kept != pretty {
            wrong.push(format!("{}: now {seen}", file.display()));
        }
    }
    assert!(wrong.is_empty(), "these have changed (WRITE_GOLDENS=1 writes them anew):\n{}", wrong.join("\n"));
}

#[test]
fn requests_become_what_the_golden_files_say() {
    each("requests", |case| {
        let body = &case["body"];
        let decoded = openai_front::decode(body.to_string().as_bytes()).unwrap();
        let read = match case["route"].as_str().unwrap() {
            "chat" => openai_front::read_chat(&decoded).map(|read| {
                json!({"call": show_call(&read.call), "include_usage": read.include_usage, "ignored": read.ignored})
            }),
            "completions" => openai_front::read_completion(&decoded).map(|read| {
                json!({"call": show_call(&read.call), "include_usage": read.include_usage, "echo": read.echo,
                    "ignored": read.ignored})
            }),
            "embeddings" => openai_front::read_embedding(&decoded).map(|read| {
                let (call, encoding) = (read.call, format!("{:?}", read.encoding));
                json!({"inputs": call.inputs, "dimensions": call.dimensions, "encoding": encoding, "ignored": read.ignored})
            }),
            _ => openai_front::read_response(&decoded).map(|read| {
                json!({"call": show_call(&read.call), "stream": read.stream, "repeated": read.repeated,
                    "ignored": read.ignored})
            }),
        };
        let read = read.unwrap_or_else(|ReadError { message, param }| json!({"refused": message, "param": param}));
        json!({"route": case["route"], "body": body, "read": read})
    });
}

#[test]
fn replies_are_written_as_the_golden_files_say() {
    each("replies", |case| {
        let events: Vec<_> = case["events"].as_array().unwrap().iter().map(event).collect();
        let failure = case["failure"].as_str().map(|message| Failure::new(FailureClass::Connection, message));
        let include_usage = case["include_usage"] == true;
        let mut seen = json!({"events": case["events"], "include_usage": include_usage, "failure": case["failure"]});
        for (kind, mut encoder) in encoders(include_usage, "") {
            let stream = written(&mut *encoder, &events, failure.as_ref());
            seen[format!("{kind} stream")] = json!(data(&stream));
        }
        if failure.is_none() {
            let reply = ChatReply::collect(events);
            seen["chat"] = reply::chat_completion(&reply, &stamp());
            seen["text"] = reply::text_completion(&reply, &stamp(), "");
            seen["response"] = response::response(&reply, &frame());
        }
        seen
    });
}

#[test]
fn a_stream_that_failed_ends_with_its_error_and_nothing_else() {
    let mut out = Vec::new();
    chunks::write_error(&Failure::new(FailureClass::Connection, "it broke"), words, &mut out);
    let told = r#"{"error":{"message":"it broke","type":"server_error","param":null,"code":"upstream_failed"}}"#;
    assert_eq!(String::from_utf8(out).unwrap(), format!("data: {told}\n\n"));
}

/// One event as the golden files write it.
fn event(written: &Json) -> ReplyEvent {
    let text = |at: &str| written[at].as_str().unwrap_or_default().to_owned();
    let number = |at: &str| written[at].as_u64();
    let choice = u32::try_from(number("choice").unwrap_or_default()).unwrap();
    match written["kind"].as_str().unwrap() {
        "text" => ReplyEvent::Text { choice, text: text("text") },
        "reasoning" => ReplyEvent::Reasoning { choice, text: text("text") },
        "call" => ReplyEvent::ToolCall {
            choice,
            index: u32::try_from(number("index").unwrap()).unwrap(),
            piece: ToolCall {
                id: text("id"),
                name: text("name"),
                arguments: text("arguments"),
                signature: text("signature"),
            },
        },
        "logprobs" => ReplyEvent::Logprobs { choice, logprobs: written["logprobs"].clone() },
        "usage" => ReplyEvent::Usage(Usage {
            input_tokens: number("input"),
            output_tokens: number("output"),
            cached_tokens: number("cached"),
            reasoning_tokens: number("reasoning"),
            worked: None,
        }),
        reason => {
            let reason = match reason {
                "stop" => Finish::Stop,
                "length" => Finish::Length,
                "filter" => Finish::ContentFilter,
                _ => Finish::ToolCalls,
            };
            ReplyEvent::Finish { choice, reason }
        }
    }
}

/// A call as JSON in which whatever was not asked for is left out.
fn show_call(call: &ChatCall) -> Json {
    let mut shown = Map::new();
    shown.insert("messages".to_owned(), call.messages.iter().map(show_turn).collect());
    let sampling = &call.sampling;
    for (name, value) in [
        ("temperature", json!(sampling.temperature)),
        ("top_p", json!(sampling.top_p)),
        ("top_k", json!(sampling.top_k)),
        ("min_p", json!(sampling.min_p)),
        ("max_tokens", json!(sampling.max_tokens)),
        ("stop", json!(sampling.stop)),
        ("seed", json!(sampling.seed)),
        ("presence_penalty", json!(sampling.presence_penalty)),
        ("frequency_penalty", json!(sampling.frequency_penalty)),
        ("repeat_penalty", json!(sampling.repeat_penalty)),
        ("constraint", call.constraint.as_ref().map_or(Json::Null, |form| json!(format!("{form:?}")))),
        ("parallel_tool_calls", json!(call.parallel_tool_calls)),
        ("thinking", call.thinking.as_ref().map_or(Json::Null, |thinking| json!(format!("{thinking:?}")))),
        ("logprobs", json!(call.logprobs)),
        ("choices", if call.choices > 1 { json!(call.choices) } else { Json::Null }),
        ("suffix", if call.suffix.is_empty() { Json::Null } else { json!(call.suffix) }),
        ("single_prompt", if call.single_prompt { json!(true) } else { Json::Null }),
    ] {
        if !value.is_null() && value != json!([]) {
            shown.insert(name.to_owned(), value);
        }
    }
    if !call.tools.is_empty() {
        let tools = call.tools.iter().map(|tool| {
            json!({"name": tool.name, "description": tool.description, "parameters": tool.parameters,
                "strict": tool.strict})
        });
        shown.insert("tools".to_owned(), tools.collect());
    }
    if call.tool_choice != ToolChoice::Auto {
        shown.insert("tool_choice".to_owned(), json!(format!("{:?}", call.tool_choice)));
    }
    Json::Object(shown)
}

fn show_turn(turn: &ChatTurn) -> Json {
    let mut shown = Map::new();
    shown.insert("role".to_owned(), json!(turn.role));
    let part = |part: &Part| match part {
        Part::Text(text) => json!({"text": text}),
        Part::Image(Image::Inline { media_type, data }) => json!({"image": media_type, "data": data}),
        Part::Image(Image::Url(url)) => json!({"url": url}),
    };
    shown.insert("parts".to_owned(), turn.parts.iter().map(part).collect());
    for (name, text) in [("name", &turn.name), ("reasoning", &turn.reasoning)] {
        if !text.is_empty() {
            shown.insert(name.to_owned(), json!(text));
        }
    }
    if !turn.tool_calls.is_empty() {
        let calls = turn.tool_calls.iter().map(|call| json!([call.id, call.name, call.arguments, call.signature]));
        shown.insert("tool_calls".to_owned(), calls.collect());
    }
    if let Some(answered) = &turn.answers {
        shown.insert("answers".to_owned(), json!([answered.id, answered.name]));
    }
    Json::Object(shown)
}
