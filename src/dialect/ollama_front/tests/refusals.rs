//! What is wrong is said by the path of the field; what only Ollama can do is told apart; models are described so that
//! clients can work with what nobody knows.

use serde_json::{Value as Json, json};

use super::{at, call, finish, lines, stream, text, ticking, usage};
use crate::{
    dialect::{
        ollama_front::{
            self, ReadError, Wish,
            lines::LineEncoder,
            models::{self, Known},
            reply::{self, Shape},
        },
        stream::ReplyEncoder,
    },
    domain::{
        chat::Finish,
        embedding::Embedded,
        failure::{Failure, FailureClass},
        model::{Capabilities, ModelDetails},
        time::Timestamp,
    },
};

fn with(mut body: Json, name: &str, value: Json) -> Json {
    body[name] = value;
    body
}

#[test]
fn a_body_that_is_none_is_refused_in_ollamas_words() {
    assert_eq!(ollama_front::decode(b" \n"), Err("missing request body".to_owned()));
    for body in [&b"{"[..], b"[1]", b"\"x\"", b"null", b"\xff"] {
        assert!(ollama_front::decode(body).unwrap_err().contains("request body"), "{body:?}");
    }
    assert_eq!(ollama_front::decode(b"\xef\xbb\xbf{}"), Ok(json!({})), "a byte order mark is nothing");
    for body in [json!({}), json!({"model": ""}), json!({"model": null}), json!({"model": " "})] {
        assert_eq!(ollama_front::model(&body), Ok(""), "{body}");
    }
    assert!(ollama_front::model(&json!({"model": 7})).unwrap_err().contains("'model'"));
    assert_eq!(ollama_front::model(&json!({"name": "old"})), Ok("old"));
}

#[test]
fn a_stream_is_the_default() {
    let streams = |body: Json| ollama_front::streams(&body);
    assert_eq!(streams(json!({})), Ok(true));
    assert_eq!(streams(json!({"stream": null})), Ok(true));
    assert_eq!(streams(json!({"stream": false})), Ok(false));
    assert!(streams(json!({"stream": "no"})).unwrap_err().contains("'stream'"));
}

#[test]
fn a_field_of_the_wrong_type_is_named_by_its_path() {
    let chat = json!({"messages": [{"role": "user", "content": "hi"}]});
    let turn = |turn: Json| json!({"messages": [turn]});
    let function = |function: Json| turn(json!({"role": "assistant", "tool_calls": [{"function": function}]}));
    for (body, path) in [
        (json!({"messages": {}}), "'messages'"),
        (json!({"messages": ["hi"]}), "'messages[0]'"),
        (turn(json!({"content": "hi"})), "'messages[0].role'"),
        (turn(json!({"role": "user", "content": ["hi"]})), "'messages[0].content'"),
        (turn(json!({"role": "user", "thinking": 1})), "'messages[0].thinking'"),
        (turn(json!({"role": "user", "images": "x"})), "'messages[0].images'"),
        (turn(json!({"role": "user", "images": ["a", 1]})), "'messages[0].images[0]'"),
        (turn(json!({"role": "user", "images": ["aGk=", "not base64"]})), "'messages[0].images[1]'"),
        (turn(json!({"role": "assistant", "tool_calls": [{}]})), "'messages[0].tool_calls[0].function'"),
        (function(json!({})), "'messages[0].tool_calls[0].function.name'"),
        (function(json!({"name": "f", "arguments": "{}"})), "'messages[0].tool_calls[0].function.arguments'"),
        (with(chat.clone(), "tools", json!({})), "'tools'"),
        (with(chat.clone(), "tools", json!([{"type": "retrieval"}])), "'tools[0].type'"),
        (with(chat.clone(), "tools", json!([{"function": {}}])), "'tools[0].function.name'"),
        (with(chat.clone(), "tools", json!([{"function": {"name": "f", "parameters": []}}])), "function.parameters'"),
        (with(chat.clone(), "format", json!("yaml")), "'format'"),
        (with(chat.clone(), "format", json!(true)), "'format'"),
        (with(chat.clone(), "think", json!("hard")), "'think'"),
        (with(chat.clone(), "think", json!(1)), "'think'"),
        (with(chat.clone(), "keep_alive", json!("soon")), "'keep_alive'"),
        (with(json!({}), "keep_alive", json!([])), "'keep_alive'"),
        (with(chat.clone(), "logprobs", json!(5)), "'logprobs'"),
        (with(chat.clone(), "top_logprobs", json!(21)), "'top_logprobs'"),
        (with(chat.clone(), "options", json!([])), "'options'"),
        (
            with(chat.clone(), "options", json!({"temperature": "warm"})),
            "option \"temperature\" must be of type float32",
        ),
        (with(chat.clone(), "options", json!({"num_predict": "9"})), "option \"num_predict\" must be of type integer"),
        (with(chat.clone(), "options", json!({"stop": "x"})), "option \"stop\" must be of type array"),
        (with(chat.clone(), "options", json!({"stop": [1]})), "option \"stop\" must be of type array of strings"),
    ] {
        // A call that would only load the model is not looked at less.
        let body = if path == "'keep_alive'" && body.get("messages").is_none() {
            with(body, "messages", json!([]))
        } else {
            body
        };
        match ollama_front::read_chat(&body) {
            Err(ReadError::Wrong(message)) => assert!(message.contains(path), "{body}: {message}"),
            other => panic!("{body}: {other:?}"),
        }
    }
    for body in [json!({"prompt": 1}), json!({"prompt": "x", "raw": "yes"}), json!({"prompt": "x", "context": 7})] {
        assert!(matches!(ollama_front::read_generate(&body), Err(ReadError::Wrong(_))), "{body}");
    }
    for body in [json!({"input": 1}), json!({"input": ["a", 1]}), json!({"input": "a", "dimensions": -1})] {
        assert!(matches!(ollama_front::read_embed(&body), Err(ReadError::Wrong(_))), "{body}");
    }
}

