//! What Ollama is sent, and how its answers are taken.

use proptest::prelude::*;

use super::*;
use crate::{
    dialect::{reply::ReplyError, stream::ReplyDecoder},
    domain::{
        chat::{
            AnsweredCall, ChatCall, ChatReply, ChatTurn, Finish, Image, Part, ReplyEvent, Sampling, ToolCall, Usage,
        },
        embedding::EmbedCall,
        message::Constraint,
        model::Capabilities,
        time::Timestamp,
    },
};

fn call(messages: &[(&str, &str)], single_prompt: bool) -> ChatCall {
    ChatCall {
        messages: messages.iter().map(|(role, text)| ChatTurn::text(*role, *text)).collect(),
        sampling: Sampling { temperature: Some(0.0), max_tokens: Some(9), ..Sampling::default() },
        constraint: None,
        single_prompt,
        ..ChatCall::default()
    }
}

fn encoded(call: &ChatCall) -> (&'static str, String) {
    let Asked { route, body } = ask("m", call, false, Some(false)).unwrap();
    (route, String::from_utf8(body).unwrap())
}

#[test]
fn the_models_in_memory_are_read_by_the_names_of_the_tags() {
    let body = br#"{"models":[{"name":"a:1b","model":"a:1b","size_vram":7,"expires_at":"2026-01-01T00:00:00Z"}]}"#;
    assert_eq!(parse_running(body).unwrap(), ["a:1b"]);
    assert!(parse_running(br#"{"models":[]}"#).unwrap().is_empty());
    assert!(parse_running(b"{}").is_err(), "no list is not an empty one");
}

#[test]
fn a_single_prompt_goes_to_generate_with_its_instruction() {
    assert_eq!(
        encoded(&call(&[("system", "Be brief"), ("user", "Hi")], true)),
        (
            "/api/generate",
            concat!(
                r#"{"model":"m","prompt":"Hi","system":"Be brief","stream":false,"think":false,"#,
                r#""options":{"temperature":0.0,"num_predict":9}}"#
            )
            .to_owned()
        )
    );
}

#[test]
fn a_conversation_goes_to_chat_and_a_constraint_becomes_the_format() {
    let mut talk = call(&[("user", "Hi"), ("assistant", "Hello"), ("user", "So?")], false);
    talk.constraint = Some(Constraint::OneOf(vec!["a".to_owned()]));
    let (route, body) = encoded(&talk);
    assert_eq!(route, "/api/chat");
    assert!(body.contains(r#"{"role":"assistant","content":"Hello"}"#), "{body}");
    assert!(body.contains(r#""format":{"type":"string","enum":["a"]}"#), "{body}");
}

#[test]
fn numbers_and_ranges_have_formats_of_their_own() {
    let mut asked = call(&[("user", "Hi")], true);
    asked.sampling = Sampling::default();
    for (constraint, format) in [
        (Constraint::Integer, r#"{"type":"integer"}"#),
        (Constraint::Number, r#"{"type":"number"}"#),
        (Constraint::Range, r#"{"type":"string","pattern":"^-?[0-9]+(\\.[0-9]+)?-(-)?[0-9]+(\\.[0-9]+)?$"}"#),
    ] {
        asked.constraint = Some(constraint);
        let body =
            format!(r#"{{"model":"m","prompt":"Hi","stream":false,"think":false,"format":{format},"options":{{}}}}"#);
        assert_eq!(encoded(&asked), ("/api/generate", body));
    }
}

#[test]
fn the_answer_of_a_tool_names_its_call_and_the_tool_whichever_was_given() {
    let called = |id: &str, name: &str| ToolCall { id: id.to_owned(), name: name.to_owned(), ..ToolCall::default() };
    let answer = |id: &str, name: &str| ChatTurn {
        answers: Some(AnsweredCall { id: id.to_owned(), name: name.to_owned() }),
        ..ChatTurn::text("tool", "x")
    };
    let mut talk = call(&[("user", "So?")], false);
    let tool_calls = vec![called("c1", "f"), called("c2", "g"), called("c3", "h")];
    talk.messages.push(ChatTurn { role: "assistant".to_owned(), tool_calls, ..ChatTurn::default() });
    talk.messages.extend([answer("c2", ""), answer("", "h"), answer("", ""), answer("c9", "")]);
    let body: serde_json::Value = serde_json::from_str(&encoded(&talk).1).unwrap();
    let named = |at: usize| {
        let text = |field: &str| body["messages"][at][field].as_str().unwrap_or_default().to_owned();
        (text("tool_name"), text("tool_call_id"))
    };
    let expected = [("g", "c2"), ("h", "c3"), ("f", "c1"), ("", "c9")];
    assert_eq!([2, 3, 4, 5].map(named), expected.map(|(name, id)| (name.to_owned(), id.to_owned())));
}

#[test]
fn what_ollama_cannot_do_is_told_before_anything_is_sent() {
    let mut two = call(&[("user", "Hi")], true);
    two.choices = 2;
    assert!(ask("m", &two, false, None).unwrap_err().to_string().contains("'n' must be 1"));
    let mut far = call(&[], false);
    let picture = Part::Image(Image::Url("https://example.com/a.png".to_owned()));
    far.messages = vec![ChatTurn { parts: vec![picture], ..ChatTurn::text("user", "") }];
    assert!(ask("m", &far, false, None).unwrap_err().to_string().contains("data: URL"));
}

#[test]
fn answers_of_both_routes_are_read_also_without_a_done_reason() {
    let generate = parse_answer(br#"{"model":"m","response":"Hi","done":true,"eval_count":2}"#).unwrap();
    assert_eq!((generate.choices[0].text.as_str(), generate.choices[0].finish), ("Hi", Some(Finish::Stop)));
    assert_eq!(generate.usage, Usage { input_tokens: None, output_tokens: Some(2), ..Usage::default() });
    let chat = br#"{"message":{"role":"assistant","content":"Hi"},"done":true,"done_reason":"length"}"#;
    assert_eq!(parse_answer(chat).unwrap().choices[0].finish, Some(Finish::Length));
    let old = parse_answer(br#"{"response":"Hi"}"#).unwrap();
    assert_eq!((old.choices[0].text.as_str(), old.choices[0].finish), ("Hi", Some(Finish::Stop)));
    assert_eq!(parse_answer(b"{}"), Err(ReplyError::Empty), "what says nothing at all is no answer");
}

#[test]
fn an_error_member_is_a_failure() {
    assert_eq!(parse_answer(br#"{"error":"boom"}"#).unwrap_err().to_string(), "boom");
    let broken = br#"{"response":"Hel","done":true,"done_reason":"error"}"#;
    assert!(matches!(parse_answer(broken), Err(ReplyError::Reported(_))));
}

#[test]
fn a_call_without_an_id_gets_one_of_its_reply() {
    let line = |when: &str| {
        let call = r#"{"function":{"name":"f","arguments":{"city":"Rome"}}}"#;
        let line = format!(r#"{{"created_at":"{when}","message":{{"tool_calls":[{call},{call}]}},"done":true}}"#);
        parse_answer(line.as_bytes()).unwrap().choices.remove(0)
    };
    let said = line("2026-01-01T00:00:00Z");
    assert_eq!(said.finish, Some(Finish::ToolCalls));
    assert_eq!(said.tool_calls[1].arguments, r#"{"city":"Rome"}"#);
    let ids = [&said.tool_calls[0].id, &said.tool_calls[1].id, &line("2026-01-01T00:00:01Z").tool_calls[0].id];
    assert!(ids[0] != ids[1] && ids[0] != ids[2], "{ids:?}");
    assert_eq!(line("2026-01-01T00:00:00Z").tool_calls, said.tool_calls);
}

proptest! {
    #[test]
    fn however_a_stream_is_cut_into_pieces_it_is_read_alike(
        texts in prop::collection::vec("[a-z\"\\\\ ä]{0,8}", 0..8),
        cuts in prop::collection::vec(1usize..40, 0..40),
        is_whole: bool,
    ) {
        let line = |text: &String| serde_json::json!({"message": {"content": text}, "done": false}).to_string() + "\n";
        let mut stream: String = texts.iter().map(line).collect();
        if is_whole {
            stream.push_str("{\"message\":{\"content\":\"\"},\"done\":true,\"done_reason\":\"stop\",\"eval_count\":3}\n");
        }
        let (mut decoder, mut events, mut rest) = (LineDecoder::default(), Vec::new(), stream.as_bytes());
        for cut in cuts.into_iter().chain(std::iter::repeat(usize::MAX)) {
            let (piece, after) = rest.split_at(cut.min(rest.len()));
            decoder.push(piece, &mut events).unwrap();
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(decoder.is_complete(), is_whole);
        prop_assert_eq!(decoder.end(&mut events), if is_whole { Ok(()) } else { Err(ReplyError::Cut) });
        let text: String = events.iter().filter_map(|event| match event {
            ReplyEvent::Text { text, .. } => Some(text.as_str()),
            _ => None,
        }).collect();
        prop_assert_eq!(text, texts.concat());
        let finish = ChatReply::collect(events).choices.first().and_then(|said| said.finish);
        prop_assert_eq!(finish, is_whole.then_some(Finish::Stop));
    }
}

#[test]
fn tags_are_read_with_and_without_details() {
    let body = br#"{"models":[{"name":"smollm2:135m","model":"smollm2:135m",
        "modified_at":"2026-01-02T03:04:05.678901234+01:00","size":98362432,"digest":"ab","details":{"parent_model":"",
        "format":"gguf","family":"llama","families":["llama"],"parameter_size":"134.52M","quantization_level":"Q4_1",
        "context_length":8192},"capabilities":["completion","tools"]},{"name":"old","details":{"families":null}},
        {"name":"bare","details":null,"capabilities":["embedding"]}]}"#;
    let listed = parse_tags(body).unwrap();
    let told = Shown {
        capabilities: Some(Capabilities::GENERATE),
        context_length: Some(8192),
        abilities: vec!["tools".to_owned()],
    };
    let shown: Vec<_> = listed.iter().map(|listed| listed.shown.clone()).collect();
    assert_eq!(shown, [Some(told), None, None], "half of it is not enough");
    let models: Vec<_> = listed.into_iter().map(|listed| listed.model).collect();
    assert_eq!(models[0].modified_at.to_string(), "2026-01-02T02:04:05.678901Z");
    assert_eq!((models[0].size, models[0].details.family.as_str()), (98_362_432, "llama"));
    assert_eq!((models[1].name.as_str(), models[1].modified_at), ("old", Timestamp::ZERO));
    assert!(parse_tags(br#"{"object":"list","data":[]}"#).is_err());
}

#[test]
fn show_tells_capabilities_and_the_context_of_the_architecture() {
    let body = br#"{"model_info":{"general.architecture":"llama","llama.context_length":8192,"other.context_length":1},
        "capabilities":["completion","tools"]}"#;
    let shown = parse_show(body).unwrap();
    assert_eq!((shown.capabilities, shown.context_length), (Some(Capabilities::GENERATE), Some(8192)));
    assert_eq!(shown.abilities, ["tools"]);
    assert_eq!(parse_show(br#"{"details":{}}"#).unwrap(), Shown::default());
    let embedding = parse_show(br#"{"capabilities":["embedding"]}"#).unwrap();
    assert_eq!(embedding.capabilities, Some(Capabilities::EMBED));
}

#[test]
fn vectors_of_the_new_and_the_old_route_are_read() {
    let call = EmbedCall { inputs: vec!["a".to_owned(), "b".to_owned()], dimensions: Some(2) };
    let body = br#"{"model":"m","input":["a","b"],"truncate":false,"dimensions":2}"#;
    assert_eq!(embed_body("m", &call), body);
    let embedded = parse_embeddings(br#"{"embeddings":[[0.5,1],[2]],"prompt_eval_count":3}"#, 2).unwrap();
    assert_eq!((embedded.vectors, embedded.input_tokens), (vec![vec![0.5, 1.0], vec![2.0]], Some(3)));
    assert!(matches!(parse_embeddings(br#"{"embeddings":[[1]]}"#, 2), Err(ReplyError::Malformed(_))));
    assert_eq!(parse_embeddings(br#"{"embeddings":[]}"#, 1), Err(ReplyError::Empty));
    assert_eq!(parse_old_embedding(br#"{"embedding":[2]}"#).unwrap(), [2.0]);
}

#[test]
fn a_pull_line_is_progress_or_an_error() {
    let line = parse_pull_line(br#"{"status":"pulling 0a1b","digest":"sha256:0a1b","total":9,"completed":4}"#).unwrap();
    assert_eq!((line.status.as_str(), line.total, line.completed), ("pulling 0a1b", 9, 4));
    assert_eq!(parse_pull_line(br#"{"error":"no such model"}"#).unwrap().error.as_deref(), Some("no such model"));
}
