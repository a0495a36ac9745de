//! The golden files. What stands in `body`, `shape` and `events` is written by hand.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value as Json, json};

use super::{WAITED, at, event, lines, stream};
use crate::{
    dialect::ollama_front::{
        self, ReadError, Wish,
        reply::{self, Shape},
    },
    domain::{
        chat::{ChatCall, ChatReply, ChatTurn, Image, Part},
        embedding::EmbedCall,
    },
};

#[expect(clippy::disallowed_methods, reason = "the one setting of these tests")]
fn is_writing() -> bool {
    std::env::var_os("WRITE_GOLDENS").is_some()
}

/// Hands each file of a folder to `see` and compares what comes back with the file.
fn each(folder: &str, see: impl Fn(&Json) -> Json) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/dialects/ollama_front").join(folder);
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
        let bytes = body.to_string();
        let decoded = ollama_front::decode(bytes.as_bytes()).unwrap();
        let mut seen = json!({"route": case["route"], "body": body});
        seen["model"] = json!(ollama_front::model(&decoded).unwrap());
        seen["streams"] = json!(ollama_front::streams(&decoded).unwrap());
        let wish = match case["route"].as_str().unwrap() {
            "chat" => shown(ollama_front::read_chat(&decoded), &show_call),
            "generate" => shown(ollama_front::read_generate(&decoded), &show_call),
            "embed" => shown(ollama_front::read_embed(&decoded), &show_embed),
            _ => shown(ollama_front::read_old_embed(&decoded), &show_embed),
        };
        seen["wish"] = wish;
        seen
    });
}

#[test]
fn replies_are_written_as_the_golden_files_say() {
    each("replies", |case| {
        let shape = if case["shape"] == "chat" { Shape::Chat } else { Shape::Generate };
        let events: Vec<_> = case["events"].as_array().unwrap().iter().map(event).collect();
        let whole = reply::whole(shape, "m:1b", &ChatReply::collect(events.clone()), WAITED, at(12));
        let whole: Json = match whole {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap(),
            Err(error) => json!({"refused": error.to_string()}),
        };
        let lines = lines(&stream(shape, &events));
        json!({"shape": case["shape"], "events": case["events"], "lines": lines, "whole": whole})
    });
}

fn shown<T>(wish: Result<Wish<T>, ReadError>, show: &dyn Fn(T) -> Json) -> Json {
    match wish {
        Ok(Wish::Ask(call)) => show(call),
        Ok(Wish::Load) => json!("load"),
        Ok(Wish::Unload) => json!("unload"),
        Err(ReadError::Wrong(message)) => json!({"wrong": message}),
        Err(ReadError::OllamaOnly(message)) => json!({"only Ollama": message}),
    }
}

fn show_embed(call: EmbedCall) -> Json {
    json!({"inputs": call.inputs, "dimensions": call.dimensions})
}

/// A call as JSON in which whatever was not asked for is left out.
fn show_call(call: ChatCall) -> Json {
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
        ("thinking", call.thinking.as_ref().map_or(Json::Null, |thinking| json!(format!("{thinking:?}")))),
        ("logprobs", json!(call.logprobs)),
        ("single_prompt", if call.single_prompt { json!(true) } else { Json::Null }),
    ] {
        if !value.is_null() && value != json!([]) {
            shown.insert(name.to_owned(), value);
        }
    }
    if !call.tools.is_empty() {
        let tools = call
            .tools
            .iter()
            .map(|tool| json!({"name": tool.name, "description": tool.description, "parameters": tool.parameters}));
        shown.insert("tools".to_owned(), tools.collect());
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
    if !turn.reasoning.is_empty() {
        shown.insert("reasoning".to_owned(), json!(turn.reasoning));
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