#[test]
fn what_only_ollama_can_do_is_told_apart_from_what_is_wrong() {
    for (field, value) in
        [("raw", json!(true)), ("template", json!("{{ .Prompt }}")), ("suffix", json!("}")), ("context", json!([1, 2]))]
    {
        let body = with(json!({"prompt": "x"}), field, value.clone());
        match ollama_front::read_generate(&body) {
            Err(ReadError::OllamaOnly(message)) => assert!(message.contains(field), "{message}"),
            other => panic!("{body}: {other:?}"),
        }
        assert_eq!(ollama_front::read_generate(&with(json!({}), field, value)), Ok(Wish::Load), "nothing is asked");
    }
    let unset = json!({"prompt": "x", "raw": false, "template": "", "suffix": null, "context": []});
    assert!(matches!(ollama_front::read_generate(&unset), Ok(Wish::Ask(_))));
}

#[test]
fn a_message_may_call_many_tools_but_not_any_number() {
    let calls = |count: usize| {
        let call = json!({"function": {"name": "f", "arguments": {}}});
        json!({"messages": [{"role": "assistant", "tool_calls": vec![call; count]}]})
    };
    assert!(ollama_front::read_chat(&calls(1024)).is_ok());
    assert!(matches!(ollama_front::read_chat(&calls(1025)), Err(ReadError::Wrong(_))));
}

#[test]
fn a_failed_stream_ends_with_its_error_and_is_never_done() {
    let mut encoder = LineEncoder::new(Shape::Chat, "m".to_owned(), std::time::Duration::ZERO, ticking());
    let mut out = Vec::new();
    for event in [text("Hel"), call(0, "", "f", "{}"), finish(Finish::Stop)] {
        encoder.event(event, &mut out);
    }
    encoder.failed(&Failure::new(FailureClass::Connection, "the backend broke off"), &mut out);
    encoder.event(text("lo"), &mut out);
    encoder.end(&mut out);
    let lines = lines(&out);
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[1], json!({"error": "the backend broke off"}));
    assert!(lines.iter().all(|line| line["done"] != true));
}

#[test]
fn arguments_that_no_client_could_read_are_an_error_in_both_forms() {
    for arguments in ["{\"a\":", "[1]", "\"x\"", "7"] {
        let events = [text("a"), call(0, "", "weather", arguments), finish(Finish::ToolCalls), usage(1, 1)];
        let lines = lines(&stream(Shape::Chat, &events));
        assert!(lines.last().unwrap()["error"].as_str().unwrap().contains("weather"), "{lines:?}");
        let reply = crate::domain::chat::ChatReply::collect(events);
        assert!(reply::whole(Shape::Chat, "m", &reply, std::time::Duration::ZERO, at(1)).is_err());
    }
}

