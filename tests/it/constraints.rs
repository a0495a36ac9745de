//! How each kind of server is asked for a reply of a given form: the exact bodies, kept in `tests/golden/constraints`
//! (`docs/backends.md`, constrained replies). With `WRITE_GOLDENS` set they are written anew; look at the diff.

use std::{fs, path::Path, sync::Arc};

use loadtest::sim::{Flavour, Routes, SimBackend};
use penstock::{
    dialect::{gemini, ollama, openai},
    domain::{
        chat::{ChatCall, ChatTurn, Sampling},
        message::Constraint,
    },
};
use serde_json::{Value, json};

use crate::support::{TASKS, TestServer};

#[expect(clippy::disallowed_methods, reason = "the one setting of this test")]
fn is_writing() -> bool {
    std::env::var_os("WRITE_GOLDENS").is_some()
}

fn cases() -> Vec<(&'static str, Option<Constraint>)> {
    let schema = |value: Value| Some(Constraint::Schema(Arc::new(value)));
    let name = json!({"type": "string", "minLength": 1});
    vec![
        ("none", None),
        ("one_of", Some(Constraint::OneOf(vec!["valid".to_owned(), "not valid".to_owned()]))),
        ("integer", Some(Constraint::Integer)),
        ("number", Some(Constraint::Number)),
        ("range", Some(Constraint::Range)),
        (
            "schema_closed_object",
            schema(
                json!({"type": "object", "additionalProperties": false, "required": ["name", "tags"], "properties": {
                "name": {"type": "string"}, "tags": {"type": "array", "items": {"type": "string", "enum": ["a", "b"]}}}}),
            ),
        ),
        ("schema_open_object", schema(json!({"type": "object", "required": ["name"], "properties": {"name": name}}))),
        ("schema_list", schema(json!({"type": "array", "items": {"type": "integer"}, "minItems": 1}))),
        (
            "schema_tree",
            schema(json!({"$ref": "#/$defs/node", "$defs": {"node": {"type": "object", "required": ["name"],
                "properties": {"name": name, "children": {"type": "array", "items": {"$ref": "#/$defs/node"}}}}}})),
        ),
        ("schema_alternatives", schema(json!({"anyOf": [{"type": "integer"}, {"type": "null"}]}))),
    ]
}

fn call(constraint: Option<Constraint>) -> ChatCall {
    ChatCall {
        messages: vec![ChatTurn::text("system", "Be brief."), ChatTurn::text("user", "What is it?")],
        sampling: Sampling { temperature: Some(0.0), max_tokens: Some(512), ..Sampling::default() },
        constraint,
        single_prompt: true,
        ..ChatCall::default()
    }
}

/// What a server of each kind is sent.
fn bodies(call: &ChatCall) -> [(&'static str, Vec<u8>); 5] {
    [
        ("ollama", ollama::ask("m", call, false, Some(false)).unwrap().body),
        ("openai", openai::chat_body("m", call, openai::Server::Openai, false)),
        ("llamacpp", openai::chat_body("m", call, openai::Server::LlamaCpp, false)),
        ("vllm", openai::chat_body("m", call, openai::Server::Vllm, false)),
        ("gemini", gemini::generate_body("m", call).unwrap()),
    ]
}

#[test]
fn every_kind_of_server_is_asked_as_the_golden_files_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/constraints");
    let mut wrong = Vec::new();
    for (case, constraint) in cases() {
        for (provider, body) in bodies(&call(constraint)) {
            let value: Value = serde_json::from_slice(&body).unwrap();
            let pretty = format!("{}\n", serde_json::to_string_pretty(&value).unwrap());
            let file = folder.join(provider).join(format!("{case}.json"));
            if is_writing() {
                fs::create_dir_all(file.parent().unwrap()).unwrap();
                fs::write(&file, pretty).unwrap();
            } else if fs::read_to_string(&file).unwrap_or_default() != pretty {
                wrong.push(format!("{}: now {value}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "bodies have changed (WRITE_GOLDENS=1 writes them anew):\n{}", wrong.join("\n"));
}

#[test]
fn no_golden_file_is_without_its_case() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/constraints");
    let known: Vec<String> = cases().iter().map(|(case, _)| format!("{case}.json")).collect();
    let providers: Vec<&str> = bodies(&call(None)).iter().map(|(provider, _)| *provider).collect();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        assert!(providers.contains(&entry.file_name().to_str().unwrap()), "{}", entry.path().display());
        for file in fs::read_dir(entry.path()).unwrap() {
            let name = file.unwrap().file_name().into_string().unwrap();
            assert!(known.contains(&name), "{}/{name}", entry.path().display());
        }
    }
}

/// A schema with most of what a user may write.
fn ticket() -> Value {
    json!({
        "type": "object",
        "required": ["title", "priority", "tags", "owner"],
        "properties": {
            "title": {"type": "string", "minLength": 6, "maxLength": 40},
            "code": {"type": "string", "pattern": "^[A-Z]{3}-[0-9]{2,4}$"},
            "priority": {"enum": ["low", "high"]},
            "score": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
            "tags": {"type": "array", "items": {"type": "string"}, "minItems": 2},
            "owner": {"$ref": "#/$defs/person"},
            "due": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]}
        },
        "$defs": {"person": {"type": "object", "required": ["name"], "properties": {
            "name": {"type": "string"}, "age": {"type": "integer", "minimum": 18}, "boss": {"$ref": "#/$defs/person"}}}}
    })
}

#[tokio::test]
async fn parse_json_gets_the_users_json_from_every_kind_of_server() {
    let list = json!({"type": "array", "items": {"type": "integer", "minimum": 3}, "minItems": 1});
    let either = json!({"anyOf": [{"type": "string", "pattern": "^[a-f]{4}$"}, {"type": "null"}]});
    for (kind, builder) in [
        ("ollama", SimBackend::ollama()),
        ("openai", SimBackend::openai()),
        ("openai", SimBackend::openai().flavour(Flavour::LlamaCpp)),
        ("vllm", SimBackend::vllm()),
        ("gemini", SimBackend::gemini()),
    ] {
        let server = TestServer::start(&[]).await;
        let sim = builder.model("chat:1b").start().await.unwrap();
        // Everything is local here, and the name has a tag as Ollama wants it.
        let body = json!({"name": "b", "baseUrl": sim.url(), "type": kind, "cloud": false});
        let id = server.register_as(body, &[TASKS]).await;
        server.wait_for_model(&id, "chat:1b").await;
        for schema in [ticket(), list.clone(), either.clone()] {
            let tasks = json!([{"id": "t", "handler": "parse_json", "output_schema": schema, "repair_attempts": 0,
                "transition": {"branches": [{"operator": "default"}]}}]);
            let answer =
                server.post("/tasks", json!({"input": "Fill it in", "chain": {"tasks": tasks}})).await.expect(200);
            let output = answer.json()["output"].clone();
            assert!(jsonschema::is_valid(&schema, &output), "{kind}: {output}");
            assert!(sim.record().aborted == 0 && server.slots(&id).in_use == 0);
        }
        let calls = sim.record().calls.max;
        assert_eq!((sim.record().of(Routes::GENERATING).len(), calls), (3, 1), "{kind}: nothing was asked twice");
    }
}