#[test]
fn calls_that_never_end_are_given_up() {
    let mut encoder = LineEncoder::new(Shape::Chat, "m".to_owned(), std::time::Duration::ZERO, ticking());
    let (mut out, piece) = (Vec::new(), "x".repeat(1 << 20));
    for _ in 0..18 {
        encoder.event(call(0, "", "f", &piece), &mut out);
    }
    encoder.end(&mut out);
    assert_eq!(lines(&out).len(), 1);
    assert!(lines(&out)[0]["error"].as_str().unwrap().contains("16 MiB"));
}

#[test]
fn vectors_have_length_1_and_the_older_route_leaves_them() {
    let read = |bytes: Vec<u8>| serde_json::from_slice::<Json>(&bytes).unwrap();
    let vectors = vec![vec![3.0, 4.0], vec![0.0, 0.0], vec![0.6, 0.8]];
    let embedded = reply::embedded("m", &Embedded { vectors, input_tokens: Some(3) }, std::time::Duration::ZERO, at(7));
    assert_eq!(
        read(embedded),
        json!({"model": "m", "embeddings": [[0.6, 0.8], [0.0, 0.0], [0.6, 0.8]], "total_duration": 7_000_000,
            "prompt_eval_count": 3})
    );
    assert_eq!(read(reply::old_embedded(&[3.0, 4.0])), json!({"embedding": [3.0, 4.0]}));
    assert_eq!(read(reply::old_embedded(&[])), json!({"embedding": []}));
}

#[test]
fn an_answer_to_nothing_says_that_the_model_is_there_or_gone() {
    let read = |bytes: Vec<u8>| serde_json::from_slice::<Json>(&bytes).unwrap();
    assert_eq!(
        read(reply::loaded(Shape::Chat, "m", false, at(0).now)),
        json!({"model": "m", "created_at": "2025-08-08T12:00:00.000000Z", "message": {"role": "assistant", "content": ""},
            "done": true, "done_reason": "load"})
    );
    let gone = read(reply::loaded(Shape::Generate, "m", true, at(0).now));
    assert_eq!((&gone["response"], &gone["done_reason"]), (&json!(""), &json!("unload")));
}

fn unknown() -> Known {
    Known {
        name: "far/away".to_owned(),
        modified_at: Timestamp::ZERO,
        size: 0,
        digest: String::new(),
        details: ModelDetails::default(),
        context_length: 0,
        capabilities: Capabilities::GENERATE,
        abilities: Vec::new(),
    }
}

#[test]
fn a_model_that_nobody_described_has_empty_values_and_a_digest_to_cut() {
    let tags = models::tags(&[unknown()]);
    let entry = &tags["models"][0];
    assert_eq!((&entry["name"], &entry["model"], &entry["size"]), (&json!("far/away"), &json!("far/away"), &json!(0)));
    assert_eq!(entry["modified_at"], "0001-01-01T00:00:00Z");
    assert_eq!(entry["digest"].as_str().unwrap().len(), 64);
    assert_ne!(entry["digest"], models::tags(&[Known { name: "b".to_owned(), ..unknown() }])["models"][0]["digest"]);
    assert_eq!(entry["capabilities"], json!(["completion"]));
    let shown = models::shown(&unknown());
    assert_eq!(shown["model_info"], json!({"general.architecture": "unknown"}));
}

#[test]
fn a_model_that_was_described_is_told_as_it_is() {
    let known = Known {
        digest: "ab".repeat(32),
        size: 7,
        details: ModelDetails { family: "llama".to_owned(), ..ModelDetails::default() },
        context_length: 8192,
        abilities: ["tools", "completion"].map(str::to_owned).to_vec(),
        ..unknown()
    };
    let shown = models::shown(&known);
    assert_eq!(shown["model_info"], json!({"general.architecture": "llama", "llama.context_length": 8192}));
    assert_eq!(shown["capabilities"], json!(["completion", "tools"]));
    let running = models::running(&[models::Running { model: known, expires_at: at(0).now }]);
    let entry = &running["models"][0];
    assert_eq!((&entry["size"], &entry["context_length"]), (&json!(7), &json!(8192)));
    assert_eq!(entry["digest"], "ab".repeat(32));
}
